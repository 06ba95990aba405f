"""Alerts as e-mail, to real servers that take, refuse, defer and hang up."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import time
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest

from node.alert import Alert, Channel, channel_for, decide
from node.errors import ConfigurationError, NodeError, RejectedError, TransportError
from tests.alert.alert_inputs import order, result, settings
from tests.alert.conftest import StartServer, free_port
from tests.alert.mail_servers import HangsUpAtQuit, HangsUpInMessage, Inbox, TakesAndHangsUp, knows_one_user

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


def alert() -> Alert:
    alerts = decide(result(), order(), settings(link_template="https://v.example/{accession_number}"))
    assert isinstance(alerts, tuple)
    return alerts[0]


def channel(port: int, **changes: object) -> Channel:
    """To a server of this machine; in clear unless said otherwise."""
    chosen = {"smtp_host": "localhost", "smtp_port": port, "smtp_security": "none", "timeout_s": 5.0, **changes}
    made = channel_for(settings(**chosen))
    assert made is not None
    return made


def parsed(raw: bytes) -> EmailMessage:
    message = message_from_bytes(raw, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def test_nothing_is_sent_unless_a_server_is_set() -> None:
    assert channel_for(settings(smtp_host="")) is None


def test_starttls_with_a_trusted_certificate(
    start_server: StartServer, server_context: ssl.SSLContext, certificate: tuple[Path, Path]
) -> None:
    server = start_server(Inbox(), tls_context=server_context, require_starttls=True)
    sent = alert()
    mail = channel(server.port, smtp_security="starttls", ca_file=str(certificate[0]))
    mail.send(sent)
    assert mail.name == "mail"
    ((sender, recipients, raw),) = server.inbox.taken
    assert (sender, recipients) == ("bmd@hospital.example", ["surgeon@hospital.example"])
    assert server.inbox.encrypted == [True]
    message = parsed(raw)
    assert message["Subject"] == sent.subject
    assert message["Message-ID"] == f"<{sent.id}@hospital.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content_type() == "text/plain"
    assert message.get_content().replace("\r\n", "\n") == sent.text
    assert raw.isascii(), "a server without 8BITMIME takes it, too"


def test_a_message_holds_only_the_allowed_fields(start_server: StartServer) -> None:
    server = start_server(Inbox())
    channel(server.port).send(alert())
    message = parsed(server.inbox.taken[0][2])
    assert set(message.keys()) == HEADERS
    assert not message.is_multipart()
    # every number of the whole text has a known place: none could be a patient ID or a birth date
    text = message.get_content()
    known = ["A-4711", alert().id, "L1", "L2", "L3", "L4", "L1,", "11:552719", "2021"]
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
    channel(server.port, smtp_security="tls", ca_file=str(certificate[0])).send(alert())
    assert len(server.inbox.taken) == 1


@pytest.mark.parametrize(("host", "trusted"), [("localhost", False), ("127.0.0.1", True)])
def test_a_certificate_that_is_not_trusted_or_not_the_hosts(
    host: str, trusted: bool, start_server: StartServer, server_context: ssl.SSLContext, certificate: tuple[Path, Path]
) -> None:
    server = start_server(Inbox(), tls_context=server_context)
    ca_file = str(certificate[0]) if trusted else ""
    with pytest.raises(ConfigurationError, match=r"certificate .* not trusted .*alert\.ca_file"):
        channel(server.port, smtp_host=host, smtp_security="starttls", ca_file=ca_file).send(alert())
    assert not server.inbox.taken


def test_no_encryption_offered_means_nothing_sent(start_server: StartServer) -> None:
    server = start_server(Inbox())
    with pytest.raises(ConfigurationError, match=r"STARTTLS.*alert\.smtp_security"):
        channel(server.port, smtp_security="starttls").send(alert())
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
        mail.send(alert())
    assert caught.value.retriable == (expected is TransportError)
    assert not inbox.taken
    inbox.replies.clear()
    mail.send(alert())
    assert len(inbox.taken) == 1, "the channel can be used again"


def test_hanging_up_in_the_message(start_server: StartServer) -> None:
    server = start_server(Inbox(), HangsUpInMessage)
    with pytest.raises(TransportError):
        channel(server.port).send(alert())


def test_a_repeat_after_a_hang_up_can_be_told(start_server: StartServer) -> None:
    rude, kind = start_server(TakesAndHangsUp()), start_server(Inbox())
    with pytest.raises(TransportError):
        channel(rude.port).send(alert())
    channel(kind.port).send(alert())
    first, second = (parsed(server.inbox.taken[0][2]) for server in (rude, kind))
    assert first["Message-ID"] == second["Message-ID"]
    assert first.get_content() == second.get_content()


def test_an_error_after_the_message_was_taken_makes_no_second_one(
    start_server: StartServer, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server(Inbox(), HangsUpAtQuit)
    with caplog.at_level(logging.INFO, "node.alert"):
        channel(server.port).send(alert())
    assert len(server.inbox.taken) == 1
    assert "took the message and hung up" in caplog.text


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
        mail.send(alert())
        assert server.inbox.users == [b"node"]
    else:
        with pytest.raises(expected, match="login") as caught:
            mail.send(alert())
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
        mail.send(alert())


def test_nobody_listens() -> None:
    with pytest.raises(TransportError):
        channel(free_port()).send(alert())


def test_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        with pytest.raises(TransportError):
            channel(silent.getsockname()[1], timeout_s=0.3).send(alert())
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
    with caplog.at_level(logging.DEBUG, "node.alert"):
        channel(server.port).send(alert())
    assert alert().id in caplog.text
    for kept_out in ("surgeon@", "A-4711"):
        assert kept_out not in "".join(r.getMessage() for r in caplog.records if r.name.startswith("node."))
