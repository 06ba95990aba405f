"""Secrets that the node creates on first use: 32 random bytes that never leave it.

Each secret is in a file ``NAME.secret`` of the state directory that only its owner can read. With PostgreSQL, several
machines share a secret, so it is in the table ``secrets`` of the database.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

import sqlalchemy as sa

from node.common.errors import ConfigurationError
from node.common.files import sync_folder
from node.records.database import insert_or_keep, metadata, open_database
from node.settings.tree import Settings

_N_BYTES = 32

_secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.String(128), nullable=False),
)


def node_secret(settings: Settings, name: str, if_lost: str) -> bytes:
    """Read a secret, or create it on first use.

    Args:
        if_lost: what stops working without the secret, for the error message.

    Raises:
        ConfigurationError: the secret cannot be read or created, or is damaged.
    """
    engine = open_database(settings)
    if engine.dialect.name == "postgresql":
        return _in_database(engine, name)
    return _in_file(settings.state_dir / f"{name}.secret", if_lost)


def _in_database(engine: sa.Engine, name: str) -> bytes:
    with engine.begin() as connection:
        insert_or_keep(connection, _secrets, name=name, value=secrets.token_hex(_N_BYTES))
        value = connection.execute(sa.select(_secrets.c.value).where(_secrets.c.name == name)).scalar_one()
    return bytes.fromhex(value)


def _in_file(path: Path, if_lost: str) -> bytes:
    try:
        if not path.exists():
            _make(path)
        secret = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be read or created ({error.strerror}): give the user of the node access"
        ) from error
    if len(secret) != _N_BYTES:
        raise ConfigurationError(
            f"{path} is damaged: restore it from a backup, or remove it; then the node creates a new one, and {if_lost}"
        )
    return secret


def _make(path: Path) -> None:
    """Create the file atomically: if several processes do so at the same time, one wins and the others use its file."""
    with tempfile.NamedTemporaryFile(dir=path.parent) as file:  # only its owner can read it, from the start
        file.write(secrets.token_bytes(_N_BYTES))
        file.flush()
        os.fsync(file.fileno())
        try:
            path.hardlink_to(file.name)
        except FileExistsError:
            return
    sync_folder(path.parent)
