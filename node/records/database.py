"""The database of the node: its tables, and the base class of all stores of records."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from node.common.errors import ConfigurationError
from node.records.engine import connect, for_reading
from node.records.migrations.upgrade import upgrade
from node.settings.tree import Settings

#: Every table of the node; :mod:`node.records.migrations` upgrades a database to them.
metadata = sa.MetaData()


def open_database(settings: Settings) -> sa.Engine:
    """Connect to the database of the settings, and upgrade its tables to this version of the node.

    Several processes may call this at the same time: one upgrades, the others wait.

    Raises:
        ConfigurationError: the URL is neither SQLite nor PostgreSQL, the database does not answer, or a later version of
            the node has upgraded it.
    """
    engine = connect(settings)
    with answering(engine):
        upgrade(engine)
    return engine


@contextmanager
def answering(engine: sa.Engine) -> Iterator[None]:
    """Turn the connection error of the driver into one that names the database.

    Raises:
        ConfigurationError: the database does not answer.
    """
    try:
        yield
    except sa.exc.OperationalError as error:
        raise ConfigurationError(f"the database {engine.url.render_as_string()} does not answer: {error.orig}") from error


class Store:
    """Base class for the calls that read and write tables of the node. Instances are safe to share between threads."""

    def __init__(self, engine: sa.Engine) -> None:
        """Take a database that :func:`open_database` has opened."""
        self._engine = engine
        self._reading = for_reading(engine)

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the database of the settings.

        Raises:
            ConfigurationError: the database cannot be opened.
        """
        return cls(open_database(settings))


def insert_or_keep(connection: sa.Connection, table: sa.Table, **values: str | float | None) -> bool:
    """Insert a row unless its primary key exists. Returns whether it was inserted."""
    return connection.execute(_insert_or_keep(table, connection.dialect.name), values).rowcount == 1


@functools.cache
def _insert_or_keep(table: sa.Table, dialect_name: str) -> sa.Executable:
    insert = postgresql.insert if dialect_name == "postgresql" else sqlite.insert
    # Without the option an INSERT on PostgreSQL has no row count.
    return insert(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)
