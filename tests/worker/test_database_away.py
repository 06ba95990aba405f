"""The worker survives a database that is unavailable for a while."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.receive import import_folder
from node.records.runs import RunRecords
from node.settings.tree import load_settings
from tests.deliver.delivery_servers import eventually
from tests.receive.conftest import postgres_url  # noqa: F401
from tests.receive.listener_process import ct_series, write_series

PATIENCE_S = 200.0


@pytest.fixture
def database(postgres_url: str) -> tuple[sa.Engine, sa.URL]:  # noqa: F811
    """An administrator connection to the server, and the URL of a new database."""
    name = f"away_{uuid.uuid4().hex}"
    admin = sa.create_engine(postgres_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    return admin, sa.engine.make_url(postgres_url).set(database=name)


def allow(admin: sa.Engine, name: str | None, *, connections: bool) -> None:
    """Allow connections to a database, or close and refuse all of them."""
    with admin.connect() as connection:
        connection.execute(sa.text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {str(connections).lower()}"))
        if not connections:
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            connection.execute(sa.text(ended), {"name": name})


def test_the_worker_goes_on_when_its_database_is_back(tmp_path: Path, database: tuple[sa.Engine, sa.URL]) -> None:
    admin, url = database
    config = tmp_path / "bmd-node.toml"
    config.write_text(
        f'state_dir = "{tmp_path / "state"}"\ndatabase_url = "{url.render_as_string(hide_password=False)}"\n'
        "[study]\nstable_after_s = 0\n[listener]\nmin_free_disk_mb = 0\n"
    )
    settings = load_settings(config)
    log = tmp_path / "worker.log"
    with log.open("wb") as file:
        worker = subprocess.Popen([sys.executable, "-m", "node.cli", "worker", "--config", str(config)], stderr=file)
    try:

        def says(text: str) -> bool:
            assert worker.poll() is None, log.read_text()
            return text in log.read_text()

        eventually(lambda: says("worker ready"), "the worker", PATIENCE_S)
        allow(admin, url.database, connections=False)
        eventually(lambda: says("tried again"), "a task that fails", PATIENCE_S)
        allow(admin, url.database, connections=True)
        write_series(tmp_path / "ct", ct_series(3))
        import_folder(tmp_path / "ct", settings)
        records = RunRecords.open(settings)
        eventually(lambda: any(run.state.value == "not_measured" for run in records.runs()), "the study", PATIENCE_S)
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.wait(60)
        admin.dispose()
