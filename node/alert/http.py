"""One HTTP request of an alert, and what its answer means for trying again."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import parse_url

from node.errors import ConfigurationError, NodeError, RejectedError, TransportError

#: Answers after which the same request may go through: RFC 9110 15.5.9 and 15.5.10, RFC 8470, RFC 6585. All of 500 and above
#: count as well.
_LATER = frozenset({408, 409, 425, 429})
_NOT_ALLOWED = frozenset({401, 403, 407})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said.

    Attributes:
        where: host and port, without path and query, which may hold a secret.
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
    """Post a body once; redirects are not followed: what is signed or names a patient goes where the settings say.

    Args:
        section: of the settings, for errors.

    Returns:
        The answer, whatever its status.

    Raises:
        TransportError: no connection, a hang-up or a time-out; the other side may have taken the body.
        ConfigurationError: its certificate is not trusted, or the address is none.
    """
    where = _host(url, section)
    try:
        with urllib3.PoolManager(ssl_context=context, timeout=timeout_s, retries=False) as manager:
            answer = manager.request("POST", url, body=body, headers=dict(headers), redirect=False)
    except HTTPError as error:
        if _is_untrusted(error):
            raise ConfigurationError(
                f"the certificate of {where} is not trusted: set {section}.ca_file to its authority, and the address to the "
                "name that it is made out to"
            ) from error
        raise TransportError(f"{where} could not be reached: {type(error).__name__}") from error
    return Answer(where, answer.status, answer.data)


def refusal(answer: Answer, what: str, section: str) -> NodeError:
    """The error of an answer that is no success.

    Args:
        what: the other side said, without patient data.
    """
    status = answer.status
    text = f"{answer.where} answered {status}{': ' if what else ''}{what}"
    if status in _LATER or status >= 500:
        return TransportError(text)
    if status in _NOT_ALLOWED or status < 400:
        return ConfigurationError(f"{text}: look at the address and the secret in {section}")
    return RejectedError(text)


def _host(url: str, section: str) -> str:
    try:
        parsed = parse_url(url)
    except LocationParseError as error:
        raise ConfigurationError(f"the address in {section} is none: write https://host/path") from error
    return f"{parsed.host}:{parsed.port or {'https': 443}.get(parsed.scheme or '', 80)}"


def _is_untrusted(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
