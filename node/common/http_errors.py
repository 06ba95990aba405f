"""What the node's HTTP clients share: what an answer means for trying again, and whether a certificate was the fault."""

from __future__ import annotations

import ssl

from node.common.errors import ConfigurationError, NodeError, RejectedError, TransportError

#: Answers after which the same request may go through: RFC 9110 15.5.9 and 15.5.10, RFC 8470, RFC 6585. All of 500 and above
#: count as well.
_LATER = frozenset({408, 409, 425, 429})
_NOT_ALLOWED = frozenset({401, 403, 407})


def refusal(where: str, status: int, section: str, said: str = "", remedy: str = "") -> NodeError:
    """The error of an answer that is no success.

    Args:
        where: who answered, without anything secret.
        section: of the settings that name the other side and the secret.
        said: what the other side said beside the status, without patient data.
        remedy: what to do where it refuses for good.
    """
    text = f"{where} answered {status}{': ' if said else ''}{said}"
    if status in _LATER or status >= 500:
        return TransportError(text)
    if status in _NOT_ALLOWED or status < 400:
        return ConfigurationError(f"{text}: look at the address and the secret in {section}")
    return RejectedError(f"{text}: {remedy}" if remedy else text)


def is_untrusted(error: BaseException) -> bool:
    """Whether an error came of a certificate that is not trusted."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def untrusted(where: str, section: str) -> ConfigurationError:
    """The error of a certificate that is not trusted."""
    return ConfigurationError(
        f"the certificate of {where} is not trusted: set {section}.ca_file to its authority, and the address to the "
        "name that it is made out to"
    )
