"""HTTP GET and POST of the doctor: small answers, no proxy, a short patience."""

from __future__ import annotations

import base64
import urllib.request
from dataclasses import dataclass
from email.message import Message

_TIMEOUT_S = 5.0
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """Body and headers of an answer with a status below 400."""

    body: bytes
    headers: Message


def get(url: str, login: tuple[str, str] | None = None, body: bytes | None = None) -> Answer:
    """Ask; with ``body`` by POST.

    Args:
        url: http or https.
        login: user and password (RFC 7617).

    Raises:
        urllib.error.HTTPError: a status of 400 or above.
        OSError: no connection or no answer in time; urllib.error.URLError is one.
        ValueError: the URL is none.
    """
    request = urllib.request.Request(url, data=body)  # noqa: S310 - the settings allow http and https only
    if login is not None:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
    # a proxy of the environment is meant for the world outside
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_TIMEOUT_S) as response:
        return Answer(response.read(_MOST_BYTES), response.headers)
