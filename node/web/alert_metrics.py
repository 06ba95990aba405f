"""Alert metrics for Prometheus: messages by state, without patient data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from node.records.alerts import AlertRecords


@dataclass(frozen=True, slots=True)
class AlertsCollector(Collector):
    """Counts messages; one that stays pending waits for a receiver that does not respond."""

    records: AlertRecords

    def collect(self) -> Iterable[Metric]:
        """Read the store once."""
        messages = GaugeMetricFamily("bmd_node_alert_messages", "Alert messages in each state.", labels=["state"])
        for state, n in self.records.count_by_state().items():
            messages.add_metric([state.value], n)
        yield messages
