"""Upgrade a database to the tables of this version. One process does so; the others wait."""

from __future__ import annotations

import functools
import logging
import threading
from dataclasses import dataclass

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from node.common.errors import ConfigurationError
from node.records.engine import for_reading

log = logging.getLogger(__name__)

#: Table with the revision of the database. The name is unique, since a PostgreSQL database may hold other tables as well.
VERSION_TABLE = "bmd_node_revision"
#: Any number that nothing else in the database uses; locked while the tables change.
_POSTGRES_LOCK_KEY = 0x626D646E
#: Alembic keeps its state in module globals.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class Revision:
    """One change of the tables.

    Attributes:
        id: id in the database.
        what: description.
        applied: whether the database has this revision.
    """

    id: str
    what: str
    applied: bool


def upgrade(engine: sa.Engine) -> tuple[Revision, ...]:
    """Apply all missing revisions in one transaction.

    Returns:
        The revisions that were applied.

    Raises:
        ConfigurationError: a later version of the node has upgraded the database.
        sqlalchemy.exc.OperationalError: the database does not answer.
    """
    # usually there is nothing to do, and no lock is needed
    with for_reading(engine).connect() as connection:
        if _current(connection) == _known()[-1][0]:
            return ()
    # on SQLite the transaction takes the write lock at its beginning, so that the others wait there, too
    with _ONE_AT_A_TIME, engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRES_LOCK_KEY)))
        lacking = tuple(revision for revision in _revisions(connection) if not revision.applied)
        if lacking:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    for revision in lacking:
        log.info("database upgraded to revision %s: %s", revision.id, revision.what)
    return lacking


def revisions(engine: sa.Engine) -> tuple[Revision, ...]:
    """Return every revision of this version of the node, the first one first. Changes nothing.

    Raises:
        ConfigurationError: a later version of the node has upgraded the database.
        sqlalchemy.exc.OperationalError: the database does not answer.
    """
    with for_reading(engine).connect() as connection:
        return _revisions(connection)


def _revisions(connection: sa.Connection) -> tuple[Revision, ...]:
    known, current = _known(), _current(connection)
    ids = [id_ for id_, _ in known]
    if current is not None and current not in ids:
        raise ConfigurationError(
            f"the database has revision {current}, which this version of the node does not know: a later version has "
            "upgraded it. Install that version again, or restore the backup from before the upgrade"
        )
    n_applied = 0 if current is None else ids.index(current) + 1
    return tuple(Revision(id_, what, n < n_applied) for n, (id_, what) in enumerate(known))


def _current(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


@functools.cache
def _known() -> tuple[tuple[str, str], ...]:
    """Return id and description of every revision, the first one first."""
    scripts = ScriptDirectory.from_config(_config())
    return tuple((script.revision, script.doc) for script in scripts.walk_revisions())[::-1]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "node.records:migrations")
    return config
