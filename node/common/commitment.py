"""The data sets of storage commitment: Storage Commitment Push Model SOP Class (PS3.4 annex J)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from typing import Final, cast

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from node.common.errors import InputError

log = logging.getLogger(__name__)

SOP_CLASS: Final = UID(StorageCommitmentPushModel)
#: The well-known SOP Instance UID (PS3.4 J.3.5).
SOP_INSTANCE: Final = UID(StorageCommitmentPushModelInstance)
#: Action Type ID of a request (PS3.4 table J.3.2-1).
REQUEST: Final = 1
#: Event Type IDs of a report (PS3.4 table J.3.3-1).
ALL_COMMITTED: Final = 1
SOME_FAILED: Final = 2

# Failure Reason (0008,1197), PS3.3 C.14.1.1
PROCESSING_FAILURE: Final = 0x0110
NO_SUCH_INSTANCE: Final = 0x0112
CLASS_INSTANCE_CONFLICT: Final = 0x0119
_REASONS = {
    PROCESSING_FAILURE: "processing failure",
    NO_SUCH_INSTANCE: "no such object instance",
    CLASS_INSTANCE_CONFLICT: "class-instance conflict",
    0x0122: "SOP class not supported",
    0x0131: "duplicate Transaction UID",
    0x0213: "resource limitation",
}
#: Instances in one message; more would cost much memory before anything is checked. A study of CT has a few thousand.
MOST_INSTANCES: Final = 10_000
_UID = re.compile(r"[0-9.]{1,64}")
_ITEM = bytes.fromhex("feff00e0")

_SUCCESS, _INVALID_ARGUMENT = 0x0000, 0x0115


@dataclass(frozen=True, slots=True)
class Referenced:
    """An instance that a request or a report names."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Failed:
    """An instance that was not committed, with its Failure Reason (0008,1197)."""

    referenced: Referenced
    reason: int


@dataclass(frozen=True, slots=True)
class Report:
    """Answer to a request (N-EVENT-REPORT); an instance that it does not name is not answered for."""

    transaction_uid: str
    committed: tuple[Referenced, ...]
    failed: tuple[Failed, ...]

    @property
    def event_type(self) -> int:
        """Event Type ID."""
        return SOME_FAILED if self.failed else ALL_COMMITTED


def request_of(transaction_uid: str, references: Iterable[Referenced]) -> Dataset:
    """Build the Action Information of a request (PS3.4 table J.3.2-1)."""
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.ReferencedSOPSequence = DicomSequence([_item(one) for one in references])
    return ds


def read_request(ds: Dataset) -> tuple[str, tuple[Referenced, ...]]:
    """Read the Action Information of a request: Transaction UID and instances.

    Raises:
        InputError: an attribute is missing.
    """
    references = tuple(_referenced(item) for item in _items(ds, "ReferencedSOPSequence"))
    if not references:
        raise InputError("the request names no instance (Referenced SOP Sequence)")
    return _text(ds, "TransactionUID"), references


def report_of(report: Report) -> Dataset:
    """Build the Event Information of a report (PS3.4 table J.3.3-1)."""
    ds = Dataset()
    ds.TransactionUID = report.transaction_uid
    if report.committed:
        ds.ReferencedSOPSequence = DicomSequence([_item(one) for one in report.committed])
    if report.failed:
        items = [_item(one.referenced) for one in report.failed]
        for item, one in zip(items, report.failed, strict=True):
            item.FailureReason = one.reason
        ds.FailedSOPSequence = DicomSequence(items)
    return ds


def read_report(ds: Dataset) -> Report:
    """Read the Event Information of a report.

    Raises:
        InputError: an attribute is missing.
    """
    committed = tuple(_referenced(item) for item in _items(ds, "ReferencedSOPSequence"))
    failed = tuple(Failed(_referenced(item), _reason(item)) for item in _items(ds, "FailedSOPSequence"))
    return Report(_text(ds, "TransactionUID"), committed, failed)


#: Records a report; ``False`` if no request with its Transaction UID is known.
Answered = Callable[[Report], bool]


def status_of_report(event: evt.Event, answered: Answered) -> int:
    """Record a report that a peer sends; returns the status for its N-EVENT-REPORT."""
    try:
        check_size(cast(N_EVENT_REPORT, event.request).EventInformation)
        report = read_report(event.event_information)
    except InputError as error:
        log.warning("report of storage commitment not understood: %s", error)
        return _INVALID_ARGUMENT
    if not answered(report):
        log.warning("report of storage commitment for an unknown request: transaction_uid=%s", report.transaction_uid)
        return _INVALID_ARGUMENT
    counts = (len(report.committed), len(report.failed))
    log.info("report of storage commitment: transaction_uid=%s committed=%d failed=%d", report.transaction_uid, *counts)
    return _SUCCESS


def check_size(information: BytesIO | None) -> None:
    """Check the encoded data set of a message, before anything decodes it.

    Raises:
        InputError: there is none, or it has too many items.
    """
    if information is None:
        raise InputError("the message has no data set")
    if information.getvalue().count(_ITEM) > MOST_INSTANCES:
        raise InputError(f"the message names more than {MOST_INSTANCES} instances")


def describe_reason(reason: int) -> str:
    """The reason as text, e.g. ``0x0112 no such object instance``."""
    return f"0x{reason:04X} {_REASONS.get(reason, '')}".strip()


def _item(referenced: Referenced) -> Dataset:
    ds = Dataset()
    ds.ReferencedSOPClassUID = referenced.sop_class_uid
    ds.ReferencedSOPInstanceUID = referenced.sop_instance_uid
    return ds


def _items(ds: Dataset, keyword: str) -> Iterable[Dataset]:
    value = ds.get(keyword)
    return value if isinstance(value, DicomSequence) else ()


def _referenced(item: Dataset) -> Referenced:
    return Referenced(_text(item, "ReferencedSOPClassUID"), _text(item, "ReferencedSOPInstanceUID"))


def _reason(item: Dataset) -> int:
    value = item.get("FailureReason")
    return value if isinstance(value, int) else PROCESSING_FAILURE


def _text(ds: Dataset, keyword: str) -> str:
    value = ds.get(keyword)
    if not isinstance(value, str) or not _UID.fullmatch(value):
        raise InputError(f"{keyword} is missing, or no UID")
    return str(value)
