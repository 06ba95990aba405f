"""What people and PACS get of a run, as files in its folder: one for every form in which a destination may want a part.

:func:`write_report` is the one sequence in which they are written, for a study that was measured just now as for a report
that is issued again.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pydicom
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from node.common.files import sync_folder, whole_file
from node.language.catalogue import Language
from node.model import StudyResult
from node.model.object_kinds import SegKind, SrKind
from node.report import ReportUids, build_pdf, build_sr, build_summary_page, render_page, render_pdf, result_json
from node.report.page import RgbImage
from node.report.page_views import PageViews
from node.settings.tree import Destination
from node.study.run_folder import save_kept_run
from node.study.stages import KeptRun

log = logging.getLogger(__name__)

SR_FILE, PAGE_FILE, PDF_FILE = "sr.dcm", "summary.dcm", "summary-pdf.dcm"
PICTURE_FILE, RESULT_FILE = "summary.png", "result.json"


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


@dataclass(frozen=True, slots=True, eq=False)
class ReportContent:
    """What a report is made of.

    Attributes:
        result: what it says.
        views: the pictures of its page; ``None`` if no series could be read.
        sources: headers of the measured images, without pixels; empty if no series could be read: then there is a picture
            of the page, but no DICOM object.
        segmentations: of the same result, by kind, already in the folder; pixels are not needed. Empty if nothing was
            measured: then there is a page, but no structured report.
        uids: of the report; ``None`` without ``sources``.
        created: date and time of content.
    """

    result: StudyResult
    views: PageViews | None
    sources: Sequence[Dataset]
    segmentations: Mapping[SegKind, Dataset]
    uids: ReportUids | None
    created: datetime


def write_report(
    folder: Path, content: ReportContent, kinds: WantedKinds, language: Language, previous_folder: Path | None
) -> None:
    """Write page and structured reports.

    Args:
        folder: of the run.
        content: what they are made of.
        kinds: that some destination may get.
        language: of their sentences.
        previous_folder: of the run whose report this one replaces. A report names the one of its own kind, which is what a
            destination that takes this kind holds.
    """
    page = render_page(content.views, content.result, language)
    with whole_file(folder / PICTURE_FILE) as file:
        Image.fromarray(page).save(file, format="PNG")
    if content.uids is None:
        return
    _write_page_objects(folder, content, content.uids, kinds, page, language)
    for kind in kinds.reports:
        for seg_kind, seg in content.segmentations.items():
            if kind is SrKind.BASIC_TEXT and seg_kind is not SegKind.BINARY:
                continue  # it refers to no segmentation
            name = sr_file(kind, seg_kind)
            predecessors = () if previous_folder is None else predecessors_in(previous_folder, name)
            report = build_sr(
                content.sources, seg, content.result, content.uids, content.created, predecessors, kind, language
            )
            save_object(report, folder / name)


def _write_page_objects(
    folder: Path, content: ReportContent, uids: ReportUids, kinds: WantedKinds, page: RgbImage, language: Language
) -> None:
    """The page as a DICOM image, and as a PDF document if a destination wants it."""
    image = build_summary_page(content.sources, page, content.result, uids, content.created)
    save_object(image, folder / PAGE_FILE)
    if kinds.pdf:
        pdf = render_pdf(content.views, content.result, language)
        document = build_pdf(content.sources, pdf, content.result, uids, content.created, language)
        save_object(document, folder / PDF_FILE)


def save_object(ds: Dataset, path: Path) -> None:
    """Write a DICOM file (PS3.10) that is whole or not there."""
    with whole_file(path) as file:
        ds.save_as(file, enforce_file_format=True)


def finish_report(folder: Path, result: StudyResult, kept: KeptRun | None) -> Path:
    """Write the values of a run and, last, ``result.json``: where it is, everything else is.

    Args:
        folder: of the run.
        result: with all its timings.
        kept: ``None`` if nothing was measured.

    Returns:
        The path of ``result.json``.
    """
    if kept is not None:
        save_kept_run(folder, kept)
    json_path = folder / RESULT_FILE
    with whole_file(json_path) as file:
        file.write(result_json(result).encode())
    return json_path


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
        with source.open("rb") as original, whole_file(target) as copy:
            shutil.copyfileobj(original, copy)
    sync_folder(target.parent)
