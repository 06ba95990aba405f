"""Runs the steps of a Dockerfile without a Docker engine, in clean roots that debootstrap has made.

As root, on Debian, with the packages debootstrap and dockerfile-parse (``.[dev]``)::

    debootstrap --variant=minbase bookworm /tmp/debian12 http://deb.debian.org/debian
    python deploy/try_dockerfile.py deploy/Dockerfile /tmp/debian12 /tmp/image \\
        --then "bmd-node phantom --out ct" --then "bmd-node process ct --out results"

``FROM`` is a copy of the clean root; ``ARG``, ``ENV``, ``WORKDIR``, ``COPY``, ``ADD``, ``RUN`` and ``USER`` do what they do
in an image. Layers, ``VOLUME``, ``EXPOSE`` and the ignore file are not tried. In the end the commands after ``--then`` run
in the last stage, in its folder and as its user.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shlex
import shutil
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from dockerfile_parse import DockerfileParser

REPOSITORY = Path(__file__).resolve().parents[1]
#: What a new container has before the first ENV.
_FIRST_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Stage:
    """A root that the steps of one stage change."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": _FIRST_PATH})
    arguments: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    user: str = "0:0"

    def run(self, command: list[str], given: dict[str, str]) -> str:
        """Run a command inside of it; ends the program if it fails."""
        environment = {**given, **self.environment, **self.arguments}
        # /proc as a container has it, gone with the process
        apart = ["/usr/bin/unshare", "--mount", "--pid", "--fork", f"--mount-proc={self.root / 'proc'}"]
        enter = [*apart, "/usr/sbin/chroot", f"--userspec={self.user}", str(self.root), "/bin/sh", "-c"]
        inside = [*enter, f'cd {self.folder} && exec "$@"', "sh"]
        done = subprocess.run(
            [*inside, *command],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"exit status {done.returncode}: {shlex.join(command)}\n{done.stdout}")
        return done.stdout

    def copy(self, sources: list[Path], target: str) -> None:
        """COPY."""
        place = self.root / str(Path(self.folder) / target).lstrip("/")
        for source in sources:
            if source.is_dir():
                shutil.copytree(source, place, symlinks=True, dirs_exist_ok=True)
                continue
            # without a slash at the end the target is the file itself
            file = place / source.name if target.endswith("/") else place
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, file)


def main() -> None:
    """Run the steps, then the trial."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dockerfile", type=Path)
    parser.add_argument("clean", type=Path, help="what debootstrap has made")
    parser.add_argument("out", type=Path, help="empty folder for the roots of the stages")
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="as for docker build")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="for RUN only: a proxy, say")
    parser.add_argument("--bring", action="append", type=Path, default=[], metavar="PATH", help="a mirror of wheels, say")
    parser.add_argument("--then", action="append", default=[], metavar="COMMAND", help="run as the user of the image")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if any(options.out.iterdir()):
        parser.error(f"{options.out} is not empty")
    given, build_args = (dict(one.split("=", 1) for one in many) for many in (options.env, options.build_arg))
    stage = build(options.dockerfile, options.clean, options.out, given, build_args, options.bring)
    size_mb = int(subprocess.check_output(["du", "-sxm", str(stage.root)], text=True).split()[0])
    base_mb = int(subprocess.check_output(["du", "-sxm", str(options.clean)], text=True).split()[0])
    print(f"size of the last stage: {size_mb} MB, of which the clean root {base_mb} MB", flush=True)
    for command in options.then:
        print(f"{command}\n{stage.run(shlex.split(command), {})}", flush=True)


def build(
    dockerfile: Path, clean: Path, out: Path, given: dict[str, str], build_args: dict[str, str], bring: list[Path]
) -> Stage:
    """Run every step; returns the last stage."""
    steps = DockerfileParser(path=str(dockerfile), cache_content=True).structure
    stages: dict[str, Stage] = {}
    stage = Stage(clean)
    for step in steps:
        word, value = step["instruction"], step["value"]
        if word == "COMMENT":
            continue
        print(f"{word} {value}", flush=True)
        if word == "FROM":
            _, _, name = value.partition(" AS ")
            name = name or "last"
            stage = stages[name] = Stage(out / name)
            subprocess.run(["cp", "-a", str(clean), str(stage.root)], check=True)
            shutil.copy("/etc/resolv.conf", stage.root / "etc" / "resolv.conf")
            for path in bring:
                stage.copy([path], str(path))
        elif word == "ARG":
            key, _, default = value.partition("=")
            stage.arguments[key] = build_args.get(key, default)
        elif word == "ENV":
            stage.environment.update(part.split("=", 1) for part in shlex.split(value))
        elif word == "WORKDIR":
            stage.folder = value
            (stage.root / value.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "USER":
            stage.user = value
        elif word == "COPY":
            found = re.fullmatch(r"(?:--from=(\S+) )?(.+) (\S+)", value)
            if found is None:
                sys.exit(f"this COPY is not understood: {value}")
            origin = stages[found[1]].root if found[1] else REPOSITORY
            stage.copy([origin / part.lstrip("/") for part in found[2].split()], found[3])
        elif word == "ADD":
            found = re.fullmatch(r"--checksum=sha256:(\S+)\s+(https://\S+)\s+(\S+)", value)
            if found is None:
                sys.exit(f"this ADD is not understood: {value}")
            content = urllib.request.urlopen(found[2], timeout=60).read()  # noqa: S310 - https, see above
            if hashlib.sha256(content).hexdigest() != found[1]:
                sys.exit(f"{found[2]} is not what the Dockerfile wants")
            (stage.root / found[3].lstrip("/")).write_bytes(content)
        elif word == "RUN":
            stage.run(["/bin/sh", "-c", value], given)
    return stage


if __name__ == "__main__":
    main()
