"""What every channel can do, and those that the settings switch on."""

from __future__ import annotations

from typing import Protocol

from node.alerts.channels.fhir import FhirChannel
from node.alerts.channels.hl7 import Hl7Channel
from node.alerts.channels.mail import MailChannel
from node.alerts.channels.webhook import WebhookChannel
from node.alerts.values import Alert, ChannelName, Message
from node.clinical.identity import PatientIdentity
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
        ChannelName.SECOND_HL7: settings.alert_second_hl7.host,
        ChannelName.SECOND_FHIR: settings.alert_second_fhir.base_url,
        ChannelName.SECOND_WEBHOOK: settings.alert_second_webhook.url,
    }
    return frozenset(name for name, address in wanted.items() if address)


def channel_for(name: ChannelName, settings: Settings) -> Channel:
    """A channel with the files of the settings as they are now: a certificate that was renewed counts without a restart.

    Raises:
        ConfigurationError: a file that the settings name cannot be used.
    """
    timeout_s = settings.alert.timeout_s
    match name:
        case ChannelName.MAIL:
            return MailChannel.from_settings(settings.alert)
        case ChannelName.HL7:
            return Hl7Channel.from_settings(name, settings.alert_hl7, timeout_s)
        case ChannelName.SECOND_HL7:
            return Hl7Channel.from_settings(name, settings.alert_second_hl7, timeout_s)
        case ChannelName.FHIR:
            return FhirChannel.from_settings(name, settings.alert_fhir, timeout_s)
        case ChannelName.SECOND_FHIR:
            return FhirChannel.from_settings(name, settings.alert_second_fhir, timeout_s)
        case ChannelName.WEBHOOK:
            return WebhookChannel.from_settings(name, settings.alert_webhook, settings.alert, timeout_s)
        case ChannelName.SECOND_WEBHOOK:
            return WebhookChannel.from_settings(name, settings.alert_second_webhook, settings.alert, timeout_s)
