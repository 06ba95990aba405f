"""The ways to a surgeon: would a message be taken? Nothing is sent that could be taken for one."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from node.alert.hl7_result import Hl7Channel
from node.alert.mail import MailChannel
from node.alert.webhook import WebhookChannel
from node.doctor.fhir import check_fhir
from node.doctor.finding import Finding, Outcome
from node.doctor.http import obstacle_to
from node.errors import NodeError
from node.settings.tree import Settings

_WAIT = "; alerts wait until then"


def check_alerts(settings: Settings) -> tuple[Finding, ...]:
    """Every channel that is switched on; mail is named in any case, since it is the usual one."""
    return tuple(_channels(settings))


def _channels(settings: Settings) -> Iterator[Finding]:
    yield _mail(settings)
    if settings.alert_hl7.host:
        yield _hl7(settings)
    if fhir := settings.alert_fhir.base_url:
        files = settings.alert_fhir.token_file, settings.alert_fhir.ca_file
        yield check_fhir("alerts by FHIR", "alert_fhir", fhir, *files, needed="transaction")
    if settings.alert_webhook.url:
        yield _webhook(settings)


def _mail(settings: Settings) -> Finding:
    """Whether the mail server greets the node, encrypts, and takes the login."""
    name = "alerts by mail"
    if not settings.alert.smtp_host:
        return Finding(name, Outcome.OK, "switched off: no mail leaves the node")
    try:
        MailChannel.from_settings(settings.alert).probe()
    except NodeError as error:
        todo = f"correct the section [alert], or have this machine admitted there{_WAIT}"
        return Finding(name, Outcome.ERROR, str(error), todo)
    return Finding(name, Outcome.OK, "the server answers and takes the login; nothing was sent")


def _hl7(settings: Settings) -> Finding:
    """MLLP has no question for whether somebody is there: a connection is made and closed."""
    name, receiver = "alerts by HL7", settings.alert_hl7
    try:
        context = Hl7Channel.from_settings(receiver, settings.alert.timeout_s).context
    except NodeError as error:
        return Finding(name, Outcome.ERROR, str(error))
    obstacle = obstacle_to(receiver.host, receiver.port, context)
    if obstacle is not None:
        return Finding(name, Outcome.ERROR, obstacle.detail, f"{obstacle.what_to_do} in [alert_hl7]{_WAIT}")
    how = "with TLS" if context is not None else "in clear"
    detail = (
        f"{receiver.host}:{receiver.port} takes a connection {how}; no message was sent, so whether it takes one is open"
    )
    return Finding(name, Outcome.OK, detail)


def _webhook(settings: Settings) -> Finding:
    name, url = "alerts by webhook", urlsplit(settings.alert_webhook.url)
    is_tls = url.scheme == "https"
    try:
        channel = WebhookChannel.from_settings(settings.alert_webhook, settings.alert, settings.alert.timeout_s)
        host, port = url.hostname or "", url.port or (443 if is_tls else 80)
    except NodeError as error:
        return Finding(name, Outcome.ERROR, str(error))
    except ValueError:
        return Finding(name, Outcome.ERROR, "alert_webhook.url names no port that exists", "correct it")
    obstacle = obstacle_to(host, port, channel.context if is_tls else None)
    if obstacle is not None:
        return Finding(name, Outcome.ERROR, obstacle.detail, f"{obstacle.what_to_do} in [alert_webhook]{_WAIT}")
    return Finding(name, Outcome.OK, f"{host}:{port} takes a connection; nothing was posted, so whether it is taken is open")
