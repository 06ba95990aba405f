"""A PACS that is down, refuses, is slow, or answers garbage, and is good again at the end."""

from __future__ import annotations

import random
import time
from pathlib import Path

from benchmarks.endurance import forks
from benchmarks.endurance.receiver import Mood
from benchmarks.endurance.site import TINY, Outcome, Site

_LONGEST_S = 20.0


def attack(folder: Path, rounds: int, database_url: str | None, seed: int) -> Outcome:
    """Let the receiver go through every mood so often, in random order, with new studies in each."""
    drawn = random.Random(seed)
    start_s = time.monotonic()
    site = Site(folder, database_url)
    pid = site.start()
    moods = [mood for _ in range(rounds) for mood in drawn.sample(list(Mood), len(Mood))]
    where: dict[str, int] = {}
    n_moods = 0
    for mood in moods:
        if forks.ending.is_set():
            break
        n_moods += 1
        site.receiver.be(mood)
        site.send(TINY, 2)
        before, give_up_s = _attempts(site), time.monotonic() + _LONGEST_S
        while time.monotonic() < give_up_s and _attempts(site) < before + 3:
            time.sleep(0.2)
        where[str(mood)] = where.get(str(mood), 0) + max(0, _attempts(site) - before)
    site.receiver.be(Mood.GOOD)
    seconds = time.monotonic() - start_s
    outcome = site.outcome("the PACS changes its mood", seconds, site.settle(pid))
    outcome.attacks, outcome.where = n_moods, where
    outcome.notes = "attempts at a delivery, by mood"
    site.close()
    return outcome


def _attempts(site: Site) -> int:
    return sum(delivery.attempts for run in site.runs for delivery in run.deliveries)
