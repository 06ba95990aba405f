"""E-mail by SMTP (RFC 5321), encrypted by STARTTLS (RFC 3207) or TLS (RFC 8314)."""

from __future__ import annotations

import logging
import smtplib
import ssl
import textwrap
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate
from typing import Literal

from node.alerts.channels.channel import Endpoint
from node.alerts.screened import one_line
from node.alerts.values import Alert, Message
from node.clinical.identity import PatientIdentity
from node.common.errors import ConfigurationError, NodeError, RejectedError, TransportError
from node.settings.alert import MAIL, AlertSettings
from node.settings.files import ascii_secret, trusting

log = logging.getLogger(__name__)

#: Replies of 500 and above are permanent, those below may change (RFC 5321, 4.2.1).
_PERMANENT_FROM = 500
#: Width of the text, as in :mod:`node.alerts.message`.
_WIDTH = 76
#: Every server accepts lines of 7 bits; not every one accepts 8.
_POLICY = SMTP.clone(cte_type="7bit")


@dataclass(frozen=True, slots=True)
class MailChannel:
    """Sends each alert as one e-mail; made by :meth:`from_settings`.

    Attributes:
        password: of ``user`` at the mail server; both empty: no login.
        timeout_s: for each answer of the server.
        names_patient: whether the mail names the patient, and who requested the CT.
    """

    host: str
    port: int
    security: Literal["starttls", "tls", "none"]
    context: ssl.SSLContext
    user: str
    password: str = field(repr=False)
    sender: str
    timeout_s: float
    names_patient: bool = False

    @classmethod
    def from_settings(cls, settings: AlertSettings) -> MailChannel:
        """Read the files that the settings name, so that a wrong one is an error at start.

        Raises:
            ConfigurationError: one of them cannot be used.
        """
        return cls(
            host=settings.smtp_host,
            port=settings.smtp_port,
            security=settings.smtp_security,
            context=trusting(settings.ca_file, "alert.ca_file"),
            user=settings.user,
            password=ascii_secret(settings.password_file, "alert.password_file"),
            sender=settings.sender,
            timeout_s=settings.timeout_s,
            names_patient=settings.patient_in_mail,
        )

    @property
    def name(self) -> str:
        """Name in logs and records."""
        return MAIL

    @property
    def endpoint(self) -> Endpoint:
        """Where it connects to."""
        return Endpoint(self.host, self.port, self.context if self.security == "tls" else None)

    def send(self, alert: Alert, message: Message, patient: PatientIdentity) -> str:
        """Hand an alert to the mail server, with one connection per message.

        Raises:
            TransportError, RejectedError, ConfigurationError: as :meth:`hand_over` does.
        """
        self.hand_over(self._mail(alert, message, patient))
        log.info("alert %s (%s) handed to mail server %s:%d", alert.message_id, alert.kind, self.host, self.port)
        return f"accepted by mail server {self.host}:{self.port}"

    def hand_over(self, mail: EmailMessage) -> None:
        """Hand a message with one recipient to the mail server.

        Raises:
            TransportError: no connection, a dropped connection, a time-out, or a reply below 500. If the connection drops,
                the server may have accepted the message: a repeat has the same Message-ID.
            RejectedError: a reply of 500 or above, such as a refused recipient or login.
            ConfigurationError: no STARTTLS or login although the settings require it, or a certificate that is not trusted.
        """
        try:
            smtp = self._connected()
            try:
                smtp.send_message(mail)
                self._say_goodbye(smtp)
            finally:
                smtp.close()
        except (smtplib.SMTPException, OSError) as error:
            raise self._node_error(error) from error

    def _mail(self, alert: Alert, message: Message, patient: PatientIdentity) -> EmailMessage:
        mail = EmailMessage(policy=_POLICY)
        mail["From"] = self.sender
        mail["To"] = alert.recipient.address
        mail["Subject"] = message.subject
        mail["Date"] = formatdate()
        mail["Message-ID"] = self._message_id(alert.message_id)
        if alert.revision > 1:
            first = self._message_id(f"{alert.id}-1")
            mail["In-Reply-To"], mail["References"] = first, first
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic reply
        named = _named(patient) if self.names_patient else ""
        of_header = f"\n{textwrap.fill(message.of_header, _WIDTH)}\n" if self.names_patient and message.of_header else ""
        mail.set_content(named + message.text + of_header)
        return mail

    def _message_id(self, name: str) -> str:
        return f"<{name}@{self.sender.rpartition('@')[2]}>"

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
        """Sign off. The message was accepted before, so a failure here must not cause a repeat."""
        try:
            smtp.quit()
        except (smtplib.SMTPException, OSError) as error:
            log.info(
                "mail server %s:%d accepted the message and dropped the connection: %s", self.host, self.port, _said(error)
            )

    def probe(self) -> None:
        """Connect, encrypt and log in as for an alert, and send nothing.

        Raises:
            TransportError, RejectedError, ConfigurationError: as :meth:`send` does.
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
                f"{where} does not support what the settings require ({error}): "
                "change alert.smtp_security, alert.smtp_port, or alert.user and alert.password_file"
            )
        if isinstance(error, smtplib.SMTPRecipientsRefused):
            ((code, _),) = error.recipients.values()  # one message has one recipient
            return _refusal(f"{where} refused the recipient: {_said(error)}", code)
        if isinstance(error, smtplib.SMTPAuthenticationError):
            return _refusal(f"{where} refused the login: {_said(error)}", error.smtp_code)
        if isinstance(error, smtplib.SMTPResponseException):
            return _refusal(f"{where} refused: {_said(error)}", error.smtp_code)
        # smtplib has errors without a reply: SMTPServerDisconnected for a dropped connection, and the plain SMTPException if
        # there is no login method that both sides support
        if isinstance(error, smtplib.SMTPException) and not isinstance(error, smtplib.SMTPServerDisconnected):
            return ConfigurationError(f"{where} cannot be used with these settings: {error}")
        return TransportError(f"{where} could not be reached: {error}")


def _named(patient: PatientIdentity) -> str:
    """The first lines of a mail that names the patient: name, birth date, Patient ID."""
    name = one_line(", ".join(part for part in (patient.names or ("",))[0].split("^") if part))
    born = patient.birth_date.isoformat() if patient.birth_date is not None else ""
    number = one_line(patient.identifiers[0].value) if patient.identifiers else ""
    return "; ".join(part for part in (name, f"*{born}" if born else "", number) if part) + "\n\n"


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
