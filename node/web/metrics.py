"""Numbers for Prometheus. States are the only labels: no patient data, no UIDs, no names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from node.records import DeliveryState, Records, RunState

#: Deliveries are counted over this many runs: a scrape must not read years of records.
_RUNS_LOOKED_AT = 1000


def metrics_text(records: Records) -> bytes:
    """The current numbers in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_RecordsCollector(records))
    return generate_latest(registry)


class _RecordsCollector(Collector):
    def __init__(self, records: Records) -> None:
        self._records = records

    def collect(self) -> Iterable[Metric]:
        """Read the records once."""
        runs = GaugeMetricFamily("bmd_node_runs", "Runs in each state.", labels=["state"])
        counts = self._records.count_by_state()
        for run_state in RunState:
            runs.add_metric([run_state.value], counts[run_state])
        yield runs

        latest = self._records.runs(_RUNS_LOOKED_AT)
        deliveries = GaugeMetricFamily(
            "bmd_node_deliveries", f"Deliveries in each state, of the latest {_RUNS_LOOKED_AT} runs.", labels=["state"]
        )
        states = Counter(delivery.state for run in latest for delivery in run.deliveries)
        for delivery_state in DeliveryState:
            deliveries.add_metric([delivery_state.value], states[delivery_state])
        yield deliveries
