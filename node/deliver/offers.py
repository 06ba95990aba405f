"""What is offered to a destination: every part of a result, in the forms set for this destination, the best first."""

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
    """A part of a result, as people call it."""

    SEGMENTATION = "segmentation"
    REPORT = "structured report"
    PAGE = "summary page"
    PDF = "PDF"


@dataclass(frozen=True, slots=True)
class Form:
    """A file (PS3.10) with a part.

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
        """SOP class and transfer syntax of the proposed presentation context."""
        return self.sop_class_uid, self.transfer_syntax_uid


@dataclass(frozen=True, slots=True)
class Offer:
    """A part in its forms; the destination gets only the first form that it stores.

    Attributes:
        part: its name; one of :class:`Part` for a result.
        forms: at least one, the best first.
        only_without: the part that this one replaces: it is sent only if that one was offered and not accepted.
    """

    part: str
    forms: tuple[Form, ...]
    only_without: str | None = None


def read_form(path: Path) -> Form:
    """Read what is needed to send a file.

    Raises:
        InputError: it is not a DICOM file.
    """
    try:
        meta = read_file_meta_info(path)
        uids = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID
        segmentations = _segmentations_of(path) if uids[0] in _REPORTS else frozenset()
    except (OSError, InvalidDicomError, AttributeError, ValueError) as error:
        raise InputError(f"{path.name} cannot be sent: not a DICOM file with File Meta Information ({error})") from error
    return Form(path, *uids, segmentations)


def offers_for(forms: Sequence[Form], destination: Destination) -> tuple[Offer, ...]:
    """Choose the offers for a destination from the files of a result; the segmentation comes first, as reports refer to it.

    A label map is followed by the binary segmentation, which more receivers accept. Of the reports of a class, the one that
    refers to the first segmentation comes first.

    Returns:
        Offers; none for a part that is excluded by the settings or has no file.
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
    """The forms of a report, one per SOP class in their order, each referring to a segmentation at the destination.

    Args:
        segmentations: SOP Instance UIDs of the segmentations that the destination has. If it has none, the report refers to
            the one offered first.
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
