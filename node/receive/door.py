"""The door of the listener: who comes in, and what a connection may cost before that.

One thread accepts connections, does their TLS handshake, reads their A-ASSOCIATE-RQ and answers those that are rejected.
Only an association that is accepted takes a slot and gets threads of its own. A connection that says nothing costs a socket,
for the time of the ARTIM timer (PS3.8 9.1.5); when there are too many, the one that has waited longest goes.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from node.receive.associate_request import (
    ASSOCIATE_RQ,
    MAX_REQUEST_BYTES,
    PDU_HEADER_BYTES,
    AssociateRequest,
    Refusal,
    RefusedRequestError,
    abort_pdu,
    read_request,
)

log = logging.getLogger(__name__)

#: Connections that have not sent their request yet, and those that have been answered and not closed. Each is a socket.
_MOST_WAITING: Final = 256
_BACKLOG: Final = 512
_ACCEPTED_AT_ONCE: Final = 64
_TICK_S: Final = 0.25
#: For a peer that was answered to close the connection (PS3.8 9.2.3, Sta13).
_LINGER_S: Final = 2.0
_UNRECOGNISED_PDU, _INVALID_PARAMETER = 1, 6
#: Rejections and the like are counted beyond so many a minute, and not logged one by one.
_LOGGED_PER_MINUTE: Final = 60


@dataclass(frozen=True, slots=True)
class Entrance:
    """A socket that listens, and its TLS context; ``None``: not encrypted."""

    listening: socket.socket
    tls: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for an association.

    Attributes:
        address: host and port.
        certificate_names: common name and DNS names of the client certificate; empty without one.
        is_encrypted: whether the connection speaks TLS.
    """

    address: tuple[str, int]
    certificate_names: frozenset[str]
    is_encrypted: bool


#: Accepts an association, or returns why not. Runs in the thread of the door.
Admit = Callable[[socket.socket, AssociateRequest, Caller], Refusal | None]


@dataclass(slots=True, eq=False)
class _Waiting:
    """A connection at the door."""

    connection: socket.socket
    address: tuple[str, int]
    until_s: float
    is_shaking_hands: bool = False
    is_answered: bool = False
    received: bytearray = field(default_factory=bytearray)

    @property
    def n_missing(self) -> int:
        """Bytes until the header, then the PDU, is complete."""
        if len(self.received) < PDU_HEADER_BYTES:
            return PDU_HEADER_BYTES - len(self.received)
        (length,) = struct.unpack_from(">L", self.received, 2)
        return PDU_HEADER_BYTES + int(length) - len(self.received)


class Door:
    """Runs in a thread of its own until it is closed.

    Args:
        entrances: the sockets that listen; closed with the door.
        artim_s: time for a connection to send its whole request.
        admit: decides on a request that can be read.
    """

    def __init__(self, entrances: Sequence[Entrance], artim_s: float, admit: Admit) -> None:
        self._artim_s = artim_s
        self._admit = admit
        self._selector = selectors.DefaultSelector()
        self._waiting: dict[socket.socket, _Waiting] = {}
        self._closed = threading.Event()
        self._said: Counter[int] = Counter()
        self._entrances = tuple(entrances)
        for entrance in self._entrances:
            entrance.listening.setblocking(False)
            self._selector.register(entrance.listening, selectors.EVENT_READ, entrance)
        self._thread = threading.Thread(target=self._run, name="door", daemon=True)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        """Whether connections are accepted."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Accept no more; connections that wait are closed."""
        self._closed.set()
        self._thread.join(5)

    def _run(self) -> None:
        try:
            while not self._closed.is_set():
                for key, _ in self._selector.select(_TICK_S):
                    if isinstance(key.data, Entrance):
                        self._accept(key.data)
                    else:
                        self._hear(key.data)
                self._dismiss_late()
        except Exception:
            log.exception("the door of the listener failed")
        finally:
            for waiting in list(self._waiting.values()):
                self._close(waiting)
            for entrance in self._entrances:
                entrance.listening.close()
            self._selector.close()

    def _accept(self, entrance: Entrance) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, address = entrance.listening.accept()
            except (BlockingIOError, ConnectionError, TimeoutError):
                return
            except OSError as error:  # too many open files: what waits gives way
                log.warning("a connection was not accepted: %s", error.strerror)
                self._dismiss_oldest()
                return
            connection.setblocking(False)
            if entrance.tls is not None:
                try:
                    connection = entrance.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
                except OSError:
                    connection.close()
                    continue
            if len(self._waiting) >= _MOST_WAITING:
                self._dismiss_oldest()
            waiting = _Waiting(connection, (str(address[0]), int(address[1])), time.monotonic() + self._artim_s)
            waiting.is_shaking_hands = entrance.tls is not None
            self._waiting[connection] = waiting
            self._selector.register(connection, selectors.EVENT_READ, waiting)
            self._hear(waiting)

    def _hear(self, waiting: _Waiting) -> None:
        try:
            if waiting.is_shaking_hands and isinstance(waiting.connection, ssl.SSLSocket):
                waiting.connection.do_handshake()
                waiting.is_shaking_hands = False
                self._selector.modify(waiting.connection, selectors.EVENT_READ, waiting)
            while waiting.is_answered:
                if not waiting.connection.recv(65536):
                    return self._close(waiting)
            while waiting.n_missing > 0:
                part = waiting.connection.recv(min(waiting.n_missing, 65536))
                if not part:
                    return self._close(waiting)
                waiting.received += part
                if len(waiting.received) >= PDU_HEADER_BYTES and (fault := _fault_of_header(waiting.received)):
                    self._log(waiting, "connection without an association request")
                    return self._answer(waiting, abort_pdu(fault))
            return self._decide(waiting)
        except (ssl.SSLWantReadError, BlockingIOError):
            return None
        except ssl.SSLWantWriteError:
            self._selector.modify(waiting.connection, selectors.EVENT_WRITE, waiting)
        except ssl.SSLError as error:
            self._log(waiting, f"TLS connection refused ({error.reason or type(error).__name__})")
            self._close(waiting)
        except OSError:
            self._close(waiting)
        except Exception as error:  # noqa: BLE001 - whatever one peer has sent, the door stays open for the others
            self._log(waiting, f"connection closed ({type(error).__name__})")
            self._close(waiting)
        return None

    def _decide(self, waiting: _Waiting) -> None:
        caller = Caller(waiting.address, _names_of(waiting.connection), isinstance(waiting.connection, ssl.SSLSocket))
        request: AssociateRequest | None = None
        try:
            request = read_request(bytes(waiting.received[PDU_HEADER_BYTES:]))
            # from here on, the connection may belong to an association
            self._selector.unregister(waiting.connection)
            refusal = self._admit(waiting.connection, request, caller)
        except RefusedRequestError as error:
            refusal = error.refusal
        if refusal is None:
            del self._waiting[waiting.connection]
            return
        titles = (
            "" if request is None else f" calling_ae_title={request.calling_ae_title!r} called={request.called_ae_title!r}"
        )
        self._log(waiting, f"association rejected ({refusal.said}):{titles}")
        self._answer(waiting, refusal.pdu())

    def _answer(self, waiting: _Waiting, pdu: bytes) -> None:
        """Answer, and wait a little for the peer to close: closing first could take the answer from it."""
        connection = waiting.connection
        waiting.is_answered, waiting.until_s = True, time.monotonic() + _LINGER_S
        connection.setblocking(False)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection)
        self._selector.register(connection, selectors.EVENT_READ, waiting)
        try:
            connection.send(pdu)  # a few bytes into an empty buffer
            if not isinstance(connection, ssl.SSLSocket):
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(waiting)

    def _dismiss_late(self) -> None:
        now_s = time.monotonic()
        for waiting in [one for one in self._waiting.values() if one.until_s < now_s]:
            self._close(waiting)

    def _dismiss_oldest(self) -> None:
        """Of the address with most connections that wait, the one that has waited longest."""
        if not self._waiting:
            return
        of_address = Counter(waiting.address[0] for waiting in self._waiting.values())
        ((address, _),) = of_address.most_common(1)
        self._close(next(waiting for waiting in self._waiting.values() if waiting.address[0] == address))

    def _close(self, waiting: _Waiting) -> None:
        self._waiting.pop(waiting.connection, None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(waiting.connection)
        waiting.connection.close()

    def _log(self, waiting: _Waiting, what: str) -> None:
        minute = int(time.monotonic() // 60)
        self._said = Counter({minute: self._said[minute] + 1})
        if self._said[minute] <= _LOGGED_PER_MINUTE:
            more = " (more of this minute are not logged)" if self._said[minute] == _LOGGED_PER_MINUTE else ""
            log.warning("%s address=%s%s", what, waiting.address[0], more)


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        OSError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def _fault_of_header(received: bytearray) -> int:
    """Reason of an A-ABORT; 0 if it is the header of an association request."""
    if received[0] != ASSOCIATE_RQ:
        return _UNRECOGNISED_PDU
    (length,) = struct.unpack_from(">L", received, 2)
    return _INVALID_PARAMETER if length > MAX_REQUEST_BYTES else 0


def _names_of(connection: socket.socket) -> frozenset[str]:
    """Common name and DNS names of the peer's certificate."""
    certificate = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    if not certificate:
        return frozenset()
    names = {str(value) for kind, value in _pairs(certificate.get("subjectAltName", ())) if kind == "DNS"}
    for part in certificate.get("subject", ()):
        names |= {str(value) for kind, value in _pairs(part) if kind == "commonName"}
    return frozenset(names)


def _pairs(value: object) -> list[tuple[object, object]]:
    return (
        [(one[0], one[1]) for one in value if isinstance(one, tuple) and len(one) == 2] if isinstance(value, tuple) else []
    )
