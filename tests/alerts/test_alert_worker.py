"""All channels at once through a real worker: every receiver fails first, the worker is restarted, and each gets it."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import sqlalchemy as sa
from fhir.resources.R4B.bundle import Bundle

from node.records.alerts import AlertRecords, MessageState
from node.records.planned_operations import PlannedOperations
from node.settings.tree import load_settings
from tests.alerts.alert_inputs import NOW
from tests.alerts.arrivals import Arrivals
from tests.alerts.conftest import StartServer
from tests.alerts.http_servers import HttpServer, Mailbox
from tests.alerts.mail_servers import Inbox
from tests.alerts.mllp_receivers import Received, Receiver
from tests.alerts.scenarios import Step
from tests.alerts.test_alert_stores import Site

#: Far enough ahead, whatever day it is.
STARTS = "2090-01-20 08:00"


@dataclass
class RunningWorker:
    """A worker in a process of its own. Waiting ends with the process, or with the time that pytest gives the test."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_for(self, arrivals: Arrivals, count: int) -> None:
        """Wait until a receiver was asked so many times."""
        while not arrivals.wait(count, 1.0):
            self._still_runs()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until the records say so."""
        while not condition():
            self._still_runs()
            time.sleep(0.1)

    def _still_runs(self) -> None:
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8", errors="replace")[-4000:]


@contextmanager
def worker(config: Path) -> Iterator[RunningWorker]:
    """A worker that is killed at the end as by a power failure."""
    path = config.parent / "worker.log"
    with path.open("ab") as log:
        process = subprocess.Popen([sys.executable, "-m", "node.cli", "worker", "--config", str(config)], stderr=log)
        try:
            yield RunningWorker(process, path)
        finally:
            process.kill()
            process.wait(60)


def new_database(server: str) -> str:
    """URL of a database of its own: the workflow engine keeps its tables in a schema with a name of its own."""
    name = f"worker_{uuid.uuid4().hex}"
    with sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    return sa.engine.make_url(server).set(database=name).render_as_string(hide_password=False)


@pytest.mark.timeout(900)
def test_a_restart_while_every_receiver_fails_loses_nothing_and_repeats_can_be_told(
    tmp_path: Path, start_server: StartServer, postgres_url: str
) -> None:
    """On PostgreSQL, where several workers may share the work; on SQLite a mail is sent in tests/system/test_alert.py.

    One receiver is removed from the settings while its message waits: the message ends as not sent.
    """
    inbox = Inbox({"RCPT": "451 4.7.1 greylisted"})
    mail = start_server(inbox)
    hl7, second, removed = Receiver(Received("AR")), Receiver(Received("AR")), Receiver(Received("AR"))
    fhir, webhook = HttpServer(Mailbox(status=503)), HttpServer(Mailbox(status=0))
    database_url = new_database(postgres_url)
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + base64.b64encode(bytes(32)).decode(), encoding="utf-8")
    config = tmp_path / "bmd-node.toml"
    without_removed = f"""
state_dir = "{tmp_path / "state"}"
database_url = "{database_url}"
deliver = {{ retry_first_s = 0.2, retry_max_s = 0.4 }}

[alert]
smtp_host = "localhost"
smtp_port = {mail.port}
smtp_security = "none"
sender = "node@hospital.example"
recipients = ["team@hospital.example"]
days_ahead = 36500
max_result_age_days = 36500
timeout_s = 5.0
# nobody acknowledges
escalate_after_h = 0.0001

[[alert_receivers]]
kind = "hl7"
name = "engine"
host = "localhost"
port = {hl7.port}
security = "none"

[[alert_receivers]]
kind = "fhir"
name = "kis"
base_url = "http://localhost:{fhir.port}"
patient_systems = {{ KIS = "urn:oid:1.2.3" }}

[[alert_receivers]]
kind = "hl7"
name = "chief"
stage = "second"
host = "localhost"
port = {second.port}
security = "none"

[[alert_receivers]]
kind = "webhook"
name = "pager"
url = "http://localhost:{webhook.port}/"
secret_file = "{secret}"
"""
    config.write_text(
        f"""{without_removed}
[[alert_receivers]]
kind = "hl7"
name = "removed"
host = "localhost"
port = {removed.port}
security = "none"
"""
    )
    settings = load_settings(config)
    try:
        site = Site(settings, NOW)
        site.keep_result(Step("2030-01-02 10:00", (), result="A", bmd=74.0))
        PlannedOperations.open(settings).keep(Step("2026-01-02 10:00", (), plan="OP1", starts=STARTS).planned(None), "1")
        records = AlertRecords.open(settings)
        asked = [inbox.asked, fhir.mailbox.asked, webhook.mailbox.asked]
        asked += [receiver.received.asked for receiver in (hl7, second, removed)]
        with worker(config) as running:
            for arrivals in asked:
                # the second attempt comes when the answer to the first is recorded
                running.wait_for(arrivals, 2)
        assert len(records.since(0.0)) == 6
        assert all(one.answer for one in records.since(0.0))
        assert {one.state for one in records.since(0.0)} == {MessageState.PENDING}
        config.write_text(without_removed)
        inbox.replies.clear()
        hl7.received.code = second.received.code = "AA"
        fhir.mailbox.status, webhook.mailbox.status = 201, 409
        with worker(config) as running:
            running.wait_until(lambda: all(one.state is not MessageState.PENDING for one in records.since(0.0)))
    finally:
        for server in (hl7, second, removed, fhir, webhook):
            server.stop()
    states = {one.message.channel: one.state for one in records.since(0.0)}
    assert len(records.since(0.0)) == len(states) == 6
    assert states.pop("removed") is MessageState.REJECTED
    assert set(states.values()) == {MessageState.TAKEN}
    assert len(inbox.taken) == 1
    assert len(hl7.received.taken) == len(second.received.taken) == 1
    assert second.received.taken[0].obx[0].obx_5.to_er7().startswith("Unacknowledged alert")
    assert len({headers["webhook-id"] for headers in webhook.mailbox.headers}) == 1
    bundles = [Bundle.model_validate_json(body) for body in fhir.mailbox.bodies]
    assert len(bundles) > 1
    assert len({tuple(entry.request.ifNoneExist for entry in bundle.entry) for bundle in bundles}) == 1
    answers = {one.message.channel: one.answer for one in records.since(0.0)}
    assert answers["pager"] == "409: already known"
    assert answers["engine"].startswith("AA for message")
    assert answers["removed"] == "the channel is no longer switched on"
    assert json.loads(webhook.mailbox.bodies[-1])["data"]["operation"]["starts"].startswith("2090-01-20")
