"""Associations requested by the node; failures of pynetdicom become errors of the node."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext

from node.common.errors import RejectedError, TransportError

log = logging.getLogger(__name__)

# PS3.8 table 9-21
_REJECTED_PERMANENT = 0x01
#: Time for the other side to refuse the node's certificate.
_REFUSAL_S = 1.0
_REASONS = {
    (0x01, 0x01): "no reason given",
    (0x01, 0x02): "application context name not supported",
    (0x01, 0x03): "calling AE title not recognised",
    (0x01, 0x07): "called AE title not recognised",
    (0x02, 0x01): "no reason given",
    (0x02, 0x02): "protocol version not supported",
    (0x03, 0x01): "temporary congestion",
    (0x03, 0x02): "local limit exceeded",
}


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side of an association.

    Attributes:
        name: in errors and logs.
        ae_title: Called AE Title.
        host: name or address.
        port: TCP port.
        tls: context for TLS; ``None``: not encrypted.
    """

    name: str
    ae_title: str
    host: str
    port: int
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        """Name, AE title and address."""
        return f"{self.name} ({self.ae_title} at {self.host}:{self.port})"


@contextmanager
def associated(
    peer: Peer,
    calling_ae_title: str,
    timeout_s: float,
    contexts: Sequence[PresentationContext],
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    handlers: Sequence[EventHandlerType] = (),
) -> Iterator[Association | None]:
    """Open an association, and release it at the end (abort it after an error).

    Args:
        peer: the other side.
        calling_ae_title: Calling AE Title.
        timeout_s: for the connection, the association and each response.
        contexts: proposed presentation contexts.
        roles: proposed roles, where the node is not the SCU (PS3.7 D.3.3.4).
        handlers: of pynetdicom's events, for what the peer requests.

    Yields:
        The association; ``None`` if the peer accepted it but none of its presentation contexts.

    Raises:
        TransportError: no connection, no answer in time, aborted, or rejected temporarily.
        RejectedError: rejected permanently, e.g. because an AE title is not known.
    """
    ae = AE(ae_title=calling_ae_title)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = timeout_s
    try:
        tls_args = None if peer.tls is None else (peer.tls, peer.host)
        assoc = ae.associate(
            peer.host,
            peer.port,
            contexts=list(contexts),
            ae_title=peer.ae_title,
            tls_args=tls_args,
            ext_neg=list(roles),
            evt_handlers=list(handlers),
        )
    except OSError as error:  # the host name cannot be resolved now
        raise TransportError(f"{peer}: {error.strerror}") from error
    if not assoc.is_established:
        if assoc.is_rejected:
            _raise_rejection(assoc, peer, calling_ae_title)
        if assoc.rejected_contexts and not assoc.accepted_contexts:
            yield None  # pynetdicom aborts such an association itself
            return
        if peer.tls is not None:
            _say_what_tls_lacks(peer, peer.tls, timeout_s)
        raise TransportError(f"{peer}: no association: no connection, no answer within {timeout_s:g} s, or aborted")
    try:
        yield assoc
    except BaseException:
        if assoc.is_established:
            assoc.abort()
        raise
    if assoc.is_established:
        assoc.release()


def _say_what_tls_lacks(peer: Peer, context: ssl.SSLContext, timeout_s: float) -> None:
    """Connect for nothing but the handshake: pynetdicom does not tell why it has failed.

    Raises:
        TransportError: the handshake fails, or the peer ends it because of the node's certificate.
    """
    try:
        with (
            socket.create_connection((peer.host, peer.port), timeout_s) as connection,
            context.wrap_socket(connection, server_hostname=peer.host) as encrypted,
        ):
            encrypted.settimeout(_REFUSAL_S)
            encrypted.recv(1)  # in TLS 1.3 the other side checks a certificate after the handshake (RFC 8446 4.4.2)
    except ssl.SSLError as error:
        raise TransportError(f"{peer}: no TLS connection: {_why(error)}") from error
    except OSError:
        return


def _why(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted ({error.verify_message})"
    return error.reason or type(error).__name__


def _raise_rejection(assoc: Association, peer: Peer, calling_ae_title: str) -> None:
    answer = assoc.acceptor.primitive
    if not isinstance(answer, A_ASSOCIATE) or answer.result is None:
        raise TransportError(f"{peer}: association rejected without a reason")
    reason = _REASONS.get((answer.result_source or 0, answer.diagnostic or 0), "reason not known")
    message = f"{peer}: association rejected, {reason} (calling AE title {calling_ae_title})"
    if answer.result == _REJECTED_PERMANENT:
        raise RejectedError(message)
    raise TransportError(message)
