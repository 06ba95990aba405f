"""When to retry. The waiting is done by whoever keeps the work, so that it survives a restart."""

from __future__ import annotations

_LARGEST_EXPONENT = 1000  # 2.0 to a power above 1023 overflows


def retry_delay_s(n_failures: int, first_s: float, longest_s: float) -> float:
    """Seconds to wait after this many failures in a row, from 1: doubling, up to the longest wait.

    Raises:
        ValueError: ``n_failures`` is below 1.
    """
    if n_failures < 1:
        raise ValueError("failures count from 1")
    return float(min(first_s * 2.0 ** min(n_failures - 1, _LARGEST_EXPONENT), longest_s))
