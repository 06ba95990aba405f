"""Waiting deliveries: across an upgrade of the node, for a PACS that is down, and again after it was repaired."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pynetdicom.sop_class import Verification

from node.deliver.deliverer import REPLACED, send_again_what_was_refused
from node.model.object_kinds import SegKind, SrKind
from node.records.destinations import DestinationRecords
from node.records.report_versions import ReportVersions
from node.records.runs import DeliveryRecord, DeliveryState, RunRecords, RunState
from node.settings.tree import Settings, load_settings
from node.study.objects import WantedKinds
from tests.deliver.built_results import write_result
from tests.deliver.delivery_servers import SC, SEG, SR, eventually, free_port, storage_scp
from tests.report.conftest import STUDY

PATIENCE_S = 100.0


#: A worker of another version of the node, whose workflows differ.
OTHER_VERSION = """
import sys, threading
from pathlib import Path
from node.settings.tree import load_settings
from node.worker import loop
loop.WORKFLOW_VERSION = "another"
loop.run_worker(load_settings(Path(sys.argv[1])), threading.Event())
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings with a destination that does not listen yet."""
    path = tmp_path / "bmd-node.toml"
    path.write_text(
        f"state_dir = {json.dumps(str(tmp_path / 'state'))}\n[deliver]\nretry_first_s = 0.1\nretry_max_s = 0.2\n"
        f'[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {free_port()}\n'
    )
    return path


@contextmanager
def running(*arguments: object) -> Iterator[None]:
    """Run a worker in a separate process, and kill it at the end."""
    with subprocess.Popen([sys.executable, *map(str, arguments)]) as worker:
        try:
            yield
        finally:
            worker.kill()


def make_run(settings: Settings, run_id: str, folder: Path, previous_folder: Path | None = None) -> None:
    """Create a run with a report, the latest of its study."""
    folder.mkdir()
    kinds = WantedKinds((SrKind.COMPREHENSIVE_3D,), (SegKind.BINARY,), pdf=False)
    write_result(folder, run_id, kinds=kinds, previous_folder=previous_folder)
    records, versions = RunRecords.open(settings), ReportVersions.open(settings)
    records.queued(run_id, STUDY, folder)
    records.finished(run_id, RunState.MEASURED, "")
    run = records.run(run_id)
    assert run is not None
    versions.enter(run_id, STUDY, run_id, folder, run.queued_s)
    versions.mark_made(run_id)


def test_what_waits_survives_an_upgrade_and_gives_way_to_a_later_report(config: Path, tmp_path: Path) -> None:
    settings = load_settings(config)
    records, known = RunRecords.open(settings), DestinationRecords.open(settings)
    port = settings.destinations[0].port

    def delivery(run_id: str) -> DeliveryRecord | None:
        run = records.run(run_id)
        return run.deliveries[0] if run is not None and run.deliveries else None

    def stands(run_id: str, state: DeliveryState) -> bool:
        found = delivery(run_id)
        return found is not None and found.state is state

    make_run(settings, "first", tmp_path / "first")
    known.ask_for_redelivery("first", "pacs")
    with socket.create_server(("127.0.0.1", port)) as silent, running("-c", OTHER_VERSION, config):
        silent.settimeout(PATIENCE_S)
        silent.accept()  # killed while it waits for an answer
    assert delivery("first") is None

    with running("-m", "node.cli", "worker", "--config", config):
        eventually(lambda: stands("first", DeliveryState.PENDING), "this version to restart the delivery", PATIENCE_S)
        make_run(settings, "second", tmp_path / "second", previous_folder=tmp_path / "first")
        eventually(lambda: stands("first", DeliveryState.SUPERSEDED), "the first report to be superseded", PATIENCE_S)
        found = delivery("first")
        assert found is not None
        assert found.detail == REPLACED

        known.ask_for_redelivery("second", "pacs")
        with storage_scp(port=port, sop_classes=(Verification,)):
            eventually(lambda: stands("second", DeliveryState.NOT_TAKEN), "a PACS that accepts nothing", PATIENCE_S)
        with storage_scp(port=port) as (_, received):
            assert send_again_what_was_refused(settings, settings.destinations[0]) == 1
            eventually(lambda: stands("second", DeliveryState.STORED), "the second report", PATIENCE_S)

    assert [str(ds.SOPClassUID) for ds in received] == [SEG, SR, SC], "no object of the first report, and no object twice"
    report = received[1]
    assert report.SOPInstanceUID == pydicom.dcmread(tmp_path / "second" / "sr.dcm").SOPInstanceUID
    [study] = report.PredecessorDocumentsSequence
    [reference] = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == pydicom.dcmread(tmp_path / "first" / "sr.dcm").SOPInstanceUID
    assert "PredecessorDocumentsSequence" not in pydicom.dcmread(tmp_path / "first" / "sr.dcm")
