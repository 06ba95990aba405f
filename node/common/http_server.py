"""A small HTTP server inside a process of the node: bound early, without access logs."""

from __future__ import annotations

import socket

import uvicorn
from starlette.applications import Starlette

from node.common.errors import ConfigurationError

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


def server_of(app: Starlette) -> uvicorn.Server:
    """A server without a Server header or access log; request URLs may name a patient."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_FINISH_REQUESTS_S,
        )
    )
