"""Peers that speak the upper layer protocol byte by byte, so that they can break every rule of it (PS3.8 9.3)."""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass

DICOM_APPLICATION = b"1.2.840.10008.3.1.1.1"
VERIFICATION = b"1.2.840.10008.1.1"
CT_IMAGE = b"1.2.840.10008.5.1.4.1.1.2"
IMPLICIT_VR, EXPLICIT_VR = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.1"
ACCEPTED, REJECTED, ABORTED = 2, 3, 7


def item(kind: int, value: bytes) -> bytes:
    """An item or sub-item."""
    return struct.pack(">BBH", kind, 0, len(value)) + value


def pdu(kind: int, body: bytes) -> bytes:
    """A PDU."""
    return struct.pack(">BBL", kind, 0, len(body)) + body


def context(number: int, abstract: bytes, *transfer: bytes) -> bytes:
    """A presentation context."""
    syntaxes = b"".join(item(0x40, one) for one in transfer or (IMPLICIT_VR,))
    return item(0x20, bytes([number, 0, 0, 0]) + item(0x30, abstract) + syntaxes)


def user_information(*more: bytes, max_length: int = 16384) -> bytes:
    """User information, with further sub-items."""
    usual = item(0x51, struct.pack(">L", max_length)) + item(0x52, b"1.2.3.4")
    return item(0x50, usual + b"".join(more))


def request(
    *,
    called: bytes = b"BMDNODE",
    calling: bytes = b"RAW",
    version: int = 1,
    application: bytes = item(0x10, DICOM_APPLICATION),
    contexts: bytes = context(1, VERIFICATION),
    user: bytes | None = None,
    after: bytes = b"",
) -> bytes:
    """An A-ASSOCIATE-RQ."""
    titles = called.ljust(16)[:16] + calling.ljust(16)[:16]
    body = struct.pack(">HH", version, 0) + titles + bytes(32) + application + contexts
    return pdu(1, body + (user_information() if user is None else user) + after)


def p_data(control: int, value: bytes, number: int = 1) -> bytes:
    """A P-DATA-TF with one PDV: control 1 command, 3 its last fragment, 0 data set, 2 its last fragment."""
    return pdu(4, struct.pack(">LBB", len(value) + 2, number, control) + value)


def command(**elements: bytes | int) -> bytes:
    """A command set, implicit VR little endian; keywords of the elements that are used here."""
    numbers = {"sop_class": 0x0002, "field": 0x0100, "message_id": 0x0110, "priority": 0x0700, "data": 0x0800, "uid": 0x1000}
    encoded = b""
    for name, value in sorted(elements.items(), key=lambda one: numbers[one[0]]):
        raw = struct.pack("<H", value) if isinstance(value, int) else value + b"\0" * (len(value) % 2)
        encoded += struct.pack("<HHL", 0, numbers[name], len(raw)) + raw
    return struct.pack("<HHLL", 0, 0, 4, len(encoded)) + encoded


def store_command(uid: bytes, sop_class: bytes = CT_IMAGE) -> bytes:
    """C-STORE-RQ."""
    return command(sop_class=sop_class, field=0x0001, message_id=1, priority=0, data=0x0102, uid=uid)


ECHO = command(sop_class=VERIFICATION, field=0x0030, message_id=1, data=0x0101)


@dataclass
class RawPeer:
    """A connection."""

    connection: socket.socket

    @classmethod
    def to(cls, port: int, address: str = "127.0.0.1", timeout_s: float = 15.0) -> RawPeer:
        """Connect, from an address of the loopback network."""
        connection = socket.socket()
        connection.bind((address, 0))
        connection.settimeout(timeout_s)
        connection.connect(("127.0.0.1", port))
        return cls(connection)

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def send(self, data: bytes) -> None:
        """Send, also into a connection that the other side closes meanwhile."""
        with contextlib.suppress(ConnectionError):
            self.connection.sendall(data)

    def answer(self) -> tuple[int, bytes]:
        """Type and body of the next PDU; type 0 if the connection ended."""
        head = self._read(6)
        if len(head) < 6:
            return 0, b""
        kind, _, length = struct.unpack(">BBL", head)
        return kind, self._read(length)

    def asks(self, data: bytes) -> tuple[int, bytes]:
        """Send and read the answer."""
        self.send(data)
        return self.answer()

    def status(self) -> int:
        """The status in the next DIMSE answer."""
        kind, body = self.answer()
        assert kind == 4, (kind, body)
        at = body.index(bytes.fromhex("00000009 02000000".replace(" ", "")))
        return int.from_bytes(body[at + 8 : at + 10], "little")

    def _read(self, n_bytes: int) -> bytes:
        received = b""
        while len(received) < n_bytes:
            try:
                part = self.connection.recv(n_bytes - len(received))
            except ConnectionError:
                return received
            if not part:
                return received
            received += part
        return received
