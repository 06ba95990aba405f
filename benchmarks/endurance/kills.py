"""Kills of the worker, and of the process that computes, at random statements and moments.

``python -m benchmarks.endurance kills`` kills so often, then lets a worker finish, and compares what arrived at the receiver
with what was sent.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from benchmarks.endurance import forks
from benchmarks.endurance.receiver import Mood
from benchmarks.endurance.site import MEASURED, TINY, Outcome, Site

#: A worker kills itself at one of so many statements and commits, counted from when it is ready or, sometimes, its start.
_MOST_EVENTS = 900
_FROM_START = 0.15
#: Or is killed after so much processor time or so long, if it does not come so far.
_MOST_CPU_S = 3.0
_LONGEST_S = 60.0
#: Studies that are sent at once, and how many may wait.
_BATCH = 5


def attack(
    folder: Path, kills: int, database_url: str | None, seed: int, *, network: bool = False, workers: int = 1
) -> Outcome:
    """Kill so often, then see what became of the studies. Figures are written down every 20 kills.

    Args:
        folder: empty.
        kills: how many.
        database_url: of an empty PostgreSQL database; ``None``: SQLite.
        seed: of the moments.
        network: whether studies are measured (which takes far longer).
        workers: how many run at the same time; all are killed at the same moment.
    """
    drawn = random.Random(seed)
    start_s = time.monotonic()
    site = Site(folder, database_url, network=network)
    site.receiver.be(Mood.GOOD)
    parameters, batch = (MEASURED, 1) if network else (TINY, _BATCH)
    named = [site.settings.model_copy(update={"worker_id": f"worker-{n}"}) for n in range(workers)]
    what: Counter[str] = Counter()
    n_kills = 0
    whom = "a worker or its computing process" if workers == 1 else f"{workers} workers at the same moment"
    title = f"kill -9 of {whom}"
    title += "; studies with phantoms that are measured" if network else ""
    site.send(parameters, batch)
    while n_kills < kills and not forks.ending.is_set():
        if site.waiting() < (1 if network else _BATCH):
            site.send(parameters, batch)
        kind = drawn.choices(("statement", "moment", "computing"), (6, 2, 1 if workers == 1 else 0))[0]
        place = forks.Place(drawn.randrange(1, _MOST_EVENTS), site.notes, drawn.random() > _FROM_START)
        pids = [site.start(place if n == 0 and kind == "statement" else None, settings) for n, settings in enumerate(named)]
        most_cpu_s = _MOST_CPU_S if kind == "statement" else drawn.uniform(0.0, _MOST_CPU_S / 2)
        killed_itself = forks.wait_for_work(pids[0], most_cpu_s, _LONGEST_S)
        if kind == "computing" and _kill_computing():
            what["the computing process"] += 1
            n_kills += 1
            time.sleep(drawn.uniform(0.0, 2.0))
        what["a worker, at a statement or commit"] += killed_itself
        what["a worker, at any moment"] += len(pids) - killed_itself
        if not killed_itself:
            step = next(iter(site.steps()), None)
            with site.notes.open("a") as notes:
                notes.write(f"{f'step {step}' if step else 'no study under way'}|at any moment\n")
        n_kills += len(pids)
        for pid in pids:
            forks.kill(pid)
        if n_kills % 20 < len(pids):
            Outcome(
                title, site.database, n_kills, dict(site.places()), site.n_studies, seconds=time.monotonic() - start_s,
                notes="not finished",
            ).save(folder / "so-far.json")  # fmt: skip
    seconds = time.monotonic() - start_s
    running = tuple(site.start(settings=settings) for settings in named)
    outcome = site.outcome(title, seconds, site.settle(*running))
    outcome.attacks = n_kills
    outcome.notes = ", ".join(f"{n} x {name}" for name, n in what.most_common())
    site.close()
    return outcome


def _kill_computing() -> bool:
    """Kill the process that computes for the only worker."""
    for computing in forks.computing():
        with suppress(ProcessLookupError):
            os.kill(computing, signal.SIGKILL)
            return True
    return False
