"""Who a patient is, without saying so: a keyed hash of Issuer of Patient ID and Patient ID.

A hash without a secret could be turned back by trying all numbers of a hospital. So the key of a patient is HMAC-SHA256
(RFC 2104) under a secret of the node (:mod:`node.records.node_secret`). Who has both the secret and the table of results can
try numbers; a node that has lost the secret finds no prior.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Self

from node.records.node_secret import node_secret
from node.settings.tree import Settings


class PatientKeys:
    """Makes the keys of patients."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Read the secret, or make it at the first time.

        Raises:
            ConfigurationError: it cannot be read or made, or is damaged.
        """
        if_lost = "results that were kept under the old one are no longer found as prior results"
        return cls(node_secret(settings, "patient-key", if_lost))

    def key(self, issuer_of_patient_id: str | None, patient_id: str | None) -> str | None:
        """64 hexadecimal digits; ``None`` without a Patient ID.

        Args:
            issuer_of_patient_id: Issuer of Patient ID (0010,0021); another issuer is another patient, and so is none.
            patient_id: Patient ID (0010,0020). Blanks around either are padding (PS3.5 6.2).
        """
        if not (patient_id or "").strip():
            return None
        # each part with its length, so that ("ab", "c") and ("a", "bc") differ
        parts = [(part or "").strip().encode() for part in (issuer_of_patient_id, patient_id)]
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()
