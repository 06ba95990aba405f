"""The associations that have been let in: one slot each, from the acceptance to the end."""

from __future__ import annotations

import contextlib
import copy
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from pynetdicom import AE, build_role
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationServer

from node.common.commitment import SOP_CLASS
from node.common.errors import ConfigurationError
from node.receive.associate_request import LIMIT_EXCEEDED, AssociateRequest, Refusal
from node.receive.door import Caller
from node.receive.peer_socket import PeerSocket, SendingLimits
from node.receive.slots import Occupied, Slots

log = logging.getLogger(__name__)

_STOP_S: Final = 5.0
#: Time for an association that gives way to end.
_GIVE_WAY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class IdleTimes:
    """How long an association may say nothing, in seconds.

    Attributes:
        before_s: until it has stored something.
        between_s: after that; scanners reconstruct for minutes between images.
    """

    before_s: float
    between_s: float


@dataclass(slots=True, eq=False)
class _Guest:
    assoc: Association
    peer: PeerSocket
    address: str
    has_stored: bool = False

    def occupied(self) -> Occupied:
        now_s = time.monotonic()
        return Occupied(
            id(self), self.address, self.has_stored, self.peer.age_s, now_s - self.peer.heard_s, self.peer.n_bytes
        )


class _Closer:
    """What an association of pynetdicom wants of the server that accepted it."""

    def shutdown_request(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()


class Guests:
    """Every association that is open; safe to share between threads.

    Args:
        ae: title, PDU size and time-outs of the node.
        contexts: supported presentation contexts.
        handlers: of pynetdicom's events.
        limits: on what a peer may send.
        slots: how many there may be.
        idle: how long they may say nothing.
        ended: called in some thread for every association that is gone.
    """

    def __init__(
        self,
        ae: AE,
        contexts: Sequence[PresentationContext],
        handlers: Sequence[EventHandlerType],
        limits: SendingLimits,
        slots: Slots,
        idle: IdleTimes,
        ended: Callable[[Association], None],
    ) -> None:
        self._ae, self._contexts, self._handlers = ae, tuple(contexts), tuple(handlers)
        self._limits, self._slots, self._idle, self._ended = limits, slots, idle, ended
        self._lock = threading.Lock()
        self._guests: dict[int, _Guest] = {}

    def admit(self, connection: socket.socket, request: AssociateRequest, caller: Caller) -> Refusal | None:
        """Take a slot and start the association, or say why not."""
        address = caller.address[0]
        self.sweep()
        with self._lock:
            occupied = [guest.occupied() for guest in self._guests.values()]
            if not self._slots.is_free(occupied, address):
                leaving = self._slots.gives_way(occupied, address)
                if leaving is None:
                    return LIMIT_EXCEEDED
                self._throw_out(self._guests.pop(leaving))
            guest = self._guest(connection, request, caller)
            self._guests[id(guest)] = guest
        try:
            guest.assoc.start()
        except RuntimeError:  # no more threads
            with self._lock:
                self._guests.pop(id(guest), None)
            return LIMIT_EXCEEDED
        return None

    def has_stored(self, assoc: Association) -> None:
        """The association has stored something: it may pause for longer, and keeps its slot."""
        with self._lock:
            guest = next((one for one in self._guests.values() if one.assoc is assoc), None)
            if guest is None or guest.has_stored:
                return
            guest.has_stored = True
        assoc.network_timeout = self._idle.between_s

    def sweep(self) -> None:
        """Free the slots of associations that are gone."""
        with self._lock:
            gone = [key for key, guest in self._guests.items() if guest.assoc.ident and not guest.assoc.is_alive()]
            left = [self._guests.pop(key) for key in gone]
        for guest in left:
            self._ended(guest.assoc)

    def close(self) -> None:
        """Abort every association."""
        with self._lock:
            guests = list(self._guests.values())
        for guest in guests:
            self._throw_out(guest)
        give_up_s = time.monotonic() + _STOP_S
        for guest in guests:
            guest.assoc.join(max(0.0, give_up_s - time.monotonic()))
        self.sweep()

    def _throw_out(self, guest: _Guest) -> None:
        log.warning(
            "association aborted to make room: calling_ae_title=%r address=%s", guest.assoc.requestor.ae_title, guest.address
        )

        def end() -> None:
            guest.peer.throw_out()
            guest.assoc.join(_GIVE_WAY_S)
            self._ended(guest.assoc)

        # its peer may read nothing, so this must not keep the door waiting
        threading.Thread(target=end, name="give-way", daemon=True).start()

    def _guest(self, connection: socket.socket, request: AssociateRequest, caller: Caller) -> _Guest:
        ae = self._ae
        assoc = Association(ae, "acceptor")
        assoc._server = cast(AssociationServer, _Closer())
        assoc.name = f"AcceptorThread@{caller.address[0]}:{caller.address[1]}"
        peer = PeerSocket(assoc, connection, request.pdu(), self._limits)
        assoc.set_socket(peer)
        assoc.acceptor.maximum_length = ae.maximum_pdu_size
        assoc.acceptor.ae_title = ae.ae_title
        assoc.acceptor.address_info = AddressInformation.from_tuple(connection.getsockname())
        assoc.acceptor.implementation_class_uid = ae.implementation_class_uid
        assoc.acceptor.implementation_version_name = ae.implementation_version_name
        assoc.acceptor.supported_contexts = copy.deepcopy(list(self._contexts))
        role = request.commitment_role
        if role is not None and any(context.abstract_syntax == SOP_CLASS for context in self._contexts):
            # pynetdicom grants the role, and with UNRESTRICTED_STORAGE_SERVICE leaves it out of its answer
            assoc.acceptor.add_negotiation_item(build_role(SOP_CLASS, role.is_scu, role.is_scp))
        assoc.requestor.address_info = AddressInformation.from_tuple(caller.address)
        assoc.network_timeout = self._idle.before_s
        for handler in self._handlers:
            assoc.bind(handler[0], handler[1])
        _abort_what_cannot_be_read(assoc)
        _close_what_went_wrong(assoc, peer)
        return _Guest(assoc, peer, caller.address[0])


def _abort_what_cannot_be_read(assoc: Association) -> None:
    """End the association when a command or a data set cannot be taken in.

    pynetdicom aborts for some faults of a command. For others (no Command Data Set Type), and when the disk is full, its
    thread would end with an exception, and the association would keep its slot until it is idle for too long.
    """
    receive = assoc.dimse.receive_primitive

    def receive_or_abort(primitive: P_DATA) -> None:
        try:
            receive(primitive)
        except Exception as error:  # noqa: BLE001 - whatever pynetdicom and pydicom raise for it
            # not its text: it may quote a value
            log.warning("association aborted, a message cannot be taken in: %s", type(error).__name__)
            assoc.dul.event_queue.put("Evt19")  # PS3.8 9.2.1: an invalid PDU

    assoc.dimse.receive_primitive = receive_or_abort  # type: ignore[method-assign]  # pynetdicom has no hook


def _close_what_went_wrong(assoc: Association, peer: PeerSocket) -> None:
    """End the association when its state machine gets an event that its state does not know (PS3.8 table 9-10).

    It happens when a peer breaks the protocol while the node answers its request. pynetdicom's thread would end with an
    exception, and the connection would stay open.
    """
    act = assoc.dul.state_machine.do_action

    def act_or_close(event: str) -> None:
        try:
            act(event)
        except Exception as error:  # noqa: BLE001 - of pynetdicom, whatever it is
            log.warning("association ended: %s", type(error).__name__)
            assoc.dul.kill_dul()
            with contextlib.suppress(Exception):
                peer.close()

    assoc.dul.state_machine.do_action = act_or_close  # type: ignore[method-assign]  # pynetdicom has no hook


def application_entity(ae_title: str, max_pdu_bytes: int, artim_s: float) -> AE:
    """The node as pynetdicom knows it; who comes in is decided at the door."""
    try:
        ae = AE(ae_title=ae_title)
    except ValueError as error:
        raise ConfigurationError(f"listener.ae_title: {error}") from error
    ae.maximum_pdu_size = max_pdu_bytes
    ae.maximum_associations = 1_000_000
    ae.acse_timeout = artim_s
    return ae
