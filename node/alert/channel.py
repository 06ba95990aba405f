"""What every channel can do, and those that the settings switch on."""

from __future__ import annotations

from typing import Protocol

from node.alert.fhir import FhirChannel
from node.alert.hl7_result import Hl7Channel
from node.alert.mail import MailChannel
from node.alert.values import Alert, ChannelName, Message
from node.alert.webhook import WebhookChannel
from node.patient.identity import PatientIdentity
from node.settings.tree import Settings


class Channel(Protocol):
    """A way to reach a surgeon."""

    @property
    def name(self) -> ChannelName:
        """Name in logs and records."""

    def send(self, alert: Alert, message: Message, patient: PatientIdentity) -> str:
        """Send an alert to its recipient; return once the other side has taken it over.

        Args:
            message: what a person reads.
            patient: who it is about; a channel that need not name the patient does not.

        Returns:
            What the other side answered, without patient data.

        Raises:
            TransportError: try again later; the recipient can tell a repeat by ``alert.message_id``.
            RejectedError: the other side refuses for good.
            ConfigurationError: the settings do not fit the other side.
        """


def channels_on(settings: Settings) -> frozenset[ChannelName]:
    """The channels that are switched on; none of them, and then nothing leaves the node."""
    wanted = {
        ChannelName.MAIL: settings.alert.smtp_host,
        ChannelName.HL7: settings.alert_hl7.host,
        ChannelName.FHIR: settings.alert_fhir.base_url,
        ChannelName.WEBHOOK: settings.alert_webhook.url,
    }
    return frozenset(name for name, address in wanted.items() if address)


def channels_for(settings: Settings) -> dict[ChannelName, Channel]:
    """Every channel that is switched on, ready to send.

    Raises:
        ConfigurationError: a file that the settings name cannot be used.
    """
    timeout_s = settings.alert.timeout_s
    channels: dict[ChannelName, Channel] = {}
    on = channels_on(settings)
    if ChannelName.MAIL in on:
        channels[ChannelName.MAIL] = MailChannel.from_settings(settings.alert)
    if ChannelName.HL7 in on:
        channels[ChannelName.HL7] = Hl7Channel.from_settings(settings.alert_hl7, timeout_s)
    if ChannelName.FHIR in on:
        channels[ChannelName.FHIR] = FhirChannel.from_settings(settings.alert_fhir, timeout_s)
    if ChannelName.WEBHOOK in on:
        channels[ChannelName.WEBHOOK] = WebhookChannel.from_settings(settings.alert_webhook, settings.alert, timeout_s)
    return channels
