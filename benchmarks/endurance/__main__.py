"""All long attacks on the durable parts of a node, with a table of what became of its studies.

``python -m benchmarks.endurance --quick`` takes minutes, ``--full`` hours. Every attack writes its figures into a file; one
that has its file is not run again. Ctrl-C ends the attacks, which still say what became of their studies. With
``--markdown`` the table of a document is replaced. Root is needed for the full disk, and Debian's ``postgresql``, ``gcc``
and ``dicom3tools`` for the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.endurance import away, bad_pacs, bombs, forks, full_disk, kills, power_cut
from benchmarks.endurance.site import Outcome
from benchmarks.endurance.table import as_markdown, merged, put_into


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack, and how much of it there is.

    Attributes:
        run: folder, size, PostgreSQL or none for SQLite, seed → outcome.
        quick: size with ``--quick``.
        full: size with ``--full``.
        databases: on which it is run.
        lanes: parts that may run at the same time, each with a seed of its own.
        layer: environment of a library to run on top of, for a folder.
    """

    run: Callable[[Path, int, away.Server | None, int], Outcome]
    quick: int
    full: int
    databases: tuple[str, ...] = ("sqlite", "postgresql")
    lanes: int = 1
    layer: Callable[[Path], dict[str, str]] | None = None


def _url(server: away.Server | None, folder: Path) -> str | None:
    return None if server is None else server.new_database(folder.name.replace("-", "_"))


def _restart(folder: Path, size: int, server: away.Server | None, seed: int) -> Outcome:
    return away.lock(folder, size, seed) if server is None else away.restart(folder, size, seed)


ATTACKS = {
    "kills": Attack(lambda f, n, s, seed: kills.attack(f, n, _url(s, f), seed), 10, 500, lanes=4),
    "kills-measured": Attack(lambda f, n, s, seed: kills.attack(f, n, _url(s, f), seed, network=True), 3, 40),
    "two-workers": Attack(lambda f, n, s, seed: kills.attack(f, n, _url(s, f), seed, workers=2), 6, 100),
    "pacs": Attack(lambda f, n, s, seed: bad_pacs.attack(f, n, _url(s, f), seed), 1, 2),
    "disk": Attack(lambda f, n, s, seed: full_disk.attack(f, n, _url(s, f), seed), 6, 40),
    "database": Attack(_restart, 2, 12),
    "bombs": Attack(lambda f, n, s, seed: bombs.attack(f, n, _url(s, f), seed), 1, 1, ("sqlite",)),
    "power": Attack(lambda f, n, _, seed: power_cut.attack(f, n, seed), 8, 60, ("sqlite",), layer=power_cut.layer),
}


@dataclass(frozen=True, slots=True)
class _Lane:
    """A part of an attack that runs in a process of its own."""

    name: str
    database: str
    seed: int
    size: int

    def folder(self, above: Path) -> Path:
        return above / f"{self.name}-{self.database}-{self.seed}"

    def result(self, above: Path) -> Path:
        return above / f"{self.name}-{self.database}-{self.seed}.json"


def _lanes(names: list[str], full: bool, database: str | None) -> Iterator[_Lane]:
    for name in names:
        attack = ATTACKS[name]
        n_lanes = attack.lanes if full else 1
        for lane in range(n_lanes):
            for one in attack.databases:
                if database in (None, one):
                    yield _Lane(name, one, lane + 1, (attack.full if full else attack.quick) // n_lanes)


def _run(lane: _Lane, above: Path, server: away.Server | None) -> None:
    folder = lane.folder(above)
    folder.mkdir(parents=True, exist_ok=True)
    forks.compute_in(folder)
    signal.signal(signal.SIGTERM, lambda *_: forks.ending.set())
    outcome = ATTACKS[lane.name].run(folder, lane.size, server if lane.database == "postgresql" else None, lane.seed)
    outcome.save(lane.result(above))


def _on_top(lane: _Lane, above: Path) -> None:
    """Begin anew as a process that has the library of the attack loaded."""
    folder = lane.folder(above)
    folder.mkdir(parents=True, exist_ok=True)
    layer = ATTACKS[lane.name].layer
    assert layer is not None
    inside = [lane.name, lane.database, str(lane.seed), str(lane.size), str(above)]
    command = [sys.executable, "-m", "benchmarks.endurance", "--inside", *inside]
    os.execve(sys.executable, command, os.environ | layer(folder))  # noqa: S606 - without a shell


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="a few of each attack [default]")
    size.add_argument("--full", action="store_true", help="at least 1,000 kills, and as much of the rest")
    parser.add_argument("--only", choices=tuple(ATTACKS), action="append", help="only this attack; may be repeated")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), help="only this one [default: both]")
    parser.add_argument("--at-once", type=int, default=1, help="attacks that run at the same time [default: 1]")
    parser.add_argument("--folder", type=Path, help="is kept, and continued [default: a temporary one]")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--markdown", type=Path, help="document whose table is replaced")
    parser.add_argument("--inside", nargs=5, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    forks.prepare()
    if chosen.inside:
        name, database, seed, n, folder = chosen.inside
        server = away.Server() if database == "postgresql" else None
        _run(_Lane(name, database, int(seed), int(n)), Path(folder), server)
        if server is not None:
            server.close()
        return
    with tempfile.TemporaryDirectory(prefix="bmd-node-endurance-") as temporary:
        above = chosen.folder or Path(temporary)
        above.mkdir(parents=True, exist_ok=True)
        lanes = list(_lanes(chosen.only or list(ATTACKS), chosen.full, chosen.database))
        todo = [one for one in lanes if not one.result(above).exists()]
        _run_all(todo, above, chosen.at_once)
        outcomes = merged(
            [Outcome(**json.loads(one.result(above).read_text())) for one in lanes if one.result(above).exists()]
        )
    print(as_markdown(outcomes))
    if chosen.json:
        chosen.json.write_text(json.dumps([vars(one) for one in outcomes], indent=1) + "\n")
    if chosen.markdown:
        put_into(chosen.markdown, outcomes)
    missing = [one for one in lanes if not one.result(above).exists()] if chosen.folder else []
    sys.exit(bool(missing) or any(one.lost or one.doubled or one.stuck or one.invalid for one in outcomes))


def _run_all(todo: list[_Lane], above: Path, at_once: int) -> None:
    """Run so many at the same time, each in a process of its own."""
    server = away.Server() if any(one.database == "postgresql" for one in todo) else None
    running: dict[int, _Lane] = {}

    def end(*_: object) -> None:
        todo.clear()
        for pid in running:
            os.kill(pid, signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    try:
        while todo or running:
            while todo and len(running) < at_once:
                lane = todo.pop(0)
                begin = _on_top if ATTACKS[lane.name].layer else _run
                arguments = (lane, above) if begin is _on_top else (lane, above, server)
                log = above / f"{lane.folder(above).name}.log"
                running[forks.fork(lambda begin=begin, arguments=arguments: begin(*arguments), log)] = lane
            for pid in [pid for pid in running if forks.ended(pid)]:
                lane = running.pop(pid)
                done = "done" if lane.result(above).exists() else f"failed, see {lane.folder(above).name}.log"
                print(f"{lane.name} {lane.database} {lane.seed}: {done}", file=sys.stderr, flush=True)
            time.sleep(0.5)
    finally:
        if server is not None:
            server.close()


if __name__ == "__main__":
    main()
