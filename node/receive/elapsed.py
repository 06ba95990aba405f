"""How long ago something was, whatever happens to the clock of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Seen:
    """A time of the clock, and what it is by the clock that nobody sets.

    Attributes:
        stamp_s: as the record has it, seconds since the epoch.
        at: the same moment, by the monotonic clock.
        looked: when it was looked at last, by the monotonic clock.
    """

    stamp_s: float
    at: float
    looked: float


class Elapsed:
    """Measures from when this process first sees a recorded time.

    A recorded time is one of the clock of the machine. Its difference to now is how long ago it was only if the clock was
    not set since. So the clock is asked once, when a record is first seen, and never for more than the time since the last
    look; from then on a clock counts that nobody sets. A clock that was set back by two hours makes nobody wait two hours,
    and one that was set forward ends no waiting.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Take the clock that nobody sets."""
        self._monotonic = monotonic
        self._seen: dict[str, _Seen] = {}

    def since(self, key: str, stamp_s: float, now_s: float) -> float:
        """Seconds since a recorded time.

        Args:
            key: what the time is of.
            stamp_s: as recorded, seconds since the epoch.
            now_s: the clock of the machine.
        """
        now = self._monotonic()
        known = self._seen.get(key)
        by_clock = now - max(0.0, now_s - stamp_s)
        if known is None:
            # of a process that has just started: the clock is all there is
            at = by_clock
        elif known.stamp_s != stamp_s:
            at = max(by_clock, known.looked)
        else:
            at = known.at
        self._seen[key] = _Seen(stamp_s, at, now)
        return now - at

    def forget_all_but(self, keys: set[str]) -> None:
        """What is no longer waited for takes no room."""
        self._seen = {key: seen for key, seen in self._seen.items() if key in keys}
