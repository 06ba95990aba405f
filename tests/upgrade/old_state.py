"""What an installation of version 0.1.0 leaves behind, unpacked for a test: its state directory, and its database.

Made by ``build_state_0_1_0.py``, which says what is in it. A test does::

    state = unpack_sqlite(tmp_path)                        # SQLite
    settings = settings_file(state)

    state = restore_postgres(url, tmp_path)                # PostgreSQL: the database of the URL must be empty
    settings = settings_file(state, database_url=url)

Both may be unpacked several times. The installation names absolute paths in its databases, in JSON files of its runs, and in
the pickles of its unfinished workflows. It was made below a name of a fixed length (:data:`OLD_NAME`), and is put into a
folder whose absolute path is padded to this very length: so the one can be put in the place of the other within a pickle,
where strings are preceded by their lengths. Nothing of the node is imported here: the node of any version may be tested.
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

#: Length of the absolute path of an installation that is unpacked; a path of a test may be nearly as long.
PATH_LENGTH = 180
#: Below this folder, under this name, the installation was made.
OLD_PARENT = Path("/tmp")  # noqa: S108 - only a name here
OLD_NAME = f"bmd-node-{VERSION}-".ljust(PATH_LENGTH, "x")
OLD_INSTALLATION = OLD_PARENT / OLD_NAME

#: Ports of the installation when it was made; the records name those of the destinations.
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
        folder: that is there; its absolute path may have 170 characters. Used once.

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
        url: SQLAlchemy URL (``postgresql+psycopg://``) of an empty database, as of one that :func:`fresh_database` made.
        folder: as for :func:`unpack_sqlite`.

    Returns:
        The state directory.
    """
    installation = _unpack(POSTGRES_STATE, folder)
    dump = _moved(lzma.decompress(POSTGRES_DUMP.read_bytes()).decode(), installation)
    # commands of psql, which newer ones put into a dump, and settings that older servers do not know
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
    """Make an empty database on a server, in place of one that has this name.

    Args:
        server_url: SQLAlchemy URL of any database of the server.

    Returns:
        The URL of the new one.
    """
    engine = sa.create_engine(server_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
    engine.dispose()
    return sa.engine.make_url(server_url).set(database=name).render_as_string(hide_password=False)


def settings_file(state_dir: Path, database_url: str | None = None, **ports: int) -> Path:
    """Write the settings of the installation beside its state directory, in the words of its version.

    Args:
        state_dir: as :func:`unpack_sqlite` and :func:`restore_postgres` give it.
        database_url: of PostgreSQL.
        ports: in place of those of :data:`PORTS`, by the same names.
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
        raise ValueError(f"{folder} is too long by {1 - n_left} characters: choose another folder")
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
    """A text with the paths of another installation in it, also in its pickles (in Base64, as DBOS keeps them)."""
    return _PICKLE.sub(lambda match: _moved_pickle(match[0], installation), text).replace(
        str(OLD_INSTALLATION), str(installation)
    )


def _moved_pickle(text: str, installation: Path) -> str:
    try:
        pickled = base64.b64decode(text, validate=True)
    except binascii.Error:  # looks like a pickle, and is none
        return text
    # A pickle holds the parts of a path: "/", "tmp", the old name, and so on. An absolute path in the place of the name
    # makes what stands before it void. A path as one string has room for the parent, too: slashes at its start are one.
    whole, name, new = str(OLD_INSTALLATION).encode(), OLD_NAME.encode(), str(installation).encode()
    if name not in pickled:
        return text
    moved = pickled.replace(whole, new.rjust(len(whole), b"/")).replace(name, new)
    return base64.b64encode(moved).decode()
