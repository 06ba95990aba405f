"""How the node connects to its database: SQLite in the state directory, or PostgreSQL.

Several processes can open it at the same time, and a committed record survives a power failure.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from typing import Any

import sqlalchemy as sa

from node.common.errors import ConfigurationError
from node.settings.tree import Settings

#: Time that a writer waits for another one before SQLite reports "database is locked".
SQLITE_BUSY_TIMEOUT_MS = 30_000
#: Time between two attempts to switch to WAL, for which SQLite itself does not wait.
_WAL_RETRY_S = 0.02

_ONLY_READS = "bmd_node_only_reads"
#: Connections to PostgreSQL that a process keeps, and how many more it may open for a moment.
_KEPT, _MORE = 5, 25
#: The engines of PostgreSQL, by process and URL; a forked process must not use those of its parent.
_engines: dict[tuple[int, str], sa.Engine] = {}
_engines_lock = threading.Lock()


def connect(settings: Settings) -> sa.Engine:
    """Return an engine for the database of the settings, without upgrading its tables.

    All stores of a process share one engine of PostgreSQL, since the server limits the connections (100 by default).

    Raises:
        ConfigurationError: the URL is neither SQLite nor PostgreSQL.
    """
    try:
        url = sa.engine.make_url(settings.sqlalchemy_url)
    except sa.exc.ArgumentError as error:
        raise ConfigurationError(f"database_url is not a database URL: {error}") from error
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigurationError(f"database_url: {url.get_backend_name()} is not supported, use sqlite or postgresql")
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    # hide_parameters: errors are logged, and parameters may be patient data
    # pool_pre_ping: replaces connections that broke while they were in the pool
    if url.get_backend_name() == "postgresql":
        key = (os.getpid(), url.render_as_string(hide_password=False))
        with _engines_lock:
            if key not in _engines:
                _engines[key] = sa.create_engine(
                    url, hide_parameters=True, pool_pre_ping=True, pool_size=_KEPT, max_overflow=_MORE
                )
            return _engines[key]
    engine = sa.create_engine(url, hide_parameters=True, pool_pre_ping=True)
    sa.event.listen(engine, "connect", _set_up_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def for_reading(engine: sa.Engine) -> sa.Engine:
    """Return an engine for read-only transactions on the same database; they never wait for a writer."""
    return engine.execution_options(**{_ONLY_READS: True})


def _set_up_sqlite(dbapi_connection: Any, _record: object) -> None:
    # Stops the driver from beginning transactions itself, too late for BEGIN IMMEDIATE: see _begin_sqlite.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={SQLITE_BUSY_TIMEOUT_MS}")
    _use_wal(cursor)
    # FULL, not NORMAL: in WAL mode only FULL makes a commit survive a power failure, and 0x0000 promises that.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _use_wal(cursor: sqlite3.Cursor) -> None:
    """Switch to write-ahead logging, even while other processes do the same.

    The switch needs exclusive access to the file. For this lock SQLite returns SQLITE_BUSY at once instead of waiting
    (a busy handler could deadlock), so this function waits.
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
    # A transaction that reads first and writes later fails if another one writes in between: take the lock first.
    only_reads = connection.get_execution_options().get(_ONLY_READS, False)
    connection.exec_driver_sql("BEGIN" if only_reads else "BEGIN IMMEDIATE")
