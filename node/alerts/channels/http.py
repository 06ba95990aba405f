"""One HTTP request of an alert."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import parse_url

from node.alerts.channels.channel import Endpoint
from node.common.errors import ConfigurationError, TransportError
from node.common.http_errors import is_untrusted, untrusted


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side answered.

    Attributes:
        where: host and port, without path and query, which may contain a secret.
        body: may name the patient.
    """

    where: str
    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        """2xx."""
        return 200 <= self.status < 300


def post(
    url: str, body: bytes, headers: Mapping[str, str], context: ssl.SSLContext, timeout_s: float, section: str
) -> Answer:
    """Post a body once. Redirects are not followed, so that the body reaches no other address than that of the settings.

    Args:
        section: of the settings, for errors.

    Returns:
        The answer, with any status.

    Raises:
        TransportError: no connection, a dropped connection or a time-out; the other side may have accepted the body.
        ConfigurationError: the certificate is not trusted, or the address is not valid.
    """
    where = _host(url, section)
    try:
        with urllib3.PoolManager(ssl_context=context, timeout=timeout_s, retries=False) as manager:
            answer = manager.request("POST", url, body=body, headers=dict(headers), redirect=False)
    except HTTPError as error:
        if is_untrusted(error):
            raise untrusted(where, section) from error
        raise TransportError(f"{where} could not be reached: {type(error).__name__}") from error
    return Answer(where, answer.status, answer.data)


def endpoint_of(url: str, context: ssl.SSLContext, setting: str) -> Endpoint:
    """Where a request to a web address connects to.

    Raises:
        ConfigurationError: the address has no port that exists.
    """
    parts = urlsplit(url)
    is_tls = parts.scheme == "https"
    try:
        return Endpoint(parts.hostname or "", parts.port or (443 if is_tls else 80), context if is_tls else None)
    except ValueError as error:
        raise ConfigurationError(f"{setting} names no port that exists: correct it") from error


def _host(url: str, section: str) -> str:
    try:
        parsed = parse_url(url)
    except LocationParseError as error:
        raise ConfigurationError(f"the address in {section} is not valid: write https://host/path") from error
    return f"{parsed.host}:{parsed.port or {'https': 443}.get(parsed.scheme or '', 80)}"
