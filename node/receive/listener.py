"""The DICOM listener: C-ECHO, and C-STORE of every storage SOP class in every transfer syntax (PS3.4 annexes A and B). It
also takes the reports on storage commitment (annex J) of what the node has sent, and the requests of senders for it.

Status 0x0000 means that the instance is synced to disk and recorded. The listener never decodes pixels and never computes;
it runs in its own process.
"""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast

import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.common.commitment import PROCESSING_FAILURE, SOP_CLASS, status_of_report
from node.common.errors import ConfigurationError, InputError, StorageFullError
from node.common.private import keep_private
from node.common.quiet import keep_values_out_of_logs
from node.receive.commitment import CommitmentScp
from node.receive.door import Door
from node.receive.guests import Guests, IdleTimes, application_entity
from node.receive.header import is_uid, read_header
from node.receive.index import Ending, InstanceIndex
from node.receive.peer_socket import SendingLimits
from node.receive.porter import Porter, entrances_of
from node.receive.slots import Slots
from node.receive.storage import InstanceStore
from node.records.commitments import Commitments
from node.settings.tree import Settings

log = logging.getLogger(__name__)

#: A PDU is in memory as a whole: without a limit a multi-frame image of 210 MB took 0.9 GB, with it 0.1 GB and less time.
MAX_PDU_BYTES: Final = 1024 * 1024
_MEBIBYTE: Final = 1024 * 1024
_TICK_S: Final = 0.5
_SWEEP_EVERY_TICKS: Final = 120

# PS3.4 table B.2-1 and PS3.7 annex C
_SUCCESS: Final = 0x0000
_INVALID_SOP_INSTANCE: Final = 0x0117
_OUT_OF_RESOURCES: Final = 0xA700
_DOES_NOT_MATCH_SOP_CLASS: Final = 0xA900
_CANNOT_UNDERSTAND: Final = 0xC000


def serve_listener(settings: Settings, stop: threading.Event, ready: Callable[[], None]) -> None:
    """Receive until ``stop`` is set.

    First cleans up after an earlier process: partial files are removed, complete files without a record are recorded, open
    associations are ended.

    While running, options of pynetdicom and the directory for temporary files are changed for the whole process.

    Args:
        settings: the whole tree.
        stop: ends the listener; open associations are aborted.
        ready: called once connections are accepted.

    Raises:
        ConfigurationError: the port is in use, the address is not of this machine, the database cannot be opened, or another
            listener uses the state directory.
    """
    keep_values_out_of_logs()
    keep_private(settings.state_dir)
    listener = settings.listener
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    with _only_listener_of(settings.state_dir):
        index = InstanceIndex.open(settings)
        store = InstanceStore(settings.state_dir, index, listener.min_free_disk_mb * 1024 * 1024)
        n_partial = store.remove_stale_incoming(older_than_s=0.0)
        n_lost = index.end_lost_associations()
        n_unrecorded = store.record_unrecorded()
        if n_partial or n_lost or n_unrecorded:
            log.warning(
                "the last listener did not stop cleanly: partial_files_removed=%d associations_lost=%d files_recorded=%d",
                n_partial,
                n_lost,
                n_unrecorded,
            )
        receiver = _Receiver(store, index, Commitments.open(settings), CommitmentScp(settings))
        with _pynetdicom_receives_into(store.incoming_dir):
            guests = Guests(
                application_entity(listener.ae_title, MAX_PDU_BYTES, listener.artim_s),
                _supported_contexts(settings),
                receiver.handlers,
                SendingLimits(MAX_PDU_BYTES, listener.max_instance_mb * _MEBIBYTE, store.check_room),
                Slots(listener.max_associations, listener.max_associations_per_address),
                IdleTimes(listener.idle_timeout_s, listener.idle_timeout_storing_s),
                receiver.end,
            )
            receiver.stored = guests.has_stored
            door = Door(entrances_of(listener), listener.artim_s, Porter(settings, guests.admit).admit)
            try:
                ready()
                tick = 0
                while not stop.wait(_TICK_S):
                    tick += 1
                    guests.sweep()
                    if not door.is_open:
                        raise RuntimeError("the listener accepts no more connections")
                    if tick % _SWEEP_EVERY_TICKS == 0:
                        store.remove_stale_incoming(older_than_s=2 * listener.idle_timeout_storing_s)
            finally:
                door.close()
                guests.close()
        log.info("listener stopped")


class _Receiver:
    """Handlers of pynetdicom's events; each association calls them from its own thread."""

    def __init__(
        self, store: InstanceStore, index: InstanceIndex, commitments: Commitments, commitment_scp: CommitmentScp
    ) -> None:
        self._store = store
        self._index = index
        self._commitments = commitments
        self._commitment_scp = commitment_scp
        self._lock = threading.Lock()
        self._association_ids: dict[Association, str] = {}
        self.stored: Callable[[Association], None] = lambda _assoc: None

    @property
    def handlers(self) -> list[evt.EventHandlerType]:
        return [
            (evt.EVT_C_ECHO, self._on_echo),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_N_EVENT_REPORT, self._on_report),
            (evt.EVT_N_ACTION, self._commitment_scp.on_action),
            (evt.EVT_RELEASED, self._on_end),
            (evt.EVT_ABORTED, self._on_end),
            (evt.EVT_CONN_CLOSE, self._on_end),
        ]

    def _on_echo(self, _event: evt.Event) -> int:
        return _SUCCESS

    def _on_store(self, event: evt.Event) -> Dataset:
        status, comment = self._store_status(event)
        if status != _SUCCESS:
            log.warning(
                "instance refused: status=0x%04X comment=%r calling_ae_title=%r",
                status,
                comment,
                event.assoc.requestor.ae_title,
            )
        ds = Dataset()
        ds.Status = status
        if comment:
            ds.ErrorComment = comment[:64]  # PS3.7 annex C: LO
        return ds

    def _on_report(self, event: evt.Event) -> tuple[int, None]:
        """A destination says what it has committed to. Answered when that is recorded."""
        try:
            return status_of_report(event, self._commitments.answered), None
        except sa.exc.SQLAlchemyError:
            log.exception("report of storage commitment not recorded")
            return PROCESSING_FAILURE, None

    def _store_status(self, event: evt.Event) -> tuple[int, str]:
        request = cast(C_STORE, event.request)
        sop_instance_uid, sop_class_uid = str(request.AffectedSOPInstanceUID), str(request.AffectedSOPClassUID)
        if not is_uid(sop_instance_uid):
            return _INVALID_SOP_INSTANCE, "Affected SOP Instance UID is invalid"
        try:
            self._store.check_room()
            header = read_header(event.dataset_path)
            if header.sop_class_uid != sop_class_uid:
                return _DOES_NOT_MATCH_SOP_CLASS, "data set has another SOP Class UID"
            if header.sop_instance_uid != sop_instance_uid:
                return _CANNOT_UNDERSTAND, "data set has another SOP Instance UID"
            taken = self._store.take_with_header(event.dataset_path, header, self._association_id(event.assoc))
        except StorageFullError as error:
            log.error("out of disk space: %s", error)  # noqa: TRY400 - the message is complete
            return _OUT_OF_RESOURCES, "out of disk space"
        except InputError as error:
            return _CANNOT_UNDERSTAND, str(error)
        except (OSError, sa.exc.SQLAlchemyError):
            # The sender should retry later, so this must not look like an invalid instance.
            log.exception("instance could not be stored: sop_instance_uid=%s", sop_instance_uid)
            return _OUT_OF_RESOURCES, "storage failed"
        self.stored(event.assoc)
        log.debug("instance stored: sop_instance_uid=%s taken_as=%s", sop_instance_uid, taken.taken_as)
        return _SUCCESS, ""

    def _association_id(self, assoc: Association) -> str:
        with self._lock:
            known = self._association_ids.get(assoc)
        if known is not None:
            return known
        association_id = uuid.uuid4().hex
        self._index.open_association(association_id, assoc.requestor.ae_title)
        with self._lock:
            self._association_ids[assoc] = association_id
        return association_id

    def _on_end(self, event: evt.Event) -> None:
        self.end(event.assoc)

    def end(self, assoc: Association) -> None:
        """An association has ended; may be told more than once, as after a violation of the protocol in a data set."""
        _remove_partial_file(assoc)
        with self._lock:
            association_id = self._association_ids.pop(assoc, None)
        if association_id is None:
            return  # it stored nothing, or its end is already recorded
        ending = Ending.RELEASED if assoc.is_released else Ending.ABORTED
        try:
            self._index.end_association(association_id, ending)
        except sa.exc.SQLAlchemyError:
            # The study then becomes stable by time alone, and the next start ends the association.
            log.exception("end of an association not recorded: association_id=%s", association_id)
            return
        log.info("association ended: ending=%s calling_ae_title=%r", ending, assoc.requestor.ae_title)


def _remove_partial_file(assoc: Association) -> None:
    """Remove what an association has left in ``incoming/``: the data set in progress, and those that nobody handles now."""
    partial = assoc.dimse.message
    files = [] if partial is None else [partial._data_set_file]
    if not assoc.is_alive():
        while not assoc.dimse.msg_queue.empty():
            _, message = assoc.dimse.get_msg()
            files.append(getattr(message, "_dataset_file", None))
    for file in files:
        if file is not None:
            file.close()
            Path(file.name).unlink(missing_ok=True)


def _supported_contexts(settings: Settings) -> list[PresentationContext]:
    """Presentation contexts other than storage, which is accepted for every SOP class and transfer syntax."""
    contexts = [build_context(UID(Verification))]
    is_scu = any(destination.storage_commitment for destination in settings.destinations)
    if is_scu or settings.listener.storage_commitment:
        commitment = build_context(SOP_CLASS, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        # a destination that reports is the SCP, and the requestor of the association (PS3.4 J.3.3, PS3.7 D.3.3.4)
        commitment.scu_role = commitment.scp_role = True
        contexts.append(commitment)
    return contexts


@contextmanager
def _pynetdicom_receives_into(folder: Path) -> Iterator[None]:
    options = {
        "UNRESTRICTED_STORAGE_SERVICE": True,
        "STORE_RECV_CHUNKED_DATASET": True,
        # pynetdicom's log handlers format every PDU and message, which takes longer than receiving them.
        "LOG_HANDLER_LEVEL": "none",
        # A UID that is none is answered with a status (0x0117), not with the end of the association.
        "VALIDATORS": {**_config.VALIDATORS, "UI": lambda _uid: (True, "")},
    }
    options_before = {name: getattr(_config, name) for name in options}
    folder_before = tempfile.tempdir
    # pynetdicom writes incoming data sets to the default directory of tempfile; it must be on the file system of the state
    # directory, so that storing a file is a rename.
    tempfile.tempdir = str(folder)
    for name, value in options.items():
        setattr(_config, name, value)
    try:
        yield
    finally:
        tempfile.tempdir = folder_before
        for name, value in options_before.items():
            setattr(_config, name, value)


@contextmanager
def _only_listener_of(state_dir: Path) -> Iterator[None]:
    fd = os.open(state_dir / "listener.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"state_dir: another listener uses {state_dir}; set another directory") from None
        yield
    finally:
        os.close(fd)
