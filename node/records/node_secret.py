"""Secrets that the node makes for itself at the first use: 32 random bytes that never leave it.

Each in a file ``NAME.secret`` of the state directory, which its owner alone can read; with PostgreSQL, where several
machines must have the same one, in the table ``secrets`` of the database.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

import sqlalchemy as sa

from node.common.errors import ConfigurationError
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
    """Read a secret, or make it at the first time.

    Args:
        if_lost: what no longer holds without it, for the error.

    Raises:
        ConfigurationError: it cannot be read or made, or is damaged.
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
            f"{path} cannot be read or made ({error.strerror}): give the node's user the right"
        ) from error
    if len(secret) != _N_BYTES:
        raise ConfigurationError(
            f"{path} is damaged: restore it from a backup, or remove it; then a new one is made, and {if_lost}"
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
