"""A small HTTP server inside a process of the node: bound early, without access logs."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Collection

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from node.common.errors import ConfigurationError

#: A request must be complete within this time. Browsers send theirs at once.
REQUEST_S = 10.0
#: A connection that is kept open between requests.
_KEEP_ALIVE_S = 5
_MOST_CONNECTIONS = 500
_MOST_HEADER_BYTES = 16 * 1024
#: Time for running requests to end after a stop.
_FINISH_REQUESTS_S = 3


def listen(host: str, port: int, what: str, remedy: str) -> socket.socket:
    """Bind a socket before uvicorn does, which would end the process without naming the wrong setting.

    Args:
        what: what fails, for the error.
        remedy: what to do.

    Raises:
        ConfigurationError: the address cannot be bound.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigurationError(f"{what} on {host}, port {port} ({error.strerror or error}): {remedy}") from error


def server_of(app: Starlette, *, tls: ssl.SSLContext | None = None, trusted_proxies: Collection[str] = ()) -> uvicorn.Server:
    """A server without a Server header or access log; request URLs may name a patient.

    Args:
        trusted_proxies: addresses or networks whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed.
    """
    return uvicorn.Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            http=_Hurried,
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=list(trusted_proxies),
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
            timeout_keep_alive=_KEEP_ALIVE_S,
            limit_concurrency=_MOST_CONNECTIONS,
            h11_max_incomplete_event_size=_MOST_HEADER_BYTES,
            timeout_graceful_shutdown=_FINISH_REQUESTS_S,
        )
    )


class _Hurried(H11Protocol):
    """uvicorn's HTTP/1.1, which closes a connection whose request is not complete in time."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch(is_due=True)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # IDLE: the header is not complete, or there is none yet (RFC 9112)
        self._watch(is_due=self.conn.their_state in (h11.IDLE, h11.SEND_BODY))

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch(is_due=False)
        super().connection_lost(exc)

    def _watch(self, *, is_due: bool) -> None:
        if is_due and self._late is None:
            self._late = self.loop.call_later(REQUEST_S, self._close)
        elif not is_due and self._late is not None:
            self._late.cancel()
            self._late = None

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()
