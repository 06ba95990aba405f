"""Shared by the node's HTTP clients: whether a response is worth a retry, and certificate errors."""

from __future__ import annotations

import ssl

from node.common.errors import ConfigurationError, NodeError, RejectedError, TransportError

#: Status codes that are worth a retry: RFC 9110 15.5.9 and 15.5.10, RFC 8470, RFC 6585; also all of 500 and above.
_LATER = frozenset({408, 409, 425, 429})
_NOT_ALLOWED = frozenset({401, 403, 407})


def refusal(where: str, status: int, section: str, said: str = "", remedy: str = "") -> NodeError:
    """The error for a response without success.

    Args:
        where: who answered, without secrets.
        section: of the settings with address and secret.
        said: further text of the response, without patient data.
        remedy: what to do after a permanent refusal.
    """
    text = f"{where} answered {status}{': ' if said else ''}{said}"
    if status in _LATER or status >= 500:
        return TransportError(text)
    if status in _NOT_ALLOWED or status < 400:
        return ConfigurationError(f"{text}: check the address and the secret in {section}")
    return RejectedError(f"{text}: {remedy}" if remedy else text)


def is_untrusted(error: BaseException) -> bool:
    """Whether an error was caused by an untrusted certificate."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def untrusted(where: str, section: str) -> ConfigurationError:
    """The error for an untrusted certificate."""
    return ConfigurationError(
        f"the certificate of {where} is not trusted: set {section}.ca_file to its certificate authority, and the address "
        "to the host name in the certificate"
    )
