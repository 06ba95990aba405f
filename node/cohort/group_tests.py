"""Tests between two groups, chosen by a fixed rule that the result names.

Numbers: Levene's test decides between Student's and Welch's t-test, as in the study (SPSS). Counts: Pearson's chi-squared
test, without a continuity correction, or Fisher's exact test if an expected count is below 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import stats

#: Level of Levene's test at which variances count as different.
LEVENE_ALPHA = 0.05
#: Expected count from which the chi-squared approximation is used (Cochran, Biometrics 1954;10:417).
MIN_EXPECTED = 5.0
#: Exact Mann-Whitney test up to this group size, without ties, as R's wilcox.test does.
_EXACT_BELOW = 50
#: Tables that the exact test enumerates at most.
_MAX_TABLES = 500_000


@dataclass(frozen=True, slots=True)
class NumbersTest:
    """Two groups of numbers.

    Attributes:
        n: sizes of the two groups.
        levene_f, levene_p: Levene's test around the means.
        name: the t-test that was chosen.
        why: why it was.
        difference: mean of the first group minus that of the second.
        interval: 95 % interval of the difference.
        mann_whitney_p: two-sided, for readers who doubt that the means are normal.
    """

    n: tuple[int, int]
    levene_f: float
    levene_p: float
    name: str
    why: str
    t: float
    df: float
    p: float
    difference: float
    interval: tuple[float, float]
    mann_whitney_u: float
    mann_whitney_p: float


@dataclass(frozen=True, slots=True)
class CountsTest:
    """A table of counts with two columns.

    Attributes:
        name: the test that was chosen.
        why: why it was.
        chi2, df: of Pearson's test; also given beside Fisher's.
        min_expected: the smallest expected count.
        p: of the chosen test.
    """

    name: str
    why: str
    chi2: float
    df: int
    min_expected: float
    p: float


@dataclass(frozen=True, slots=True)
class PairedTest:
    """The same comparison within matched pairs: paired t-test."""

    n_pairs: int
    difference: float
    interval: tuple[float, float]
    t: float
    p: float


def compare_numbers(first: Sequence[float], second: Sequence[float]) -> NumbersTest | str:
    """Compare two groups of numbers, or say why that is not possible."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if min(len(a), len(b)) < 2:
        return "a group has fewer than two values"
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return "the values within the groups do not differ"
    levene = stats.levene(a, b, center="mean")
    equal = bool(levene.pvalue >= LEVENE_ALPHA)
    found = stats.ttest_ind(a, b, equal_var=equal)
    interval = found.confidence_interval(0.95)
    no_ties = len(np.unique(np.concatenate([a, b]))) == len(a) + len(b)
    exact = no_ties and max(len(a), len(b)) < _EXACT_BELOW
    ranks = stats.mannwhitneyu(a, b, alternative="two-sided", method="exact" if exact else "asymptotic")
    side = "at least" if equal else "below"
    return NumbersTest(
        n=(len(a), len(b)),
        levene_f=float(levene.statistic),
        levene_p=float(levene.pvalue),
        name="Student's t-test" if equal else "Welch's t-test",
        why=f"Levene's p is {side} {LEVENE_ALPHA}",
        t=float(found.statistic),
        df=float(found.df),
        p=float(found.pvalue),
        difference=float(a.mean() - b.mean()),
        interval=(float(interval.low), float(interval.high)),
        mann_whitney_u=float(ranks.statistic),
        mann_whitney_p=float(ranks.pvalue),
    )


def compare_pairs(first: Sequence[float], second: Sequence[float]) -> PairedTest | str:
    """Compare matched pairs, given in the same order, or say why that is not possible."""
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if len(a) < 2 or np.ptp(a - b) == 0:
        return "fewer than two pairs, or all differences are the same"
    found = stats.ttest_rel(a, b)
    interval = found.confidence_interval(0.95)
    return PairedTest(
        len(a),
        float((a - b).mean()),
        (float(interval.low), float(interval.high)),
        float(found.statistic),
        float(found.pvalue),
    )


def compare_counts(table: Sequence[tuple[int, int]]) -> CountsTest | str:
    """Compare counts, or say why that is not possible.

    Args:
        table: one row for each entry; columns are the two groups.
    """
    counted = np.array([row for row in table if sum(row) > 0], dtype=int).reshape(-1, 2)
    if len(counted) < 2:
        return "there is only one entry"
    if (counted.sum(axis=0) == 0).any():
        return "a group is empty"
    found = stats.chi2_contingency(counted, correction=False)
    smallest = float(found.expected_freq.min())
    chi2, df = float(found.statistic), int(found.dof)
    if smallest >= MIN_EXPECTED:
        why = "every expected count is at least 5"
        return CountsTest("Pearson's chi-squared test", why, chi2, df, smallest, float(found.pvalue))
    exact = _exact_p(counted)
    if exact is None:
        why = f"the smallest expected count is {smallest:.1f}, and the table is too large for an exact test: p is rough"
        return CountsTest("Pearson's chi-squared test", why, chi2, df, smallest, float(found.pvalue))
    return CountsTest("Fisher's exact test", f"the smallest expected count is {smallest:.1f}", chi2, df, smallest, exact)


def _exact_p(counted: np.ndarray) -> float | None:
    """Fisher's exact test, two-sided; of tables with more than two rows as extended by Freeman and Halton (Biometrika
    1951;38:141), which scipy only estimates by resampling. ``None`` if there are too many tables.
    """
    if len(counted) == 2:
        return float(stats.fisher_exact(counted).pvalue)
    totals = [int(total) for total in counted.sum(axis=1)]
    n_first = int(counted[:, 0].sum())
    if math.prod(total + 1 for total in totals) > _MAX_TABLES:
        return None
    # weight of a table: the ways to choose its first column
    seen = math.prod(math.comb(total, int(count)) for total, count in zip(totals, counted[:, 0], strict=True))
    every = math.comb(sum(totals), n_first)
    as_rare = sum(
        weight
        for first in product(*(range(total + 1) for total in totals))
        if sum(first) == n_first
        and (weight := math.prod(math.comb(total, count) for total, count in zip(totals, first, strict=True))) <= seen
    )
    return as_rare / every
