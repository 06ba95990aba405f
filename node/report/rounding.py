"""Numbers as people read them: rounded once, here, and never across a threshold of a category."""

from __future__ import annotations

import math

#: Limits of the ACR categories in mg/cm3 (ACR practice parameter for QCT): < 80, 80 to 120 inclusive, > 120.
ACR_THRESHOLDS_MG_CM3 = (80.0, 120.0)


def finite(value: float | None) -> float | None:
    """The value, or ``None`` if it is missing or no finite number: neither JSON nor DICOM DS can hold NaN."""
    return value if value is not None and math.isfinite(value) else None


def rounded(value: float, digits: int = 1) -> float:
    """Round and turn -0.0 into 0.0."""
    return round(float(value), digits) + 0.0


def rounded_bmd(value_mg_cm3: float) -> float:
    """Round a BMD to 0.1 mg/cm3, or finer where that would move it across a threshold.

    A mean of 79.97 mg/cm3 is osteoporosis; printed as 80.0 it would contradict its own category.
    """
    low, high = ACR_THRESHOLDS_MG_CM3
    for digits in (1, 2, 3):
        short = rounded(value_mg_cm3, digits)
        if (short < low) == (value_mg_cm3 < low) and (short > high) == (value_mg_cm3 > high):
            return short
    return float(value_mg_cm3)


def text(value: float) -> str:
    """A rounded number without needless zeros: at least one decimal, no exponent."""
    short = f"{value:.10f}".rstrip("0")
    return short + "0" if short.endswith(".") else short
