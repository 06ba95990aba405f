"""Fixtures: real mail servers on this machine, and a certificate for them."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller

from tests.alert.mail_servers import Inbox, RunningServer

StartServer = Callable[..., RunningServer]


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
