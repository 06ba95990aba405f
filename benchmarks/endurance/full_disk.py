"""A disk that is full at any step, and free again: on a small file system of its own (needs root, for ``mount``)."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.endurance import forks
from benchmarks.endurance.receiver import Mood
from benchmarks.endurance.site import TINY, Outcome, Site

_SIZE_MB = 300
_LONGEST_S = 6.0


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a file system of a fixed size."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE_MB}m,mode=0700", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def attack(folder: Path, times: int, database_url: str | None, seed: int) -> Outcome:
    """Fill the disk so often, for some seconds each time, and leave up to 200 KB."""
    drawn = random.Random(seed)
    start_s = time.monotonic()
    with small_disk(folder / "state"):
        site = Site(folder, database_url)
        site.receiver.be(Mood.GOOD)
        filler = site.settings.state_dir / "filler"
        where: Counter[str] = Counter()
        site.send(TINY, 2)
        pid = site.start()
        restarts = 0
        for n in range(times):
            if forks.ending.is_set():
                break
            if site.waiting() < 2:
                site.send(TINY, 2)
            # at every second time in mid-study, whatever step that is
            mid_study = bool(n % 2)
            give_up_s = time.monotonic() + (60.0 if mid_study else drawn.uniform(0.0, _LONGEST_S))
            while time.monotonic() < give_up_s and not (mid_study and next(iter(site.steps()), None)):
                time.sleep(0.02)
            where[next(iter(site.steps()), None) or "between studies"] += 1
            _fill(filler, drawn.randrange(0, 200_000))
            time.sleep(drawn.uniform(1.0, _LONGEST_S))
            filler.unlink()
            if forks.ended(pid):  # the supervisor would restart it
                pid = site.start()
                restarts += 1
        seconds = time.monotonic() - start_s
        if forks.ended(pid):
            pid = site.start()
        outcome = site.outcome("the disk is full, then free again", seconds, site.settle(pid))
        outcome.attacks, outcome.where, outcome.notes = where.total(), dict(where), f"worker restarted {restarts} times"
        site.close()
    return outcome


def _fill(path: Path, left: int) -> None:
    with path.open("wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(1 << 20))
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        os.ftruncate(file.fileno(), max(0, file.tell() - left))
