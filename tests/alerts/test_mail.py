"""Alerts as e-mail, to real servers that take, refuse, defer and hang up."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import time
from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest

from node.alerts import Alert, AlertKind, Channel, channel_for, channels_on
from node.common.errors import ConfigurationError, NodeError, RejectedError, TransportError
from node.model import Reason
from node.settings.tree import Settings
from tests.alerts.alert_inputs import PATIENT, alert_of, message, settings
from tests.alerts.conftest import StartServer, free_port
from tests.alerts.mail_servers import HangsUpAtQuit, HangsUpInMessage, Inbox, TakesAndHangsUp, knows_one_user

#: Every header line of a message.
HEADERS = {
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Auto-Submitted",
    "Content-Type",
    "Content-Transfer-Encoding",
    "MIME-Version",
}


SITE = settings(link_template="https://v.example/{accession_number}")


def alert() -> Alert:
    return alert_of(chosen=SITE)


def channel(port: int, **changes: object) -> Channel:
    """To a server of this machine; in clear unless said otherwise."""
    chosen = {"smtp_host": "localhost", "smtp_port": port, "smtp_security": "none", "timeout_s": 5.0, **changes}
    return channel_for("mail", Settings(alert=settings(**chosen)))


def send(mail: Channel, sent: Alert | None = None) -> str:
    """Send an alert with its text."""
    sent = sent or alert()
    return mail.send(sent, message(sent, SITE), PATIENT)


def parsed(raw: bytes) -> EmailMessage:
    mail_message = message_from_bytes(raw, policy=default)
    assert isinstance(mail_message, EmailMessage)
    return mail_message


def test_nothing_is_sent_unless_a_server_is_set() -> None:
    assert not channels_on(Settings(alert=settings(smtp_host=""))).names


def test_starttls_with_a_trusted_certificate(
    start_server: StartServer, server_context: ssl.SSLContext, certificate: tuple[Path, Path]
) -> None:
    server = start_server(Inbox(), tls_context=server_context, require_starttls=True)
    sent = alert()
    mail = channel(server.port, smtp_security="starttls", ca_file=str(certificate[0]))
    send(mail, sent)
    assert mail.name == "mail"
    ((sender, recipients, raw),) = server.inbox.taken
    assert (sender, recipients) == ("bmd@hospital.example", ["surgeon@hospital.example"])
    assert server.inbox.encrypted == [True]
    mail_message = parsed(raw)
    assert mail_message["Subject"] == message(sent, SITE).subject
    assert mail_message["Message-ID"] == f"<{sent.message_id}@hospital.example>"
    assert mail_message["Auto-Submitted"] == "auto-generated"
    assert mail_message.get_content_type() == "text/plain"
    assert mail_message.get_content().replace("\r\n", "\n") == message(sent, SITE).text
    assert raw.isascii(), "a server without 8BITMIME takes it, too"


def test_a_message_holds_only_the_allowed_fields(start_server: StartServer) -> None:
    server = start_server(Inbox())
    send(channel(server.port))
    mail_message = parsed(server.inbox.taken[0][2])
    assert set(mail_message.keys()) == HEADERS
    assert not mail_message.is_multipart()
    # every number of the whole text has a known place: none could be a patient ID or a birth date
    text = mail_message.get_content()
    known = ["A-4711", alert().id, "message 1", "L1", "L2", "L3", "L4", "L1,", "11:552719", "2021"]
    for part in known:
        text = text.replace(part, "")
    numbers = set(re.findall(r"\d+(?:\.\d+)?", text))
    values = {"66", "71", "74", "77", "82", "31"}
    limits_and_evidence = {"80", "81.8", "3", "46", "23", "0.769", "95", "0.634", "0.905", "56.5", "91.3"}
    assert numbers == values | limits_and_evidence


def test_tls_from_the_first_byte(
    start_server: StartServer, server_context: ssl.SSLContext, certificate: tuple[Path, Path]
) -> None:
    server = start_server(Inbox(), ssl_context=server_context, server_hostname="localhost")
    send(channel(server.port, smtp_security="tls", ca_file=str(certificate[0])))
    assert len(server.inbox.taken) == 1


@pytest.mark.parametrize(("host", "trusted"), [("localhost", False), ("127.0.0.1", True)])
def test_a_certificate_that_is_not_trusted_or_not_the_hosts(
    host: str, trusted: bool, start_server: StartServer, server_context: ssl.SSLContext, certificate: tuple[Path, Path]
) -> None:
    server = start_server(Inbox(), tls_context=server_context)
    ca_file = str(certificate[0]) if trusted else ""
    with pytest.raises(ConfigurationError, match=r"certificate .* not trusted .*alert\.ca_file"):
        send(channel(server.port, smtp_host=host, smtp_security="starttls", ca_file=ca_file))
    assert not server.inbox.taken


def test_no_encryption_offered_means_nothing_sent(start_server: StartServer) -> None:
    server = start_server(Inbox())
    with pytest.raises(ConfigurationError, match=r"STARTTLS.*alert\.smtp_security"):
        send(channel(server.port, smtp_security="starttls"))
    assert not server.inbox.taken


@pytest.mark.parametrize(
    ("command", "reply", "expected"),
    [
        ("MAIL", "550 5.7.1 not you", RejectedError),
        ("RCPT", "550 5.1.1 nobody here", RejectedError),
        ("DATA", "554 5.6.0 not this", RejectedError),
        ("MAIL", "451 4.3.0 later", TransportError),
        ("RCPT", "451 4.7.1 greylisted", TransportError),
        ("DATA", "452 4.3.1 full", TransportError),
        ("RCPT", "421 4.3.2 going down", TransportError),
        ("DATA", "421 4.3.2 going down", TransportError),
    ],
)
def test_refused_and_deferred(command: str, reply: str, expected: type[NodeError], start_server: StartServer) -> None:
    inbox = Inbox({command: reply})
    server = start_server(inbox)
    mail = channel(server.port)
    with pytest.raises(expected, match=re.escape(reply)) as caught:
        send(mail)
    assert caught.value.retriable == (expected is TransportError)
    assert not inbox.taken
    inbox.replies.clear()
    send(mail)
    assert len(inbox.taken) == 1, "the channel can be used again"


def test_hanging_up_in_the_message(start_server: StartServer) -> None:
    server = start_server(Inbox(), HangsUpInMessage)
    with pytest.raises(TransportError):
        send(channel(server.port))


def test_a_repeat_after_a_hang_up_can_be_told(start_server: StartServer) -> None:
    rude, kind = start_server(TakesAndHangsUp()), start_server(Inbox())
    with pytest.raises(TransportError):
        send(channel(rude.port))
    send(channel(kind.port))
    first, second = (parsed(server.inbox.taken[0][2]) for server in (rude, kind))
    assert first["Message-ID"] == second["Message-ID"]
    assert first.get_content() == second.get_content()


def test_an_error_after_the_message_was_taken_makes_no_second_one(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server(Inbox(), HangsUpAtQuit)
    with caplog.at_level(logging.INFO, "node.alerts"):
        send(channel(server.port))
    assert len(server.inbox.taken) == 1
    assert "accepted the message and dropped the connection" in caplog.text


@pytest.mark.parametrize(("password", "expected"), [("right", None), ("wrong", RejectedError), ("later", TransportError)])
def test_login(
    password: str,
    expected: type[NodeError] | None,
    start_server: StartServer,
    server_context: ssl.SSLContext,
    certificate: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    server = start_server(Inbox(), tls_context=server_context, auth_required=True, authenticator=knows_one_user)
    secret = tmp_path / "password"
    secret.write_text(f"{password}\n", encoding="utf-8")
    mail = channel(
        server.port, smtp_security="starttls", ca_file=str(certificate[0]), user="node", password_file=str(secret)
    )
    assert password not in repr(mail)
    if expected is None:
        send(mail)
        assert server.inbox.users == [b"node"]
    else:
        with pytest.raises(expected, match="login") as caught:
            send(mail)
        assert password not in str(caught.value)
        assert not server.inbox.taken


def test_no_login_offered(
    start_server: StartServer, server_context: ssl.SSLContext, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    server = start_server(Inbox(), tls_context=server_context, auth_exclude_mechanism=["LOGIN", "PLAIN"])
    secret = tmp_path / "password"
    secret.write_text("right", encoding="utf-8")
    mail = channel(
        server.port, smtp_security="starttls", ca_file=str(certificate[0]), user="node", password_file=str(secret)
    )
    with pytest.raises(ConfigurationError, match=r"alert\.user|these settings"):
        send(mail)


def test_nobody_listens() -> None:
    with pytest.raises(TransportError):
        send(channel(free_port()))


def test_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(TransportError):
            send(channel(silent.getsockname()[1], timeout_s=0.3))
        assert time.monotonic() - start < 5


@pytest.mark.parametrize("content", [None, b"", b"\n", b"two\nlines\n", b"p\xc3\xa4ss", b"\xff"])
def test_a_password_that_cannot_be_used_is_told_at_start(content: bytes | None, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"alert\.password_file"):
        channel(25, smtp_security="starttls", user="node", password_file=str(secret))


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_an_authority_that_cannot_be_read_is_told_at_start(content: bytes | None, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    if content is not None:
        authority.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"alert\.ca_file"):
        channel(25, smtp_security="starttls", ca_file=str(authority))


def test_the_log_names_neither_recipient_nor_accession(start_server: StartServer, caplog: pytest.LogCaptureFixture) -> None:
    server = start_server(Inbox())
    with caplog.at_level(logging.DEBUG, "node.alerts"):
        send(channel(server.port))
    assert alert().id in caplog.text
    for kept_out in ("surgeon@", "A-4711"):
        assert kept_out not in "".join(r.getMessage() for r in caplog.records if r.name.startswith("node."))


def test_the_patient_is_named_only_if_the_site_wants_it(start_server: StartServer) -> None:
    server = start_server(Inbox())
    send(channel(server.port))
    send(channel(server.port, patient_in_mail=True))
    plain, named = (parsed(raw).get_content() for _, _, raw in server.inbox.taken)
    for told in ("Musterfrau", "Grün", "Erika", "1948-03-02", "PID-998877", "Zuweiser", "vor PLIF"):
        assert told not in plain
        assert told in named
    assert "PID-998877" not in parsed(server.inbox.taken[1][2])["Subject"]


def test_a_correction_stands_in_the_thread_of_the_first_message(start_server: StartServer) -> None:
    server = start_server(Inbox())
    corrected = replace(
        alert(), revision=2, kind=AlertKind.CORRECTION, because=Reason("result_corrected", "the result was corrected")
    )
    send(channel(server.port))
    send(channel(server.port), corrected)
    first, second = (parsed(raw) for _, _, raw in server.inbox.taken)
    assert second["In-Reply-To"] == first["Message-ID"] != second["Message-ID"]
    assert second["Subject"].startswith("Correction: Vertebral fracture L3. Mean BMD 74 mg/cm3")
