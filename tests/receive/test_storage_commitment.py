"""Storage commitment that senders ask of the node: what it answers, and by which association the report comes."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association

from node.common.commitment import (
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_INSTANCE,
    REQUEST,
    SOP_CLASS,
    SOP_INSTANCE,
    Referenced,
    Report,
    read_report,
    request_of,
)
from node.records.commitment_orders import CommitmentOrders, OrderState
from node.records.database import open_database
from node.records.received import instances
from node.records.work import WorkRecords
from node.settings.tree import ListenerSettings, Sender, Settings
from node.worker.commitments import CommitmentWork
from tests.deliver.conftest import orthanc  # noqa: F401
from tests.deliver.delivery_servers import SR, Orthanc
from tests.receive.listener_process import Listener, ct_series, eventually, free_port

PATIENCE_S = 200.0

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A node that commits, and the address of a sender that nobody listens on yet."""
    return Settings(
        state_dir=tmp_path / "state",
        listener=ListenerSettings(host="127.0.0.1", port=free_port(), min_free_disk_mb=0, storage_commitment=True),
        senders=(Sender(ae_title="ORTHANC", host="127.0.0.1", port=free_port()),),
    )


@pytest.fixture
def node(settings: Settings, tmp_path: Path) -> Iterator[Listener]:
    running = Listener(settings, tmp_path / "listener.log")
    running.start()
    yield running
    running.stop()


class Scanner:
    """A sender with one association, on which reports are taken."""

    def __init__(self, node: Listener, ae_title: str = "ORTHANC") -> None:
        self.reports: list[Report] = []
        self.has_report = threading.Event()
        ae = AE(ae_title=ae_title)
        ae.add_requested_context(SOP_CLASS)
        ae.add_requested_context("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")

        def on_report(event: evt.Event) -> tuple[int, None]:
            self.reports.append(read_report(event.event_information))
            self.has_report.set()
            return 0x0000, None

        handlers: list[evt.EventHandlerType] = [(evt.EVT_N_EVENT_REPORT, on_report)]
        self.assoc: Association = ae.associate("127.0.0.1", node.port, ae_title="BMDNODE", evt_handlers=handlers)
        assert self.assoc.is_established

    def store(self, series: list[Dataset]) -> list[Referenced]:
        for ds in series:
            assert self.assoc.send_c_store(ds).Status == 0x0000
        return [Referenced(str(ds.SOPClassUID), str(ds.SOPInstanceUID)) for ds in series]

    def ask(self, transaction_uid: str, references: list[Referenced], action: int = REQUEST) -> int:
        answer, _ = self.assoc.send_n_action(request_of(transaction_uid, references), action, SOP_CLASS, SOP_INSTANCE)
        return int(answer.Status)


def test_what_is_on_the_disk_is_committed_and_reported_on_the_same_association(node: Listener, settings: Settings) -> None:
    scanner = Scanner(node)
    series = ct_series(5)
    held, in_conflict, removed, gone, other_class = scanner.store(series)
    series[1].PatientName = "Another^Name"
    scanner.store(series[1:2])
    with open_database(settings).begin() as connection:
        is_removed = instances.c.sop_instance_uid == removed.sop_instance_uid
        connection.execute(sa.update(instances).where(is_removed).values(removed_s=1.0))
    node.file_of(gone.sop_instance_uid).unlink()
    wrong = Referenced(SR, other_class.sop_instance_uid)
    unknown = Referenced(held.sop_class_uid, "1.2.3.4.5")
    assert scanner.ask("2.25.1", [held, in_conflict, removed, gone, wrong, unknown]) == 0x0000
    assert scanner.has_report.wait(PATIENCE_S)
    [report] = scanner.reports
    assert report.transaction_uid == "2.25.1"
    assert report.committed == (held, in_conflict)
    assert [(one.referenced, one.reason) for one in report.failed] == [
        (removed, NO_SUCH_INSTANCE),
        (gone, NO_SUCH_INSTANCE),
        (wrong, CLASS_INSTANCE_CONFLICT),
        (unknown, NO_SUCH_INSTANCE),
    ]
    assert scanner.ask("2.25.2", [held], action=2) == 0x0123
    assert scanner.ask("2.25.2", []) == 0x0115
    scanner.assoc.release()
    orders = CommitmentOrders.open(settings)
    eventually(lambda: orders.count_open("ORTHANC") == 0, "the record of the report")


def test_orthanc_gets_its_report_on_another_association(
    tmp_path: Path,
    orthanc: Orthanc,  # noqa: F811
) -> None:
    settings = Settings(
        state_dir=tmp_path / "state",
        listener=ListenerSettings(host="127.0.0.1", port=free_port(), min_free_disk_mb=0, storage_commitment=True),
        senders=(Sender(ae_title="ORTHANC", host="127.0.0.1", port=orthanc.dicom_port),),
    )
    node = Listener(settings, tmp_path / "listener.log")
    node.start()
    try:
        rest(orthanc, "PUT", "/modalities/node", {"AET": "BMDNODE", "Host": "127.0.0.1", "Port": node.port})
        for path in files_of(tmp_path):
            rest(orthanc, "POST", "/instances", path.read_bytes())
        ids = json.loads(orthanc.get("/instances"))
        rest(orthanc, "POST", "/modalities/node/store", ids[:2])
        asked = rest(orthanc, "POST", "/modalities/node/storage-commitment", {"Resources": ids})
        orders = CommitmentOrders.open(settings)
        eventually(lambda: bool(orders.late()), "the listener to leave it to the worker", PATIENCE_S)
    finally:
        node.kill()  # the request is on record
    commitments, work = CommitmentWork(settings), WorkRecords.open(settings)
    commitments.take_orders()
    [due] = work.due(3600)
    assert commitments.report(due) == ""
    answer = json.loads(orthanc.get(f"/storage-commitment/{asked['ID']}"))
    assert answer["Status"] == "Failure"
    assert len(answer["Success"]) == 2
    assert len(answer["Failures"]) == 1
    assert orders.order(due.subject).state is OrderState.REPORTED  # type: ignore[union-attr]


def test_a_sender_that_is_away_gets_it_later_and_one_without_address_is_given_up(node: Listener, settings: Settings) -> None:
    for ae_title in ("ORTHANC", "UNKNOWN"):
        scanner = Scanner(node, ae_title)
        assert scanner.ask("2.25.3", [Referenced(SR, "1.2.3")]) == 0x0000
        scanner.assoc.release()
    orders = CommitmentOrders.open(settings)
    eventually(lambda: len(orders.late()) == 2, "the listener to leave them to the worker", PATIENCE_S)
    commitments, work = CommitmentWork(settings), WorkRecords.open(settings)
    commitments.take_orders()
    commitments.take_orders()
    due = {one.target: one for one in work.due(3600)}
    assert set(due) == {"ORTHANC", "UNKNOWN"}
    assert "set host and port in its entry of [[senders]]" in commitments.report(due["UNKNOWN"])
    assert commitments.report(due["ORTHANC"]) == ""
    away = work.work(due["ORTHANC"].work_id)
    assert away is not None
    assert (away.failures, away.refusals) == (1, 0)
    assert "no association" in away.detail


def test_without_the_setting_the_class_is_not_offered(tmp_path: Path) -> None:
    quiet = Settings(
        state_dir=tmp_path / "state", listener=ListenerSettings(host="127.0.0.1", port=free_port(), min_free_disk_mb=0)
    )
    running = Listener(quiet, tmp_path / "listener.log")
    running.start()
    try:
        scanner = Scanner(running)
        assert SOP_CLASS not in [context.abstract_syntax for context in scanner.assoc.accepted_contexts]
        scanner.assoc.release()
    finally:
        running.stop()


def files_of(folder: Path) -> list[Path]:
    """Three images as files."""
    from tests.receive.listener_process import write_series

    return write_series(folder / "ct", ct_series(3))


def rest(server: Orthanc, method: str, path: str, body: object) -> dict[str, str]:
    """Call Orthanc's REST interface."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}{path}", data, method=method)
    with urllib.request.urlopen(request, timeout=120) as response:  # noqa: S310 - http on this machine
        answer: dict[str, str] = json.loads(response.read() or b"{}")
        return answer
