"""Network queries of the doctor: HTTP with small answers, no proxy, no redirects and a short time-out; or a connection that
is closed at once."""

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
    """Body and headers of a response with a status below 400."""

    body: bytes
    headers: Message


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: a token goes only to the server in the settings."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Make the redirect an error."""


def get(
    url: str,
    login: tuple[str, str] | None = None,
    body: bytes | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> Answer:
    """Send a GET request, or POST with ``body``.

    Args:
        url: http or https.
        login: user and password (RFC 7617).
        context: to verify the server's certificate; ``None``: the system's certificate authorities.

    Raises:
        urllib.error.HTTPError: a redirect, or a status of 400 or above.
        OSError: no connection or no answer in time (includes urllib.error.URLError).
        ValueError: the URL is invalid.
    """
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}))  # noqa: S310 - the settings allow http and https only
    if login is not None:
        request.add_header("Authorization", "Basic " + base64.b64encode(":".join(login).encode()).decode())
    # proxies of the environment are for external servers
    handlers = (urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context), _NoRedirect())
    opener = urllib.request.build_opener(*handlers)
    with opener.open(request, timeout=_TIMEOUT_S) as response:
        return Answer(response.read(_MOST_BYTES), response.headers)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why there is no answer, and what to do."""

    detail: str
    what_to_do: str


def obstacle_to(host: str, port: int, context: ssl.SSLContext | None) -> Obstacle | None:
    """Connect, with TLS if there is a context, and disconnect at once; ``None`` if that succeeds."""
    where = f"{host}:{port}"
    try:
        with socket.create_connection((host, port), _TIMEOUT_S) as connection:
            if context is not None:
                context.wrap_socket(connection, server_hostname=host).close()
    except socket.gaierror as error:
        return Obstacle(f"the host {host} cannot be resolved ({error.strerror})", "correct the address")
    except ssl.SSLCertVerificationError as error:
        return Obstacle(
            f"the certificate of {where} is not trusted ({error.verify_message})",
            "set ca_file to its certificate authority, and the address to the host name in the certificate",
        )
    except ssl.SSLError as error:
        return Obstacle(f"the TLS handshake with {where} failed ({error.reason})", "is this the port for TLS?")
    except OSError as error:
        return Obstacle(f"{where} does not answer ({error})", "start it, correct host and port, or open the firewall")
    return None
