"""This version upgrades an installation of 0.1.0: nothing is lost or sent twice, and old runs remain usable."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from pydicom.dataset import Dataset

from node.cli.main import main
from node.records.alerts import AlertRecords, MessageState
from node.records.engine import connect
from node.records.migrations.upgrade import revisions
from node.records.runs import DeliveryState, RunRecord, RunRecords, RunState
from node.records.scans import ScanRecords
from node.records.work import WorkRecords, WorkState
from node.settings.tree import Settings, load_settings
from node.study.run_folder import load_kept_run
from tests.alerts.http_servers import HttpServer, Mailbox
from tests.deliver.delivery_servers import eventually, storage_scp
from tests.receive.conftest import postgres_url  # noqa: F401
from tests.receive.listener_process import free_port
from tests.upgrade.old_state import fresh_database, restore_postgres, settings_file, unpack_sqlite

PATIENCE_S = 250.0
ENHANCED_SR, BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.88.11"
COMPREHENSIVE_3D_SR, SEG = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.66.4"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
CLASSES = (ENHANCED_SR, BASIC_TEXT_SR, COMPREHENSIVE_3D_SR, SEG, SECONDARY_CAPTURE)

pytestmark = [pytest.mark.timeout(600)]


class Upgraded:
    """The installation with all systems that it communicates with."""

    def __init__(self, config: Path, pacs: list[Dataset], second: list[Dataset], webhook: Mailbox) -> None:
        self.config, self.pacs, self.second, self.webhook = config, pacs, second, webhook

    @property
    def settings(self) -> Settings:
        return load_settings(self.config)

    def run(self, *arguments: str) -> str:
        result = CliRunner().invoke(main, [*arguments, "--config", str(self.config)])
        assert result.exit_code == 0, result.output
        return result.output

    @contextmanager
    def worker(self) -> Iterator[None]:
        """A worker of this version."""
        log = self.config.parent / "worker.log"
        with log.open("ab") as file:
            process = subprocess.Popen([sys.executable, "-m", "node.cli", "worker", "--config", self.config], stderr=file)
            try:
                yield
                assert process.poll() is None, log.read_text()
            finally:
                process.terminate()
                process.wait(60)


@pytest.fixture(params=["sqlite", "postgresql"])
def upgraded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Upgraded]:
    with ExitStack() as stack:
        pacs_port, pacs = stack.enter_context(storage_scp(sop_classes=CLASSES))
        second_port, second = stack.enter_context(storage_scp(sop_classes=CLASSES, ae_title="SECOND"))
        webhook = Mailbox()
        server = HttpServer(webhook)
        stack.callback(server.stop)
        url = None
        if request.param == "sqlite":
            state = unpack_sqlite(tmp_path)
        else:
            url = fresh_database(request.getfixturevalue("postgres_url"), "upgrade")
            state = restore_postgres(url, tmp_path)
        ports = {"PACS_PORT": pacs_port, "SECOND_PORT": second_port, "WEBHOOK_PORT": server.port}
        ports |= {name: free_port() for name in ("LISTENER_PORT", "WEB_PORT", "HL7_PORT")}
        yield Upgraded(settings_file(state, url, **ports), pacs, second, webhook)


def test_nothing_is_lost_nothing_is_sent_twice_and_old_runs_stay_of_use(upgraded: Upgraded) -> None:
    settings = upgraded.settings
    before = rows_of_0_1_0(settings)
    assert "missing" not in upgraded.run("db", "upgrade")
    runs = {run.run_id: run for run in RunRecords.open(settings).runs()}
    replaced = [run for run in runs.values() if run.is_replaced]
    assert [run.detail for run in replaced] == [""], "the note in the detail is a column now"
    old = next(run for run in runs.values() if run.state is RunState.MEASURED and not run.is_replaced)
    assert "schema_version" not in json.loads((old.folder / "kept.json").read_text())
    assert load_kept_run(old.folder).result.bmd.bmd_mg_cm3 is not None
    assert ScanRecords.open(settings).scans(), "readings of the scanners are still there"

    with upgraded.worker():
        eventually(lambda: everything_is_done(settings), "all that was unfinished to be done", PATIENCE_S)

    after = {run.run_id: run for run in RunRecords.open(settings).runs()}
    assert before.runs.items() <= {id_: run.state.value for id_, run in after.items()}.items(), "ended runs are unchanged"
    assert {after[id_].state for id_ in before.unfinished} == {RunState.MEASURED}
    assert len(after) == len(before.runs) + len(before.unfinished) + 1, "plus a study that had only been received"
    states = Counter(delivery.state for run in after.values() for delivery in run.deliveries)
    assert states.keys() <= {DeliveryState.STORED, DeliveryState.SUPERSEDED}
    for received in (upgraded.pacs, upgraded.second):
        uids = [str(ds.SOPInstanceUID) for ds in received]
        assert len(uids) == len(set(uids)), "no object was sent twice"
    assert not before.held_by_pacs & {str(ds.SOPInstanceUID) for ds in upgraded.pacs}, "nor one that the PACS already had"
    ids = [headers["webhook-id"] for headers in upgraded.webhook.headers]
    assert not before.taken & set(ids), "no alert is sent again"
    assert {record.state for record in AlertRecords.open(settings).since(0.0)} <= {
        MessageState.TAKEN,
        MessageState.NOT_NEEDED,
        MessageState.SUPERSEDED,
    }
    assert len(before.pending & set(ids)) == len(before.pending), "waiting alerts were sent"

    recalculate_the_old_one(upgraded, old)


def recalculate_the_old_one(upgraded: Upgraded, old: RunRecord) -> None:
    """This version reissues the report of a run of 0.1.0 with a corrected equation."""
    equations = upgraded.config.parent / "equations.toml"
    equations.write_text(re.sub(r"slope = [\d.]+", "slope = 0.5", equations.read_text()))
    listed = upgraded.run("recalculate", "--since", "2020-01-01", "--dry-run")
    assert "would be reissued" in listed
    n_reports = int(re.findall(r"(\d+) reports would", listed)[0])
    assert n_reports >= 1
    n_before = len(upgraded.pacs)
    assert "reports reissued" in upgraded.run("recalculate", "--since", "2020-01-01")
    with upgraded.worker():
        eventually(lambda: len(upgraded.pacs) >= n_before + 2 * n_reports, "new reports and pages", PATIENCE_S)
        eventually(lambda: everything_is_done(upgraded.settings), "all of it to be done", PATIENCE_S)
    sent = [ds for ds in upgraded.pacs[n_before:] if ds.SOPClassUID == COMPREHENSIVE_3D_SR]
    assert len(sent) == n_reports
    assert all("PredecessorDocumentsSequence" in ds for ds in sent)


class Before:
    """Records of version 0.1.0."""

    def __init__(self) -> None:
        self.runs: dict[str, str] = {}
        self.unfinished: set[str] = set()
        self.held_by_pacs: set[str] = set()
        self.taken: set[str] = set()
        self.pending: set[str] = set()


def rows_of_0_1_0(settings: Settings) -> Before:
    """Read the tables before this version opens and upgrades them."""
    engine, before = connect(settings), Before()
    assert not any(revision.applied for revision in revisions(engine))
    with engine.connect() as connection:
        for run_id, state in connection.execute(sa.text("SELECT run_id, state FROM runs")):
            if state in ("queued", "running"):
                before.unfinished.add(run_id)
            else:
                before.runs[run_id] = state
        held = "SELECT sop_instance_uid FROM delivered_objects WHERE destination = 'pacs'"
        before.held_by_pacs = set(connection.execute(sa.text(held)).scalars())
        for message_id, state in connection.execute(sa.text("SELECT message_id, state FROM alert_messages")):
            (before.taken if state == "taken" else before.pending).add(message_id)
    engine.dispose()
    assert before.unfinished
    assert before.pending
    return before


def everything_is_done(settings: Settings) -> bool:
    """Whether no study waits, no work is running, and every alert has ended."""
    records = RunRecords.open(settings)
    if any(run.state in (RunState.QUEUED, RunState.RUNNING) for run in records.runs()):
        return False
    work = WorkRecords.open(settings)
    if work.in_state(WorkState.WAITING) or work.in_state(WorkState.RUNNING):
        return False
    alerts = AlertRecords.open(settings)
    # the last study had only been received
    return not alerts.waiting() and len(records.runs()) >= 9
