"""A-ASSOCIATE-RQ: what a peer asks for, read from its bytes and written again in a form that every reader understands.

What the standard lets a receiver ignore is ignored here: items and sub-items of unknown types (PS3.8 9.3.1 and D.2), and the
negotiations that the node does not offer (asynchronous operations, roles other than those of storage commitment, extended
negotiation, user identity; an acceptor that says nothing about them declines them, PS3.7 D.3.3). Padding of AE titles and
UIDs is taken off. The rest is a reason to reject the association.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from node.common.commitment import SOP_CLASS as STORAGE_COMMITMENT

#: PDU type, reserved byte, length (PS3.8 9.3).
PDU_HEADER_BYTES: Final = 6
ASSOCIATE_RQ: Final = 0x01
#: A request with 128 contexts of 30 transfer syntaxes takes 0.3 MB.
MAX_REQUEST_BYTES: Final = 1024 * 1024

_PROTOCOL_VERSION: Final = 0x0001
_APPLICATION_CONTEXT, _CONTEXT, _USER_INFORMATION = 0x10, 0x20, 0x50
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x30, 0x40
_MAX_LENGTH, _CLASS_UID, _ROLE, _VERSION_NAME = 0x51, 0x52, 0x54, 0x55
_DICOM_APPLICATION: Final = "1.2.840.10008.3.1.1.1"
#: PS3.8 9.3.2, variable items begin here, counted from the protocol version.
_FIXED_BYTES: Final = 68
_MAX_CONTEXTS: Final = 128
_MAX_TRANSFER_SYNTAXES: Final = 64
#: PS3.8 annex F; NUL is not allowed, but devices written in C send it.
_PADDING: Final = " \0"
_AE_TITLE = re.compile(r"[\x20-\x5b\x5d-\x7e]{1,16}")  # PS3.5 6.2: without backslash and control characters
_UID = re.compile(r"[0-9.]{1,64}")
#: Modality Worklist, which the node does not offer, stands for an abstract syntax that is no UID, so that its context is
#: refused and the others are not.
_NEVER_ACCEPTED: Final = "1.2.840.10008.5.1.4.31"
_IMPLICIT_VR: Final = "1.2.840.10008.1.2"
#: A peer that takes less could not be answered: an answer is a command set of some 150 bytes, in fragments.
_LEAST_LENGTH: Final = 128
#: Named in place of an implementation class UID that is missing or none, which pynetdicom insists on.
_UNKNOWN_IMPLEMENTATION: Final = "2.25.0"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 table 9-21), and why in words."""

    result: int
    source: int
    reason: int
    said: str

    def pdu(self) -> bytes:
        """The A-ASSOCIATE-RJ PDU (PS3.8 9.3.4)."""
        return struct.pack(">BBLBBBB", 0x03, 0, 4, 0, self.result, self.source, self.reason)


NO_REASON: Final = Refusal(1, 1, 1, "the request is not valid")
NO_SUCH_APPLICATION: Final = Refusal(1, 1, 2, "application context name not supported")
CALLING_NOT_RECOGNISED: Final = Refusal(1, 1, 3, "calling AE title not recognised")
CALLED_NOT_RECOGNISED: Final = Refusal(1, 1, 7, "called AE title not recognised")
NO_SUCH_VERSION: Final = Refusal(1, 2, 2, "protocol version not supported")
LIMIT_EXCEEDED: Final = Refusal(2, 3, 2, "local limit exceeded")


class RefusedRequestError(Exception):
    """The association is rejected."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.said)
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context, with UIDs that are valid in form."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProposedRole:
    """Roles that the requestor proposes for itself in storage commitment (PS3.7 D.3.3.4)."""

    is_scu: bool
    is_scp: bool


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """What the node needs to know of a request.

    Attributes:
        max_length: bytes of the longest PDU that the peer takes; 0: any.
        commitment_role: ``None`` if the requestor proposes none; then it is the SCU.
    """

    called_ae_title: str
    calling_ae_title: str
    contexts: tuple[ProposedContext, ...]
    max_length: int
    implementation_class_uid: str
    implementation_version_name: str
    commitment_role: ProposedRole | None = None

    def pdu(self) -> bytes:
        """The request again, with nothing in it that the standard lets a receiver ignore (PS3.8 9.3.2)."""
        titles = [f"{title:<16}".encode("ascii") for title in (self.called_ae_title, self.calling_ae_title)]
        body = struct.pack(">HH", _PROTOCOL_VERSION, 0) + b"".join(titles) + bytes(32)
        body += _item(_APPLICATION_CONTEXT, _DICOM_APPLICATION.encode("ascii"))
        for context in self.contexts:
            syntaxes = b"".join(_item(_TRANSFER_SYNTAX, uid.encode("ascii")) for uid in context.transfer_syntaxes)
            abstract = _item(_ABSTRACT_SYNTAX, context.abstract_syntax.encode("ascii"))
            body += _item(_CONTEXT, struct.pack(">BBBB", context.context_id, 0, 0, 0) + abstract + syntaxes)
        user = _item(_MAX_LENGTH, struct.pack(">L", self.max_length))
        user += _item(_CLASS_UID, self.implementation_class_uid.encode("ascii"))
        if self.commitment_role is not None:
            uid, role = STORAGE_COMMITMENT.encode("ascii"), self.commitment_role
            user += _item(_ROLE, struct.pack(">H", len(uid)) + uid + struct.pack(">BB", role.is_scu, role.is_scp))
        if self.implementation_version_name:
            user += _item(_VERSION_NAME, self.implementation_version_name.encode("ascii"))
        body += _item(_USER_INFORMATION, user)
        return struct.pack(">BBL", ASSOCIATE_RQ, 0, len(body)) + body


def abort_pdu(reason: int) -> bytes:
    """An A-ABORT of the service provider (PS3.8 9.3.8): 1 unrecognised PDU, 2 unexpected PDU, 6 invalid parameter value."""
    return struct.pack(">BBLBBBB", 0x07, 0, 4, 0, 0, 2, reason)


def read_request(body: bytes) -> AssociateRequest:
    """Read the request.

    Args:
        body: the PDU without type and length.

    Raises:
        RefusedRequestError: the association is to be rejected.
    """
    if len(body) < _FIXED_BYTES:
        raise RefusedRequestError(NO_REASON)
    if not int.from_bytes(body[:2]) & _PROTOCOL_VERSION:
        raise RefusedRequestError(NO_SUCH_VERSION)
    called, calling = _ae_title(body[4:20]), _ae_title(body[20:36])
    if called is None:
        raise RefusedRequestError(CALLED_NOT_RECOGNISED)
    if calling is None:
        raise RefusedRequestError(CALLING_NOT_RECOGNISED)
    contexts: dict[int, ProposedContext] = {}
    user = b""
    for kind, value in _items(body[_FIXED_BYTES:]):
        if kind == _APPLICATION_CONTEXT and _text(value) != _DICOM_APPLICATION:
            raise RefusedRequestError(NO_SUCH_APPLICATION)
        if kind == _CONTEXT:
            context = _context(value)
            contexts.setdefault(context.context_id, context)
        if kind == _USER_INFORMATION:
            user = value
    if not contexts or len(contexts) > _MAX_CONTEXTS:
        raise RefusedRequestError(NO_REASON)
    of_user = dict(reversed(list(_items(user))))  # the first of each type
    roles = [role for kind, value in _items(user) if kind == _ROLE and (role := _role(value)) is not None]
    length = of_user.get(_MAX_LENGTH, b"")
    class_uid = _text(of_user.get(_CLASS_UID, b""))
    version = _text(of_user.get(_VERSION_NAME, b""))
    return AssociateRequest(
        called,
        calling,
        tuple(contexts.values()),
        _usable_length(int.from_bytes(length)) if len(length) == 4 else 0,
        class_uid if _UID.fullmatch(class_uid) else _UNKNOWN_IMPLEMENTATION,
        version if _AE_TITLE.fullmatch(version) else "",
        roles[0] if roles else None,
    )


def _role(value: bytes) -> ProposedRole | None:
    """The roles for storage commitment; ``None`` if the sub-item is of another SOP class, or damaged."""
    if len(value) < 4 or _text(value[2:-2]) != STORAGE_COMMITMENT:
        return None
    return ProposedRole(value[-2] == 1, value[-1] == 1)


def _usable_length(length: int) -> int:
    if 0 < length < _LEAST_LENGTH:
        raise RefusedRequestError(NO_REASON)
    return length


def _context(value: bytes) -> ProposedContext:
    if len(value) < 4 or value[0] % 2 == 0:  # PS3.8 9.3.2.2: odd
        raise RefusedRequestError(NO_REASON)
    items = list(_items(value[4:]))
    abstract = next((_text(one) for kind, one in items if kind == _ABSTRACT_SYNTAX), "")
    transfer = dict.fromkeys(_text(one) for kind, one in items if kind == _TRANSFER_SYNTAX)
    known = tuple(uid for uid in transfer if _UID.fullmatch(uid))[:_MAX_TRANSFER_SYNTAXES]
    if not known or not _UID.fullmatch(abstract):
        return ProposedContext(value[0], _NEVER_ACCEPTED, known or (_IMPLICIT_VR,))
    return ProposedContext(value[0], abstract, known)


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Items or sub-items: type, reserved byte, length, value."""
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise RefusedRequestError(NO_REASON)
        kind, _, length = struct.unpack_from(">BBH", data, at)
        at += 4
        if at + length > len(data):
            raise RefusedRequestError(NO_REASON)
        yield kind, data[at : at + length]
        at += length


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip(_PADDING)


def _ae_title(field: bytes) -> str | None:
    title = _text(field)
    return title if _AE_TITLE.fullmatch(title) else None
