"""Questions of the doctor over the network: HTTP with small answers, no proxy, no redirects and a short patience; or a
connection that is closed at once."""

from __future__ import annotations

import base64
import socket
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message

_TIMEOUT_S = 5.0
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """Body and headers of an answer with a status below 400."""

    body: bytes
    headers: Message


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A token goes to the server of the settings and to no other."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """None: the redirect is an error."""


def get(
    url: str,
    login: tuple[str, str] | None = None,
    body: bytes | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """Ask; with ``body`` by POST.

    Args:
        url: http or https.
        login: user and password (RFC 7617).
        context: how the server's certificate is checked; ``None``: by the authorities of the system.

    Raises:
        urllib.error.HTTPError: a redirect, or a status of 400 or above.
        OSError: no connection or no answer in time; urllib.error.URLError is one.
        ValueError: the URL is none.
    """
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}))  # noqa: S310 - the settings allow http and https only
    if login is not None:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
    # a proxy of the environment is meant for the world outside
    handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect())
    opener = urllib.request.build_opener(*handlers)
    with opener.open(request, timeout=_TIMEOUT_S) as response:
        return Answer(response.read(_MOST_BYTES), response.headers)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why nothing answers, and what to do."""

    detail: str
    what_to_do: str


def obstacle_to(host: str, port: int, context: ssl.SSLContext | None) -> Obstacle | None:
    """Connect, with TLS if there is a context, and hang up without a word; ``None`` if that goes through."""
    where = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), _TIMEOUT_S) as connection:
            if context is not None:
                context.wrap_socket(connection, server_hostname=host).close()
    except socket.gaierror as error:
        return Obstacle(f"the host {host} is not known ({error.strerror})", "correct the address")
    except ssl.SSLCertVerificationError as error:
        return Obstacle(
            f"the certificate of {where} is not trusted ({error.verify_message})",
            "set ca_file to its authority, and the address to the name that it is made out to",
        )
    except ssl.SSLError as error:
        return Obstacle(f"{where} does not speak TLS as the node does ({error.reason})", "is this the port for TLS?")
    except OSError as error:
        return Obstacle(f"{where} does not answer ({error})", "start it, correct host and port, or open the firewall")
    return None
