"""Pseudonymous keys of patients: a keyed hash of Issuer of Patient ID and Patient ID.

A hash without a secret could be reversed by trying all patient numbers of a hospital. So the key is HMAC-SHA256 (RFC 2104)
under a secret of the node (:mod:`node.records.node_secret`). Anyone with both the secret and the table of results can still
try numbers. A node that has lost the secret finds no prior results.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Self

from node.records.node_secret import node_secret
from node.settings.tree import Settings


class PatientKeys:
    """Computes the keys of patients."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Read the secret, or create it on first use.

        Raises:
            ConfigurationError: the secret cannot be read or created, or is damaged.
        """
        if_lost = "results that were kept under the old one are no longer found as prior results"
        return cls(node_secret(settings, "patient-key", if_lost))

    def key(self, issuer_of_patient_id: str | None, patient_id: str | None) -> str | None:
        """Return the key of a patient: 64 hexadecimal digits; ``None`` without a Patient ID.

        Args:
            issuer_of_patient_id: Issuer of Patient ID (0010,0021). Another issuer, or none, is another patient.
            patient_id: Patient ID (0010,0020). Spaces around either value are padding (PS3.5 6.2).
        """
        if not (patient_id or "").strip():
            return None
        # prefix each part with its length, so that ("ab", "c") and ("a", "bc") differ
        parts = [(part or "").strip().encode() for part in (issuer_of_patient_id, patient_id)]
        message = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.new(self._secret, message, hashlib.sha256).hexdigest()
