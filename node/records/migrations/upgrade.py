"""Brings a database to the tables of this version: one process does so, others wait for it."""

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

#: Table that holds the revision of the database; PostgreSQL may hold tables of others, and theirs.
VERSION_TABLE = "bmd_node_revision"
#: Any number that nothing else in the database uses: held while the tables change.
_POSTGRES_LOCK_KEY = 0x626D646E
#: Alembic keeps what it is working on in its modules.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class Revision:
    """One change of the tables.

    Attributes:
        id: as the database holds it.
        what: in words.
        applied: whether the database has it.
    """

    id: str
    what: str
    applied: bool


def upgrade(engine: sa.Engine) -> tuple[Revision, ...]:
    """Apply the revisions that the database lacks, in one transaction.

    Returns:
        Those that were applied.

    Raises:
        ConfigurationError: a later version of the node has upgraded the database.
        sqlalchemy.exc.OperationalError: it does not answer.
    """
    # nearly always there is nothing to do, and then nobody waits for a lock
    with for_reading(engine).connect() as connection:
        if _current(connection) == _known()[-1][0]:
            return ()
    # on SQLite the transaction is a writer's from its beginning, so that here, too, the others wait
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
    """Every revision of this version of the node, the first one first; changes nothing.

    Raises:
        ConfigurationError: a later version of the node has upgraded the database.
        sqlalchemy.exc.OperationalError: it does not answer.
    """
    with for_reading(engine).connect() as connection:
        return _revisions(connection)


def _revisions(connection: sa.Connection) -> tuple[Revision, ...]:
    known, current = _known(), _current(connection)
    ids = [id_ for id_, _ in known]
    if current is not None and current not in ids:
        raise ConfigurationError(
            f"the database has revision {current}, which this version of the node does not know: a later version has "
            "upgraded it. Install that version again, or restore the backup that was made before the upgrade"
        )
    n_applied = 0 if current is None else ids.index(current) + 1
    return tuple(Revision(id_, what, n < n_applied) for n, (id_, what) in enumerate(known))


def _current(connection: sa.Connection) -> str | None:
    return MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()


@functools.cache
def _known() -> tuple[tuple[str, str], ...]:
    """Id and text of every revision, the first one first."""
    scripts = ScriptDirectory.from_config(_config())
    return tuple((script.revision, script.doc) for script in scripts.walk_revisions())[::-1]


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "node.records:migrations")
    return config
