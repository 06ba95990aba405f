"""What is offered to a destination: every part of a result, in the forms that this destination may take, the best first."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID, EncapsulatedPDFStorage, SecondaryCaptureImageStorage

from node.common.errors import InputError
from node.model.object_kinds import SegKind, SrKind
from node.settings.tree import Destination, PageWanted

_SEGMENTATIONS = frozenset(kind.sop_class_uid for kind in SegKind)
_REPORTS = frozenset(kind.sop_class_uid for kind in SrKind)


class Part(StrEnum):
    """A part of a result, as a person calls it."""

    SEGMENTATION = "segmentation"
    REPORT = "structured report"
    PAGE = "summary page"
    PDF = "PDF"


@dataclass(frozen=True, slots=True)
class Form:
    """A file (PS3.10) that holds a part.

    Attributes:
        segmentations: SOP Instance UIDs of the segmentations that a report refers to.
    """

    path: Path
    sop_class_uid: UID
    sop_instance_uid: UID
    transfer_syntax_uid: UID
    segmentations: frozenset[str] = frozenset()

    @property
    def context(self) -> tuple[UID, UID]:
        """SOP class and transfer syntax, as they are proposed."""
        return self.sop_class_uid, self.transfer_syntax_uid


@dataclass(frozen=True, slots=True)
class Offer:
    """A part in its forms; the first that the destination stores is the only one that it gets.

    Attributes:
        part: its name; one of :class:`Part` for a result.
        forms: at least one, the best first.
        only_without: the part in whose place this one goes: it is sent only where that one was offered and not taken.
    """

    part: str
    forms: tuple[Form, ...]
    only_without: str | None = None


def read_form(path: Path) -> Form:
    """Read what is needed to send a file.

    Raises:
        InputError: it is no DICOM file.
    """
    try:
        meta = read_file_meta_info(path)
        uids = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID
        segmentations = _segmentations_of(path) if uids[0] in _REPORTS else frozenset()
    except (OSError, InvalidDicomError, AttributeError, ValueError) as error:
        raise InputError(f"{path.name} cannot be sent, it is no DICOM file with File Meta Information: {error}") from error
    return Form(path, *uids, segmentations)


def offers_for(forms: Sequence[Form], destination: Destination) -> tuple[Offer, ...]:
    """Choose from the files of a result what a destination is offered; the segmentation first, as the report refers to it.

    A label map is followed by the binary segmentation, which more receivers take. Of the reports of a class the one comes
    first that refers to the segmentation offered first.

    Returns:
        Offers; none for a part that the destination shall not have or that there is no file of.
    """
    segmentations = [form for kind in _seg_ladder(destination) for form in forms if form.sop_class_uid == kind.sop_class_uid]
    preferred = {str(form.sop_instance_uid) for form in segmentations[:1]}
    reports = [
        form
        for kind in destination.structured_report
        for form in sorted(forms, key=lambda form: not (form.segmentations & preferred))
        if form.sop_class_uid == kind.sop_class_uid
    ]
    pages = [form for form in forms if form.sop_class_uid == SecondaryCaptureImageStorage]
    only_without = None
    if destination.summary_page is PageWanted.NEVER:
        pages = []
    elif destination.summary_page is PageWanted.INSTEAD_OF_REPORT and reports:
        only_without = Part.REPORT
    pdfs = [form for form in forms if destination.pdf and form.sop_class_uid == EncapsulatedPDFStorage]
    offers = (
        Offer(Part.SEGMENTATION, tuple(segmentations)),
        Offer(Part.REPORT, tuple(reports)),
        Offer(Part.PAGE, tuple(pages), only_without),
        Offer(Part.PDF, tuple(pdfs)),
    )
    return tuple(offer for offer in offers if offer.forms)


def report_forms(forms: Sequence[Form], segmentations: Collection[str]) -> tuple[Form, ...]:
    """The forms of a report, the classes in their order, each in the one form that refers to a segmentation in question.

    Args:
        segmentations: SOP Instance UIDs of those that the destination has. Where it has none, the report refers to the one
            that it was offered first.
    """
    of_class: dict[tuple[UID, UID], Form] = {}
    for form in forms:
        known = of_class.get(form.context)
        if known is None or (not known.segmentations & set(segmentations) and form.segmentations & set(segmentations)):
            of_class[form.context] = form
    return tuple(of_class.values())


def _seg_ladder(destination: Destination) -> tuple[SegKind, ...]:
    match destination.segmentation:
        case "none":
            return ()
        case SegKind.BINARY:
            return (SegKind.BINARY,)
        case SegKind.LABELMAP:
            return (SegKind.LABELMAP, SegKind.BINARY)


def _segmentations_of(report: Path) -> frozenset[str]:
    """Segmentations in the Current Requested Procedure Evidence Sequence (PS3.3 C.17.2)."""
    keyword = "CurrentRequestedProcedureEvidenceSequence"
    ds = pydicom.dcmread(report, specific_tags=[keyword])
    return frozenset(
        str(item.ReferencedSOPInstanceUID)
        for study in ds.get(keyword) or ()
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
        if item.ReferencedSOPClassUID in _SEGMENTATIONS
    )
