"""What every channel can do."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Protocol

from node.alerts.values import Alert, Message
from node.clinical.identity import PatientIdentity


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a channel connects to.

    Attributes:
        context: ``None``: not encrypted.
    """

    host: str
    port: int
    context: ssl.SSLContext | None


class Channel(Protocol):
    """A way to reach a surgeon."""

    @property
    def name(self) -> str:
        """Name in logs and records."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it connects to, for ``bmd-node doctor``.

        Raises:
            ConfigurationError: the settings hold no such address.
        """

    def send(self, alert: Alert, message: Message, patient: PatientIdentity) -> str:
        """Send an alert to its recipient; return once the other side has accepted it.

        Args:
            message: what a person reads.
            patient: who the alert is about; a channel that need not name the patient does not.

        Returns:
            What the other side answered, without patient data.

        Raises:
            TransportError: try again later; the recipient recognises a repeat by ``alert.message_id``.
            RejectedError: the other side refuses permanently.
            ConfigurationError: the settings do not fit the other side.
        """


def setting_of(name: str) -> str:
    """How messages call the settings of a receiver; a setting follows after a full stop."""
    return f"alert_receivers.{name}"
