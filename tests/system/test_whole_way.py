"""A CT comes in by C-STORE, SEG, SR and page go back to a real PACS, once, whatever is killed meanwhile."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import time
from collections import Counter
from pathlib import Path

import highdicom as hd
import pydicom
import pytest

from node.deliver import send
from node.demo.pacs import Pacs
from node.records.runs import DeliveryState, RunState
from tests.system.conftest import PATIENCE_S, RunningNode, node_for, wait_until

ONE_OF_EACH = {"SEG": 1, "SR": 1, "OT": 1}
#: Steps of the workflow in their order; "deliver" is the first step of the second workflow.
STEPS = (
    "select",
    "segment",
    "measure",
    "calibrate",
    "prior",
    "predecessor",
    "report",
    "remember",
    "record",
    "alert",
    "deliver",
)
#: Steps in which the test kills; the long attack `benchmarks/endurance` kills everywhere.
KILLED_IN = ("select", "segment", "prior", "report", "record", "deliver")
#: Steps that take long enough to be caught in on a busy machine; the others take milliseconds.
LONG_STEPS = {"select", "segment", "report"}


def _send(node: RunningNode, folder: Path) -> None:
    """dcmtk sends, as a scanner would."""
    if shutil.which("storescu") is None:
        pytest.skip("storescu is not installed (Debian package dcmtk)")
    command = ["storescu", "-aet", "SCANNER", "-aec", "BMDNODE", "127.0.0.1", str(node.port)]
    subprocess.run([*command, *_images(folder)], check=True, timeout=PATIENCE_S)


def _images(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.glob("*.dcm"))]


def _study_of(folder: Path) -> str:
    return str(pydicom.dcmread(next(folder.glob("*.dcm")), specific_tags=["StudyInstanceUID"]).StudyInstanceUID)


def _in_pacs(pacs: Pacs, folder: Path, out: Path) -> Counter[str]:
    return Counter(item.modality for item in pacs.objects(_study_of(folder), out))


def test_a_study_comes_in_and_its_results_are_in_the_pacs_once(pacs: Pacs, small_phantom: Path, tmp_path: Path) -> None:
    with node_for(pacs, tmp_path / "node") as node:
        node.start()
        _send(node, small_phantom)
        run = node.wait_until_delivered()

        assert run.state is RunState.MEASURED
        assert run.deliveries[0].state is DeliveryState.STORED
        objects = {item.modality: item.path for item in pacs.objects(_study_of(small_phantom), tmp_path / "first")}
        assert set(objects) == set(ONE_OF_EACH)
        seg = hd.seg.segread(objects["SEG"])
        assert {"L1 vertebral body", "L4 vertebral body"} <= {s.SegmentLabel for s in seg.SegmentSequence}
        sr = pydicom.dcmread(objects["SR"])
        referenced = {item.ReferencedSOPInstanceUID for item in _references(sr)}
        assert seg.SOPInstanceUID in referenced, "the report refers to the segmentation"

        # the same study again is no new work
        _send(node, small_phantom)
        wait_until(lambda: _nothing_waits(node), "the second sending to be settled")
        assert len(node.records.runs()) == 1
        assert _in_pacs(pacs, small_phantom, tmp_path / "second") == ONE_OF_EACH

        # what the node made comes back to it, and is no study
        send(list(objects.values()), node.as_destination, "PACS", PATIENCE_S).require_all_stored()
        wait_until(lambda: _nothing_waits(node), "the returned objects to be settled")
        assert len(node.records.runs()) == 1


def _references(ds: pydicom.Dataset) -> list[pydicom.Dataset]:
    return [item for element in ds.iterall() if element.keyword == "ReferencedSOPSequence" for item in element.value]


def _nothing_waits(node: RunningNode) -> bool:
    database = node.config.parent / "state" / "bmd-node.sqlite"
    with contextlib.closing(sqlite3.connect(database, timeout=30)) as connection:
        waiting, open_associations = (
            connection.execute(query).fetchone()[0]
            for query in (
                "SELECT count(*) FROM received_studies WHERE waiting_since_s IS NOT NULL",
                "SELECT count(*) FROM received_associations WHERE ended_s IS NULL",
            )
        )
    return waiting == 0 and open_associations == 0


def test_a_pacs_that_is_down_gets_everything_later(pacs: Pacs, small_phantom: Path, tmp_path: Path) -> None:
    with node_for(pacs, tmp_path / "node") as node:
        text = node.config.read_text()
        node.config.write_text(text.replace(f"port = {pacs.port}", "port = 1"))
        node.start()
        _send(node, small_phantom)
        wait_until(lambda: any(r.deliveries and r.deliveries[0].attempts >= 2 for r in node.records.runs()), "two attempts")
        assert node.records.runs()[0].deliveries[0].state is DeliveryState.PENDING
        node.stop()

        node.config.write_text(text)
        node.start()
        assert node.wait_until_delivered().deliveries[0].state is DeliveryState.STORED
        assert _in_pacs(pacs, small_phantom, tmp_path / "fetched") == ONE_OF_EACH


@pytest.mark.timeout(600)
def test_killed_in_many_steps_it_goes_on_and_nothing_is_lost_or_doubled(
    pacs: Pacs, small_phantom: Path, tmp_path: Path
) -> None:
    with node_for(pacs, tmp_path / "node") as node:
        node.start()
        _send(node, small_phantom)
        killed_in = []
        for step in KILLED_IN:
            if _kill_in(step, node):
                killed_in.append(step)
                node.start()
        assert set(killed_in) >= LONG_STEPS, "only a step of milliseconds may be missed"
        assert len(killed_in) > len(LONG_STEPS), "and not all of the short ones"
        run = node.wait_until_delivered()

        assert run.state is RunState.MEASURED
        assert _in_pacs(pacs, small_phantom, tmp_path / "fetched") == ONE_OF_EACH


def _kill_in(step: str, node: RunningNode) -> bool:
    """Kill every process before the result of a step is kept; false if the step was over already.

    The test takes the write lock of the workflow database again and again; while it holds it, no step can be recorded.
    """
    database = node.config.parent / "state" / "workflows.sqlite"
    wait_until(database.exists, "the workflow database")
    before = STEPS.index(step)
    deadline = time.monotonic() + PATIENCE_S
    with contextlib.closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as connection:
        while time.monotonic() < deadline:
            connection.execute("BEGIN IMMEDIATE")
            done = {name for (name,) in connection.execute("SELECT function_name FROM operation_outputs")} & set(STEPS)
            started = connection.execute("SELECT count(*) FROM workflow_status WHERE status = 'PENDING'").fetchone()[0]
            over = step in done
            if not over and started and len(done) >= before:
                node.kill()
            connection.execute("ROLLBACK")
            if over or (started and len(done) >= before):
                return not over
            # close to the step the lock is given up only for a moment, so that the one before is recorded and no more
            time.sleep(0.002 if len(done) < before - 1 else 0)
    pytest.fail(f"step {step} was never reached: {node.log.read_text()[-2000:]}")


def test_killed_while_receiving_the_scanner_sends_again(pacs: Pacs, small_phantom: Path, tmp_path: Path) -> None:
    with node_for(pacs, tmp_path / "node") as node:
        node.start()
        command = ["storescu", "-aec", "BMDNODE", "127.0.0.1", str(node.port), *_images(small_phantom)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as sender:
            received = node.config.parent / "state"
            wait_until(lambda: sum(1 for p in received.rglob("*.dcm") if p.is_file()) > 5, "the first instances")
            node.kill()
            sender.wait()
        node.start()
        _send(node, small_phantom)

        assert node.wait_until_delivered().state is RunState.MEASURED
        assert _in_pacs(pacs, small_phantom, tmp_path / "fetched") == ONE_OF_EACH
