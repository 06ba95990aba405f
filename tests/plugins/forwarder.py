"""Something between a client and a server on this machine: TLS, or a line that breaks."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def in_front_of(
    port: int, *, certificate: tuple[Path, Path] | None = None, cut_after_bytes: int | None = None
) -> Iterator[int]:
    """Yields a port whose connections go on to ``port``.

    Args:
        certificate: certificate and key for TLS; ``None``: in clear.
        cut_after_bytes: a connection is closed after so much of the server's answer.
    """
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)

    def serve(client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection(("127.0.0.1", port)) as server:
            if context is not None:
                client = context.wrap_socket(client, server_side=True)
            threading.Thread(target=_pass_on, args=(client, server, None), daemon=True).start()
            _pass_on(server, client, cut_after_bytes)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def _pass_on(source: socket.socket, sink: socket.socket, at_most: int | None) -> None:
    n_passed = 0
    with suppress(OSError):
        while (data := source.recv(4096)) and (at_most is None or n_passed < at_most):
            sink.sendall(data)
            n_passed += len(data)
        sink.shutdown(socket.SHUT_RDWR)
