"""A small HTTP server inside one of the node's processes: bound first, silent about who asks what."""

from __future__ import annotations

import socket

import uvicorn
from starlette.applications import Starlette

from node.common.errors import ConfigurationError

#: How long requests have to end once it is stopped.
_FINISH_REQUESTS_S = 3


def listen(host: str, port: int, what: str, remedy: str) -> socket.socket:
    """Bind here: uvicorn would end the process without saying which setting is wrong.

    Args:
        what: what cannot be done without, for the error.
        remedy: what to do about it.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigurationError(f"{what} on {host}, port {port} ({error.strerror or error}): {remedy}") from error


def server_of(app: Starlette) -> uvicorn.Server:
    """A server that writes no addresses into logs, which may name a patient, and does not tell what it is."""
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
