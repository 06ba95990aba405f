"""The socket of one association, with limits on what its peer may send.

pynetdicom reads a PDU of whatever length it announces, waits for its end as long as bytes come, and keeps whatever is sent.
Here a PDU is not longer than the node has said it takes (PS3.8 D.1), arrives in a limited time, and a message has a limited
size. A peer that goes beyond gets an A-ABORT.
"""

from __future__ import annotations

import logging
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

from node.common.errors import StorageFullError
from node.receive.associate_request import abort_pdu

log = logging.getLogger(__name__)

_FIRST_PDU, _P_DATA, _LAST_PDU = 0x01, 0x04, 0x07
#: What PS3.8 9.3.5 to 9.3.8 say of PDUs other than A-ASSOCIATE and P-DATA.
_SHORT_PDUS: Final = (0x05, 0x06, 0x07)
_SHORT_BYTES: Final = 4
#: A PDU must arrive within this time and as many seconds as this rate takes.
_PDU_TIME_S: Final = 30.0
_SLOWEST_BYTES_PER_S: Final = 10_000
#: Within a PDU, less than this is no sign of life.
_FAIR_PART_BYTES: Final = 4096
_POLL_S: Final = 0.5
_CHUNK_BYTES: Final = 256 * 1024
#: Of a command set (PS3.7 6.3), and of the data set of anything but C-STORE and storage commitment: all are kept in memory.
_MOST_OTHER_BYTES: Final = 64 * 1024
#: Of the data sets of storage commitment, with room for 10 000 instances.
_MOST_COMMITMENT_BYTES: Final = 2 * 1024 * 1024
#: The element Command Field (0000,0100), implicit VR little endian (PS3.7 E.1), with the value of a request.
_COMMAND_FIELD: Final = bytes.fromhex("00000001 02000000".replace(" ", ""))
_STORE_REQUEST: Final = _COMMAND_FIELD + b"\x01\x00"
#: N-ACTION-RQ and N-EVENT-REPORT-RQ
_COMMITMENT_REQUESTS: Final = (_COMMAND_FIELD + b"\x30\x01", _COMMAND_FIELD + b"\x00\x01")
_CHECK_ROOM_EVERY_BYTES: Final = 16 * 1024 * 1024
#: Messages that wait for an answer. No asynchronous operations are negotiated, so a sound peer has one.
_MOST_WAITING: Final = 2
_INVALID_PARAMETER: Final = 6


@dataclass(frozen=True, slots=True)
class SendingLimits:
    """What one peer may send.

    Attributes:
        max_pdu_bytes: as announced in the A-ASSOCIATE-AC.
        max_instance_bytes: of one encoded data set.
        check_room: raises :class:`StorageFullError` when the disk is full.
    """

    max_pdu_bytes: int
    max_instance_bytes: int
    check_room: Callable[[], None]


@dataclass(slots=True)
class _Message:
    """What has arrived of the message in progress."""

    command: bytearray = field(default_factory=bytearray)
    is_store: bool = False
    most_other_bytes: int = _MOST_OTHER_BYTES
    data_bytes: int = 0
    data_bytes_checked: int = 0


class PeerSocket(AssociationSocket):
    """The socket of an association that has been let in; its request has been read already.

    Args:
        assoc: the association.
        connection: connected; if it speaks TLS, the handshake is done.
        request: the A-ASSOCIATE-RQ PDU.
        limits: on what it may send.
    """

    def __init__(self, assoc: Association, connection: socket.socket, request: bytes, limits: SendingLimits) -> None:
        super().__init__(assoc, client_socket=connection)
        connection.settimeout(_PDU_TIME_S)  # for sending
        self._request = memoryview(request)
        self._limits = limits
        self._message = _Message()
        self._is_in_pdu, self._pdu_type = False, 0
        self._is_over = threading.Event()
        self._opened_s = self.heard_s = time.monotonic()
        self.n_bytes = 0

    @property
    def age_s(self) -> float:
        """Seconds since the association was let in."""
        return time.monotonic() - self._opened_s

    def end(self) -> None:
        """Take no more from the peer, even within a PDU."""
        self._is_over.set()

    def throw_out(self) -> None:
        """Abort the association at once, whatever its peer does. May wait for a peer that does not read."""
        self.end()
        self.send(abort_pdu(0))
        if self.assoc.is_established:
            self.event_queue.put("Evt17")  # PS3.8 9.2.1: transport connection closed

    @property
    def ready(self) -> bool:
        """Whether the peer has sent something that may be read now."""
        if self._is_over.is_set():
            return False
        if self._request:
            return True
        if self.assoc.dimse.msg_queue.qsize() >= _MOST_WAITING:
            return False  # TCP makes the peer wait
        return bool(super().ready)

    def recv(self, nr_bytes: int) -> bytearray:
        """Read the header or the rest of a PDU; what is returned instead of one beyond the limits makes pynetdicom abort."""
        if self._request:
            taken, self._request = self._request[:nr_bytes], self._request[nr_bytes:]
            return bytearray(taken)
        received = self._read(nr_bytes)
        if len(received) < nr_bytes:
            return bytearray()
        self.heard_s = time.monotonic()
        self.n_bytes += len(received)
        fault = self._fault_of_body(received) if self._is_in_pdu else self._fault_of_header(received)
        return self._refused(fault) if fault else received

    def _fault_of_header(self, header: bytearray) -> str:
        self._pdu_type, _, length = struct.unpack(">BBL", header)
        self._is_in_pdu = True
        if not _FIRST_PDU <= self._pdu_type <= _LAST_PDU:
            return f"a PDU of the unknown type {self._pdu_type}"
        most = _SHORT_BYTES if self._pdu_type in _SHORT_PDUS else self._limits.max_pdu_bytes
        return f"a PDU of {length} bytes, at most {most} are allowed" if length > most else ""

    def _fault_of_body(self, body: bytearray) -> str:
        self._is_in_pdu = False
        if self._pdu_type != _P_DATA:
            return ""
        at = 0
        while at + 6 <= len(body):  # PS3.8 9.3.5.1 and E.2: length, context, control header
            (length,) = struct.unpack_from(">L", body, at)
            if length < 2 or at + 4 + length > len(body):
                return "a PDV that does not fit into its PDU"
            fault = self._fault_of_pdv(body[at + 5], memoryview(body)[at + 6 : at + 4 + length])
            if fault:
                return fault
            at += 4 + length
        return "" if at == len(body) else "a PDV that does not fit into its PDU"

    def _fault_of_pdv(self, control: int, value: memoryview) -> str:
        message = self._message
        if control & 1:
            message.command += value
            if len(message.command) > _MOST_OTHER_BYTES:
                return f"a command set of more than {_MOST_OTHER_BYTES} bytes"
            if control & 2:
                is_commitment = any(request in message.command for request in _COMMITMENT_REQUESTS)
                most = _MOST_COMMITMENT_BYTES if is_commitment else _MOST_OTHER_BYTES
                self._message = _Message(is_store=_STORE_REQUEST in message.command, most_other_bytes=most)
            return ""
        message.data_bytes += len(value)
        most = self._limits.max_instance_bytes if message.is_store else message.most_other_bytes
        if message.data_bytes > most:
            named = "an instance larger than listener.max_instance_mb" if message.is_store else "too large a data set"
            return f"{named} ({most} bytes)"
        if message.data_bytes - message.data_bytes_checked >= _CHECK_ROOM_EVERY_BYTES:
            message.data_bytes_checked = message.data_bytes
            try:
                self._limits.check_room()
            except StorageFullError as error:
                return f"an instance for which there is no room: {error}"
        if control & 2:
            self._message = _Message()
        return ""

    def _refused(self, fault: str) -> bytearray:
        requestor = self.assoc.requestor
        log.warning("association aborted: calling_ae_title=%r address=%s: %s", requestor.ae_title, requestor.address, fault)
        self.send(abort_pdu(_INVALID_PARAMETER))
        self.end()
        return bytearray()  # pynetdicom takes it for the end of the connection

    def _read(self, n_bytes: int) -> bytearray:
        """Read so many bytes; fewer if the peer ends, is too slow, or is not wanted any longer."""
        received, n_noted = bytearray(), 0
        give_up_s = time.monotonic() + _PDU_TIME_S + n_bytes / _SLOWEST_BYTES_PER_S
        connection = self.socket
        if connection is None:
            return received
        while len(received) < n_bytes and not self._is_over.is_set() and time.monotonic() < give_up_s:
            has_pending = isinstance(connection, ssl.SSLSocket) and connection.pending()
            if not has_pending and not select.select([connection], [], [], _POLL_S)[0]:
                continue
            try:
                part = connection.recv(min(n_bytes - len(received), _CHUNK_BYTES))
            except (TimeoutError, ssl.SSLWantReadError):
                continue
            except OSError:
                break
            if not part:
                break
            received += part
            if len(received) - n_noted >= _FAIR_PART_BYTES:
                n_noted, self.heard_s = len(received), time.monotonic()
        return received
