"""Takes the notifications of a FHIR Subscription (rest-hook): whatever one says, it means that a search will find something.

What a notification carries is not believed: anybody who knows the address could send one. The node reads from the server.
"""

from __future__ import annotations

import hmac
import logging
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from node.errors import ConfigurationError
from node.plan.fhir_client import read_token
from node.settings.plans import PlanFhirSettings

log = logging.getLogger(__name__)

_FINISH_REQUESTS_S = 3


class FhirHook:
    """The endpoint of the Subscription, any path below it: a payload is sent with PUT to ``Appointment/ID``.

    Args:
        notified: called for each notification that bears the token; must be quick.

    Raises:
        ConfigurationError: the token cannot be read, or the address cannot be listened on.
    """

    def __init__(self, settings: PlanFhirSettings, notified: Callable[[], None]) -> None:
        self._expected = f"Bearer {read_token(settings.hook_token_file, 'hook_token_file')}".encode()
        self._notified = notified
        app = Starlette(routes=[Route("/{path:path}", self._take, methods=["POST", "PUT"])])
        family = socket.AF_INET6 if ":" in settings.hook_host else socket.AF_INET
        try:
            self._listener = socket.create_server((settings.hook_host, settings.hook_port), family=family)
        except OSError as error:
            raise ConfigurationError(
                f"notifications cannot be listened for on {settings.hook_host}, port {settings.hook_port} "
                f"({error.strerror or error}): set plans_fhir.hook_host and hook_port"
            ) from error
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_FINISH_REQUESTS_S,
        )
        self._server = uvicorn.Server(config)

    async def serve(self) -> None:
        """Serve until :meth:`stop`."""
        with self._listener:
            await self._server.serve(sockets=[self._listener])

    def stop(self) -> None:
        """End :meth:`serve`."""
        self._server.should_exit = True

    async def _take(self, request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), self._expected):
            log.warning("notification without the token of plans_fhir.hook_token_file turned away")
            return Response(status_code=401, headers={"www-authenticate": "Bearer"})
        self._notified()
        return Response(status_code=200)
