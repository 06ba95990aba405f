"""Retry delays of the plugin. Uses only the standard library."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bmd_node_settings import PluginSettings


def retry_delay_s(failures: int, settings: PluginSettings) -> float:
    """Seconds to wait after this many consecutive failures: doubles from the first wait up to the longest."""
    if failures <= 0:
        return 0.0
    # 2**30 exceeds the longest wait with any sensible setting; a larger power would overflow
    return min(settings.retry_first_s * 2.0 ** min(failures - 1, 30), settings.retry_max_s)


@dataclass
class Pace:
    """When to retry: for the node as a whole, and per study, so that a refused study does not block others."""

    settings: PluginSettings
    failures_in_a_row: int = 0
    not_before_s: float = 0.0
    failures_of: dict[str, int] = field(default_factory=dict)
    not_before_s_of: dict[str, float] = field(default_factory=dict)

    def failed(self, study_id: str, now_s: float) -> float:
        """Record a failure; returns the wait before the next attempt."""
        self.failures_in_a_row += 1
        wait_s = retry_delay_s(self.failures_in_a_row, self.settings)
        self.not_before_s = now_s + wait_s
        self.failures_of[study_id] = self.failures_of.get(study_id, 0) + 1
        self.not_before_s_of[study_id] = now_s + retry_delay_s(self.failures_of[study_id], self.settings)
        return wait_s

    def went_through(self, study_id: str) -> None:
        """Record a success."""
        self.failures_in_a_row = 0
        self.not_before_s = 0.0
        self.forget(study_id)

    def forget(self, study_id: str) -> None:
        """The study is no longer owed."""
        self.failures_of.pop(study_id, None)
        self.not_before_s_of.pop(study_id, None)

    def may_try(self, study_id: str, now_s: float) -> bool:
        return now_s >= max(self.not_before_s, self.not_before_s_of.get(study_id, 0.0))

    def by_patience(self, study_ids: Iterable[str]) -> list[str]:
        """Studies with the fewest failures first."""
        return sorted(study_ids, key=lambda study_id: self.failures_of.get(study_id, 0))
