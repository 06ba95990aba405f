"""Power cuts: every process is killed, and every write that was not synced is gone.

The layer ``unsynced.c`` keeps what was synced; after a cut the state directory is built anew from that alone, which is the
worst that a disk may do. Its folders are taken seriously, too: a file whose folder was not synced is gone. The commands of
PostgreSQL do not go through the layer, so this attack is one on SQLite.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from benchmarks.endurance import forks
from benchmarks.endurance.receiver import Mood
from benchmarks.endurance.site import TINY, Outcome, Site

_SOURCE = Path(__file__).with_name("unsynced.c")
_LONGEST_S = 8.0
_MOST_EVENTS = 600


def layer(folder: Path) -> dict[str, str]:
    """Compile the layer, and return the environment in which a process runs on top of it."""
    library, kept = folder / "unsynced.so", folder / "kept"
    kept.mkdir(parents=True)
    command = ["gcc", "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    root = folder / "site" / "state"
    return {"LD_PRELOAD": str(library), "UNSYNCED_ROOT": str(root), "UNSYNCED_KEPT": str(kept)}


def attack(folder: Path, cuts: int, seed: int) -> Outcome:
    """Cut the power so often. To be run in the environment of :func:`layer`."""
    drawn = random.Random(seed)
    start_s = time.monotonic()
    site = Site(folder / "site")
    root, kept = Path(os.environ["UNSYNCED_ROOT"]), Path(os.environ["UNSYNCED_KEPT"])
    site.receiver.be(Mood.GOOD)
    where: Counter[str] = Counter()
    n_dropped = 0
    for _ in range(cuts):
        if forks.ending.is_set():
            break
        # what the import has reported is acknowledged; a scanner would not send it again
        site.send(TINY, 2)
        pid = site.start(forks.Place(drawn.randrange(1, _MOST_EVENTS), site.notes))
        forks.wait_for(pid, drawn.uniform(0.0, _LONGEST_S))
        for computing in forks.computing():
            with suppress(ProcessLookupError):
                os.kill(computing, 9)
        forks.kill(pid)
        where["in mid-study" if next(iter(site.steps()), None) else "else"] += 1
        n_dropped += cut(root, kept)
    outcome = site.outcome(
        "power cut: every process killed, all unsynced writes dropped", time.monotonic() - start_s, site.settle()
    )
    outcome.attacks, outcome.where = where.total(), dict(where)
    outcome.notes = f"{n_dropped} files were not yet safe, and gone or older after a cut"
    site.close()
    return outcome


def cut(root: Path, kept: Path) -> int:
    """Leave only what was synced. Returns the number of files that are gone or older now."""
    new = root.with_name("after-cut")
    _build(new, kept / "root", kept)
    n_dropped = sum(
        not (new / path.relative_to(root)).is_file() or (new / path.relative_to(root)).read_bytes() != path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith("-shm")
    )
    shutil.rmtree(root)
    shutil.rmtree(kept)
    kept.mkdir()
    new.rename(root)
    # what the disk holds now is safe
    for path in [root, *root.rglob("*")]:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    return n_dropped


def _build(folder: Path, names: Path, kept: Path) -> None:
    folder.mkdir(mode=0o700)
    for line in names.read_text().splitlines() if names.exists() else ():
        kind, key, name = line.split(" ", 2)
        if kind == "d":
            _build(folder / name, kept / key, kept)
        elif (kept / key).exists():
            shutil.copyfile(kept / key, folder / name)
            (folder / name).chmod(0o600)
        elif not name.endswith("-shm"):
            (folder / name).touch(mode=0o600)  # its name is safe, its content is not
