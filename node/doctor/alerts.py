"""The channels of the alerts: would the other side accept a message? Nothing is sent that it could take for one."""

from __future__ import annotations

from collections.abc import Iterator

from node.alerts import channel_for
from node.alerts.channels.channel import setting_of
from node.alerts.channels.mail import MailChannel
from node.common.errors import NodeError
from node.doctor.fhir import check_fhir
from node.doctor.finding import Finding, Outcome
from node.doctor.http import obstacle_to
from node.settings.alert import AlertReceiver, FhirReceiver
from node.settings.tree import Settings

_WAIT = "; alerts wait until then"


def check_alerts(settings: Settings) -> tuple[Finding, ...]:
    """Mail, switched on or not, and every receiver."""
    return tuple(_channels(settings))


def _channels(settings: Settings) -> Iterator[Finding]:
    yield _mail(settings)
    for receiver in settings.alert_receivers:
        name = f"alerts to {receiver.name}"
        if isinstance(receiver, FhirReceiver):
            files = (receiver.token_file, receiver.ca_file)
            yield check_fhir(name, setting_of(receiver.name), receiver.base_url, *files, needed="transaction")
        else:
            yield _connection(name, receiver, settings)


def _mail(settings: Settings) -> Finding:
    """Whether the mail server greets the node, encrypts, and accepts the login."""
    name = "alerts by mail"
    if not settings.alert.smtp_host:
        return Finding(name, Outcome.OK, "switched off: no mail leaves the node")
    try:
        MailChannel.from_settings(settings.alert).probe()
    except NodeError as error:
        todo = f"correct the section [alert], or let the mail server accept this machine{_WAIT}"
        return Finding(name, Outcome.ERROR, str(error), todo)
    return Finding(name, Outcome.OK, "the server answers and accepts the login; nothing was sent")


def _connection(name: str, receiver: AlertReceiver, settings: Settings) -> Finding:
    """Whether the other side takes a connection: its protocol has no question that is not an alert."""
    try:
        endpoint = channel_for(receiver.name, settings).endpoint
    except NodeError as error:
        return Finding(name, Outcome.ERROR, str(error))
    obstacle = obstacle_to(endpoint.host, endpoint.port, endpoint.context)
    if obstacle is not None:
        return Finding(name, Outcome.ERROR, obstacle.detail, f"{obstacle.what_to_do}{_WAIT}")
    how = "with TLS" if endpoint.context is not None else "without encryption"
    detail = f"{endpoint.host}:{endpoint.port} takes a connection {how}; nothing was sent, so it may still refuse an alert"
    return Finding(name, Outcome.OK, detail)
