"""Everything that tells of operations, and every way to a surgeon, in order: the doctor says so, and sends nothing."""

from __future__ import annotations

import json
import ssl
import threading
from contextlib import ExitStack
from pathlib import Path

from node.doctor import Outcome
from node.doctor.alerts import check_alerts
from node.doctor.finding import Finding
from node.doctor.plans import check_plans
from node.plans import serve_intake
from node.settings.alert import FhirReceiver, Hl7Receiver, WebhookReceiver
from node.settings.plans import PlanFhirSettings, PlanHl7Settings, PlanListSettings
from node.settings.tree import Settings
from tests.alerts.conftest import certificate, server_context
from tests.alerts.http_servers import HttpServer, Mailbox
from tests.alerts.mllp_receivers import Received, Receiver
from tests.doctor.web_server import answers_with
from tests.receive.listener_process import eventually, free_port

__all__ = ["certificate", "server_context"]

_CAN = {"resourceType": "CapabilityStatement", "fhirVersion": "4.3.0", "rest": [{"interaction": [{"code": "transaction"}]}]}


def by_name(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    return {found.check: found for found in findings}


def test_channels_that_answer_get_nothing(
    tmp_path: Path, certificate: tuple[Path, Path], server_context: ssl.SSLContext
) -> None:
    (tmp_path / "secret").write_text("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz")
    received, mailbox = Received(), Mailbox()
    with ExitStack() as stack:
        hl7, webhook = Receiver(received, server_context), HttpServer(mailbox, server_context)
        stack.callback(hl7.stop)
        stack.callback(webhook.stop)
        fhir = stack.enter_context(answers_with({"/metadata": json.dumps(_CAN).encode()}))
        cannot = stack.enter_context(answers_with({"/metadata": json.dumps(_CAN | {"rest": []}).encode()}))
        ca_file = str(certificate[0])
        settings = Settings(
            state_dir=tmp_path,
            alert_receivers=(
                Hl7Receiver(name="engine", host="localhost", port=hl7.port, ca_file=ca_file),
                FhirReceiver(name="kis", base_url=fhir, patient_system="urn:kis"),
                WebhookReceiver(
                    name="pager",
                    url=f"https://localhost:{webhook.port}/alerts",
                    secret_file=str(tmp_path / "secret"),
                    ca_file=ca_file,
                ),
            ),
        )
        found = by_name(check_alerts(settings))
        assert {name: one.outcome for name, one in found.items()} == dict.fromkeys(
            ("alerts by mail", "alerts to engine", "alerts to kis", "alerts to pager"), Outcome.OK
        )

        changed = (
            Hl7Receiver(name="engine", host="localhost", port=hl7.port),
            FhirReceiver(name="kis", base_url=cannot, patient_system="urn:kis"),
            settings.alert_receivers[2].model_copy(update={"url": f"https://127.0.0.1:{webhook.port}/"}),
        )
        found = by_name(check_alerts(settings.model_copy(update={"alert_receivers": changed})))
        assert "is not trusted" in found["alerts to engine"].detail
        assert found["alerts to kis"].detail.endswith("does not declare transaction")
        assert "is not trusted" in found["alerts to pager"].detail
    assert (received.texts, mailbox.bodies) == ([], [])


def test_an_intake_that_runs_and_a_list_that_it_refused(tmp_path: Path) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    with answers_with({"/metadata": json.dumps(_CAN).encode()}) as fhir:
        settings = Settings(
            state_dir=tmp_path / "state",
            plans_hl7=PlanHl7Settings(enabled=True, host="127.0.0.1", port=free_port()),
            plans_list=PlanListSettings(folder=str(lists), settle_s=0, poll_s=0.1),
            plans_fhir=PlanFhirSettings(base_url=fhir),
        )
        settings.state_dir.mkdir()
        stop, started = threading.Event(), threading.Event()
        intake = threading.Thread(target=serve_intake, args=(settings, stop, started.set))
        intake.start()
        try:
            assert started.wait(30)
            eventually((settings.state_dir / "intake.beat").exists, "a heartbeat")
            found = by_name(check_plans(settings))
            assert len(found) == 4
            assert {one.outcome for one in found.values()} == {Outcome.OK}, found
            (lists / "monday.csv").write_text("this;is;no;list\n")
            eventually(lambda: any((lists / "refused").iterdir()), "the list is refused")
        finally:
            stop.set()
            intake.join()
        refused = by_name(check_plans(settings))["planned operations, theatre lists"]
        assert (refused.outcome, "1 files could not be read" in refused.detail) == (Outcome.WARNING, True)
