"""The channels, by the settings that switch them on.

To add a channel, such as one to Microsoft Teams:

1. a module beside this one with a class that has what :class:`~node.alerts.channels.channel.Channel` asks for, and is made
   from its settings (:class:`~node.alerts.channels.webhook.WebhookChannel` is the shortest example);
2. a class of settings in :mod:`node.settings.alert` with a ``kind`` of its own, named in ``AlertReceiver`` there;
3. an entry in :data:`RECEIVERS`.

Nothing else has to know it: decisions, records, queues, the status page and ``bmd-node doctor`` go by the name of a
receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from node.alerts.channels.channel import Channel
from node.alerts.channels.fhir import FhirChannel
from node.alerts.channels.hl7 import Hl7Channel
from node.alerts.channels.mail import MailChannel
from node.alerts.channels.webhook import WebhookChannel
from node.alerts.values import ChannelsOn
from node.common.errors import ConfigurationError
from node.settings.alert import MAIL, AlertReceiver, AlertSettings, FhirReceiver, Hl7Receiver, WebhookReceiver
from node.settings.tree import Settings

#: What makes the channel of a receiver, by the class of the receiver's settings.
RECEIVERS: Mapping[type[AlertReceiver], Callable[[Any, AlertSettings], Channel]] = {
    Hl7Receiver: Hl7Channel.from_settings,
    FhirReceiver: FhirChannel.from_settings,
    WebhookReceiver: WebhookChannel.from_settings,
}


def channels_on(settings: Settings) -> ChannelsOn:
    """The channels that are switched on."""
    of_stage = {
        stage: tuple(receiver.name for receiver in settings.alert_receivers if receiver.stage == stage)
        for stage in ("first", "second")
    }
    return ChannelsOn(bool(settings.alert.smtp_host), of_stage["first"], of_stage["second"])


def channel_for(name: str, settings: Settings) -> Channel:
    """A channel, with its files as they are now: a renewed certificate takes effect without a restart.

    Raises:
        ConfigurationError: there is no such receiver, or a file that the settings name cannot be used.
    """
    if name == MAIL:
        return MailChannel.from_settings(settings.alert)
    for receiver in settings.alert_receivers:
        if receiver.name == name:
            return RECEIVERS[type(receiver)](receiver, settings.alert)
    raise ConfigurationError(f'alert_receivers has no entry with the name "{name}"')
