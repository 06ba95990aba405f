"""Signed links with which a surgeon acknowledges an alert. Anyone who has one can use it; only the node can make one."""

from __future__ import annotations

import hashlib
import hmac
from typing import Self
from urllib.parse import urlencode

from node.records.node_secret import node_secret
from node.settings.tree import Settings

#: Path on the status page.
ACKNOWLEDGE_PATH = "/alerts/acknowledge"
#: 128 bits.
_N_DIGITS = 32


class AlertLinks:
    """Signs the ids of alerts and verifies signatures."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Read the secret, or create it on first use.

        Raises:
            ConfigurationError: the secret cannot be read or created, or is damaged.
        """
        return cls(node_secret(settings, "alert-link", "links in mails that were sent no longer acknowledge their alert"))

    def signature(self, alert_id: str) -> str:
        """Return the signature of an alert: 32 hexadecimal digits."""
        return hmac.new(self._secret, f"acknowledge {alert_id}".encode(), hashlib.sha256).hexdigest()[:_N_DIGITS]

    def is_signed(self, alert_id: str, signature: str) -> bool:
        """Whether the signature belongs to the alert."""
        return hmac.compare_digest(self.signature(alert_id).encode(), signature.encode())

    def link(self, base_url: str, alert_id: str) -> str:
        """Return the URL that acknowledges an alert; empty if the settings have no address of the page."""
        if not base_url:
            return ""
        query = urlencode({"id": alert_id, "signature": self.signature(alert_id)})
        return f"{base_url.rstrip('/')}{ACKNOWLEDGE_PATH}?{query}"
