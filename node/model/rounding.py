"""Rounding of displayed numbers: in one place, and never across a category threshold."""

from __future__ import annotations

import math
from collections.abc import Callable

from node.model import ACR_THRESHOLDS_MG_CM3


def finite(value: float | None) -> float | None:
    """The value, or ``None`` if it is missing or not finite: neither JSON nor DICOM DS can represent NaN."""
    return value if value is not None and math.isfinite(value) else None


def rounded(value: float, digits: int = 1) -> float:
    """Round and turn -0.0 into 0.0."""
    return round(float(value), digits) + 0.0


def rounded_bmd(value_mg_cm3: float, digits: int = 1) -> float:
    """Round a BMD to ``digits`` (0.1 mg/cm3), or finer if that would cross a threshold.

    A mean of 79.97 mg/cm3 is osteoporosis; shown as 80.0 it would contradict its category. The same applies to the ends of
    an interval, which decide whether a category is borderline.
    """
    low, high = ACR_THRESHOLDS_MG_CM3
    return _rounded(value_mg_cm3, digits, lambda value: (value < low, value > high))


def rounded_interval(interval_mg_cm3: tuple[float, float]) -> tuple[float, float]:
    """The ends of an interval as every output shows them: whole mg/cm3, or finer if that would cross a threshold."""
    low, high = interval_mg_cm3
    return rounded_bmd(low, 0), rounded_bmd(high, 0)


def rounded_hu(value_hu: float, limits_hu: tuple[float, ...]) -> float:
    """Round an attenuation to 0.1 HU, or finer if that would cross one of the limits (inclusive)."""
    return _rounded(value_hu, 1, lambda value: tuple(value <= limit for limit in limits_hu))


def _rounded(value: float, digits: int, sides: Callable[[float], tuple[bool, ...]]) -> float:
    found = coarsest(value, digits, sides)
    return float(value) if found is None else found[0]


def coarsest(value: float, digits: int, sides: Callable[[float], tuple[bool, ...]]) -> tuple[float, int] | None:
    """The value with the fewest decimals that do not cross a limit, and their number; ``None`` if three are not enough.

    Args:
        digits: decimals to start with.
        sides: on which side of the limits a value is.
    """
    for finer in range(digits, 4):
        short = rounded(value, finer)
        if sides(short) == sides(value):
            return short, finer
    return None


def text(value: float) -> str:
    """A rounded number without trailing zeros: at least one decimal, no exponent."""
    short = f"{value:.10f}".rstrip("0")
    return short + "0" if short.endswith(".") else short
