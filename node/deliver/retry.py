"""When to retry; the workflow does the waiting, so that it survives a restart."""

from __future__ import annotations

from node.settings.tree import DeliverSettings

_LARGEST_EXPONENT = 1000  # 2.0 to a power above 1023 overflows


def retry_delay_s(attempt: int, settings: DeliverSettings) -> float:
    """Seconds to wait after a failed attempt: doubling, up to the longest wait of the settings.

    Args:
        attempt: number of failed attempts, from 1.

    Raises:
        ValueError: ``attempt`` is below 1.
    """
    if attempt < 1:
        raise ValueError("attempts count from 1")
    return float(min(settings.retry_first_s * 2.0 ** min(attempt - 1, _LARGEST_EXPONENT), settings.retry_max_s))
