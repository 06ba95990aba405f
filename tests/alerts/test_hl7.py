"""Alerts as ORU^R01, to receivers built on hl7apy that parse and validate them, refuse them, or hang up."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from node.alerts import Alert, AlertKind, channel_for
from node.alerts.values import Surgeon
from node.clinical.identity import PatientIdentity
from node.common.errors import ConfigurationError, NodeError, RejectedError, TransportError
from node.language.phrase import phrase
from node.model import Reason
from node.model.codes import ACR_CATEGORY, TRABECULAR_BMD
from node.settings.tree import Settings
from tests.alerts.alert_inputs import PATIENT, alert_of, bmd_of, message, result, settings
from tests.alerts.conftest import free_port
from tests.alerts.mllp_receivers import ERR_INTERNAL, ERR_REQUIRED, ERR_UNSUPPORTED, Received, Receiver, RudeReceiver

SURGEON_TEXT = phrase("the result was corrected")
StartReceiver = Callable[..., Receiver]


@pytest.fixture
def start_receiver() -> Iterator[StartReceiver]:
    with ExitStack() as stack:

        def start(received: Received | None = None, context: ssl.SSLContext | None = None) -> Receiver:
            receiver = Receiver(received or Received(), context)
            stack.callback(receiver.stop)
            return receiver

        yield start


def send(
    port: int,
    sent: Alert | None = None,
    patient: PatientIdentity = PATIENT,
    name: str = "hl7",
    **changes: object,
) -> str:
    chosen = {"kind": "hl7", "name": name, "host": "localhost", "port": port, "security": "none", **changes}
    chosen = {"sending_facility": "SPINE", **chosen}
    site = settings(timeout_s=5.0, link_template="https://v.example/{accession_number}&x")
    channel = channel_for(name, Settings.model_validate({"alert": site, "alert_receivers": [chosen]}))
    sent = sent or alert_of(chosen=site)
    return channel.send(sent, message(sent, site), patient)


def test_a_first_message(start_receiver: StartReceiver) -> None:
    receiver = start_receiver()
    assert send(receiver.port).startswith("AA for message ")
    (oru,) = receiver.received.taken
    sent = alert_of()
    assert oru.msh.msh_18.value == "UNICODE UTF-8"
    assert oru.pid.pid_3.pid_3_1.value == "PID-998877"
    assert oru.pid.pid_3.pid_3_4.value == "KIS"
    assert oru.pid.pid_5.to_er7() == "Musterfrau-Grün^Erika^Maria^^Dr."
    assert (oru.pid.pid_7.value, oru.pid.pid_8.value) == ("19480302", "F")
    assert oru.obr.obr_3.obr_3_1.value == sent.id
    assert oru.obr.obr_18.value == "A-4711"
    assert oru.obr.obr_25.value == "P"
    assert "requested by Dr. Ida Zuweiser (Requesting Physician)" in oru.nte.nte_3.value
    assert oru.children[-1] is oru.nte[0], "the weakest comes last"
    rows = [(obx.obx_3.obx_3_1.value, obx.obx_4.value, obx.obx_5.to_er7(), obx.obx_6.to_er7()) for obx in oru.obx]
    unit = "mg/cm3^^UCUM"
    assert rows[0][0] == "ALERT-TEXT", "what a person reads comes first"
    assert rows[1:] == [
        ("VBMD", "mean", "74.2", unit),
        ("VBMD-LOWER", "mean", "66.0", unit),
        ("VBMD-UPPER", "mean", "82.0", unit),
        ("ACR-CATEGORY", "mean", "ACR-OSTEOPOROSIS^Osteoporosis range, below 80 mg/cm3^99BMDNODE", ""),
        ("VBMD", "L1", "71.2", unit),
        ("VBMD", "L2", "77.2", unit),
        ("VBMD", "L4", "74.2", unit),
    ]
    assert {obx.obx_11.value for obx in oru.obx} == {"P"}


def test_a_second_person_is_named_in_place_of_the_surgeon(start_receiver: StartReceiver) -> None:
    first, second = start_receiver(), start_receiver()
    of_surgeon = replace(alert_of(), operation=replace(alert_of().operation, surgeons=(Surgeon("17", "Schraube^Petra"),)))
    send(first.port, of_surgeon)
    escalation = replace(of_surgeon, escalation=True)
    send(second.port, escalation, name="chief", receiving_application="CHIEF", result_copies_to=["18", "19"])
    assert first.received.taken[0].obr.obr_28.to_er7() == "17^Schraube^Petra"
    told = second.received.taken[0]
    assert [field.to_er7() for field in told.obr.obr_28] == ["18", "19"]
    assert told.msh.msh_5.value == "CHIEF"
    assert told.obx[0].obx_5.to_er7().startswith("Unacknowledged alert")


def test_the_text_comes_whole(start_receiver: StartReceiver) -> None:
    receiver = start_receiver()
    send(receiver.port)
    (raw,) = receiver.received.texts
    # hl7apy would escape the line breaks once more
    escaped = raw.split("OBX|")[1].split("|")[4]
    text = escaped.replace("\\.br\\", "\n").replace("\\T\\", "&").replace("\\F\\", "|").replace("\\E\\", "\\")
    site = settings(link_template="https://v.example/{accession_number}&x")
    assert text == message(alert_of(chosen=site), site).text
    assert "Löffler" in text


def test_codes_are_those_of_the_structured_report(start_receiver: StartReceiver) -> None:
    receiver = start_receiver()
    send(receiver.port)
    told = {obx.obx_3.to_er7() for obx in receiver.received.taken[0].obx}
    for code in (TRABECULAR_BMD, ACR_CATEGORY):
        assert f"{code.value}^{code.meaning}^{code.scheme_designator}" in told


def test_without_an_equation_attenuation_is_sent(start_receiver: StartReceiver) -> None:
    receiver = start_receiver()
    bmd = replace(bmd_of(70), calibration=None, bmd_mg_cm3=None, category=None, interval_mg_cm3=None, level_bmd_mg_cm3=())
    send(receiver.port, alert_of(result(bmd), chosen=settings(hu_below=150)))
    rows = [obx.to_er7().split("|") for obx in receiver.received.taken[0].obx]
    assert rows[1][2:7] == ["NM", "ATTENUATION^Mean trabecular attenuation^99BMDNODE", "mean", "100.0", "[hnsf'U]^^UCUM"]
    assert not any("VBMD" in row[3] for row in rows)


@pytest.mark.parametrize(
    ("kind", "wrong", "observation", "report"),
    [
        (AlertKind.CORRECTION, False, "C", "C"),
        (AlertKind.WITHDRAWAL, False, "D", "X"),
        (AlertKind.WITHDRAWAL, True, "W", "X"),
    ],
)
def test_later_messages_refer_to_the_first(
    kind: AlertKind, wrong: bool, observation: str, report: str, start_receiver: StartReceiver
) -> None:
    receiver = start_receiver()
    first = alert_of()
    send(receiver.port, first)
    send(receiver.port, replace(first, revision=2, kind=kind, wrong=wrong, because=Reason("x", SURGEON_TEXT)))
    before, after = receiver.received.taken
    assert before.obr.obr_3.to_er7() == after.obr.obr_3.to_er7()
    assert before.msh.msh_10.value != after.msh.msh_10.value
    assert after.obr.obr_25.value == report
    assert {obx.obx_11.value for obx in after.obx} == {observation}


def test_a_repeat_has_the_same_control_id(start_receiver: StartReceiver) -> None:
    receiver = start_receiver()
    send(receiver.port)
    send(receiver.port)
    first, second = receiver.received.taken
    assert first.msh.msh_10.value == second.msh.msh_10.value
    assert len(first.msh.msh_10.value) <= 20


def test_delimiters_in_names_do_not_break_the_message(start_receiver: StartReceiver) -> None:
    receiver = start_receiver()
    odd = replace(PATIENT, names=("A|B&C~D\\E^F\rMSH|x",))
    send(receiver.port, patient=odd)
    (oru,) = receiver.received.taken
    assert oru.msh.msh_4.value == "SPINE"
    assert oru.pid.pid_5.to_er7() == "A\\F\\B\\T\\C\\R\\D\\E\\E^FMSH\\F\\x"
    assert len(oru.children.get("MSH")) == 1


def test_control_characters_in_any_text_do_not_end_the_frame_or_a_segment(start_receiver: StartReceiver) -> None:
    """VT and FS belong to MLLP, CR ends a segment: a name from a DICOM header may hold all of them."""
    receiver = start_receiver()
    controls = "".join(chr(code) for code in (*range(0x20), 0x7F, 0x85))
    first = alert_of()
    surgeon = Surgeon(f"1{controls}7", f"A{controls}B")
    odd = replace(
        first,
        operation=replace(first.operation, surgeons=(surgeon,)),
        result=replace(first.result, accession_number=f"ACC{controls}1"),
        because=Reason("x", f"why{controls}so"),
        revision=2,
        kind=AlertKind.CORRECTION,
    )
    patient = replace(PATIENT, names=(f"N{controls}N",), sex=f"F{controls}")
    send(receiver.port, odd, patient=patient)
    (raw,) = receiver.received.texts
    assert {sign for sign in raw if ord(sign) < 0x20 or 0x7F <= ord(sign) < 0xA0} == {"\r"}
    assert {line[:3] for line in raw.split("\r")} == {"MSH", "PID", "OBR", "OBX", "NTE", ""}
    (oru,) = receiver.received.taken
    assert "|ACC \\.br\\1|" in raw, "a tab is a blank, a line feed is what HL7 has for it"
    assert oru.pid.pid_8.value.startswith("F")


@pytest.mark.parametrize(
    ("received", "expected"),
    [
        (Received("AE"), RejectedError),
        (Received("AE", ERR_REQUIRED), RejectedError),
        (Received("AE", ERR_INTERNAL), TransportError),
        (Received("AR"), TransportError),
        (Received("AR", ERR_UNSUPPORTED), RejectedError),
        (Received("CE"), RejectedError),
        (Received("CR"), TransportError),
        (Received("AA", of_message="OTHER"), TransportError),
    ],
    ids=lambda value: f"{value.code} {value.errors[6:9]}" if isinstance(value, Received) else "",
)
def test_refused(received: Received, expected: type[NodeError], start_receiver: StartReceiver) -> None:
    receiver = start_receiver(received)
    with pytest.raises(expected) as caught:
        send(receiver.port)
    assert caught.value.retriable == (expected is TransportError)
    assert "Musterfrau" not in str(caught.value)


def _in_message(connection: socket.socket) -> None:
    connection.recv(20)


def _after_message(connection: socket.socket) -> None:
    read = b""
    while not read.endswith(b"\x1c\r") and (more := connection.recv(4096)):
        read += more


def _half_an_answer(connection: socket.socket) -> None:
    _after_message(connection)
    connection.sendall(b"\x0bMSH|^~\\&|KIS")


def _no_answer_at_all(connection: socket.socket) -> None:
    _after_message(connection)
    connection.sendall(b"\x0bHTTP/1.1 400 Bad Request\x1c\r")


def _no_frame(connection: socket.socket) -> None:
    _after_message(connection)
    connection.sendall(b"MSH|^~\\&|KIS\rMSA|AA|1\r\x1c\r")


@pytest.mark.parametrize("behave", [_in_message, _after_message, _half_an_answer, _no_answer_at_all, _no_frame])
def test_a_receiver_that_hangs_up_or_talks_nonsense(behave: Callable[[socket.socket], None]) -> None:
    rude = RudeReceiver(behave)
    try:
        with pytest.raises(TransportError):
            send(rude.port)
    finally:
        rude.stop()


def test_nobody_listens() -> None:
    with pytest.raises(TransportError):
        send(free_port())


def test_tls(start_receiver: StartReceiver, server_context: ssl.SSLContext, certificate: tuple[Path, Path]) -> None:
    receiver = start_receiver(context=server_context)
    send(receiver.port, security="tls", ca_file=str(certificate[0]))
    assert len(receiver.received.taken) == 1


def test_tls_with_the_nodes_own_certificate(
    start_receiver: StartReceiver, server_context: ssl.SSLContext, certificate: tuple[Path, Path]
) -> None:
    server_context.verify_mode = ssl.CERT_REQUIRED
    server_context.load_verify_locations(certificate[0])
    receiver = start_receiver(context=server_context)
    own = {"client_cert_file": str(certificate[0]), "client_key_file": str(certificate[1])}
    send(receiver.port, security="tls", ca_file=str(certificate[0]), **own)
    assert len(receiver.received.taken) == 1


def test_a_certificate_that_is_not_trusted(start_receiver: StartReceiver, server_context: ssl.SSLContext) -> None:
    receiver = start_receiver(context=server_context)
    with pytest.raises(ConfigurationError, match=r"not trusted .*alert_receivers\.hl7\.ca_file"):
        send(receiver.port, security="tls")
    assert not receiver.received.taken


@pytest.mark.parametrize("setting", ["ca_file", "client_cert_file"])
def test_a_file_that_cannot_be_read_is_told_at_start(setting: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"alert_receivers\.hl7\.{setting}"):
        send(1, security="tls", **{setting: str(tmp_path / "missing.pem")})


def test_the_log_names_nobody(start_receiver: StartReceiver, caplog: pytest.LogCaptureFixture) -> None:
    receiver = start_receiver()
    with caplog.at_level(logging.DEBUG):
        send(receiver.port)
    logged = " ".join(record.getMessage() for record in caplog.records)
    assert alert_of().id in logged
    for kept_out in ("Musterfrau", "PID-998877", "A-4711", "19480302"):
        assert kept_out not in logged
