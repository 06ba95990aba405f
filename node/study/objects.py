"""The output of a run for people and PACS: files in its folder, in every form that a destination may want.

:func:`write_report` is the only code that writes page and reports, for a study that was just measured and for a reissued
report.
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
from node.report import (
    ReportUids,
    Whose,
    build_pdf,
    build_sr,
    build_summary_page,
    render_page,
    render_pdf,
    result_json,
    whose_page,
    without_whose,
)
from node.report.page import RgbImage
from node.report.page_views import PageViews
from node.settings.tree import Destination, ReportSettings
from node.study.run_folder import save_kept_run
from node.study.stages import KeptRun

log = logging.getLogger(__name__)

SR_FILE, PAGE_FILE, PDF_FILE = "sr.dcm", "summary.dcm", "summary-pdf.dcm"
PICTURE_FILE, RESULT_FILE = "summary.png", "result.json"


@dataclass(frozen=True, slots=True)
class WantedKinds:
    """The kinds of objects that a destination may get. Comprehensive 3D SR and binary segmentation are always included."""

    reports: tuple[SrKind, ...]
    segmentations: tuple[SegKind, ...]
    pdf: bool


def wanted_kinds(destinations: Iterable[Destination]) -> WantedKinds:
    """Return the kinds to create for these destinations: all that each may fall back to, since it may refuse any of them."""
    destinations = tuple(destinations)
    reports = {kind for destination in destinations for kind in destination.structured_report} | {SrKind.COMPREHENSIVE_3D}
    segmentations = {destination.segmentation for destination in destinations} | {SegKind.BINARY}
    return WantedKinds(
        tuple(kind for kind in SrKind if kind in reports),
        tuple(kind for kind in SegKind if kind in segmentations),
        any(destination.pdf for destination in destinations),
    )


def seg_file(kind: SegKind) -> str:
    """Return the file name of a segmentation."""
    return "seg.dcm" if kind is SegKind.BINARY else f"seg-{kind}.dcm"


def sr_file(kind: SrKind, seg_kind: SegKind = SegKind.BINARY) -> str:
    """Return the file name of a report that refers to a kind of segmentation."""
    parts = ["sr"]
    if kind is not SrKind.COMPREHENSIVE_3D:
        parts.append(kind.replace("_", "-"))
    if seg_kind is not SegKind.BINARY:
        parts.append(str(seg_kind))
    return "-".join(parts) + ".dcm"


#: All file names, in the order in which a PACS should receive the objects: a report refers to its segmentation.
OBJECT_FILES = (
    *(seg_file(kind) for kind in SegKind),
    *(sr_file(kind, seg_kind) for kind in SrKind for seg_kind in SegKind),
    PAGE_FILE,
    PDF_FILE,
)


def object_files(folder: Path) -> tuple[Path, ...]:
    """Return the objects that a run has created."""
    return tuple(folder / name for name in OBJECT_FILES if (folder / name).is_file())


@dataclass(frozen=True, slots=True, eq=False)
class ReportContent:
    """Input of a report.

    Attributes:
        result: content of the report.
        views: pictures of the page; ``None`` if no series could be read.
        sources: headers of the measured images, without pixels. Empty if no series could be read; then there is a picture of
            the page, but no DICOM object.
        segmentations: segmentations of the result by kind, already in the folder; pixels are not needed. Empty if nothing
            was measured; then there is a page, but no structured report.
        uids: UIDs of the report; ``None`` without ``sources``.
        created: content date and time.
    """

    result: StudyResult
    views: PageViews | None
    sources: Sequence[Dataset]
    segmentations: Mapping[SegKind, Dataset]
    uids: ReportUids | None
    created: datetime


def write_report(
    folder: Path, content: ReportContent, kinds: WantedKinds, settings: ReportSettings, previous_folder: Path | None
) -> None:
    """Write page and structured reports.

    Args:
        folder: folder of the run.
        content: input of the reports.
        kinds: kinds of objects that a destination may get.
        settings: language of the sentences, and whether the page names the patient.
        previous_folder: folder of the run whose report this one replaces. A report refers to the previous report of its own
            kind, since that is what a destination that accepts this kind has stored.
    """
    language = settings.language
    whose = whose_page(content.sources[0], content.result) if settings.patient_on_page and content.sources else None
    page = render_page(content.views, content.result, language, whose)
    # the status page, which may have no login, shows this file
    with whole_file(folder / PICTURE_FILE) as file:
        Image.fromarray(page if whose is None else without_whose(page)).save(file, format="PNG")
    if content.uids is None:
        return
    _write_page_objects(folder, content, content.uids, kinds, page, language, whose)
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
    folder: Path,
    content: ReportContent,
    uids: ReportUids,
    kinds: WantedKinds,
    page: RgbImage,
    language: Language,
    whose: Whose | None,
) -> None:
    """Write the page as a DICOM image, and as a PDF document if a destination wants it."""
    names = whose is not None
    image = build_summary_page(content.sources, page, content.result, uids, content.created, names_patient=names)
    save_object(image, folder / PAGE_FILE)
    if kinds.pdf:
        pdf = render_pdf(content.views, content.result, language, whose)
        document = build_pdf(content.sources, pdf, content.result, uids, content.created, language, names_patient=names)
        save_object(document, folder / PDF_FILE)


def save_object(ds: Dataset, path: Path) -> None:
    """Write a DICOM file (PS3.10) that is complete or absent."""
    with whole_file(path) as file:
        ds.save_as(file, enforce_file_format=True)


def finish_report(folder: Path, result: StudyResult, kept: KeptRun | None, language: Language) -> Path:
    """Write the values of a run and, last, ``result.json``. If it exists, all other files do.

    Args:
        folder: folder of the run.
        result: the result with all timings.
        kept: ``None`` if nothing was measured.
        language: language of the text to paste.

    Returns:
        The path of ``result.json``.
    """
    if kept is not None:
        save_kept_run(folder, kept)
    json_path = folder / RESULT_FILE
    with whole_file(json_path) as file:
        file.write(result_json(result, language).encode())
    return json_path


def predecessors_in(folder: Path, name: str) -> tuple[Dataset, ...]:
    """Return the header of the report in the folder of a run that a new report of this name replaces, if there is one.

    A run of an old version that did not create this kind has only a Comprehensive 3D SR.
    """
    path = next((folder / found for found in (name, SR_FILE) if (folder / found).is_file()), None)
    if path is None:
        log.warning("the replaced report is no longer in its folder, so the new report cannot refer to it")
        return ()
    try:
        return (pydicom.dcmread(path, stop_before_pixels=True),)
    except (OSError, InvalidDicomError) as error:
        log.warning("the replaced report cannot be read, so the new report cannot refer to it: %s", type(error).__name__)
        return ()


def share_file(source: Path, target: Path) -> None:
    """Add a file to another folder: as a hard link if the file system supports it, else as a copy."""
    try:
        os.link(source, target)
    except OSError:
        with source.open("rb") as original, whole_file(target) as copy:
            shutil.copyfileobj(original, copy)
    sync_folder(target.parent)
