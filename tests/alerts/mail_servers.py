"""Mail servers that accept, refuse, defer and hang up."""

# ruff: noqa: ARG002, N802 - names and arguments of the handlers are aiosmtpd's

from __future__ import annotations

from dataclasses import dataclass, field

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.alerts.arrivals import Arrivals


@dataclass
class Inbox:
    """Keeps what it takes, and how it came.

    Attributes:
        replies: reply to a command instead of its normal one: ``MAIL``, ``RCPT`` or ``DATA``.
        taken: (sender, recipients, message) of every message.
        encrypted: for every message, whether the connection was.
        users: who was logged in.
        asked: counts the recipients that were named.
    """

    replies: dict[str, str] = field(default_factory=dict)
    taken: list[tuple[str | None, list[str], bytes]] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    users: list[object] = field(default_factory=list)
    asked: Arrivals = field(default_factory=Arrivals)

    async def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        """MAIL FROM."""
        reply = self.replies.get("MAIL", "250 OK")
        if reply.startswith("250"):
            envelope.mail_from = address
        return reply

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        """RCPT TO."""
        reply = self.replies.get("RCPT", "250 OK")
        self.asked.add()
        if reply.startswith("250"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """The message as a whole."""
        reply = self.replies.get("DATA", "250 OK")
        if reply.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.taken.append((envelope.mail_from, list(envelope.rcpt_tos), envelope.content))
            self.encrypted.append(session.ssl is not None)
            self.users.append(session.auth_data)
        return reply


@dataclass(frozen=True)
class RunningServer:
    """A server that listens."""

    port: int
    inbox: Inbox


class TakesAndHangsUp(Inbox):
    """Takes the message and hangs up before it says so."""

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Take it, then end the connection without a reply."""
        reply = await super().handle_DATA(server, session, envelope)
        assert server.transport is not None
        server.transport.abort()
        return reply


class _HangsUpInMessage(SMTP):
    async def smtp_DATA(self, arg: str) -> None:
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        await self._reader.readline()
        assert self.transport is not None
        self.transport.abort()


class HangsUpInMessage(Controller):
    """Hangs up after the first line of a message."""

    def factory(self) -> SMTP:
        """The protocol of one connection."""
        return _HangsUpInMessage(self.handler)


class _HangsUpAtQuit(SMTP):
    async def smtp_QUIT(self, arg: str) -> None:
        assert self.transport is not None
        self.transport.abort()


class HangsUpAtQuit(Controller):
    """Takes the message and does not say goodbye."""

    def factory(self) -> SMTP:
        """The protocol of one connection."""
        return _HangsUpAtQuit(self.handler)


def knows_one_user(server: SMTP, session: Session, envelope: Envelope, mechanism: str, auth_data: object) -> AuthResult:
    """Lets ``node`` with the password ``right`` in; ``later`` is told to try again."""
    assert isinstance(auth_data, LoginPassword)
    if auth_data.password == b"later":
        return AuthResult(success=False, handled=False, message="454 4.7.0 Temporary authentication failure")
    success = (auth_data.login, auth_data.password) == (b"node", b"right")
    return AuthResult(success=success, handled=False, auth_data=auth_data.login)
