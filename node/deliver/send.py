"""C-STORE of finished objects to a destination (PS3.4 annex B), and C-ECHO (PS3.4 annex A)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.deliver.association import associated
from node.deliver.status import Outcome, describe_status, outcome_of
from node.errors import InputError, RejectedError, TransportError
from node.settings import Destination

log = logging.getLogger(__name__)

#: The time-out of a response begins when the object is queued, so it is extended by what a slow link (1 Mbit/s) may need.
_SLOWEST_LINK_BYTES_PER_S = 125_000


@dataclass(frozen=True, slots=True)
class SentObject:
    """What a destination did with one object.

    Attributes:
        status: of the C-STORE response; ``None`` if its class was refused when the association was made.
        detail: for a person; empty if it was simply stored.
        comment: what the destination wrote beside the status; it may name the patient, so keep it out of logs.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    outcome: Outcome
    status: int | None
    detail: str
    comment: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a destination did with each of the objects, in the order they were given."""

    destination: str
    objects: tuple[SentObject, ...]

    @property
    def rejected(self) -> tuple[SentObject, ...]:
        """The objects that the destination refused for good."""
        return tuple(sent for sent in self.objects if sent.outcome is Outcome.REJECTED)

    def require_all_stored(self) -> None:
        """Check that nothing was refused.

        Raises:
            RejectedError: names every refused object and its status.
        """
        if self.rejected:
            lines = "; ".join(f"{sent.path.name} ({UID(sent.sop_class_uid).name}): {sent.detail}" for sent in self.rejected)
            raise RejectedError(f"{self.destination} refused {len(self.rejected)} of {len(self.objects)} objects: {lines}")


@dataclass(frozen=True, slots=True)
class _Object:
    path: Path
    sop_class_uid: UID
    sop_instance_uid: UID
    transfer_syntax_uid: UID


def send(files: Sequence[Path], destination: Destination, calling_ae_title: str, timeout_s: float) -> Delivery:
    """Send files over one association, as they are encoded.

    An object that is refused for good does not keep the others from being sent. After a retriable failure the whole call can
    be repeated: a destination keeps one copy per SOP Instance UID.

    Args:
        files: DICOM files (PS3.10).
        calling_ae_title: used if the destination names none of its own.
        timeout_s: for the connection, the association and each response (longer for objects that take long to transfer).

    Returns:
        What became of each object: stored, stored with a warning, or rejected.

    Raises:
        TransportError: no connection, a time-out, an abort, or the destination could not store an object now.
        RejectedError: the association was rejected for good.
        InputError: one of the files is no DICOM file; nothing was sent.
    """
    # Sends the data set from the file as it is, without decoding it.
    _config.STORE_SEND_CHUNKED_DATASET = True
    objects = [_read_meta(path) for path in files]
    kinds = dict.fromkeys((found.sop_class_uid, found.transfer_syntax_uid) for found in objects)
    contexts = [build_context(sop_class_uid, [transfer_syntax_uid]) for sop_class_uid, transfer_syntax_uid in kinds]
    if not contexts:
        return Delivery(destination.name, ())
    results: list[SentObject] = []
    failures: list[str] = []
    calling = destination.calling_ae_title or calling_ae_title
    with associated(destination, calling, timeout_s, contexts) as assoc:
        accepted = _accepted_kinds(assoc)
        for message_id, found in enumerate(objects, start=1):
            if assoc is None or (found.sop_class_uid, found.transfer_syntax_uid) not in accepted:
                detail = f"presentation context not accepted ({found.transfer_syntax_uid.name})"
                results.append(_sent(found, Outcome.REJECTED, None, detail, ""))
                continue
            assoc.dimse_timeout = timeout_s + found.path.stat().st_size / _SLOWEST_LINK_BYTES_PER_S
            status, comment = _store(assoc, found, destination, message_id)
            outcome = outcome_of(status)
            detail = "" if outcome is Outcome.STORED else describe_status(status)
            if outcome is None:
                failures.append(f"{found.path.name}: {detail}")
            else:
                results.append(_sent(found, outcome, status, detail, comment))
    for sent in results:
        level = logging.INFO if sent.outcome is Outcome.STORED else logging.WARNING
        log.log(
            level,
            "object sent: destination=%s outcome=%s sop_instance_uid=%s detail=%r",
            destination.name,
            sent.outcome,
            sent.sop_instance_uid,
            sent.detail,
        )
    if failures:
        raise TransportError(f"{destination.name} could not store now: {'; '.join(failures)}")
    return Delivery(destination.name, tuple(results))


def echo(destination: Destination, calling_ae_title: str, timeout_s: float) -> None:
    """Ask a destination whether it is there (C-ECHO).

    Args:
        calling_ae_title: used if the destination names none of its own.
        timeout_s: for the connection, the association and the response.

    Raises:
        TransportError: no connection, a time-out or an abort.
        RejectedError: the association or the verification service was refused.
    """
    calling = destination.calling_ae_title or calling_ae_title
    with associated(destination, calling, timeout_s, [build_context(UID(Verification))]) as assoc:
        if assoc is None:
            raise RejectedError(f"{destination.name} does not offer verification (C-ECHO)")
        response = assoc.send_c_echo()
        if "Status" not in response:
            raise TransportError(f"{destination.name}: no answer to C-ECHO")
        if response.Status != 0x0000:
            raise RejectedError(f"{destination.name} answered C-ECHO with {describe_status(response.Status)}")


def _read_meta(path: Path) -> _Object:
    try:
        meta = read_file_meta_info(path)
        return _Object(path, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
    except (OSError, InvalidDicomError, AttributeError, ValueError) as error:
        raise InputError(f"{path.name} cannot be sent, it is no DICOM file with File Meta Information: {error}") from error


def _accepted_kinds(assoc: Association | None) -> frozenset[tuple[UID | None, UID]]:
    if assoc is None:
        return frozenset()
    return frozenset((cx.abstract_syntax, cx.transfer_syntax[0]) for cx in assoc.accepted_contexts if cx.as_scu)


def _store(assoc: Association, found: _Object, destination: Destination, message_id: int) -> tuple[int, str]:
    if not assoc.is_established:
        raise TransportError(f"{destination.name}: the association ended before {found.path.name} was sent")
    response = assoc.send_c_store(found.path, msg_id=message_id)
    if "Status" not in response:
        raise TransportError(f"{destination.name}: no answer to C-STORE of {found.path.name}")
    return int(response.Status), str(response.get("ErrorComment", ""))


def _sent(found: _Object, outcome: Outcome, status: int | None, detail: str, comment: str) -> SentObject:
    return SentObject(found.path, str(found.sop_class_uid), str(found.sop_instance_uid), outcome, status, detail, comment)
