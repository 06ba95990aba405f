"""Damaged input for every part of the node that reads what others send, until the time is over or something is found.

``python -m benchmarks.endurance.fuzz --minutes 10 --target headers`` makes cases with Hypothesis, gives them to that part of
the node, and prints one line of JSON for each target. A finding is an exception that the part does not declare, a crash, a
hang, more memory or time than one input may cost, patient data in a reason, or values that are not those of the images. Each
is shrunk, and written to ``--findings`` with its input, its traceback, and the command that makes it again: the same
``--seed`` gives the same cases. Exit status 1 if there is one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import multiprocessing
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from benchmarks.endurance.fuzz_cases import Case, Target
from benchmarks.endurance.fuzz_headers import Headers
from benchmarks.endurance.fuzz_pdus import Pdus
from benchmarks.endurance.fuzz_pixels import Pixels
from benchmarks.endurance.fuzz_plans import Mllp, TheatreLists

TARGETS: dict[str, type[Target]] = {
    "headers": Headers,
    "pixels": Pixels,
    "pdus": Pdus,
    "mllp": Mllp,
    "theatre-lists": TheatreLists,
}
#: What one input may cost: memory beyond that of the process before it, and processor time.
_MEMORY_BYTES = 1 << 30
_CPU_S = 10.0
#: Wall clock: long, since other processes may use the processors, and a process first has to load its libraries.
_HANGS_S = 600.0
_POLL_S = 0.5


@dataclass
class Outcome:
    """What became of the cases of one target.

    Attributes:
        outcomes: number of cases by what the node made of them.
        findings: number of cases by what was found.
        slowest_cpu_s: of one case, in the process that makes the cases.
    """

    target: str
    seed: int
    rounds: int = 0
    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)
    slowest_cpu_s: float = 0.0

    def line(self) -> str:
        """One line of JSON."""
        return json.dumps(vars(self) | {"slowest_cpu_s": round(self.slowest_cpu_s, 2)})


class TooExpensiveError(Exception):
    """A case took more processor time than one input may."""


def attack(target: str, minutes: float, first_seed: int, rounds: int | None, findings: Path) -> Outcome:
    """Attack one target in a process of its own, which is started again if it ends or hangs.

    Args:
        rounds: number of seeds; ``None``: until the time is over.
        findings: folder.
    """
    findings.mkdir(parents=True, exist_ok=True)
    outcome = Outcome(target, first_seed)
    until_s = time.monotonic() + minutes * 60 if rounds is None else float("inf")
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="bmd-node-fuzz-") as folder:
        while time.monotonic() < until_s and (rounds is None or outcome.rounds < rounds):
            kept = Path(folder) / f"round{outcome.rounds}"
            kept.mkdir()
            began_s: Synchronized[float] = context.Value("d", time.monotonic())
            left = None if rounds is None else rounds - outcome.rounds
            arguments = (target, first_seed + outcome.rounds, until_s, left, kept, began_s)
            process = context.Process(target=_rounds, args=arguments)
            process.start()
            while process.is_alive() and time.monotonic() - began_s.value < _HANGS_S:
                process.join(_POLL_S)
            hangs = process.is_alive()
            process.kill()
            process.join()
            _gather(outcome, kept, findings)
            if hangs or process.exitcode:
                outcome.rounds += 1
                what = "hang" if hangs else f"crash, exit status {process.exitcode}"
                _keep_crash(outcome, what, kept, findings)
            elif rounds is None:
                break  # the time is over
    return outcome


def _gather(outcome: Outcome, kept: Path, findings: Path) -> None:
    """Add what the process has written, round by round."""
    for path in sorted(kept.glob("outcome-*.json")):
        told = json.loads(path.read_text())
        outcome.rounds += 1
        outcome.cases += told["cases"]
        outcome.outcomes.update(told["outcomes"])
        outcome.findings.update(told["findings"])
        outcome.slowest_cpu_s = max(outcome.slowest_cpu_s, told["slowest_cpu_s"])
    for path in kept.glob("finding-*"):
        (findings / path.name).write_bytes(path.read_bytes())


def _keep_crash(outcome: Outcome, what: str, kept: Path, findings: Path) -> None:
    """The input that the process had when it ended."""
    current = kept / "current"
    data = current.read_bytes() if current.exists() else b""
    outcome.findings[what] += 1
    name = f"finding-{outcome.target}-{hashlib.sha256(data).hexdigest()[:12]}"
    (findings / f"{name}.bin").write_bytes(data)
    (findings / f"{name}.txt").write_text(f"{what}\n{_again(outcome.target, outcome.seed + outcome.rounds - 1)}\n")


def _again(target: str, round_seed: int) -> str:
    return f"python -m benchmarks.endurance.fuzz --target {target} --seed {round_seed} --rounds 1"


def _rounds(
    name: str, round_seed: int, until_s: float, rounds: int | None, kept: Path, began_s: Synchronized[float]
) -> None:
    """Entry point of the process: one round after the other."""
    logging.disable(logging.INFO)
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")
    target = TARGETS[name]()
    known: set[str] = set()
    limited = False
    last = None if rounds is None else round_seed + rounds
    while time.monotonic() < until_s and round_seed != last:
        # below the parent's folder, which goes even if this process is killed
        with tempfile.TemporaryDirectory(prefix="state-", dir=kept.parent) as folder, target.open(Path(folder)) as check:
            if not limited:
                limited = True
                used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (used + _MEMORY_BYTES, resource.RLIM_INFINITY))
            one = _Round(name, round_seed, until_s, kept, began_s)
            one.run(target, check)
        if one.found is not None and one.found not in known:
            known.add(one.found)
            one.keep()
        told = {"cases": one.cases, "outcomes": one.outcomes, "slowest_cpu_s": one.slowest_cpu_s}
        told["findings"] = {one.found: 1} if one.found is not None else {}
        (kept / f"outcome-{round_seed:012}.json").write_text(json.dumps(told))
        round_seed += 1


class _Round:
    """Cases of one seed."""

    def __init__(self, name: str, round_seed: int, until_s: float, kept: Path, began_s: Synchronized[float]) -> None:
        self.cases = 0
        self.outcomes: Counter[str] = Counter()
        self.slowest_cpu_s = 0.0
        self.found: str | None = None
        self._name, self._seed, self._until_s, self._kept, self._began_s = name, round_seed, until_s, kept, began_s
        self._failed: tuple[Case, str] | None = None

    def run(self, target: Target, check: object) -> None:
        """Make the cases; ends at the first finding, shrunk."""
        assert callable(check)

        @seed(self._seed)
        @settings(
            max_examples=target.examples_per_round,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(target.cases())
        def each(case: Case) -> None:
            if time.monotonic() >= self._until_s and self._failed is None:
                return
            (self._kept / "current").write_bytes(case.data)
            self._began_s.value = time.monotonic()
            before_s = time.process_time()
            try:
                self.outcomes[check(case)] += 1
                self._count_time(time.process_time() - before_s)
            except BaseException as error:
                self.found = f"{type(error).__name__} in {_place_of(error)}"
                self._failed = case, traceback.format_exc()
                raise
            finally:
                self.cases += 1

        try:
            each()
        except KeyboardInterrupt:
            raise
        except BaseException:
            if self._failed is None:
                raise

    def _count_time(self, took_s: float) -> None:
        self.slowest_cpu_s = max(self.slowest_cpu_s, took_s)
        if took_s > _CPU_S:
            raise TooExpensiveError(f"{took_s:.0f} s")

    def keep(self) -> None:
        """Write the finding."""
        assert self._failed is not None
        case, told = self._failed
        name = f"finding-{self._name}-{hashlib.sha256(case.data).hexdigest()[:12]}"
        (self._kept / f"{name}.bin").write_bytes(case.data)
        (self._kept / f"{name}.txt").write_text(f"{told}\nknown: {case.known!r}\n{_again(self._name, self._seed)}\n")


def _place_of(error: BaseException) -> str:
    """The last line of the node, or of the check, on the way to the error."""
    here = Path(__file__).resolve().parents[2]
    places = [
        f"{Path(frame.filename).relative_to(here)}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).is_relative_to(here) and ".venv" not in frame.filename
    ]
    return places[-1] if places else "?"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=(*TARGETS, "all"), default="all", help="[default: all, one after the other]")
    parser.add_argument("--minutes", type=float, default=10, help="for each target [default: 10]")
    parser.add_argument("--seed", type=int, default=0, help="of the first round; each round has the next one [default: 0]")
    parser.add_argument("--rounds", type=int, help="end after so many rounds [default: when the time is over]")
    parser.add_argument("--findings", type=Path, default=Path("build/fuzz"), help="folder for them [default: build/fuzz]")
    chosen = parser.parse_args()
    found = False
    for target in TARGETS if chosen.target == "all" else (chosen.target,):
        outcome = attack(target, chosen.minutes, chosen.seed, chosen.rounds, chosen.findings)
        print(outcome.line(), flush=True)
        found = found or bool(outcome.findings)
    sys.exit(found)


if __name__ == "__main__":
    main()
