"""Fixtures: listeners, and a real PostgreSQL server."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.settings.tree import ListenerSettings, Settings
from tests.receive.listener_process import Listener, eventually, free_port


@pytest.fixture
def make_listener(tmp_path: Path) -> Iterator[Callable[..., Listener]]:
    """Makes listeners with a state directory of their own; keyword arguments go to the listener's settings."""
    made: list[Listener] = []

    def make(**changes: object) -> Listener:
        values = {"host": "127.0.0.1", "port": free_port(), "min_free_disk_mb": 0, **changes}
        settings = Settings(state_dir=tmp_path / f"state{len(made)}", listener=ListenerSettings.model_validate(values))
        made.append(Listener(settings, tmp_path / f"listener{len(made)}.log"))
        return made[-1]

    yield make
    for listener in made:
        listener.stop()


@pytest.fixture
def listener(make_listener: Callable[..., Listener]) -> Listener:
    """A running listener with the default settings."""
    made = make_listener()
    made.start()
    return made


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL server of our own."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    # not below pytest's folder, which only its owner may enter
    folder = Path(tempfile.mkdtemp(prefix="bmd-node-postgres-"))
    account: dict[str, str] = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, "postgres")
        account = {"user": "postgres"}
    port = free_port()
    data = folder / "data"
    command = [programs[-1] / "initdb", "-D", data, "-U", "test", "-A", "trust", "--no-sync"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **account)  # type: ignore[call-overload]
    server = [programs[-1] / "postgres", "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1", "-F"]
    process = subprocess.Popen(server, stderr=subprocess.DEVNULL, cwd=folder, **account)  # type: ignore[call-overload]

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        eventually(answers, "PostgreSQL")
        url = f"postgresql+psycopg://test@127.0.0.1:{port}/postgres"
        eventually(lambda: _accepts(url), "PostgreSQL accepts queries")
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        shutil.rmtree(folder)


def _accepts(url: str) -> bool:
    engine = sa.create_engine(url)
    try:
        with engine.connect():
            return True
    except sa.exc.OperationalError:
        return False
    finally:
        engine.dispose()
