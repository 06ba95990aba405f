"""What every channel can do, and the one that the settings switch on."""

from __future__ import annotations

from typing import Protocol

from node.alert.mail import MailChannel
from node.alert.values import Alert
from node.settings import AlertSettings


class Channel(Protocol):
    """A way to reach a surgeon."""

    @property
    def name(self) -> str:
        """Name in logs and records."""

    def send(self, alert: Alert) -> None:
        """Send an alert to its recipient; return once the other side has taken it over.

        Raises:
            TransportError: try again later; the recipient can tell a repeat by the alert's id.
            RejectedError: the other side refuses for good.
            ConfigurationError: the settings do not fit the other side.
        """


def channel_for(settings: AlertSettings) -> Channel | None:
    """The channel that is switched on; ``None`` if none is, and then nothing leaves the node.

    Raises:
        ConfigurationError: a file that the settings name cannot be used.
    """
    return MailChannel.from_settings(settings) if settings.smtp_host else None
