"""Fixtures: real mail servers on this machine, and a certificate for them."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiosmtpd.controller import Controller

from tests.alerts.mail_servers import Inbox, RunningServer
from tests.receive.conftest import postgres_url

__all__ = ["postgres_url"]

StartServer = Callable[..., RunningServer]


@contextmanager
def empty_database(kind: str, request: pytest.FixtureRequest) -> Iterator[str | None]:
    """URL of an empty database: a schema of a real PostgreSQL server; ``None``: SQLite in the state directory."""
    if kind == "sqlite":
        yield None
        return
    server, name = request.getfixturevalue("postgres_url"), f"test_{uuid.uuid4().hex}"
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.execute(sa.schema.CreateSchema(name))
    url = sa.engine.make_url(server).update_query_dict({"options": f"-csearch_path={name}", "application_name": name})
    yield url.render_as_string(hide_password=False)
    with admin.connect() as connection:
        ours = sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = :name")
        connection.execute(ours, {"name": name})
        connection.execute(sa.schema.DropSchema(name, cascade=True))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Each database that the node runs on, empty."""
    with empty_database(request.param, request) as url:
        yield url


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate, signed by itself and made out to ``localhost`` only, and its key."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed (Debian package openssl)")
    folder = tmp_path_factory.mktemp("certificate")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    extension = ("-addext", "subjectAltName=DNS:localhost")
    subprocess.run(
        [program, *command.split(), *extension, "-keyout", str(key), "-out", str(cert)],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return cert, key


@pytest.fixture
def server_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """What a server needs to encrypt."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture
def start_server() -> Iterator[StartServer]:
    """Starts mail servers with a handler and the options of ``aiosmtpd``; they end with the test."""
    with ExitStack() as stack:

        def start(handler: Inbox, controller: type[Controller] = Controller, **options: Any) -> RunningServer:
            port = free_port()
            running = controller(handler, hostname="127.0.0.1", port=port, **options)
            running.start()
            stack.callback(running.stop)
            return RunningServer(port, handler)

        yield start


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
