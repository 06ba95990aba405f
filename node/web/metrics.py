"""Metrics for Prometheus. States are the only labels: no patient data, no UIDs, no names."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from node.records.commitments import Commitments
from node.records.conflicts import ConflictRecords
from node.records.runs import DeliveryState, RunRecords, RunState
from node.records.work import WorkRecords


def metrics_text(records: RunRecords, *others: Collector) -> bytes:
    """The current metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    for collector in (_RecordsCollector(records), *others):
        registry.register(collector)
    return generate_latest(registry)


class WorkCollector(Collector):
    """What was given up, and the room on the disk."""

    def __init__(self, work: WorkRecords, state_dir: Path) -> None:
        """Take the records, and the state directory."""
        self._work = work
        self._state_dir = state_dir

    def collect(self) -> Iterable[Metric]:
        """Read the records once."""
        given_up = GaugeMetricFamily("bmd_node_given_up", "Work that was given up until a person looks.", labels=["kind"])
        for kind, count in self._work.count_given_up().items():
            given_up.add_metric([kind.value], count)
        yield given_up
        free = GaugeMetricFamily("bmd_node_free_bytes", "Free space in the state directory.")
        free.add_metric([], shutil.disk_usage(self._state_dir).free)
        yield free


class CommitmentsCollector(Collector):
    """Sent objects that destinations have to commit to."""

    def __init__(self, commitments: Commitments) -> None:
        """Take the records."""
        self._commitments = commitments

    def collect(self) -> Iterable[Metric]:
        """Read the records once."""
        objects = GaugeMetricFamily(
            "bmd_node_commitments", "Sent objects in each state of storage commitment.", labels=["state"]
        )
        for state, count in self._commitments.count_by_state().items():
            objects.add_metric([state.value], count)
        yield objects


class ConflictsCollector(Collector):
    """Images that came again with other content, on which nobody has decided."""

    def __init__(self, conflicts: ConflictRecords) -> None:
        """Take the records."""
        self._conflicts = conflicts

    def collect(self) -> Iterable[Metric]:
        """Read the records once."""
        studies = self._conflicts.studies()
        of_studies = GaugeMetricFamily("bmd_node_conflicts", "Studies with images that came again with other content.")
        of_studies.add_metric([], len(studies))
        yield of_studies
        of_images = GaugeMetricFamily("bmd_node_conflict_images", "Images that came again with other content.")
        of_images.add_metric([], sum(study.n_images for study in studies))
        yield of_images


class _RecordsCollector(Collector):
    def __init__(self, records: RunRecords) -> None:
        self._records = records

    def collect(self) -> Iterable[Metric]:
        """Read the records once."""
        runs = GaugeMetricFamily("bmd_node_runs", "Runs in each state.", labels=["state"])
        counts = self._records.count_by_state()
        for run_state in RunState:
            runs.add_metric([run_state.value], counts[run_state])
        yield runs

        deliveries = GaugeMetricFamily("bmd_node_deliveries", "Deliveries in each state.", labels=["state"])
        sent = self._records.count_deliveries_by_state()
        for delivery_state in DeliveryState:
            deliveries.add_metric([delivery_state.value], sent[delivery_state])
        yield deliveries
