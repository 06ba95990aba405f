"""Unpack an installation of version 0.1.0 for a test: its state directory and its database.

The archives are created by ``build_state_0_1_0.py``, which describes their content. Usage in a test::

    state = unpack_sqlite(tmp_path)                        # SQLite
    settings = settings_file(state)

    state = restore_postgres(url, tmp_path)                # PostgreSQL: the database of the URL must be empty
    settings = settings_file(state, database_url=url)

Both can be unpacked several times. The installation contains absolute paths in its databases, in JSON files of its runs, and
in the pickles of its unfinished workflows. It was created under a name of a fixed length (:data:`OLD_NAME`) and is unpacked
into a folder whose absolute path is padded to the same length. So one path can replace the other within a pickle, where the
length of a string precedes it. This module imports nothing of the node, so any version of the node can be tested.
"""

from __future__ import annotations

import base64
import binascii
import lzma
import re
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

HERE = Path(__file__).resolve().parent
VERSION = "0.1.0"
SETTINGS = HERE / f"bmd-node-{VERSION}.toml"
SQLITE_STATE = HERE / f"state-{VERSION}.tar.xz"
POSTGRES_STATE = HERE / f"postgres-state-{VERSION}.tar.xz"
POSTGRES_DUMP = HERE / f"postgres-{VERSION}.sql.xz"

#: Length of the absolute path of an unpacked installation; the folder of a test may be nearly as long.
PATH_LENGTH = 180
#: The installation was created in this folder, under this name.
OLD_PARENT = Path("/tmp")  # noqa: S108 - only a name
OLD_NAME = f"bmd-node-{VERSION}-".ljust(PATH_LENGTH, "x")
OLD_INSTALLATION = OLD_PARENT / OLD_NAME

#: Original ports of the installation; the records contain those of the destinations.
PORTS = {
    "LISTENER_PORT": 21112,
    "PACS_PORT": 21113,
    "SECOND_PORT": 21114,
    "WEB_PORT": 21115,
    "WEBHOOK_PORT": 21116,
    "HL7_PORT": 21117,
}

_PICKLE = re.compile(r"gA[A-Za-z0-9+/]{6,}={0,2}")


def unpack_sqlite(folder: Path) -> Path:
    """Unpack the installation with SQLite.

    Args:
        folder: an existing folder whose absolute path has at most 170 characters. Can be used once.

    Returns:
        The state directory.
    """
    installation = _unpack(SQLITE_STATE, folder)
    for database in sorted((installation / "state").glob("*.sqlite")):
        _rewrite_sqlite(database, installation)
    return installation / "state"


def restore_postgres(url: str, folder: Path) -> Path:
    """Unpack the installation with PostgreSQL, and restore its database.

    Args:
        url: SQLAlchemy URL (``postgresql+psycopg://``) of an empty database; see :func:`fresh_database`.
        folder: as for :func:`unpack_sqlite`.

    Returns:
        The state directory.
    """
    installation = _unpack(POSTGRES_STATE, folder)
    dump = _moved(lzma.decompress(POSTGRES_DUMP.read_bytes()).decode(), installation)
    # psql commands that newer versions add to a dump, and settings that older servers do not know
    left_out = ("\\restrict ", "\\unrestrict ", "SET transaction_timeout ")
    lines = [line for line in dump.split("\n") if not line.startswith(left_out)]
    engine = sa.create_engine(url)
    with closing(engine.raw_connection()) as connection:
        driver_connection = connection.driver_connection
        assert driver_connection is not None
        driver_connection.execute("\n".join(lines))
        driver_connection.commit()
    engine.dispose()
    return installation / "state"


def fresh_database(server_url: str, name: str) -> str:
    """Create an empty database on a server; replaces an existing one with this name.

    Args:
        server_url: SQLAlchemy URL of any database of the server.

    Returns:
        The URL of the new database.
    """
    engine = sa.create_engine(server_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    engine.dispose()
    return sa.engine.make_url(server_url).set(database=name).render_as_string(hide_password=False)


def settings_file(state_dir: Path, database_url: str | None = None, **ports: int) -> Path:
    """Write the settings of the installation beside its state directory, in the format of its version.

    Args:
        state_dir: return value of :func:`unpack_sqlite` or :func:`restore_postgres`.
        database_url: URL of the PostgreSQL database.
        ports: replacements for :data:`PORTS`, by the same names.
    """
    text = SETTINGS.read_text(encoding="utf-8").replace("@INSTALLATION@", str(state_dir.parent))
    for name, port in {**PORTS, **ports}.items():
        text = text.replace(f"@{name}@", str(port))
    if database_url is not None:
        text = f'database_url = "{database_url}"\n{text}'
    path = state_dir.parent / "bmd-node.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _unpack(archive: Path, folder: Path) -> Path:
    folder = folder.resolve()
    n_left = PATH_LENGTH - len(str(folder)) - 1
    if n_left < 1:
        raise ValueError(f"{folder} is too long by {1 - n_left} characters: choose a shorter path")
    installation = folder / "installation-of-an-old-version-".ljust(n_left, "-")[:n_left]
    installation.mkdir()
    with tarfile.open(archive) as tar:
        tar.extractall(installation, filter="data")
    for path in installation.rglob("*.json"):
        path.write_text(_moved(path.read_text(encoding="utf-8"), installation), encoding="utf-8")
    return installation


def _rewrite_sqlite(path: Path, installation: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]
            for column in columns:
                query = f'SELECT rowid, "{column}" FROM "{table}" WHERE typeof("{column}") = \'text\''  # noqa: S608
                for rowid, text in database.execute(query).fetchall():
                    moved = _moved(text, installation)
                    if moved != text:
                        update = f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?'  # noqa: S608
                        database.execute(update, (moved, rowid))
        database.commit()


def _moved(text: str, installation: Path) -> str:
    """Replace the path of the installation in a text, including its pickles (DBOS stores them in Base64)."""
    return _PICKLE.sub(lambda match: _moved_pickle(match[0], installation), text).replace(
        str(OLD_INSTALLATION), str(installation)
    )


def _moved_pickle(text: str, installation: Path) -> str:
    try:
        pickled = base64.b64decode(text, validate=True)
    except binascii.Error:  # looks like a pickle, but is none
        return text
    # A pickle holds the parts of a path: "/", "tmp", the old name, and so on. An absolute path in place of the name makes
    # the parts before it irrelevant. A path in one string is padded with leading slashes, which count as one.
    whole, name, new = str(OLD_INSTALLATION).encode(), OLD_NAME.encode(), str(installation).encode()
    if name not in pickled:
        return text
    moved = pickled.replace(whole, new.rjust(len(whole), b"/")).replace(name, new)
    return base64.b64encode(moved).decode()
