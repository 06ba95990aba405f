"""The clock of the computer is set back or forward by hours, with Debian's libfaketime."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from benchmarks.endurance import forks
from benchmarks.endurance.receiver import Mood
from benchmarks.endurance.site import TINY, Outcome, Site

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
_OFFSETS = ("-26h", "-2h", "-3m", "+0", "+3m", "+2h", "+26h")
_LONGEST_S = 4.0


def layer(folder: Path) -> dict[str, str]:
    """Return the environment of a process whose clock can be set."""
    file = folder / "clock"
    file.write_text("+0\n")
    return {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def attack(folder: Path, times: int, database_url: str | None, seed: int) -> Outcome:
    """Set the clock so often while studies come in. To be run in the environment of :func:`layer`."""
    drawn = random.Random(seed)
    start_s = time.monotonic()
    site = Site(folder / "site", database_url)
    site.receiver.be(Mood.GOOD)
    clock = Path(os.environ["FAKETIME_TIMESTAMP_FILE"])
    where: dict[str, int] = {}
    site.send(TINY, 2)
    pid = site.start()
    for n in range(times):
        if forks.ending.is_set():
            break
        if site.waiting() < 4:
            site.send(TINY, 2)
        time.sleep(drawn.uniform(0.0, _LONGEST_S))
        offset = drawn.choice(_OFFSETS)
        part = clock.with_suffix(".new")
        part.write_text(f"{offset}\n")
        part.replace(clock)
        where[offset] = where.get(offset, 0) + 1
        if n % 4 == 3:  # a restart with another time than before
            forks.kill(pid)
            pid = site.start()
    seconds = time.monotonic() - start_s
    outcome = site.outcome("the clock is set, back and forward", seconds, site.settle(pid))
    outcome.attacks, outcome.where, outcome.notes = sum(where.values()), where, "offset to the true time"
    site.close()
    return outcome
