"""Set-up and image install nothing without its hash, and the hashes are those of the versions that are tested."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from hashes.write import ALONE, LEFT_OUT, SETS, needed, pins

REPOSITORY = Path(__file__).resolve().parents[2]
HASHES = REPOSITORY / "hashes"


def _locked(name: str) -> dict[str, tuple[str, int]]:
    """Version of each package of a file, and the number of its hashes."""
    parts = re.split(r"\n(?=[A-Za-z0-9])", (HASHES / f"{name}.txt").read_text(encoding="utf-8"))
    found = {}
    for part in parts:
        match = re.match(r"([A-Za-z0-9._-]+)==([^\s\\;]+)", part)
        if match is not None:
            found[canonicalize_name(match[1])] = match[2], part.count("--hash=sha256:")
    return found


@pytest.mark.parametrize("name", [*SETS, *ALONE, "build", "torch"])
def test_every_package_has_a_hash(name: str) -> None:
    locked = _locked(name)
    assert locked
    assert {package for package, (_, n_hashes) in locked.items() if n_hashes == 0} == set()


@pytest.mark.parametrize("name", ["node", "dev"])
def test_the_hashes_are_those_of_what_is_needed_in_the_version_of_the_constraints(name: str) -> None:
    """Run ``make hashes`` after a change of ``pyproject.toml`` or ``constraints.txt``."""
    extra, more = SETS[name]
    wanted = needed(extra) | {canonicalize_name(one) for one in more}
    known = {package: line.partition("==")[2] for package, line in pins().items()}
    locked = {package: version for package, (version, _) in _locked(name).items()}
    assert locked == {package: known[package] for package in wanted - LEFT_OUT}
    assert _locked("build")["setuptools"][0] == known["setuptools"]
    assert _locked("torch")["torch"][0].partition("+")[0] == known["torch"]


def test_nothing_comes_without_a_hash() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    dockerfile = (REPOSITORY / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    installs = re.findall(r"pip install (.*)", makefile.replace("\\\n", " ") + dockerfile)
    for options in installs:
        is_checked = "--require-hashes" in options
        # the node itself, whose requirements are there already; and PyTorch for other processors, which set-up names aloud
        is_own = "--no-deps --no-build-isolation" in options
        assert is_checked or is_own or '"torch==2.13.0"' in options, options
    assert "torch==" not in dockerfile, "in the image there is no way around the hash"
