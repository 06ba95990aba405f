"""One study's way through the rooms, in order: the only module that knows them all.

:func:`run_study` holds the order once. It is given a ``run_step`` that decides how a step runs: directly
(``bmd-node process``) or as a durable step whose result survives a crash (:mod:`node.durable`). Steps are idempotent; what
they return are small values and paths, never arrays, and every file they write lies in the study's own folder.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

import numpy as np
import pydicom
import torch
from PIL import Image

from node import __version__
from node.alert import Alert, NoAlert, OrderText, decide
from node.calibrate import convert, convert_with_rods, load_registry
from node.calibration_phantoms import named_phantom
from node.errors import InputError
from node.measure import measure_levels
from node.model import (
    MEASURED_LEVELS,
    NOTHING_READ,
    Bmd,
    Candidate,
    LabelArray,
    LevelMeasurement,
    Reason,
    ScanReadings,
    Selection,
    SeriesLeftOut,
    Software,
    StudyResult,
    VertebralBody,
    Volume,
)
from node.report import build_seg, build_sr, build_summary_page, render_summary, result_json, uids_for
from node.segment import load_segmenter
from node.select import load_volume, select_series
from node.settings import Settings

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

Progress = Callable[[str], None]


class RunStep(Protocol):
    """Runs a step of the workflow under a name and returns its result."""

    def __call__(self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function``."""


def run_directly(_name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """The step runner of a run that nobody resumes."""
    return function(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class StudyInput:
    """A study to work on: its files, and the folder where the run keeps what it makes."""

    paths: tuple[Path, ...]
    folder: Path


@dataclass(frozen=True, slots=True)
class Selected:
    """The candidates of a study."""

    selection: Selection
    seconds: float


@dataclass(frozen=True, slots=True)
class Segmented:
    """The series that was segmented, and what was found in it.

    Attributes:
        candidate: the series; ``None`` if there was none that could be read.
        volume_digest: SHA-256 of voxels, geometry and header facts: the identity of the results hangs on it, so that the
            same images give the same objects whatever transfer syntax they came in.
        labels_path: label map of the bodies on the grid of the series (``.npz``, array ``labels``).
    """

    candidate: Candidate | None
    volume_digest: str
    labels_path: Path | None
    bodies: tuple[VertebralBody, ...]
    reasons: tuple[Reason, ...]
    left_out: tuple[SeriesLeftOut, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Levels with their trabecular HU, and the label map of the measured regions.

    Attributes:
        findings: quality findings of the study as a whole.
        refused: whether one of them forbids to measure.
        scan: what the image says of the scan itself.
    """

    levels: tuple[LevelMeasurement, ...]
    hu_mean: float | None
    regions_path: Path | None
    seconds: float
    findings: tuple[Reason, ...] = ()
    refused: bool = False
    scan: ScanReadings = NOTHING_READ


@dataclass(frozen=True, slots=True)
class Report:
    """The files that a run made; those that do not exist are ``None``.

    Attributes:
        to_send: the DICOM objects, in the order in which they should reach a PACS.
    """

    result: StudyResult
    json_path: Path
    seg_path: Path | None
    sr_path: Path | None
    summary_path: Path | None
    picture_path: Path | None

    @property
    def to_send(self) -> tuple[Path, ...]:
        """SEG first: the SR refers to it."""
        return tuple(path for path in (self.seg_path, self.sr_path, self.summary_path) if path is not None)


class Rooms:
    """The rooms with their settings: one method per step. The segmenter is loaded at the first use and kept."""

    def __init__(self, settings: Settings, progress: Progress = log.info) -> None:
        """Load what the settings name.

        Raises:
            ConfigurationError: a segmenter or an equations file that cannot be used; at start, not at the first study.
        """
        self._settings = settings
        self._progress = progress
        self._registry = load_registry(settings.calibrate.site_equations)
        self._phantom_beneath = named_phantom(settings.calibrate.simultaneous)
        if settings.segment.threads:
            torch.set_num_threads(settings.segment.threads)
        self._segmenter = load_segmenter(settings.segment)
        self._loaded: tuple[Candidate, Volume] | None = None

    @property
    def software(self) -> Software:
        """What computes the results."""
        return Software(version=__version__, segmenter=f"{self._segmenter.name} {self._segmenter.version}")

    @property
    def settings_digest(self) -> str:
        """SHA-256 of every setting and equation that a result depends on."""
        settings = self._settings
        parts = [s.model_dump_json() for s in (settings.select, settings.segment, settings.measure, settings.quality)]
        parts += [equation.model_dump_json() for equation in self._registry.equations]
        parts.append(repr(self._phantom_beneath))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def select(self, study: StudyInput) -> Selected:
        """Which series may be measured."""
        start = time.perf_counter()
        self._progress(f"select: reading the headers of {len(study.paths)} files")
        selection = select_series(study.paths, self._settings.select)
        for left_out in selection.left_out:
            self._progress(f"select: series {left_out.series_instance_uid} left out: {left_out.detail}")
        return Selected(selection, time.perf_counter() - start)

    def segment(self, study: StudyInput, selected: Selected) -> Segmented:
        """Segment candidates, best first, until one shows all of L1 to L4; else keep the one that shows most of them.

        Lumbar cover is thus decided from the image: headers lie about the body part.
        """
        start = time.perf_counter()
        candidates = selected.selection.candidates
        left_out: list[SeriesLeftOut] = []
        best: Segmented | None = None
        for n, candidate in enumerate(candidates):
            uid = candidate.facts.series_instance_uid
            if best is not None and (n >= self._settings.select.max_series_tried or _found(best) == len(MEASURED_LEVELS)):
                left_out.append(SeriesLeftOut(uid, "ranked_lower", f"a better series was measured; {candidate.why}"))
                continue
            self._progress(f"segment: series {uid} ({len(candidate.frames)} slices)")
            try:
                found = self._segment_one(candidate, study.folder / f"bodies-{n}.npz")
            except InputError as error:
                left_out.append(SeriesLeftOut(uid, "not_readable", str(error)))
                continue
            if best is None or _found(found) > _found(best):
                best, worse = found, best
            else:
                worse = found
            if worse is not None and worse.candidate is not None:
                shown = "; ".join(r.detail for r in worse.reasons) or f"{_found(worse)} of L1 to L4 in view"
                left_out.append(SeriesLeftOut(worse.candidate.facts.series_instance_uid, "shows_less", shown))
        seconds = time.perf_counter() - start
        if best is None:
            reason = Reason("no_suitable_series", "no series of the study can be measured; see the reason of each series")
            return Segmented(None, "", None, (), (reason,), tuple(left_out), seconds)
        return Segmented(
            best.candidate, best.volume_digest, best.labels_path, best.bodies, best.reasons, tuple(left_out), seconds
        )

    def _segment_one(self, candidate: Candidate, labels_path: Path) -> Segmented:
        volume = self._volume(candidate)
        segmentation = self._segmenter.segment(volume, self._progress)
        _save_labels(labels_path, segmentation.labels)
        return Segmented(candidate, _volume_digest(volume), labels_path, segmentation.bodies, segmentation.reasons, (), 0.0)

    def measure(self, study: StudyInput, segmented: Segmented) -> Measured:
        """Trabecular HU of the named levels."""
        start = time.perf_counter()
        if segmented.candidate is None or segmented.labels_path is None or not segmented.bodies:
            return Measured((), None, None, time.perf_counter() - start)
        self._progress("measure: trabecular attenuation per level")
        volume = self._volume(segmented.candidate)
        labels = _load_labels(segmented.labels_path)
        measurement = measure_levels(volume.hu, labels, volume.axis_spacing_mm, segmented.bodies, self._settings.measure)
        regions_path = study.folder / "regions.npz"
        _save_labels(regions_path, measurement.regions)
        return Measured(
            measurement.levels,
            measurement.hu_mean,
            regions_path,
            time.perf_counter() - start,
            measurement.findings,
            measurement.refused,
        )

    def calibrate(self, segmented: Segmented, measured: Measured) -> Bmd:
        """BMD and category, or why not."""
        if segmented.candidate is None or not measured.levels:
            return Bmd(None, (), None, None, None, ())
        if self._phantom_beneath is None:
            return convert(measured.levels, segmented.candidate.facts, self._registry)
        volume = self._volume(segmented.candidate)
        return convert_with_rods(measured.levels, volume, self._phantom_beneath, self._registry)

    def report(self, study: StudyInput, result: StudyResult, segmented: Segmented, measured: Measured) -> Report:
        """Build and write what people and PACS get; ``result.json`` last, so that where it is everything is."""
        start = time.perf_counter()
        self._progress("report: SEG, SR and summary page")
        folder = study.folder
        volume = self._volume(segmented.candidate) if segmented.candidate is not None else None
        labels = _load_labels(segmented.labels_path) if segmented.labels_path is not None else None
        regions = _load_labels(measured.regions_path) if measured.regions_path is not None else None
        if volume is not None and labels is not None and regions is None:
            regions = np.zeros_like(labels)

        seg_path = sr_path = summary_path = None
        picture_path = folder / "summary.png"
        page = render_summary(volume, labels, regions, result)
        Image.fromarray(page).save(picture_path)
        if volume is not None and labels is not None and regions is not None:
            sources = [
                pydicom.dcmread(path, stop_before_pixels=True) for path in dict.fromkeys(f.path for f in volume.frames)
            ]
            uids = uids_for(volume.facts.study_instance_uid, segmented.volume_digest, __version__, self.settings_digest)
            now = datetime.now().astimezone()
            summary_path = folder / "summary.dcm"
            build_summary_page(sources, page, result, uids, now).save_as(summary_path, enforce_file_format=True)
            if result.status == "measured":
                seg = build_seg(volume, sources, labels, regions, result, uids, now)
                seg_path = folder / "seg.dcm"
                seg.save_as(seg_path, enforce_file_format=True)
                sr_path = folder / "sr.dcm"
                build_sr(sources, seg, result, uids, now).save_as(sr_path, enforce_file_format=True)
        self._loaded = None
        result = replace(result, timings_s=(*result.timings_s, ("report", time.perf_counter() - start)))
        json_path = folder / "result.json"
        json_path.write_text(result_json(result), encoding="utf-8")
        return Report(result, json_path, seg_path, sr_path, summary_path, picture_path)

    def alert(self, result: StudyResult, segmented: Segmented) -> tuple[Alert, ...] | NoAlert:
        """Whom to tell before an operation, or why nobody; the plan is read from the headers of the measured images."""
        order = OrderText(result.facts.study_instance_uid if result.facts is not None else "")
        if segmented.candidate is not None:
            order = _order_text(pydicom.dcmread(segmented.candidate.frames[0].path, stop_before_pixels=True))
        return decide(result, order, self._settings.alert)

    def labels_of(self, segmented: Segmented) -> tuple[Volume, LabelArray] | None:
        """The segmented volume with its label map, for ``--labels-out``."""
        if segmented.candidate is None or segmented.labels_path is None:
            return None
        return self._volume(segmented.candidate), _load_labels(segmented.labels_path)

    def _volume(self, candidate: Candidate) -> Volume:
        """Decode a series, or take it from the step before: a step that runs again after a crash decodes it anew."""
        # one name, read once: several workflows may run in threads of the same worker
        loaded = self._loaded
        if loaded is None or loaded[0] != candidate:
            self._loaded = None
            loaded = (candidate, load_volume(candidate))
            self._loaded = loaded
        return loaded[1]


def run_study(rooms: Rooms, study: StudyInput, run_step: RunStep = run_directly) -> tuple[Report, Segmented]:
    """Take one study through the rooms.

    Raises:
        InputError: there is nothing that can be read. A study that can be read but not measured is a result.
    """
    study.folder.mkdir(parents=True, exist_ok=True)
    selected = run_step("select", rooms.select, study)
    segmented = run_step("segment", rooms.segment, study, selected)
    measured = run_step("measure", rooms.measure, study, segmented)
    bmd = run_step("calibrate", rooms.calibrate, segmented, measured)
    result = _result(rooms.software, selected, segmented, measured, bmd)
    return run_step("report", rooms.report, study, result, segmented, measured), segmented


def _result(software: Software, selected: Selected, segmented: Segmented, measured: Measured, bmd: Bmd) -> StudyResult:
    usable = any(level.usable for level in measured.levels)
    reasons = segmented.reasons + measured.findings + bmd.reasons
    if not usable and segmented.bodies and not measured.refused:
        reasons = (
            Reason("no_usable_level", "no level of L1 to L4 can be measured; see the findings of each level"),
            *reasons,
        )
    return StudyResult(
        status="measured" if usable else "not_measured",
        reasons=tuple(dict.fromkeys(reasons)),
        facts=segmented.candidate.facts if segmented.candidate is not None else None,
        why_this_series=segmented.candidate.why if segmented.candidate is not None else "",
        series_left_out=selected.selection.left_out + segmented.left_out,
        bodies=segmented.bodies,
        levels=measured.levels,
        hu_mean=measured.hu_mean,
        bmd=bmd,
        timings_s=(("select", selected.seconds), ("segment", segmented.seconds), ("measure", measured.seconds)),
        software=software,
        scan=measured.scan,
    )


def _order_text(ds: pydicom.Dataset) -> OrderText:
    """The imaging order as the image headers repeat it (PS3.3 C.7.2.1, C.7.3.1, table 10-9)."""
    requests = list(ds.get("RequestAttributesSequence") or [])
    scheduled = tuple(str(item.get("ScheduledProcedureStepDescription") or "") for item in requests)
    asked = [ds, *requests]

    def first(keyword: str) -> str | None:
        return next((str(item.get(keyword)) for item in asked if item.get(keyword)), None)

    return OrderText(
        study_instance_uid=str(ds.StudyInstanceUID),
        accession_number=first("AccessionNumber"),
        study_description=first("StudyDescription"),
        requested_procedure_description=first("RequestedProcedureDescription"),
        scheduled_procedure_descriptions=tuple(text for text in scheduled if text),
        performed_procedure_description=first("PerformedProcedureStepDescription"),
        reason_for_requested_procedure=first("ReasonForTheRequestedProcedure"),
    )


def _found(segmented: Segmented) -> int:
    return sum(body.level in MEASURED_LEVELS for body in segmented.bodies)


def _volume_digest(volume: Volume) -> str:
    digest = hashlib.sha256()
    digest.update(repr(volume.facts).encode())
    digest.update("".join(f"{f.sop_instance_uid}:{f.frame_number}" for f in volume.frames).encode())
    digest.update(np.round(volume.affine_lps_mm, 4).tobytes())
    digest.update(np.ascontiguousarray(volume.hu).data)
    return digest.hexdigest()


def _save_labels(path: Path, labels: LabelArray) -> None:
    """Write under another name first: a file with the final name is complete."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez_compressed(file, labels=labels)
    part.replace(path)


def _load_labels(path: Path) -> LabelArray:
    with np.load(path) as arrays:
        labels: LabelArray = arrays["labels"]
    return labels
