"""Storage commitment as SCP (PS3.4 annex J): senders ask the node to commit to the images that they have sent.

The answer is what is true when the report is made: an instance is committed if every content that was received under its
SOP Instance UID is on the disk. One that retention has removed is not, although it was measured.
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import sqlalchemy as sa
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_role, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import N_ACTION
from pynetdicom.presentation import build_context

from node.common.association import Peer, associated
from node.common.batches import batches
from node.common.commitment import (
    CLASS_INSTANCE_CONFLICT,
    NO_SUCH_INSTANCE,
    PROCESSING_FAILURE,
    REQUEST,
    SOP_CLASS,
    SOP_INSTANCE,
    Failed,
    Referenced,
    Report,
    check_size,
    read_request,
    report_of,
)
from node.common.errors import ConfigurationError, InputError, TransportError
from node.common.tls import OwnCertificate, client_context
from node.receive.peer_socket import PeerSocket
from node.records.commitment_orders import CommitmentOrders, Order
from node.records.database import Store
from node.records.received import conflicts, instances
from node.settings.tree import Sender, Settings

log = logging.getLogger(__name__)

#: Orders of one sender that wait for their report.
_MOST_OPEN: Final = 1000
#: A sender that says nothing for this long keeps its association for the report.
_SILENT_S: Final = 1.0
#: One that goes on sending for this long gets the report on an association of its own.
_BUSY_S: Final = 10.0
_POLL_S: Final = 0.1
_ANSWER_S: Final = 10.0
_BATCH: Final = 500

# PS3.7 annex C
_SUCCESS: Final = 0x0000
_INVALID_ARGUMENT: Final = 0x0115
_NO_SUCH_ACTION: Final = 0x0123
_NOT_AUTHORISED: Final = 0x0124
_RESOURCE_LIMITATION: Final = 0x0213


class Held(Store):
    """What the node holds of received instances."""

    def report_on(self, order: Order, state_dir: Path) -> Report:
        """Judge each instance of an order by the records and the files, as they are now."""
        committed: list[Referenced] = []
        failed: list[Failed] = []
        for some in batches(order.references, _BATCH):
            classes, paths = self._known([one.sop_instance_uid for one in some])
            for one in some:
                reason = _why_not(one, classes, paths, state_dir)
                if reason:
                    failed.append(Failed(one, reason))
                else:
                    committed.append(one)
        return Report(order.transaction_uid, tuple(committed), tuple(failed))

    def _known(self, uids: Sequence[str]) -> tuple[dict[str, str], dict[str, list[str]]]:
        """SOP Class UID and paths of every instance that is known and not removed, by its SOP Instance UID."""
        columns = (instances.c.sop_instance_uid, instances.c.sop_class_uid, instances.c.path)
        of_valid = sa.select(*columns).where(instances.c.sop_instance_uid.in_(uids), instances.c.removed_s.is_(None))
        of_others = sa.select(conflicts.c.sop_instance_uid, conflicts.c.path).where(conflicts.c.sop_instance_uid.in_(uids))
        classes: dict[str, str] = {}
        paths: dict[str, list[str]] = {}
        with self._reading.connect() as connection:
            for row in connection.execute(of_valid):
                classes[row.sop_instance_uid] = row.sop_class_uid
                paths.setdefault(row.sop_instance_uid, []).append(row.path)
            for other in connection.execute(of_others):
                paths.setdefault(other.sop_instance_uid, []).append(other.path)
        return classes, paths


def _why_not(one: Referenced, classes: dict[str, str], paths: dict[str, list[str]], state_dir: Path) -> int:
    """Failure Reason; 0 if the instance is held."""
    sop_class_uid = classes.get(one.sop_instance_uid)
    if sop_class_uid is None:
        return NO_SUCH_INSTANCE
    if sop_class_uid != one.sop_class_uid:
        return CLASS_INSTANCE_CONFLICT
    return 0 if all(_is_there(state_dir / path) for path in paths[one.sop_instance_uid]) else NO_SUCH_INSTANCE


def _is_there(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


class CommitmentScp:
    """Takes orders in the listener, and reports on the same association if the sender keeps it."""

    def __init__(self, settings: Settings) -> None:
        """Open the records.

        Raises:
            ConfigurationError: the database cannot be opened.
        """
        self._is_on = settings.listener.storage_commitment
        self._state_dir = settings.state_dir
        self._orders = CommitmentOrders.open(settings)
        self._held = Held.open(settings)
        self._lock = threading.Lock()
        self._waiting: dict[Association, list[str]] = {}

    def on_action(self, event: evt.Event) -> tuple[int, None]:
        """Answer an N-ACTION, with success only when the order is recorded."""
        try:
            return self._status(event), None
        except sa.exc.SQLAlchemyError:
            log.exception("request for storage commitment not recorded")
            return PROCESSING_FAILURE, None

    def _status(self, event: evt.Event) -> int:
        if not self._is_on:
            return _NOT_AUTHORISED
        request = cast(N_ACTION, event.request)
        if request.ActionTypeID != REQUEST:
            return _NO_SUCH_ACTION
        ae_title = str(event.assoc.requestor.ae_title).strip()
        try:
            check_size(request.ActionInformation)
            transaction_uid, references = read_request(event.action_information)
        except InputError as error:
            log.warning("request for storage commitment not understood: calling_ae_title=%r: %s", ae_title, error)
            return _INVALID_ARGUMENT
        if self._orders.count_open(ae_title) >= _MOST_OPEN:
            return _RESOURCE_LIMITATION
        order_id = self._orders.add(ae_title, transaction_uid, references)
        log.info("storage commitment asked for: calling_ae_title=%r instances=%d", ae_title, len(references))
        self._report_when_silent(event.assoc, order_id)
        return _SUCCESS

    def _report_when_silent(self, assoc: Association, order_id: str) -> None:
        with self._lock:
            is_first = assoc not in self._waiting
            self._waiting.setdefault(assoc, []).append(order_id)
        if is_first:
            threading.Thread(target=self._wait_and_report, args=(assoc,), name="commitment", daemon=True).start()

    def _wait_and_report(self, assoc: Association) -> None:
        until_s = time.monotonic() + _BUSY_S
        while time.monotonic() < until_s and assoc.is_established and not _is_silent(assoc):
            time.sleep(_POLL_S)
        with self._lock:
            order_ids = self._waiting.pop(assoc)
        for order_id in order_ids:
            try:
                if not (assoc.is_established and _is_silent(assoc) and self._report(assoc, order_id)):
                    self._orders.leave(order_id)
            except sa.exc.SQLAlchemyError:
                # the worker takes it when the time of the listener is over
                log.exception("report of storage commitment put off")

    def _report(self, assoc: Association, order_id: str) -> bool:
        order = self._orders.order(order_id)
        if order is None or not self._orders.claim(order_id):
            return True
        report = self._held.report_on(order, self._state_dir)
        assoc.dimse_timeout = _ANSWER_S
        try:
            answer, _ = assoc.send_n_event_report(report_of(report), report.event_type, SOP_CLASS, SOP_INSTANCE)
        except (RuntimeError, ValueError):  # the association has just ended
            return False
        if answer.get("Status") != _SUCCESS:
            return False
        self._orders.reported(order_id)
        _log(order, report)
        return True


def _is_silent(assoc: Association) -> bool:
    peer = assoc.dul.socket
    is_silent = isinstance(peer, PeerSocket) and time.monotonic() - peer.heard_s >= _SILENT_S
    return is_silent and assoc.dimse.msg_queue.empty()


def report_to_sender(settings: Settings, sender: Sender, order: Order, held: Held) -> str:
    """Report on an association of its own, as the SCP (PS3.4 J.3.3).

    Returns:
        Why the sender refuses; empty if it has the report.

    Raises:
        TransportError: no connection, a time-out, an abort, or a temporary rejection.
        RejectedError: the association was rejected permanently.
    """
    peer = Peer("sender", sender.ae_title, sender.host, sender.port, _tls(settings, sender))
    contexts = [build_context(SOP_CLASS, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])]
    roles = [build_role(SOP_CLASS, scp_role=True)]
    calling, timeout_s = settings.listener.ae_title, settings.deliver.timeout_s
    with associated(peer, calling, timeout_s, contexts, roles) as assoc:
        if assoc is None:
            return "it does not accept reports of storage commitment (presentation context not accepted)"
        report = held.report_on(order, settings.state_dir)
        answer, _ = assoc.send_n_event_report(report_of(report), report.event_type, SOP_CLASS, SOP_INSTANCE)
        if "Status" not in answer:
            raise TransportError(f"{peer}: no answer to the report of storage commitment")
        if answer.Status != _SUCCESS:
            return f"it refuses the report of storage commitment with 0x{answer.Status:04X}"
    _log(order, report)
    return ""


def _tls(settings: Settings, sender: Sender) -> ssl.SSLContext | None:
    if not sender.tls:
        return None
    listener = settings.listener
    own = OwnCertificate(listener.tls_certificate_file, listener.tls_key_file) if listener.tls_certificate_file else None
    setting = f"senders, {sender.ae_title}: tls_*"
    try:
        return client_context(sender.tls_ca_file, own, checks_name=sender.tls_check_host, setting=setting)
    except ConfigurationError as error:  # reports wait until the certificate is there again
        raise TransportError(str(error)) from error


def _log(order: Order, report: Report) -> None:
    counts = (len(report.committed), len(report.failed))
    text = "storage commitment reported: calling_ae_title=%r committed=%d failed=%d"
    log.info(text, order.calling_ae_title, *counts)
