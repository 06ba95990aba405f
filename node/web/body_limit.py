"""Requests with a body that no page of the node needs are refused before it is read."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.language.phrase import phrase

#: The only form is the button that acknowledges an alert: its id and a signature.
MOST_BYTES = 4096


class BodyLimit:
    """Answers 413 when the header announces too much, or more comes than it has announced."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if not announced.isdecimal() or int(announced[:20]) > MOST_BYTES:
            raise _too_long()
        n_bytes = 0

        async def receive_some() -> Message:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            if n_bytes > MOST_BYTES:
                raise _too_long()
            return message

        await self._app(scope, receive_some, send)


def _too_long() -> HTTPException:
    return HTTPException(413, phrase("This form is too long."))
