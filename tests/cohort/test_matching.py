"""Matching finds as many pairs as there can be, and of these the closest."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from node.cohort.matching import Matching, match


def by_age(cases: list[float | None], controls: list[float | None], limit: float = 5.0, ratio: int = 1) -> Matching:
    ages = [*cases, *controls]
    return match([True] * len(cases) + [False] * len(controls), {}, {"age": (ages, limit)}, ratio, seed=1)


def pairs(found: Matching) -> list[tuple[int, ...]]:
    return [(one.case, *one.controls) for one in found.matches]


def test_a_greedy_search_would_leave_a_case_alone() -> None:
    # the nearest control of the first case is the only one that the second can have
    found = by_age([60, 64], [63, 56])
    assert pairs(found) == [(0, 3), (1, 2)]
    assert (found.unmatched_cases, found.unmatched_controls) == ((), ())


@pytest.mark.parametrize("seed", range(20))
def test_as_good_as_trying_everything(seed: int) -> None:
    random = np.random.default_rng(seed)
    cases, controls = random.uniform(50, 90, 5), random.uniform(50, 90, 6)
    found = by_age(list(cases), list(controls), limit=8.0)
    best = max(
        (sum(ok := [abs(a - b) <= 8.0 for a, b in both]), -sum(abs(a - b) for (a, b), k in zip(both, ok, strict=True) if k))
        for order in permutations(controls, len(cases))
        for both in [list(zip(cases, order, strict=True))]
    )
    distance = sum(abs(cases[m.case] - controls[m.controls[0] - 5]) for m in found.matches)
    assert (len(found.matches), pytest.approx(-distance)) == best


def test_what_must_be_the_same_and_what_is_not_known() -> None:
    sex = ["F", "M", "", "f", "M", "F"]
    found = match([True, True, True, False, False, False], {"sex": sex}, {}, 1, seed=1)
    assert {(m.case, sex[m.case].upper(), sex[m.controls[0]].upper()) for m in found.matches} == {
        (0, "F", "F"),
        (1, "M", "M"),
    }
    assert found.unmatched_cases == (2,)
    assert by_age([None, 60], [60, None]).unmatched_cases == (0,)
    assert pairs(by_age([60], [65])) == [(0, 1)]
    assert pairs(by_age([60], [65.1])) == []


def test_several_controls_per_case_and_the_seed() -> None:
    found = by_age([60, 70], [61, 59, 71, 90, 62], ratio=3)
    assert [len(m.controls) for m in found.matches] == [3, 1]
    assert found.unmatched_controls == (5,)
    assert by_age([60] * 4, [60] * 9) == by_age([60] * 4, [60] * 9)
    one, two = (match([True] * 3 + [False] * 9, {"sex": ["F"] * 12}, {}, 1, seed) for seed in (1, 2))
    assert one.matches != two.matches
