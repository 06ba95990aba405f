"""Who a patient is, without saying so: a keyed hash of Issuer of Patient ID and Patient ID.

A hash without a secret could be turned back by trying all numbers of a hospital. So the key of a patient is HMAC-SHA256
(RFC 2104) under 32 random bytes that never leave the node: in the file ``patient-key.secret`` of the state directory, which
its owner alone can read; with PostgreSQL, where several machines must find the same patient, in the table ``secrets`` of the
database. Who has both the secret and the table of results can try numbers; a node that has lost the secret finds no prior.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from node.database import insert_or_keep, open_database
from node.errors import ConfigurationError
from node.settings import Settings

_FILE_NAME = "patient-key.secret"
_N_BYTES = 32

_metadata = sa.MetaData()

_secrets = sa.Table(
    "secrets",
    _metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.String(128), nullable=False),
)


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
        engine = open_database(settings, _metadata)
        if engine.dialect.name == "postgresql":
            return cls(_in_database(engine))
        return cls(_in_file(settings.state_dir / _FILE_NAME))

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


def _in_database(engine: sa.Engine) -> bytes:
    with engine.begin() as connection:
        insert_or_keep(connection, _secrets, name="patient-key", value=secrets.token_hex(_N_BYTES))
        value = connection.execute(sa.select(_secrets.c.value).where(_secrets.c.name == "patient-key")).scalar_one()
    return bytes.fromhex(value)


def _in_file(path: Path) -> bytes:
    try:
        if not path.exists():
            _make(path)
        secret = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read or made ({error.strerror}): give the node's user the right"
        ) from error
    if len(secret) != _N_BYTES:
        raise ConfigurationError(
            f"{path} is damaged: restore it from a backup, or remove it; then a new one is made, and results that were kept "
            "under the old one are no longer found as prior results"
        )
    return secret


def _make(path: Path) -> None:
    """Make the file as a whole: a process that makes it at the same time finds this one or makes it first."""
    with tempfile.NamedTemporaryFile(dir=path.parent) as file:  # readable by its owner alone from the start
        file.write(secrets.token_bytes(_N_BYTES))
        file.flush()
        os.fsync(file.fileno())
        try:
            path.hardlink_to(file.name)
        except FileExistsError:
            return
