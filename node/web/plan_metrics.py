"""Metrics of planned operations for Prometheus: counts by source and status, without patient data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from node.records.plan_refusals import PlanRefusals
from node.records.planned_operations import PlannedOperations


@dataclass(frozen=True, slots=True)
class PlansCollector(Collector):
    """Counts known operations and refused messages."""

    operations: PlannedOperations
    refusals: PlanRefusals

    def collect(self) -> Iterable[Metric]:
        """Read the stores once."""
        known = GaugeMetricFamily("bmd_node_planned_operations", "Known planned operations.", labels=["source", "status"])
        for (source, status), n in self.operations.counts().items():
            known.add_metric([source.value, status.value], n)
        yield known

        refused = GaugeMetricFamily(
            "bmd_node_plans_refused", "Refused messages, resources and lines, without repeats.", labels=["source"]
        )
        for source, n in self.refusals.counts().items():
            refused.add_metric([source.value], n)
        yield refused

        counted = GaugeMetricFamily(
            "bmd_node_plans_refused_not_kept",
            "Refused messages that are counted but not stored: not for this node, or removed to limit the number.",
            labels=["source", "why"],
        )
        n_of: Counter[tuple[str, str]] = Counter()
        for one in self.refusals.only_counted():
            n_of[one.source.value, "removed" if one.was_removed else "not_for_this_node"] += one.times
        for (source_name, why), n in n_of.items():
            counted.add_metric([source_name, why], n)
        yield counted
