"""E-mail by SMTP (RFC 5321), encrypted by STARTTLS (RFC 3207) or TLS (RFC 8314)."""

from __future__ import annotations

import logging
import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from pathlib import Path
from typing import Literal

from node.alert.values import Alert
from node.errors import ConfigurationError, NodeError, RejectedError, TransportError
from node.settings import AlertSettings

log = logging.getLogger(__name__)

#: Replies of 500 and above are permanent, those below may change (RFC 5321, 4.2.1).
_PERMANENT_FROM = 500
#: Every server takes lines of 7 bits; not every one takes 8.
_POLICY = SMTP.clone(cte_type="7bit")


@dataclass(frozen=True, slots=True)
class MailChannel:
    """Sends each alert as one e-mail; made by :meth:`from_settings`.

    Attributes:
        password: at the mail server, for ``user``; both empty: no login.
        timeout_s: of each answer of the server.
    """

    host: str
    port: int
    security: Literal["starttls", "tls", "none"]
    context: ssl.SSLContext
    user: str
    password: str = field(repr=False)
    sender: str
    timeout_s: float

    @classmethod
    def from_settings(cls, settings: AlertSettings) -> MailChannel:
        """Read the files that the settings name, so that a wrong one is told at start.

        Raises:
            ConfigurationError: one of them cannot be used.
        """
        return cls(
            host=settings.smtp_host,
            port=settings.smtp_port,
            security=settings.smtp_security,
            context=_context(settings.ca_file),
            user=settings.user,
            password=_password(settings.password_file),
            sender=settings.sender,
            timeout_s=settings.timeout_s,
        )

    @property
    def name(self) -> str:
        """Name in logs and records."""
        return "mail"

    def send(self, alert: Alert) -> None:
        """Hand an alert to the mail server; one connection per message.

        Raises:
            TransportError: no connection, a hang-up, a time-out, or a reply below 500. After a hang-up the message may have
                been taken: a repeat has the same Message-ID.
            RejectedError: a reply of 500 or above, such as a recipient or a login that is refused.
            ConfigurationError: no STARTTLS or login where the settings want it, or a certificate that is not trusted.
        """
        message = self._message(alert)
        try:
            smtp = self._connected()
            try:
                smtp.send_message(message)
                self._say_goodbye(smtp)
            finally:
                smtp.close()
        except (smtplib.SMTPException, OSError) as error:
            raise self._node_error(error) from error
        log.info("alert %s (%s) handed to mail server %s:%d", alert.id, alert.rule, self.host, self.port)

    def _message(self, alert: Alert) -> EmailMessage:
        message = EmailMessage(policy=_POLICY)
        message["From"] = self.sender
        message["To"] = alert.recipient
        message["Subject"] = alert.subject
        message["Date"] = formatdate()
        message["Message-ID"] = f"<{alert.id}@{self.sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's out-of-office note answers it
        message.set_content(alert.text)
        return message

    def _connected(self) -> smtplib.SMTP:
        smtp: smtplib.SMTP
        if self.security == "tls":
            smtp = smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout_s, context=self.context)
        else:
            smtp = smtplib.SMTP(self.host, self.port, timeout=self.timeout_s)
        try:
            if self.security == "starttls":
                smtp.starttls(context=self.context)
            if self.user:
                smtp.login(self.user, self.password)
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _say_goodbye(self, smtp: smtplib.SMTP) -> None:
        """Sign off; the message was taken before, so a failure here must not cause a second one."""
        try:
            smtp.quit()
        except (smtplib.SMTPException, OSError) as error:
            log.info("mail server %s:%d took the message and hung up: %s", self.host, self.port, _said(error))

    def probe(self) -> None:
        """Connect, encrypt and log in as for an alert, and send nothing.

        Raises:
            TransportError, RejectedError, ConfigurationError: as :meth:`send` would.
        """
        try:
            smtp = self._connected()
            try:
                smtp.ehlo_or_helo_if_needed()
                self._say_goodbye(smtp)
            finally:
                smtp.close()
        except (smtplib.SMTPException, OSError) as error:
            raise self._node_error(error) from error

    def _node_error(self, error: smtplib.SMTPException | OSError) -> NodeError:
        where = f"mail server {self.host}:{self.port}"
        if isinstance(error, ssl.SSLCertVerificationError):
            return ConfigurationError(
                f"the certificate of {where} is not trusted ({error.verify_message}): "
                "set alert.ca_file to its authority and alert.smtp_host to the name that it is made out to"
            )
        if isinstance(error, smtplib.SMTPNotSupportedError):
            return ConfigurationError(
                f"{where} lacks what the settings want ({error}): "
                "change alert.smtp_security, alert.smtp_port, or alert.user and alert.password_file"
            )
        if isinstance(error, smtplib.SMTPRecipientsRefused):
            ((code, _),) = error.recipients.values()  # one message has one recipient
            return _refusal(f"{where} refused the recipient: {_said(error)}", code)
        if isinstance(error, smtplib.SMTPAuthenticationError):
            return _refusal(f"{where} refused the login: {_said(error)}", error.smtp_code)
        if isinstance(error, smtplib.SMTPResponseException):
            return _refusal(f"{where} refused: {_said(error)}", error.smtp_code)
        # smtplib's own errors without a reply: a hang-up comes as SMTPServerDisconnected, a login method that both sides
        # know is missing as the plain SMTPException
        if isinstance(error, smtplib.SMTPException) and not isinstance(error, smtplib.SMTPServerDisconnected):
            return ConfigurationError(f"{where} cannot be used with these settings: {error}")
        return TransportError(f"{where} could not be reached: {error}")


def _refusal(text: str, code: int) -> NodeError:
    return RejectedError(text) if code >= _PERMANENT_FROM else TransportError(text)


def _said(error: smtplib.SMTPException | OSError) -> str:
    """The server's reply on one line."""
    replies: list[tuple[int, bytes | str]] = []
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        replies = list(error.recipients.values())
    elif isinstance(error, smtplib.SMTPResponseException):
        replies = [(error.smtp_code, error.smtp_error)]
    if not replies:
        return str(error)
    texts = ((code, reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply) for code, reply in replies)
    return "; ".join(f"{code} {' '.join(text.split())}" for code, text in texts)


def _context(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError(f"alert.ca_file {ca_file} cannot be used: {error}") from error


def _password(password_file: str) -> str:
    if not password_file:
        return ""
    try:
        password = Path(password_file).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"alert.password_file {password_file} cannot be read: {error}") from error
    # smtplib encodes it in ASCII and would fail at the first alert
    if not password or not password.isascii() or not password.isprintable():
        raise ConfigurationError(f"alert.password_file {password_file} must hold one line with the password in ASCII")
    return password
