"""The DICOM objects of a run as files in its folder: one for every form in which a destination may want a part."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from node.language.catalogue import Language
from node.model import StudyResult
from node.object_kinds import SegKind, SrKind
from node.report import ReportUids, build_pdf, build_sr, build_summary_page, render_pdf
from node.report.page import RgbImage
from node.report.page_views import PageViews
from node.settings.tree import Destination

log = logging.getLogger(__name__)

SR_FILE, PAGE_FILE, PDF_FILE = "sr.dcm", "summary.dcm", "summary-pdf.dcm"


@dataclass(frozen=True, slots=True)
class WantedKinds:
    """The kinds that some destination may get; the first of each are always made, for whoever looks into the folder."""

    reports: tuple[SrKind, ...]
    segmentations: tuple[SegKind, ...]
    pdf: bool


def wanted_kinds(destinations: Iterable[Destination]) -> WantedKinds:
    """What has to be made for these destinations: the whole ladder of each, since nobody knows yet what it will refuse."""
    destinations = tuple(destinations)
    reports = {kind for destination in destinations for kind in destination.structured_report} | {SrKind.COMPREHENSIVE_3D}
    segmentations = {destination.segmentation for destination in destinations} | {SegKind.BINARY}
    return WantedKinds(
        tuple(kind for kind in SrKind if kind in reports),
        tuple(kind for kind in SegKind if kind in segmentations),
        any(destination.pdf for destination in destinations),
    )


def seg_file(kind: SegKind) -> str:
    """Name of the file of a segmentation."""
    return "seg.dcm" if kind is SegKind.BINARY else f"seg-{kind}.dcm"


def sr_file(kind: SrKind, seg_kind: SegKind = SegKind.BINARY) -> str:
    """Name of the file of a report that refers to a kind of segmentation."""
    parts = ["sr"]
    if kind is not SrKind.COMPREHENSIVE_3D:
        parts.append(kind.replace("_", "-"))
    if seg_kind is not SegKind.BINARY:
        parts.append(str(seg_kind))
    return "-".join(parts) + ".dcm"


#: Every name, in the order in which the objects should reach a PACS: a report refers to its segmentation.
OBJECT_FILES = (
    *(seg_file(kind) for kind in SegKind),
    *(sr_file(kind, seg_kind) for kind in SrKind for seg_kind in SegKind),
    PAGE_FILE,
    PDF_FILE,
)


def object_files(folder: Path) -> tuple[Path, ...]:
    """The objects that a run has made."""
    return tuple(folder / name for name in OBJECT_FILES if (folder / name).is_file())


def write_reports(
    folder: Path,
    kinds: WantedKinds,
    sources: Sequence[Dataset],
    segmentations: Mapping[SegKind, Dataset],
    result: StudyResult,
    uids: ReportUids,
    created: datetime,
    previous_folder: Path | None,
    language: Language = Language.EN,
) -> None:
    """Write a report of every kind, for every kind of segmentation that it may refer to.

    Args:
        sources: headers of the measured images.
        segmentations: of the same result, by kind; pixels are not needed.
        uids: of the report.
        created: date and time of content.
        previous_folder: of the run whose report this one replaces. A report names the one of its own kind, which is what a
            destination that takes this kind holds.
        language: of the reports' sentences.
    """
    for kind in kinds.reports:
        for seg_kind, seg in segmentations.items():
            if kind is SrKind.BASIC_TEXT and seg_kind is not SegKind.BINARY:
                continue  # it refers to no segmentation
            name = sr_file(kind, seg_kind)
            predecessors = () if previous_folder is None else predecessors_in(previous_folder, name)
            report = build_sr(sources, seg, result, uids, created, predecessors, kind, language)
            report.save_as(folder / name, enforce_file_format=True)


def write_page(
    folder: Path,
    kinds: WantedKinds,
    page: RgbImage,
    views: PageViews | None,
    sources: Sequence[Dataset],
    result: StudyResult,
    uids: ReportUids,
    created: datetime,
    language: Language,
) -> None:
    """Write the page as a DICOM image, and as a PDF document if a destination wants it.

    Args:
        page: as it was drawn.
        views: the pictures on it, with which the document is drawn.
        sources: headers of images of the study.
        uids: of the report.
        created: date and time of content.
    """
    image = build_summary_page(sources, page, result, uids, created)
    image.save_as(folder / PAGE_FILE, enforce_file_format=True)
    if kinds.pdf:
        document = build_pdf(sources, render_pdf(views, result, language), result, uids, created, language)
        document.save_as(folder / PDF_FILE, enforce_file_format=True)


def predecessors_in(folder: Path, name: str) -> tuple[Dataset, ...]:
    """Header of the report in a run's folder that a new one of this name replaces; none if the run has no report.

    A run of a node that made no such kind yet has only its Comprehensive 3D SR.
    """
    path = next((folder / found for found in (name, SR_FILE) if (folder / found).is_file()), None)
    if path is None:
        log.warning("the report that is replaced is not in its folder any more, so the new one cannot name it")
        return ()
    try:
        return (pydicom.dcmread(path, stop_before_pixels=True),)
    except (OSError, InvalidDicomError) as error:
        log.warning("the report that is replaced cannot be read, so the new one cannot name it: %s", type(error).__name__)
        return ()


def share_file(source: Path, target: Path) -> None:
    """Have a file in another folder, too: as a second name where the file system can, else as a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
