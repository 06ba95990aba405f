"""Webhook and FHIR, over HTTP, to a server that takes, fails, delays and hangs up."""

from __future__ import annotations

import base64
import json
import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from fhir.resources.R4B.bundle import Bundle
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from node.alerts import Alert, AlertKind, Channel, channel_for
from node.alerts.channels.concepts import ALERT_SYSTEM
from node.alerts.values import Surgeon
from node.clinical.identity import PatientIdentifier, PatientIdentity
from node.common.errors import ConfigurationError, NodeError, RejectedError, TransportError
from node.language.phrase import phrase
from node.model import Reason
from node.settings.tree import Settings
from tests.alerts.alert_inputs import PATIENT, alert_of, bmd_of, message, result, settings
from tests.alerts.conftest import free_port
from tests.alerts.http_servers import HttpServer, Mailbox, outcome

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SITE = settings(timeout_s=5.0)
StartServer = Callable[..., HttpServer]
CHANNELS = ["webhook", "fhir"]
CORRECTED = Reason("result_corrected", phrase("the result was corrected"))


@pytest.fixture
def start_http() -> Iterator[StartServer]:
    with ExitStack() as stack:

        def start(mailbox: Mailbox | None = None, context: ssl.SSLContext | None = None) -> HttpServer:
            server = HttpServer(mailbox or Mailbox(), context)
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Channel]:
    """Makes one of the two channels, to a port of this machine."""
    secret, token = tmp_path / "secret", tmp_path / "token"
    secret.write_text(f"{SECRET}\n", encoding="utf-8")
    token.write_text("t0ken\n", encoding="utf-8")

    def channel(kind: str, port: int, *, tls: bool = False, timeout_s: float = 5.0, **changes: object) -> Channel:
        url = f"{'https' if tls else 'http'}://localhost:{port}/alerts"
        chosen = {
            "webhook": {"url": url, "secret_file": str(secret), **changes},
            "fhir": {
                "base_url": url,
                "token_file": str(token),
                "patient_systems": {"KIS": "urn:oid:1.2.3"},
                "practitioner_system": "urn:oid:1.2.4",
                **changes,
            },
        }
        receiver = {"kind": kind, "name": kind, **chosen[kind]}
        site = {"alert": settings(timeout_s=timeout_s), "alert_receivers": [receiver]}
        return channel_for(kind, Settings.model_validate(site))

    return channel


def send(channel: Channel, sent: Alert | None = None, patient: PatientIdentity = PATIENT) -> str:
    sent = sent or alert_of()
    return channel.send(sent, message(sent, SITE), patient)


def correction(kind: AlertKind = AlertKind.CORRECTION, *, wrong: bool = False) -> Alert:
    return replace(alert_of(), revision=2, kind=kind, because=CORRECTED, wrong=wrong)


def test_the_webhook_is_signed_and_names_nobody(start_http: StartServer, make: Callable[..., Channel]) -> None:
    server = start_http()
    assert send(make("webhook", server.port)) == "200"
    (body,), (headers,) = server.mailbox.bodies, server.mailbox.headers
    told = Webhook(SECRET).verify(body, headers)
    assert told["type"] == "alert.new"
    assert told["data"]["alert_id"] == alert_of().id
    assert (told["data"]["bmd_mg_cm3"], told["data"]["category"]) == (74.2, "osteoporosis")
    assert told["data"]["text"] == message(alert_of()).text
    assert [level["level"] for level in told["data"]["levels"]] == ["L1", "L2", "L3", "L4"]
    for kept_out in ("Musterfrau", "PID-998877", "1948", "Zuweiser"):
        assert kept_out not in body.decode()
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b"74.2", b"94.2"), headers)


def test_a_repeat_has_the_same_id_and_may_be_known(start_http: StartServer, make: Callable[..., Channel]) -> None:
    server = start_http(Mailbox(statuses=[0, 409]))
    channel = make("webhook", server.port)
    with pytest.raises(TransportError):
        send(channel)
    assert send(channel) == "409: already known"
    first, second = server.mailbox.headers
    assert first["webhook-id"] == second["webhook-id"] == alert_of().message_id


def test_a_correction_has_another_id(start_http: StartServer, make: Callable[..., Channel]) -> None:
    server = start_http()
    channel = make("webhook", server.port)
    send(channel)
    send(channel, correction())
    first, second = (json.loads(body)["data"] for body in server.mailbox.bodies)
    assert first["alert_id"] == second["alert_id"]
    assert (second["kind"], second["revision"], second["because"]) == ("correction", 2, "result_corrected")
    assert server.mailbox.headers[0]["webhook-id"] != server.mailbox.headers[1]["webhook-id"]


@pytest.mark.parametrize("content", ["secret", "whsec_", "whsec_" + base64.b64encode(b"short").decode(), "whsec_???"])
def test_a_secret_that_is_none_is_told_at_start(content: str, tmp_path: Path, make: Callable[..., Channel]) -> None:
    path = tmp_path / "other"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"alert_receivers\.webhook\.secret_file"):
        make("webhook", 1, secret_file=str(path))


def bundles(server: HttpServer) -> list[Bundle]:
    """Validated by another implementation of the standard."""
    return [Bundle.model_validate_json(body) for body in server.mailbox.bodies]


def resources(bundle: Bundle, kind: str) -> list[object]:
    return [entry.resource for entry in bundle.entry if entry.resource.get_resource_type() == kind]


def test_fhir_resources(start_http: StartServer, make: Callable[..., Channel]) -> None:
    server = start_http()
    assert send(make("fhir", server.port)) == "200"
    (bundle,) = bundles(server)
    assert server.mailbox.headers[0]["authorization"] == "Bearer t0ken"
    assert bundle.type == "transaction"
    (report,) = resources(bundle, "DiagnosticReport")
    assert (report.status, len(report.result)) == ("preliminary", 5)
    assert report.subject.reference == "Patient?identifier=urn:oid:1.2.3|PID-998877"
    assert report.basedOn[0].identifier.value == "A-4711"
    observations = resources(bundle, "Observation")
    values = [float(o.valueQuantity.value) if o.valueQuantity else o.dataAbsentReason.coding[0].code for o in observations]
    assert values == [74.2, 71.2, 77.2, "unknown", 74.2]
    assert {(o.valueQuantity.system, o.valueQuantity.code) for o in observations if o.valueQuantity} == {
        ("http://unitsofmeasure.org", "mg/cm3")
    }
    (flag,), (communication,) = resources(bundle, "Flag"), resources(bundle, "Communication")
    assert flag.status == "active"
    assert communication.payload[0].contentString == message(alert_of()).text
    assert communication.note[0].text == message(alert_of()).of_header != ""
    assert communication.recipient is None, "whoever asked is no recipient for that"
    urls = {entry.fullUrl for entry in bundle.entry}
    assert {reference.reference for reference in report.result} <= urls
    assert communication.about[0].reference in urls


def test_a_second_person_is_told_in_place_of_the_surgeon(start_http: StartServer, make: Callable[..., Channel]) -> None:
    fhir, webhook = start_http(), start_http()
    surgeon = Surgeon("17", "Schraube^Petra")
    sent = replace(alert_of(), operation=replace(alert_of().operation, surgeons=(surgeon,)), escalation=True)
    send(make("fhir", fhir.port), sent)
    send(make("fhir", fhir.port, recipients=["18"]), sent)
    named = [resources(bundle, "Communication")[0].recipient for bundle in bundles(fhir)]
    assert [[one.identifier.value for one in recipients] for recipients in named] == [["17"], ["18"]]
    send(make("webhook", webhook.port), sent)
    told = Webhook(SECRET).verify(webhook.mailbox.bodies[0], webhook.mailbox.headers[0])
    assert told["data"]["escalation"] is True


def test_a_first_message_is_created_only_where_there_is_none(start_http: StartServer, make: Callable[..., Channel]) -> None:
    server = start_http(Mailbox(statuses=[0, 200]))
    channel = make("fhir", server.port)
    with pytest.raises(TransportError):
        send(channel)
    send(channel)
    first, second = bundles(server)
    for bundle in (first, second):
        for entry in bundle.entry:
            (identifier,) = entry.resource.identifier
            assert entry.request.method == "POST"
            assert entry.request.ifNoneExist == f"identifier={ALERT_SYSTEM}|{identifier.value}"
    assert [entry.request.ifNoneExist for entry in first.entry] == [entry.request.ifNoneExist for entry in second.entry]
    assert len({entry.request.ifNoneExist for entry in first.entry}) == len(first.entry)


@pytest.mark.parametrize(
    ("sent", "report", "flag"),
    [
        (correction(), "corrected", "active"),
        (correction(AlertKind.WITHDRAWAL), None, "inactive"),
        (correction(AlertKind.WITHDRAWAL, wrong=True), "entered-in-error", "entered-in-error"),
    ],
)
def test_a_later_message_changes_what_is_there(
    sent: Alert, report: str | None, flag: str, start_http: StartServer, make: Callable[..., Channel]
) -> None:
    server = start_http()
    send(make("fhir", server.port))
    send(make("fhir", server.port), sent)
    first, second = bundles(server)
    created = {entry.request.ifNoneExist for entry in first.entry}
    for entry in second.entry:
        if entry.resource.get_resource_type() == "Communication":
            assert (entry.request.method, entry.request.ifNoneExist in created) == ("POST", False)
        else:
            kind, _, query = entry.request.url.partition("?")
            assert (entry.request.method, kind, query in created) == ("PUT", entry.resource.get_resource_type(), True)
    assert [one.status for one in resources(second, "DiagnosticReport")] == ([report] if report else [])
    assert {one.status for one in resources(second, "Observation")} == ({report} if report else set())
    assert [one.status for one in resources(second, "Flag")] == [flag]


def test_attenuation_alone_as_fhir(start_http: StartServer, make: Callable[..., Channel]) -> None:
    server = start_http()
    bmd = replace(bmd_of(70), calibration=None, bmd_mg_cm3=None, category=None, interval_mg_cm3=None, level_bmd_mg_cm3=())
    send(make("fhir", server.port), alert_of(result(bmd), chosen=settings(hu_below=150)))
    mean = resources(bundles(server)[0], "Observation")[0]
    assert (mean.code.coding[0].code, mean.valueQuantity.code) == ("ATTENUATION", "[hnsf'U]")


def test_a_patient_whose_issuer_has_no_system(start_http: StartServer, make: Callable[..., Channel]) -> None:
    server = start_http()
    stranger = replace(PATIENT, identifiers=(PatientIdentifier("1", "LAB"),))
    with pytest.raises(RejectedError, match=r"alert_receivers\.fhir\.patient_systems"):
        send(make("fhir", server.port), patient=stranger)
    assert not server.mailbox.bodies


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (500, TransportError),
        (503, TransportError),
        (429, TransportError),
        (408, TransportError),
        (400, RejectedError),
        (404, RejectedError),
        (412, RejectedError),
        (422, RejectedError),
        (401, ConfigurationError),
        (403, ConfigurationError),
        (307, ConfigurationError),
    ],
)
def test_refused_and_failed(
    name: str, status: int, expected: type[NodeError], start_http: StartServer, make: Callable[..., Channel]
) -> None:
    server = start_http(Mailbox(status=status, answer=outcome("processing")))
    with pytest.raises(expected, match=str(status)) as caught:
        send(make(name, server.port))
    assert caught.value.retriable == (expected is TransportError)
    assert "Musterfrau" not in str(caught.value)
    assert len(server.mailbox.bodies) == 1, "the workflow tries again, the channel does not"


def test_a_conflict_on_the_fhir_server_may_pass(start_http: StartServer, make: Callable[..., Channel]) -> None:
    server = start_http(Mailbox(status=409, answer=outcome("conflict")))
    with pytest.raises(TransportError, match="409: conflict"):
        send(make("fhir", server.port))


@pytest.mark.parametrize("name", CHANNELS)
def test_a_server_that_is_late_or_away(name: str, start_http: StartServer, make: Callable[..., Channel]) -> None:
    server = start_http(Mailbox(status=-1))
    with pytest.raises(TransportError):
        send(make(name, server.port, timeout_s=0.3))
    with pytest.raises(TransportError):
        send(make(name, free_port()))


@pytest.mark.parametrize("name", CHANNELS)
def test_tls(
    name: str,
    start_http: StartServer,
    make: Callable[..., Channel],
    server_context: ssl.SSLContext,
    certificate: tuple[Path, Path],
) -> None:
    server = start_http(context=server_context)
    send(make(name, server.port, tls=True, ca_file=str(certificate[0])))
    with pytest.raises(ConfigurationError, match=rf"not trusted: set alert_receivers\.{name}\.ca_file"):
        send(make(name, server.port, tls=True))
    assert len(server.mailbox.bodies) == 1


@pytest.mark.parametrize("name", CHANNELS)
def test_the_log_names_nobody_and_no_secret(
    name: str, start_http: StartServer, make: Callable[..., Channel], caplog: pytest.LogCaptureFixture
) -> None:
    server = start_http()
    with caplog.at_level(logging.DEBUG):
        channel = make(name, server.port)
        send(channel)
    logged = " ".join(record.getMessage() for record in caplog.records) + repr(channel)
    for kept_out in ("Musterfrau", "PID-998877", "A-4711", "t0ken", SECRET):
        assert kept_out not in logged
