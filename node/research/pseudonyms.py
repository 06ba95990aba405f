"""Pseudonyms: keyed hashes of identifiers, and dates shifted by a number of days that the key derives for each patient.

The hash is HMAC-SHA256 (RFC 2104) under a key that stays at the site. Without the key nobody can compute the pseudonym of a
patient number, not even by trying all numbers. Intervals between the studies of a patient stay as they are.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from node.common.errors import ConfigurationError

#: 80 bits: among a million pseudonyms, two are equal with a probability of 4e-13.
_DIGITS = 20
_MIN_KEY_BYTES = 32
#: Dates move into the past by 1 to this many days.
MAX_SHIFT_DAYS = 365
#: Ages above 89 identify (45 CFR 164.514(b)(2)(i)(C)).
OLDEST_AGE = 90


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """The pseudonyms under one key."""

    key: bytes = field(repr=False)

    def of(self, column: str, value: str) -> str:
        """The pseudonym of an identifier: 20 hexadecimal digits; empty for an empty one. Columns do not share them."""
        return self._mac(column, value).hex()[:_DIGITS] if value else ""

    def shifted(self, date: dt.date, patient: str) -> dt.date:
        """A date moved into the past, by the same number of days for every date of a patient."""
        days = int.from_bytes(self._mac("date shift", patient)[:8], "big") % MAX_SHIFT_DAYS + 1
        return date - dt.timedelta(days=days)

    def _mac(self, purpose: str, value: str) -> bytes:
        # the purpose is one of our own words and has no zero byte, so that purpose and value stay apart
        return hmac.new(self.key, f"{purpose}\0{value}".encode(), hashlib.sha256).digest()


def patient_of(issuer_of_patient_id: str, patient_id: str, study_instance_uid: str) -> str:
    """Whose dates are shifted together; a study without a Patient ID stands alone."""
    return f"{len(issuer_of_patient_id)}:{issuer_of_patient_id}{patient_id}" if patient_id else f"study {study_instance_uid}"


def read_or_make_key(path: Path) -> tuple[bytes, bool]:
    """Read the key, or create it.

    Returns:
        The key, and whether it is new.

    Raises:
        ConfigurationError: the file cannot be read or created, others can read it, or it is too short.
    """
    try:
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(_MIN_KEY_BYTES) + "\n")
                file.flush()
                os.fsync(file.fileno())
            return path.read_bytes().strip(), True
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigurationError(f"others can use the key {path}: take it away from them with chmod 600 {path}")
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigurationError(f"the key {path} cannot be read or created: {error.strerror}") from error
    if len(key) < _MIN_KEY_BYTES:
        raise ConfigurationError(
            f"the key {path} has {len(key)} bytes: it needs {_MIN_KEY_BYTES}, or remove it for a new one"
        )
    return key, False
