"""Requests that are too large, too slow, or never end."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.common import http_server
from node.common.http_server import listen, server_of
from node.records.runs import RunRecords
from node.settings.tree import Settings, WebSettings
from node.web.app import build_app
from node.web.people import People


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A status page that waits for one second."""
    monkeypatch.setattr(http_server, "REQUEST_S", 1.0)
    settings = Settings(state_dir=tmp_path)
    server = server_of(build_app(RunRecords.open(settings), WebSettings(), People.open(settings)))
    with listen("127.0.0.1", 0, "", "") as listening:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
        thread.start()
        yield int(listening.getsockname()[1])
        server.should_exit = True
        thread.join(30)


def ask(port: int, *parts: bytes, wait_s: float = 0.0) -> bytes:
    """What comes back."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(wait_s)
            return b"".join(iter(lambda: connection.recv(65536), b""))
        except ConnectionError:
            return b""


POST = b"POST /alerts/acknowledge HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


def test_a_large_body_is_refused_before_it_is_read(port: int) -> None:
    began_s = time.monotonic()
    assert b" 413 " in ask(port, POST + b"Content-Length: 100000000\r\n\r\n")
    assert b" 413 " in ask(port, POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"2000\r\n" + b"x" * 0x2000 + b"\r\n")
    assert time.monotonic() - began_s < 5


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /health HTTP/1.1\r\nHost: loc",
        POST + b"Content-Length: 100\r\n\r\nid=",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /he",
    ],
    ids=["nothing", "half a header", "half a body", "half a second request"],
)
def test_what_is_not_complete_in_time_is_closed(port: int, begun: bytes) -> None:
    began_s = time.monotonic()
    ask(port, begun)
    assert time.monotonic() - began_s < 8


def test_one_byte_after_the_other_is_not_enough(port: int) -> None:
    began_s = time.monotonic()
    ask(port, *(bytes([one]) for one in b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100), wait_s=0.05)
    assert time.monotonic() - began_s < 5


def test_others_are_served_meanwhile(port: int) -> None:
    silent = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(100)]
    assert b" 200 " in ask(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert all(one.recv(1) == b"" for one in silent)
