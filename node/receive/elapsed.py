"""Measure how long ago something happened, even if the system clock is changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Seen:
    """A recorded time and the same moment on the monotonic clock.

    Attributes:
        stamp_s: recorded time, in seconds since the epoch.
        at: the same moment on the monotonic clock.
        looked: time of the last call, on the monotonic clock.
    """

    stamp_s: float
    at: float
    looked: float


class Elapsed:
    """Measures the time since recorded times with the monotonic clock.

    A recorded time comes from the system clock. Its difference to the current time is correct only if the system clock was
    not changed in between. So the system clock is used once, when this process first sees the record (for a changed record,
    it counts for no more than the time since the last call). From then on the monotonic clock counts. If the system clock
    is set back by two hours, nothing waits two hours longer; if it is set forward, no wait ends early.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Take a monotonic clock."""
        self._monotonic = monotonic
        self._seen: dict[str, _Seen] = {}

    def since(self, key: str, stamp_s: float, now_s: float) -> float:
        """Return the seconds since a recorded time.

        Args:
            key: identifies the record.
            stamp_s: recorded time, in seconds since the epoch.
            now_s: current time of the system clock, in seconds since the epoch.
        """
        now = self._monotonic()
        known = self._seen.get(key)
        by_clock = now - max(0.0, now_s - stamp_s)
        if known is None:
            # first call for this record: only the system clock is available
            at = by_clock
        elif known.stamp_s != stamp_s:
            at = max(by_clock, known.looked)
        else:
            at = known.at
        self._seen[key] = _Seen(stamp_s, at, now)
        return now - at

    def forget_all_but(self, keys: set[str]) -> None:
        """Forget all records except these, to free memory."""
        self._seen = {key: seen for key, seen in self._seen.items() if key in keys}
