"""How the node connects to its database: SQLite in the state directory, or PostgreSQL.

Several processes open it at the same time, and a record that was committed survives a power failure.
"""

from __future__ import annotations

import sqlite3
import time
from typing import Any

import sqlalchemy as sa

from node.common.errors import ConfigurationError
from node.settings.tree import Settings

#: A writer waits this long for another one before SQLite reports "database is locked".
SQLITE_BUSY_TIMEOUT_MS = 30_000
#: Pause between two tries to switch to WAL, where SQLite does not wait by itself.
_WAL_RETRY_S = 0.02

_ONLY_READS = "bmd_node_only_reads"


def connect(settings: Settings) -> sa.Engine:
    """An engine for the database of the settings, whose tables stay as they are.

    Raises:
        ConfigurationError: the URL is neither SQLite nor PostgreSQL.
    """
    try:
        url = sa.engine.make_url(settings.sqlalchemy_url)
    except sa.exc.ArgumentError as error:
        raise ConfigurationError(f"database_url is not a database URL: {error}") from error
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigurationError(f"database_url: {url.get_backend_name()} is not supported, write sqlite or postgresql")
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    # what a failed statement was to store may be patient data, and its error is logged
    # and a connection that broke while it lay in the pool is replaced, not handed out
    engine = sa.create_engine(url, hide_parameters=True, pool_pre_ping=True)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def for_reading(engine: sa.Engine) -> sa.Engine:
    """The same database for transactions that do not write, which then never wait for a writer."""
    return engine.execution_options(**{_ONLY_READS: True})


def _set_up_sqlite(dbapi_connection: Any, _record: object) -> None:
    # The driver would begin transactions by itself, too late for BEGIN IMMEDIATE: see _begin_sqlite.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_TIMEOUT_MS}")
    _use_wal(cursor)
    # FULL, not NORMAL: in WAL mode only FULL makes a commit survive a power failure, and 0x0000 promises that.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Write-ahead logging, also while other processes make the same switch.

    The switch needs the file for itself, and SQLite gives SQLITE_BUSY at once where it would wait for any other lock
    (a busy handler could deadlock there), so the waiting is done here.
    """
    give_up = time.monotonic() + SQLITE_BUSY_TIMEOUT_MS / 1000.0
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(_WAL_RETRY_S)
        else:
            return


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later fails at once if another one wrote between: take the lock first.
    only_reads = connection.get_execution_options().get(_ONLY_READS, False)
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")
