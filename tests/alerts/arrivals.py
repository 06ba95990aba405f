"""Counts what arrives at a receiver, so that a test waits for the arrival and not for a time."""

from __future__ import annotations

import threading


class Arrivals:
    """A counter that several threads share."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    def add(self) -> None:
        """One more has arrived."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def wait(self, count: int, timeout_s: float) -> bool:
        """Wait until so many have arrived; ``False`` if they have not within the time."""
        with self._condition:
            return self._condition.wait_for(lambda: self._count >= count, timeout_s)
