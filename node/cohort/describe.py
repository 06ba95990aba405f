"""Descriptive statistics: numbers as mean, SD, median and range; words as counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from node.cohort.table import Cell, as_text


@dataclass(frozen=True, slots=True)
class Summary:
    """Numbers of one group; ``None`` where there are too few.

    Attributes:
        n: how many are known.
        n_missing: how many are not.
        sd: standard deviation (n - 1).
        quartiles: the lower and the upper one, interpolated linearly (R's type 7).
    """

    n: int
    n_missing: int
    mean: float | None
    sd: float | None
    median: float | None
    quartiles: tuple[float, float] | None
    minimum: float | None
    maximum: float | None


def summary(values: Sequence[float | None]) -> Summary:
    """Describe numbers."""
    known = np.array([value for value in values if value is not None], dtype=float)
    n = len(known)
    if n == 0:
        return Summary(0, len(values), None, None, None, None, None, None)
    low, high = np.quantile(known, [0.25, 0.75])
    return Summary(
        n,
        len(values) - n,
        float(known.mean()),
        float(known.std(ddof=1)) if n > 1 else None,
        float(np.median(known)),
        (float(low), float(high)),
        float(known.min()),
        float(known.max()),
    )


def counts(cells: Iterable[Cell]) -> dict[str, int]:
    """Count the entries of a column that are not empty, in alphabetical order; capitals count."""
    found = Counter(said for cell in cells if (said := as_text(cell)))
    return dict(sorted(found.items()))
