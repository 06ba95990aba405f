"""The ways to a surgeon: would a message be taken? Nothing is sent that could be taken for one."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from node.alerts.channels.hl7 import Hl7Channel
from node.alerts.channels.mail import MailChannel
from node.alerts.channels.webhook import WebhookChannel
from node.alerts.values import ChannelName
from node.common.errors import NodeError
from node.doctor.fhir import check_fhir
from node.doctor.finding import Finding, Outcome
from node.doctor.http import obstacle_to
from node.settings.alert import AlertHl7Settings, AlertWebhookSettings
from node.settings.tree import Settings

_WAIT = "; alerts wait until then"
_SECOND = "second_"


def check_alerts(settings: Settings) -> tuple[Finding, ...]:
    """Every channel that is switched on; mail is named in any case, since it is the usual one."""
    return tuple(_channels(settings))


def _channels(settings: Settings) -> Iterator[Finding]:
    yield _mail(settings)
    for hl7_name, receiver in ((ChannelName.HL7, settings.alert_hl7), (ChannelName.SECOND_HL7, settings.alert_second_hl7)):
        if receiver.host:
            yield _hl7(hl7_name, receiver, settings)
    for fhir_name, server in (
        (ChannelName.FHIR, settings.alert_fhir),
        (ChannelName.SECOND_FHIR, settings.alert_second_fhir),
    ):
        if server.base_url:
            title, section, files = _title(fhir_name), fhir_name.section, (server.token_file, server.ca_file)
            yield check_fhir(title, section, server.base_url, *files, needed="transaction")
    hooks = ((ChannelName.WEBHOOK, settings.alert_webhook), (ChannelName.SECOND_WEBHOOK, settings.alert_second_webhook))
    for hook_name, hook in hooks:
        if hook.url:
            yield _webhook(hook_name, hook, settings)


def _title(name: ChannelName) -> str:
    kind = {"hl7": "HL7", "fhir": "FHIR", "webhook": "webhook"}[name.removeprefix(_SECOND)]
    return f"alerts by {kind}, second recipient" if name.startswith(_SECOND) else f"alerts by {kind}"


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


def _hl7(channel: ChannelName, receiver: AlertHl7Settings, settings: Settings) -> Finding:
    """MLLP has no question for whether somebody is there: a connection is made and closed."""
    name = _title(channel)
    try:
        context = Hl7Channel.from_settings(channel, receiver, settings.alert.timeout_s).context
    except NodeError as error:
        return Finding(name, Outcome.ERROR, str(error))
    obstacle = obstacle_to(receiver.host, receiver.port, context)
    if obstacle is not None:
        return Finding(name, Outcome.ERROR, obstacle.detail, f"{obstacle.what_to_do} in [{channel.section}]{_WAIT}")
    how = "with TLS" if context is not None else "in clear"
    detail = (
        f"{receiver.host}:{receiver.port} takes a connection {how}; no message was sent, so whether it takes one is open"
    )
    return Finding(name, Outcome.OK, detail)


def _webhook(channel: ChannelName, hook: AlertWebhookSettings, settings: Settings) -> Finding:
    name, section, url = _title(channel), channel.section, urlsplit(hook.url)
    is_tls = url.scheme == "https"
    try:
        context = WebhookChannel.from_settings(channel, hook, settings.alert, settings.alert.timeout_s).context
        host, port = url.hostname or "", url.port or (443 if is_tls else 80)
    except NodeError as error:
        return Finding(name, Outcome.ERROR, str(error))
    except ValueError:
        return Finding(name, Outcome.ERROR, f"{section}.url names no port that exists", "correct it")
    obstacle = obstacle_to(host, port, context if is_tls else None)
    if obstacle is not None:
        return Finding(name, Outcome.ERROR, obstacle.detail, f"{obstacle.what_to_do} in [{section}]{_WAIT}")
    return Finding(name, Outcome.OK, f"{host}:{port} takes a connection; nothing was posted, so whether it is taken is open")
