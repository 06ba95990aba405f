"""Optimal matching of cases to controls.

As many cases as possible get a control; among those solutions the sum of differences is the smallest
(:func:`scipy.optimize.linear_sum_assignment`). A greedy search in the order of a list would find neither. With several
controls per case, this holds for each round: the first control of every case, then the second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from node.cohort.table import Cell, as_text


@dataclass(frozen=True, slots=True)
class Match:
    """A case with its controls, as indices of patients."""

    case: int
    controls: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Matching:
    """The result of a matching.

    Attributes:
        matches: in the order of the cases.
        unmatched_cases, unmatched_controls: indices of patients.
        seed: of the order in which equally good solutions were tried.
    """

    matches: tuple[Match, ...]
    unmatched_cases: tuple[int, ...]
    unmatched_controls: tuple[int, ...]
    seed: int


def match(
    is_case: Sequence[bool],
    exact: Mapping[str, Sequence[Cell]],
    within: Mapping[str, tuple[Sequence[float | None], float]],
    controls_per_case: int,
    seed: int,
) -> Matching:
    """Match cases to controls. Each control is used once.

    Args:
        is_case: of each patient.
        exact: columns that must be the same; a patient with an empty entry is not matched.
        within: columns of numbers, each with its largest difference; an empty entry is not matched.
        controls_per_case: the most controls of a case. Every case gets its first before any gets a second.
        seed: two solutions may be equally good; which one is found depends on it and not on the order of the list.
    """
    order = np.random.default_rng(seed).permutation(len(is_case))
    cases = [int(i) for i in order if is_case[i]]
    free = [int(i) for i in order if not is_case[i]]
    found: dict[int, list[int]] = {case: [] for case in cases}
    for _ in range(controls_per_case):
        pairs = _assign(cases, free, exact, within)
        for case, control in pairs:
            found[case].append(control)
            free.remove(control)
        if not pairs:
            break
    matches = tuple(Match(case, tuple(controls)) for case, controls in sorted(found.items()) if controls)
    unmatched = tuple(sorted(case for case, controls in found.items() if not controls))
    return Matching(matches, unmatched, tuple(sorted(free)), seed)


def _assign(
    cases: Sequence[int],
    controls: Sequence[int],
    exact: Mapping[str, Sequence[Cell]],
    within: Mapping[str, tuple[Sequence[float | None], float]],
) -> list[tuple[int, int]]:
    if not cases or not controls:
        return []
    cost = np.zeros((len(cases), len(controls)))
    allowed = np.ones(cost.shape, dtype=bool)
    for cells in exact.values():
        mine, theirs = _words(cells, cases), _words(cells, controls)
        allowed &= (mine[:, None] == theirs[None, :]) & (mine[:, None] != "")
    for values, limit in within.values():
        difference = np.abs(_floats(values, cases)[:, None] - _floats(values, controls)[None, :])
        allowed &= difference <= limit  # a comparison with NaN is false
        # each column counts in parts of its limit, so that columns of different units add up
        cost += np.nan_to_num(difference / limit if limit > 0 else difference)
    # worse than all allowed pairs together: a solution with one more pair is always better
    cost[~allowed] = len(within) * min(cost.shape) + 1.0
    rows, columns = linear_sum_assignment(cost)
    return [(cases[r], controls[c]) for r, c in zip(rows.tolist(), columns.tolist(), strict=True) if allowed[r, c]]


def _words(cells: Sequence[Cell], who: Sequence[int]) -> np.ndarray:
    return np.array([as_text(cells[i]).casefold() for i in who], dtype=object)


def _floats(values: Sequence[float | None], who: Sequence[int]) -> np.ndarray:
    return np.array([np.nan if values[i] is None else values[i] for i in who], dtype=float)
