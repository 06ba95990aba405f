"""Long lists in parts: a statement or request names only so many values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def batches(values: Sequence[T], size: int) -> Iterator[list[T]]:
    """Yield parts of at most ``size`` values, in order."""
    for start in range(0, len(values), size):
        yield list(values[start : start + size])
