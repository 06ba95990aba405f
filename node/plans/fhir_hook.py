"""Receives notifications of a FHIR Subscription (rest-hook): each one triggers a search.

The content of a notification is not used, because anybody who knows the address could send one. The node reads from the
server.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from node.common.http_server import listen, server_of
from node.settings.files import ascii_secret
from node.settings.plans import PlanFhirSettings

log = logging.getLogger(__name__)


class FhirHook:
    """The endpoint of the Subscription, with any path below it: payloads are sent with PUT to ``Appointment/ID``.

    Args:
        notified: called for each notification with the token; must return quickly.

    Raises:
        ConfigurationError: the token cannot be read, or the address cannot be bound.
    """

    def __init__(self, settings: PlanFhirSettings, notified: Callable[[], None]) -> None:
        self._expected = f"Bearer {ascii_secret(settings.hook_token_file, 'plans_fhir.hook_token_file').strip()}".encode()
        self._notified = notified
        app = Starlette(routes=[Route("/{path:path}", self._take, methods=["POST", "PUT"])])
        self._listener = listen(
            settings.hook_host,
            settings.hook_port,
            "the FHIR notification endpoint cannot listen",
            "set plans_fhir.hook_host and hook_port",
        )
        self._server = server_of(app)

    async def serve(self) -> None:
        """Serve until :meth:`stop`."""
        with self._listener:
            await self._server.serve(sockets=[self._listener])

    def stop(self) -> None:
        """End :meth:`serve`."""
        self._server.should_exit = True

    async def _take(self, request: Request) -> Response:
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), self._expected):
            log.warning("notification refused: it does not have the token of plans_fhir.hook_token_file")
            return Response(status_code=401, headers={"www-authenticate": "Bearer"})
        self._notified()
        return Response(status_code=200)
