"""A little of ``benchmarks.endurance.fuzz`` with fixed seeds; and it finds what is there to be found."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from benchmarks.endurance.fuzz import TARGETS, _Round
from benchmarks.endurance.fuzz_cases import Case, Check, damaged, in_parts


class _Brittle:
    """Reads everything but a byte that is rare."""

    examples_per_round = 500

    def cases(self) -> st.SearchStrategy[Case]:
        return damaged([b"whole" * 10], [b"\xfe"]).map(Case)

    @contextmanager
    def open(self, _folder: Path) -> Iterator[Check]:
        def check(case: Case) -> str:
            if b"\xfe" in case.data:
                raise OverflowError(case.data)
            return "read"

        yield check


def test_a_fault_is_found_shrunk_and_kept(tmp_path: Path) -> None:
    began_s = multiprocessing.Value("d", 0.0)
    for _ in range(2):  # the same seed finds the same
        one = _Round("brittle", 3, time.monotonic() + 600, tmp_path, began_s)
        with _Brittle().open(tmp_path) as check:
            one.run(_Brittle(), check)
        one.keep()
    assert one.found is not None
    assert one.found.startswith("OverflowError in tests/benchmarks/test_fuzz.py:")
    [told] = tmp_path.glob("finding-brittle-*.txt")
    assert told.with_suffix(".bin").read_bytes().count(b"\xfe") == 1
    assert "--target brittle --seed 3 --rounds 1" in told.read_text()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "n_cases"), [("headers", 60), ("pixels", 40), ("theatre-lists", 60), ("mllp", 30)])
def test_a_few_cases(name: str, n_cases: int, tmp_path: Path) -> None:
    target = TARGETS[name]()
    outcomes: list[str] = []
    with target.open(tmp_path) as check:

        @seed(1)
        @settings(
            max_examples=n_cases,
            deadline=None,
            database=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(target.cases())
        def each(case: Case) -> None:
            outcomes.append(check(case))

        each()
    assert len(set(outcomes)) > 1, "not everything is refused, and not everything is read"


def test_parts_are_the_whole() -> None:
    assert b"".join(in_parts(b"abcdef", (0.5, 0.1, 0.5))) == b"abcdef"
