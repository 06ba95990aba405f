"""The state directory and the database."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from node.common.errors import ConfigurationError
from node.doctor.finding import Finding, Outcome
from node.settings.tree import Settings

#: Time-out of a connection; a database on the local network answers at once or not at all.
CONNECT_S = 5
#: The node's own transactions end within milliseconds.
_BUSY_S = 1
#: Folders in the state directory that the node creates and writes to.
_FOLDERS = ("incoming", "received", "results")


def check_state_directory(settings: Settings) -> tuple[Finding, ...]:
    """Whether the state directory, or its parent if it does not exist yet, is writable and has free space."""
    name, state = "state directory", settings.state_dir.absolute()
    there = next(path for path in (state, *state.parents) if path.exists())
    for place in (there, *(state / folder for folder in _FOLDERS if (state / folder).exists())):
        try:
            with tempfile.TemporaryFile(dir=place):
                pass
        except OSError as error:
            todo = "give the node's user write permission there, or set state_dir"
            return (Finding(name, Outcome.ERROR, f"{place} cannot be written ({error.strerror})", todo),)
    free_mb, needed_mb = shutil.disk_usage(there).free // 2**20, settings.listener.min_free_disk_mb
    if free_mb < needed_mb:
        detail = f"{free_mb} MB free in {there}, below min_free_disk_mb ({needed_mb})"
        todo = "images are refused until there is space: free some, or keep images for fewer days (study.keep_days)"
        return (Finding(name, Outcome.WARNING, detail, todo),)
    detail = f"{state}, {free_mb} MB free{'' if there == state else ', will be created'}"
    return (Finding(name, Outcome.OK, detail),)


def check_database(settings: Settings) -> tuple[Finding, ...]:
    """Whether the database can be opened and written."""
    name = "database"
    try:
        url = sa.engine.make_url(settings.sqlalchemy_url)
    except (ConfigurationError, sa.exc.ArgumentError) as error:
        return (Finding(name, Outcome.ERROR, str(error)),)
    if url.get_backend_name() == "sqlite":
        return (_sqlite(Path(url.database or "")),)
    if url.get_backend_name() != "postgresql":
        detail = f"{url.get_backend_name()} is not supported"
        return (Finding(name, Outcome.ERROR, detail, "use sqlite or postgresql+psycopg in database_url"),)
    return (_postgresql(url),)


def _sqlite(file: Path) -> Finding:
    if not file.exists():
        return Finding("database", Outcome.OK, f"SQLite, {file} will be created at the first start")
    try:
        # read and write, but never create
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=_BUSY_S)) as connection:
            [answer] = connection.execute("PRAGMA quick_check(1)").fetchone()
            connection.isolation_level = None
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        todo = "stop the node, move the file away, and restore the last backup (docs/administration.md)"
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            todo = "another program has locked it: stop that program, and do not use a network file system"
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            todo = "give the node's user write permission for it"
        return Finding("database", Outcome.ERROR, f"SQLite, {file}: {error}", todo)
    if answer != "ok":
        todo = "stop the node, move the file away, and restore the last backup (docs/administration.md)"
        return Finding("database", Outcome.ERROR, f"SQLite, {file} is damaged: {answer}", todo)
    return Finding("database", Outcome.OK, f"SQLite, {file}")


def _postgresql(url: sa.URL) -> Finding:
    where = f"PostgreSQL, {url.render_as_string()}"  # SQLAlchemy writes *** for the password
    engine = sa.create_engine(url, connect_args={"connect_timeout": CONNECT_S}, poolclass=sa.NullPool)
    rights = sa.text(
        "SELECT current_setting('server_version'), has_schema_privilege(current_schema(), 'CREATE'), "
        "has_database_privilege(current_database(), 'CREATE') OR to_regnamespace('dbos') IS NOT NULL"
    )
    try:
        with engine.connect() as connection:
            version, may_make_tables, may_make_schema = connection.execute(rights).one()
    except (sa.exc.SQLAlchemyError, ModuleNotFoundError) as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())
        todo = "start it, or correct host, port, user, password and name in database_url; then check its pg_hba.conf"
        return Finding("database", Outcome.ERROR, f"{where} does not answer: {reason}", todo)
    if not (may_make_tables and may_make_schema):
        todo = f'grant the user the rights: GRANT CREATE ON DATABASE "{url.database}" and ON SCHEMA public'
        return Finding("database", Outcome.ERROR, f"{where}: the user may not create tables or schemas", todo)
    return Finding("database", Outcome.OK, f"{where}, version {version}")


def has_records(settings: Settings) -> bool:
    """Whether the node has written to its database; also true if the database does not answer, which other checks report.

    Opening the records would create their tables, so the doctor checks this first.
    """
    if settings.database_url is None:
        return (settings.state_dir / "bmd-node.sqlite").exists()
    try:
        url = sa.engine.make_url(settings.sqlalchemy_url)
        if url.get_backend_name() != "postgresql":
            return True
        engine = sa.create_engine(url, connect_args={"connect_timeout": CONNECT_S}, poolclass=sa.NullPool)
        return sa.inspect(engine).has_table("runs")
    except (ConfigurationError, sa.exc.SQLAlchemyError, ModuleNotFoundError):
        return True
