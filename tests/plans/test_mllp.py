"""The listener against real sockets: senders that are right, wrong, slow, gone, or strangers; its answers read by hl7apy."""

from __future__ import annotations

import datetime as dt
import socket
import sqlite3
import ssl
import stat
import subprocess
import threading
import time
import tracemalloc
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hl7apy.parser import parse_message

from benchmarks.plan_messages import FS_CR, VT, Sender, Sent, message_text, send_all
from node.clinical.planned_operation import PlanStatus
from node.common.errors import ConfigurationError
from node.plans import mllp
from node.plans.acknowledgement import acknowledgement
from node.plans.framing import Deframer, Frame, FramingFault
from node.plans.hl7_message import RefusedMessageError, read_message
from node.plans.intake import serve_intake
from node.settings.tree import Settings
from tests.plans.conftest import StartIntake


def wire(text: str, kind: str = "AA") -> Sent:
    return Sent("test", VT + text.encode() + FS_CR, (kind,))


def test_answers_once_the_message_is_on_the_disk(start_intake: StartIntake) -> None:
    intake = start_intake()
    (answer,) = Sender(intake.port).exchange(wire(message_text(5)))
    ack = parse_message(answer.decode())
    assert ack.name == "ACK"
    assert (ack.msh.msh_5.value, ack.msh.msh_6.value, ack.msh.msh_9.value) == ("KIS", "SUED", "ACK^S12^ACK")
    assert (ack.msa.msa_1.value, ack.msa.msa_2.value) == ("AA", "M5")
    assert [one.key.operation_id for one in intake.known] == ["A5^KIS"]


@pytest.mark.parametrize(("version", "code"), [("2.3.1", "err_1"), ("2.5", "err_3"), ("2.8", "err_3")])
def test_says_why_it_refuses(start_intake: StartIntake, version: str, code: str) -> None:
    intake = start_intake()
    text = message_text(5, PID="").replace("|P|2.5|", f"|P|{version}|", 1)
    (answer,) = Sender(intake.port).exchange(wire(text))
    ack = parse_message(answer.decode())
    assert (ack.msa.msa_1.value, ack.msa.msa_2.value) == ("AE", "M5")
    assert "patient" in ack.msa.msa_3.value
    assert "101" in getattr(ack.err, code).value
    assert "PID" in ack.err.value
    assert (intake.known, intake.refused_contents) == ((), [text.encode()])


@pytest.mark.parametrize("text", [message_text(5, operation="A\\X00\\"), message_text(5, PID="PID|1||47\\X00\\11")])
def test_an_id_with_a_nul_is_refused(start_intake: StartIntake, text: str) -> None:
    (answer,) = Sender((intake := start_intake()).port).exchange(wire(text))
    assert (b"MSA|AE|M5" in answer, b"NUL" in answer, intake.known) == (True, True, ())


def test_what_the_sender_says_cannot_end_the_frame_of_the_answer(start_intake: StartIntake) -> None:
    sender = Sender(start_intake().port)
    (answer,) = sender.exchange(wire(message_text(5).replace("BMDNODE", "\x1c\x00BMDNODE", 1)))
    assert parse_message(answer.decode()).msh.msh_3.value == "BMDNODE"


def test_what_is_refused_is_for_the_nodes_user_alone(start_intake: StartIntake) -> None:
    intake = start_intake()
    for _ in range(2):
        Sender(intake.port).exchange(wire(message_text(5, PID="")))
    (refusal,) = intake.refused
    assert (refusal.times, refusal.code) == (2, "101")
    folder = intake.settings.state_dir / "refused-plans"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]


@pytest.mark.parametrize(
    ("accept", "application", "text", "answer"),
    [
        ("AL", "NE", "S12", "CA"),
        ("AL", "AL", "S99", "CR"),
        ("ER", "NE", "S12", None),
        ("ER", "NE", "S99", "CR"),
        ("NE", "AL", "S12", "AA"),
        ("NE", "SU", "S99", None),
        ("NE", "NE", "S12", None),
    ],
)
def test_enhanced_mode(start_intake: StartIntake, accept: str, application: str, text: str, answer: str | None) -> None:
    sender = Sender(start_intake().port)
    asked = message_text(5, text).replace("|P|2.5|||", f"|P|2.5|||{accept}|{application}", 1)
    got = sender.exchange(Sent("test", wire(asked).data, ("?",) if answer else ()))
    assert [parse_message(one.decode()).msa.msa_1.value for one in got] == ([answer] if answer else [])
    # the connection serves the next one, too
    assert sender.send(wire(message_text(6))) == ("AA",)


def test_many_messages_one_in_ten_malformed(start_intake: StartIntake) -> None:
    """Every kind of malformed message at least once; ``benchmarks.plan_messages`` sends 10,000."""
    intake = start_intake()
    outcome = send_all(220, intake.settings, intake.port)
    assert (outcome.wrong, outcome.not_stored, outcome.not_kept) == ((), (), ())
    assert {"AA", "AE", "AR"} <= set(outcome.answers)


def test_the_operation_follows_its_messages(start_intake: StartIntake) -> None:
    sender = Sender((intake := start_intake()).port)
    bare = dict.fromkeys(("PID", "RGS", "AIS", "AIP", "AIL"), "")
    for text in (
        message_text(3, "S15", SCH="SCH||A1^KIS", **bare),
        message_text(1, operation="A1"),
        message_text(2, "S13", operation="A1"),
    ):
        assert sender.send(wire(text)) == ("AA",)
    (known,) = intake.known
    assert known.status is PlanStatus.CANCELLED
    assert known.patient.names == ("Müller^Anna",)
    intake.stop()
    assert intake.known == (known,)


def test_a_message_that_never_ends_is_answered_and_kept(start_intake: StartIntake) -> None:
    intake = start_intake(timeout_s=0.2)
    with socket.create_connection(("127.0.0.1", intake.port), timeout=60) as connection:
        connection.sendall(VT + message_text(5).encode() + b"\x1c")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert b"MSA|AR|M5" in answer
    assert intake.refused_contents == [message_text(5).encode() + b"\x1c"]


def test_a_message_that_cannot_be_stored_is_rejected_for_now_and_kept(
    start_intake: StartIntake, caplog: pytest.LogCaptureFixture
) -> None:
    intake = start_intake()
    sender = Sender(intake.port)
    with closing(sqlite3.connect(intake.settings.state_dir / "bmd-node.sqlite")) as connection:
        connection.execute("ALTER TABLE planned_operation_changes RENAME TO away")
        (answer,) = sender.exchange(wire(message_text(5)))
        connection.execute("ALTER TABLE away RENAME TO planned_operation_changes")
    ack = parse_message(answer.decode())
    assert (ack.msa.msa_1.value, ack.msa.msa_2.value) == ("AR", "M5")
    assert "207" in ack.err.err_3.value
    assert intake.refused_contents == [message_text(5).encode()]
    assert "message not stored" in caplog.text
    assert not any(secret in caplog.text for secret in ("Müller", "4700", "PLIF"))
    assert intake.known == ()
    assert sender.send(wire(message_text(5))) == ("AA",)
    assert len(intake.known) == 1


def test_a_message_that_is_too_large_is_kept_as_far_as_it_was_read(start_intake: StartIntake) -> None:
    intake = start_intake(max_message_mb=0.1)
    text = message_text(5, AIL="NTE|1||" + "x" * 300_000)
    sent = Sent("test", VT + text.encode() + FS_CR, ("AR",), hangs_up=True)
    assert Sender(intake.port).send(sent) == ("AR",)
    (kept,) = intake.refused_contents
    assert len(kept) > 100_000
    assert text.encode().startswith(kept)
    assert intake.known == ()


def test_a_connection_may_rest_between_messages_and_split_them(start_intake: StartIntake) -> None:
    intake = start_intake(timeout_s=30)
    data = wire(message_text(5)).data
    with socket.create_connection(("127.0.0.1", intake.port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(data), 40):
            connection.sendall(data[at : at + 40])
        assert b"MSA|AA|M5" in connection.recv(4096)


def test_strangers_are_turned_away(start_intake: StartIntake) -> None:
    intake = start_intake(senders=("10.1.2.0/24",))
    with socket.create_connection(("127.0.0.1", intake.port), timeout=60) as connection:
        assert connection.recv(1) == b""


def test_one_connection_too_many_is_closed(start_intake: StartIntake) -> None:
    intake = start_intake(max_connections=1)
    first = Sender(intake.port)
    assert first.send(wire(message_text(5))) == ("AA",)
    with socket.create_connection(("127.0.0.1", intake.port), timeout=60) as connection:
        assert connection.recv(1) == b""
    assert first.send(wire(message_text(6))) == ("AA",)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Authority, node and sender, made by openssl; a stranger signed by himself."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    for name in ("authority", "stranger"):
        openssl(*new, "-x509", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")
    for name in ("node", "sender"):
        extension = ("-addext", "subjectAltName=IP:127.0.0.1")
        openssl(
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            f"{name}.key",
            "-out",
            f"{name}.csr",
            "-subj",
            f"/CN={name}",
            *extension,
        )
        signed = (
            "-CA",
            "authority.pem",
            "-CAkey",
            "authority.key",
            "-CAcreateserial",
            "-copy_extensions",
            "copy",
            "-days",
            "2",
        )
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")
    return folder


def test_tls_with_client_certificates(start_intake: StartIntake, certificates: Path) -> None:
    files = {"certificate_file": "node.pem", "key_file": "node.key", "client_ca_file": "authority.pem"}
    intake = start_intake(**{name: str(certificates / file) for name, file in files.items()})

    def talk(name: str | None) -> bytes:
        context = ssl.create_default_context(cafile=str(certificates / "authority.pem"))
        if name:
            context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
        plain = socket.create_connection(("127.0.0.1", intake.port), timeout=60)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            connection.sendall(wire(message_text(6 if name == "sender" else 7)).data)
            return connection.recv(4096)

    assert b"MSA|AA|M6" in talk("sender")
    for stranger in ("stranger", None):
        with suppress(
            ssl.SSLError, ConnectionError
        ):  # with TLS 1.3 the refusal may come with the first answer, or as an end
            assert talk(stranger) == b""
    assert intake.refused == ()
    assert len(intake.known) == 1


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        hl7 = {"enabled": True, "host": "127.0.0.1", "port": taken.getsockname()[1]}
        with pytest.raises(ConfigurationError, match="plans_hl7"):
            serve_intake(Settings(state_dir=tmp_path, plans_hl7=hl7), threading.Event(), lambda: None)  # type: ignore[arg-type]


@pytest.mark.parametrize("cut", [1, 3, 7, 1000])
def test_frames_do_not_depend_on_how_the_stream_is_cut(cut: int) -> None:
    stream = VT + b"one" + FS_CR + b"\r\n" + b"noise" + FS_CR + VT + b"lost" + VT + b"two" + FS_CR + VT + b"rest"
    deframer = Deframer(1000)
    frames = [frame for at in range(0, len(stream), cut) for frame in deframer.feed(stream[at : at + cut])]
    frames += deframer.end()
    assert frames == [
        Frame(b"one"),
        Frame(b"noise", FramingFault.NO_START),
        Frame(b"lost", FramingFault.NO_END),
        Frame(b"two"),
        Frame(b"rest", FramingFault.NO_END),
    ]


BETWEEN = {
    "a mark": b"\xef\xbb\xbf",
    "two marks and line ends": b"\r\n\xef\xbb\xbf\r\n\xef\xbb\xbf",
    "a mark of UTF-16": b"\xff\xfe",
    "blanks and NUL": b" \0\t",
    "words": b"PING",
    "the end of another message": b"|rest of a message\r",
    "another end": FS_CR,
    "three ends": FS_CR * 3,
    "a start and words": VT + b"PING",
    "starts": VT * 3,
}


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_one_answer_for_each_message_whatever_stands_between(start_intake: StartIntake, between: bytes) -> None:
    intake = start_intake()
    messages = [(f"M{n}", wire(message_text(n, **({"PID": "PID|1"} if n == 3 else {}))).data) for n in (1, 2, 3, 4)]
    with socket.create_connection(("127.0.0.1", intake.port), timeout=60) as connection:
        answers = connection.makefile("rb")
        for control_id, data in messages:
            connection.sendall(between + data)
            answer = b""
            while not answer.endswith(FS_CR):
                answer += answers.read(1)
            assert f"MSA|{'AE' if control_id == 'M3' else 'AA'}|{control_id}".encode() in answer
        connection.sendall(between)
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(1)
    assert len(intake.known) == 3


def test_a_mark_within_a_frame_is_dropped(start_intake: StartIntake) -> None:
    intake = start_intake()
    text = "\ufeff" + message_text(5).replace("\rPID", "\r\ufeffPID")
    assert Sender(intake.port).send(wire(text)) == ("AA",)
    assert len(intake.known) == 1


FLOODS = {
    "components": lambda text: text.replace("PID|", "PID|" + "^" * 900_000, 1),
    "subcomponents": lambda text: text.replace("PID|", "PID|" + "&" * 900_000, 1),
    "fields": lambda text: text + "NTE" + "|" * 900_000,
    "segments": lambda text: text + "A\r" * 400_000,
    "repetitions": lambda text: text.replace("PID|", "PID|" + "~" * 900_000, 1),
    "escapes": lambda text: text.replace("PID|", "PID|" + "\\T" * 400_000, 1),
    "header": lambda text: text.replace("|P|", "|P" + "^" * 900_000 + "|", 1),
    "long header": lambda text: text.replace("|P|", "|P" + "x" * 900_000 + "|", 1),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_delimiters_costs_nothing(name: str) -> None:
    flood = FLOODS[name](message_text(5)).encode()
    tracemalloc.start()
    began_s = time.monotonic()
    with pytest.raises(RefusedMessageError) as refused:
        read_message(flood, "utf-8")
    assert time.monotonic() - began_s < 1
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert refused.value.code == "100"
    assert acknowledgement(None, flood, refused.value, dt.datetime.now(dt.UTC)) is not None


def test_a_connection_that_brings_nothing_gives_way(start_intake: StartIntake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mllp, "_GIVES_WAY_S", 0.2)
    intake = start_intake(max_connections=2)
    useful = Sender(intake.port)
    assert useful.send(wire(message_text(5))) == ("AA",)
    with socket.create_connection(("127.0.0.1", intake.port), timeout=60) as idle:
        time.sleep(0.5)
        assert Sender(intake.port).send(wire(message_text(6))) == ("AA",)
        assert idle.recv(1) == b""
    assert useful.send(wire(message_text(7))) == ("AA",)


def test_a_connection_without_messages_is_closed(start_intake: StartIntake) -> None:
    intake = start_intake(idle_timeout_s=0.3)
    with socket.create_connection(("127.0.0.1", intake.port), timeout=60) as idle:
        assert idle.recv(1) == b""
