"""Storage commitment of what the node sends: by a real Orthanc, and by receivers that refuse, or answer late or wrongly."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from node.cli.main import main
from node.common.commitment import (
    ALL_COMMITTED,
    NO_SUCH_INSTANCE,
    SOP_CLASS,
    SOP_INSTANCE,
    Failed,
    Referenced,
    Report,
    read_request,
    report_of,
)
from node.deliver.deliverer import Deliverer
from node.model.object_kinds import SegKind, SrKind
from node.records.commitments import Commitments, CommitmentState
from node.records.runs import DeliveryState, RunRecords, RunState
from node.records.work import Work, WorkKind, WorkRecords, work_id_of
from node.settings.tree import Settings, load_settings
from node.study.objects import WantedKinds, object_files
from node.web.metrics import CommitmentsCollector, metrics_text
from node.worker.commitments import CommitmentWork
from tests.deliver.built_results import write_result
from tests.deliver.conftest import orthanc  # noqa: F401
from tests.deliver.delivery_servers import SC, SEG, SR, Orthanc, eventually, free_port, storage_scp
from tests.receive.listener_process import Listener
from tests.report.conftest import STUDY
from tests.worker.running_worker import PATIENCE_S, worker, write_config

pytestmark = [pytest.mark.timeout(600)]

N_OBJECTS = 3


def configured(folder: Path, port: int, ae_title: str, wait_s: float = 600, give_up_after: int = 50) -> Path:
    """Settings with one destination that is asked for storage commitment, and a listener that it can report to."""
    text = (
        f"commitment_wait_s = {wait_s}\ngive_up_after = {give_up_after}\n"
        f'[[destinations]]\nname = "pacs"\nae_title = "{ae_title}"\nhost = "127.0.0.1"\nport = {port}\n'
        "storage_commitment = true\n"
    )
    config = write_config(folder, text)
    listening = f'[listener]\nhost = "127.0.0.1"\nport = {free_port()}\n'
    config.write_text(config.read_text().replace("[listener]\n", listening))
    return config


def send_result(folder: Path, settings: Settings, run_id: str = "run-1") -> None:
    """Have the worker deliver a result."""
    (folder / run_id).mkdir()
    write_result(folder / run_id, kinds=WantedKinds((SrKind.COMPREHENSIVE_3D,), (SegKind.BINARY,), pdf=False))
    records = RunRecords.open(settings)
    records.queued(run_id, STUDY, folder / run_id)
    records.finished(run_id, RunState.MEASURED, "")
    WorkRecords.open(settings).add(WorkKind.DELIVER, run_id, "pacs")


@contextmanager
def listening(settings: Settings, folder: Path) -> Iterator[Listener]:
    """A listener process with these settings."""
    running = Listener(settings, folder / "listener.log")
    running.start()
    try:
        yield running
    finally:
        running.stop()


def states(settings: Settings) -> dict[CommitmentState, int]:
    """How many objects are in each state; states without objects are not in it."""
    return {state: n for state, n in Commitments.open(settings).count_by_state().items() if n}


def committed(settings: Settings) -> bool:
    return states(settings) == {CommitmentState.COMMITTED: N_OBJECTS}


def test_orthanc_commits_and_what_it_has_lost_is_sent_again_after_a_kill(
    tmp_path: Path,
    orthanc: Orthanc,  # noqa: F811
) -> None:
    config = configured(tmp_path, orthanc.dicom_port, "ORTHANC", wait_s=1)
    settings = load_settings(config)
    node = {"AET": settings.listener.ae_title, "Host": "127.0.0.1", "Port": settings.listener.port}
    rest(orthanc, "PUT", "/modalities/node", node)
    send_result(tmp_path, settings)
    with worker(config) as running:
        eventually(lambda: states(settings) == {CommitmentState.ASKED: N_OBJECTS}, "the request", PATIENCE_S)
        running.kill()  # and nobody hears Orthanc's report
    lost = json.loads(orthanc.get("/instances"))[0]
    rest(orthanc, "DELETE", f"/instances/{lost}")
    with listening(settings, tmp_path), worker(config):
        eventually(lambda: committed(settings), "the commitment", PATIENCE_S)
    assert len(orthanc.sop_instance_uids()) == N_OBJECTS
    assert "objects are not committed (0x0112 no such object instance)" in (tmp_path / "worker.log").read_text()
    shown = CliRunner().invoke(main, ["status", "--config", str(config)])
    assert f"storage commitment: {N_OBJECTS} committed" in shown.output
    text = metrics_text(RunRecords.open(settings), CommitmentsCollector(Commitments.open(settings)))
    assert f'bmd_node_commitments{{state="committed"}} {N_OBJECTS}.0'.encode() in text


def test_a_receiver_that_refuses_is_given_up_and_reports_on_the_same_association_later(tmp_path: Path) -> None:
    status, asked = [0x0110], []

    def on_action(event: evt.Event) -> tuple[int, None]:
        transaction_uid, references = read_request(event.action_information)
        asked.append(transaction_uid)
        if status[0] == 0x0000:
            report = Report(transaction_uid, references[1:], (Failed(references[0], NO_SUCH_INSTANCE),))
            if len(asked) > 3:
                report = Report(transaction_uid, references, ())
            # pynetdicom sends the response after this returns
            threading.Timer(0.2, send_report, (event, report)).start()
        return status[0], None

    def send_report(event: evt.Event, report: Report) -> None:
        event.assoc.send_n_event_report(report_of(report), report.event_type, SOP_CLASS, SOP_INSTANCE)

    with receiver([(evt.EVT_N_ACTION, on_action)]) as (port, stored):
        settings = load_settings(configured(tmp_path, port, "PACS", give_up_after=2))
        send_result(tmp_path, settings)
        turns = Turns(settings)
        turns.until(lambda: bool(turns.given_up))
        [(work_id, why)] = turns.given_up.items()
        assert "refuses the request for storage commitment with 0x0110" in why
        assert len(stored) == N_OBJECTS
        status[0] = 0x0000
        assert turns.work.retry(work_id)
        turns.until(lambda: committed(settings))
    assert len(set(asked)) == len(asked) == 4, "every request has a Transaction UID of its own"
    assert len(stored) == N_OBJECTS + 1, "what was not committed was sent again"


def test_a_receiver_without_storage_commitment_or_that_is_away(tmp_path: Path) -> None:
    with storage_scp() as (port, _):
        settings = load_settings(configured(tmp_path, port, "PACS", give_up_after=2))
        send_result(tmp_path, settings)
        turns = Turns(settings)
        turns.until(lambda: states(settings) == {CommitmentState.DUE: N_OBJECTS})
    turns.until(lambda: turns.commit.failures >= 3)
    assert turns.commit.refusals < 2, "that it is away is no refusal"
    with storage_scp(port=port):
        turns.until(lambda: bool(turns.given_up))
    assert "it does not offer storage commitment" in next(iter(turns.given_up.values()))


class Turns:
    """Does in this process what the loop of the worker does with deliveries and commitments."""

    def __init__(self, settings: Settings) -> None:
        self.work = WorkRecords.open(settings)
        self.given_up: dict[str, str] = {}
        self._deliverer, self._commitments = Deliverer(settings), CommitmentWork(settings)
        self._records = RunRecords.open(settings)

    @property
    def commit(self) -> Work:
        found = self.work.work(work_id_of(WorkKind.COMMIT, "run-1", "pacs"))
        assert found is not None
        return found

    def until(self, condition: Callable[[], bool]) -> None:
        """Turn after turn."""

        def turn() -> bool:
            self._commitments.wake()
            for work in self.work.due(3600):
                assert self.work.started(work)
                if work.kind is WorkKind.COMMIT:
                    given_up = self._commitments.attempt(work)
                    if given_up:
                        self.given_up[work.work_id] = given_up
                        self.work.given_up(work.work_id, given_up)
                    continue
                run = self._records.run(work.subject)
                assert run is not None
                outcome = self._deliverer.attempt(work.subject, work.target, object_files(run.folder))
                assert outcome.state is DeliveryState.STORED, outcome.detail
                self._commitments.add(work.subject, work.target)
                self.work.finished(work.work_id)
            return condition()

        eventually(turn, "what was waited for", PATIENCE_S)


@contextmanager
def receiver(handlers: list[evt.EventHandlerType]) -> Iterator[tuple[int, list[str]]]:
    """A PACS that stores everything, and answers requests for commitment as told; its port, and what was stored."""
    stored: list[str] = []

    def on_store(event: evt.Event) -> int:
        stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    ae = AE(ae_title="PACS")
    for sop_class in (SR, SEG, SC, SOP_CLASS):
        ae.add_supported_context(sop_class)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store), *handlers])
    assert server is not None
    try:
        yield server.server_address[1], stored
    finally:
        ae.shutdown()


def rest(server: Orthanc, method: str, path: str, body: object = None) -> None:
    """Call Orthanc's REST interface."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{server.http_port}{path}", data, method=method)
    with urllib.request.urlopen(request, timeout=30):  # noqa: S310 - http on this machine
        pass


def test_late_reports_count_if_they_are_good_and_not_if_they_are_bad(tmp_path: Path) -> None:
    commitments = Commitments.open(Settings(state_dir=tmp_path))
    one, two = Referenced(SR, "1.2.3.1"), Referenced(SEG, "1.2.3.2")
    commitments.due("pacs", "here", "run-1", (one, two))
    for transaction_uid in ("1.1", "1.2"):
        commitments.asked(transaction_uid, "pacs", "run-1", ["1.2.3.1", "1.2.3.2"])
    late = Report("1.1", (one,), (Failed(two, NO_SUCH_INSTANCE),))
    assert commitments.answered(late)
    found = {a.referenced: a.state for a in commitments.of_run("pacs", "here", "run-1")}
    assert found == {one: CommitmentState.COMMITTED, two: CommitmentState.ASKED}
    assert commitments.answered(Report("1.2", (), (Failed(one, NO_SUCH_INSTANCE), Failed(two, NO_SUCH_INSTANCE))))
    assert commitments.not_committed("pacs", ["1.2.3.1", "1.2.3.2"]) == {"1.2.3.2"}
    assert commitments.news() == (("run-1", "pacs"),)
    assert not commitments.answered(Report("1.9", (one,), ())), "nobody has asked"


def test_a_report_of_anybody_reaches_the_listener_in_the_role_of_an_scp(tmp_path: Path) -> None:
    """On an association that the destination requests; a Transaction UID that is not known is refused."""
    from pynetdicom import build_role

    settings = load_settings(configured(tmp_path, 1, "PACS"))
    commitments = Commitments.open(settings)
    one = Referenced(SR, "1.2.3.1")
    commitments.due("pacs", "PACS@127.0.0.1:1", "run-1", (one,))
    commitments.asked("2.25.7", "pacs", "run-1", ["1.2.3.1"])
    with listening(settings, tmp_path):
        ae = AE(ae_title="PACS")
        ae.add_requested_context(SOP_CLASS)
        assoc = ae.associate(
            "127.0.0.1",
            settings.listener.port,
            ae_title=settings.listener.ae_title,
            ext_neg=[build_role(SOP_CLASS, scp_role=True)],
        )
        assert assoc.is_established
        assert [cx.as_scp for cx in assoc.accepted_contexts] == [True]
        many = tuple(Referenced(SR, f"1.2.3.{number}.{'9' * 40}") for number in range(2_000))
        answers = [
            assoc.send_n_event_report(report_of(report), report.event_type, SOP_CLASS, SOP_INSTANCE)[0].Status
            for report in (Report("2.25.8", (one,), ()), Report("2.25.7", (*many, one), ()))
        ]
        too_many = Dataset()
        too_many.TransactionUID = "2.25.7"
        too_many.ReferencedSOPSequence = [Dataset() for _ in range(10_001)]
        answers.append(assoc.send_n_event_report(too_many, ALL_COMMITTED, SOP_CLASS, SOP_INSTANCE)[0].Status)
        assoc.release()
    assert answers == [0x0115, 0x0000, 0x0115]
    assert states(settings) == {CommitmentState.COMMITTED: 1}
