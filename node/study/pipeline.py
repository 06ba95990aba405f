"""The path of one study through the stages. This is the only module that imports them all.

:func:`run_study` defines the order. Its argument ``run_step`` decides how a stage runs: directly (``bmd-node process``) or
as a durable step whose result survives a crash (:mod:`node.worker.workflows`). Stages are idempotent. They return small
values and paths, never arrays, and write files only into the folder of the run.

Stages can also be used alone: :mod:`node.study.recalculation` calls ``calibrate`` and writes reports. A :class:`Pipeline`
loads the segmenter, and torch with it, only when it segments.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pydicom

from node import __version__
from node.calibrate import convert, convert_with_rods, load_registry, population_reason, sharp_kernel
from node.clinical.identity import Issuers
from node.clinical.imaging_order import OrderText, order_text
from node.common.errors import InputError
from node.common.files import make_folder
from node.language.phrase import as_phrase, joined, phrase
from node.measure import judge_levels, judge_scan, measure_levels
from node.model import (
    MEASURED_LEVELS,
    NO_BMD_CODES,
    Bmd,
    Candidate,
    LabelArray,
    Orientation,
    PatientRank,
    PriorComparison,
    Reason,
    SeriesFacts,
    SeriesLeftOut,
    Software,
    StudyResult,
    Volume,
)
from node.model.calibration_phantoms import named_phantom
from node.model.for_people import left_out_for_people, reasons_for_people
from node.model.object_kinds import SegKind
from node.report import (
    build_seg,
    kept_headers,
    said_json,
    take_views,
    uids_for,
)
from node.segment import Segmenter, load_segmenter
from node.select import IDENTITY_DIFFERS, SeveralScansError, load_volume, select_series
from node.settings.tree import Settings
from node.study.agreed import agreed_header_of, with_agreed_header
from node.study.objects import (
    PAGE_FILE,
    PICTURE_FILE,
    SR_FILE,
    ReportContent,
    finish_report,
    object_files,
    save_object,
    seg_file,
    wanted_kinds,
    write_report,
)
from node.study.run_folder import load_labels, save_headers, save_labels, save_views
from node.study.stages import (
    KeptRun,
    MeasureOutcome,
    Predecessor,
    ReportOutcome,
    RunStep,
    SegmentOutcome,
    SelectOutcome,
    Stages,
    StudyInput,
    run_directly,
)

log = logging.getLogger(__name__)

Progress = Callable[[str], None]


#: Finds an earlier result of the same patient.
FindPrior = Callable[[StudyResult, SegmentOutcome], PriorComparison | None]
#: Finds the place of the patient among others.
FindRank = Callable[[StudyResult, SegmentOutcome], PatientRank | None]
#: Finds an earlier report of the same study, given the identity of the new report.
FindPredecessor = Callable[[str], Predecessor]

REPLACES_EARLIER = Reason(
    "replaces_earlier",
    phrase("replaces an earlier report of this study: its images, the settings or the software have changed since"),
)


@dataclass(frozen=True, slots=True, eq=False)
class _LabelledImage:
    """A volume with label maps on its grid: bodies and measured regions (all 0 if nothing was measured)."""

    volume: Volume
    labels: LabelArray
    regions: LabelArray


class Pipeline:
    """The stages with their settings: one method per stage."""

    def __init__(self, settings: Settings, progress: Progress = log.info) -> None:
        """Load the equations that the settings name.

        Raises:
            ConfigurationError: the file of equations, or of the calibration phantom, cannot be used.
        """
        self._settings = settings
        self._progress = progress
        self._registry = load_registry(settings.calibrate.site_equations)
        self._phantom_beneath = named_phantom(settings.calibrate.simultaneous)
        self._loaded: tuple[Candidate, Volume] | None = None

    @functools.cached_property
    def _segmenter(self) -> Segmenter:
        # imported here: torch takes seconds and hundreds of megabytes, and most commands do not segment
        import torch

        if self._settings.segment.threads:
            torch.set_num_threads(self._settings.segment.threads)
        return load_segmenter(self._settings.segment)

    def load(self) -> None:
        """Load the segmenter now, so that the first study does not fail if it cannot be loaded.

        Raises:
            ConfigurationError: the segmenter cannot be used; the message says what to do.
        """
        self._progress(f"segmenter: {self._segmenter.name} {self._segmenter.version}")

    @property
    def software(self) -> Software:
        """Software that computes the results. Loads the segmenter, because its version is included."""
        return Software(version=__version__, segmenter=f"{self._segmenter.name} {self._segmenter.version}")

    @property
    def settings_digest(self) -> str:
        """SHA-256 of every setting and equation that a result depends on."""
        settings = self._settings
        sections = (settings.segment, settings.measure, settings.quality)
        # a setting that came later, and is not set, changes no segmentation: its UIDs stay
        later = set() if settings.select.accept_image_types else {"accept_image_types"}
        parts = [settings.select.model_dump_json(exclude=later), *(section.model_dump_json() for section in sections)]
        parts.append(settings.report.model_dump_json(exclude={"patient_on_page"}))
        parts += [equation.model_dump_json() for equation in self._registry.equations]
        parts += [correction.model_dump_json() for correction in self._registry.contrast_corrections]
        parts.append(repr(self._phantom_beneath))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def identity(self, result: StudyResult, segmented: SegmentOutcome) -> str:
        """Return the SHA-256 of inputs and content of a report: images, software, settings, and result without timings."""
        said = (said_json(replace(result, timings_s=())), self._settings.report.model_dump_json())
        parts = (segmented.volume_digest, __version__, self.settings_digest, *said)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def select(self, study: StudyInput) -> SelectOutcome:
        """Select the series that may be measured."""
        start = time.perf_counter()
        self._progress(f"select: reading the headers of {len(study.paths)} files")
        issuers = Issuers(self._settings.plans.issuers)
        selection = select_series(study.paths, self._settings.select, issuers)
        for left_out in selection.left_out:
            self._progress(f"select: series {left_out.series_instance_uid} left out: {left_out.detail}")
        return SelectOutcome(selection, time.perf_counter() - start)

    def segment(self, study: StudyInput, selected: SelectOutcome) -> SegmentOutcome:
        """Segment candidates, best first, until one shows all of L1 to L4; else keep the one that shows most of them.

        After ``select.max_series_tried`` of them it continues only if none showed any lumbar level. So the image decides
        which levels are in view; headers are often wrong about the body part.
        """
        start = time.perf_counter()
        candidates = selected.selection.candidates
        left_out: list[SeriesLeftOut] = []
        best: SegmentOutcome | None = None
        for n, candidate in enumerate(candidates):
            uid = candidate.facts.series_instance_uid
            tried_enough = n >= self._settings.select.max_series_tried and best is not None and _found(best) > 0
            if best is not None and (tried_enough or _found(best) == len(MEASURED_LEVELS)):
                why = phrase("a better series was measured; {why}", why=candidate.why)
                left_out.append(SeriesLeftOut(uid, "ranked_lower", why))
                continue
            self._progress(f"segment: series {uid} ({len(candidate.frames)} slices)")
            for remark in candidate.remarks:
                self._progress(f"select: series {uid}: {remark.detail} [{remark.code}]")
            try:
                found = self._segment_one(candidate, study, f"bodies-{n}.npz")
            except InputError as error:
                self._progress(f"segment: series {uid} left out: {error.said}")
                mixed = isinstance(error, SeveralScansError)
                code = "several_phases_in_one_series" if mixed else "not_readable"
                left_out.append(SeriesLeftOut(uid, code, as_phrase(error.said)))
                continue
            if best is None or _found(found) > _found(best):
                best, worse = found, best
            else:
                worse = found
            if worse is not None and worse.candidate is not None:
                said = joined((reason.detail for reason in worse.reasons), "; ")
                shown = said or phrase("{levels} of L1 to L4 in view", levels=_found(worse))
                left_out.append(SeriesLeftOut(worse.candidate.facts.series_instance_uid, "shows_less", shown))
        seconds = time.perf_counter() - start
        if best is None:
            said = phrase("no series of the study can be measured; see the reason for each series")
            reasons = (Reason("no_suitable_series", said), *_other_patients(selected))
            return SegmentOutcome(None, "", None, (), reasons, tuple(left_out), seconds)
        return SegmentOutcome(
            best.candidate, best.volume_digest, best.labels_path, best.bodies, best.reasons, tuple(left_out), seconds
        )

    def _segment_one(self, candidate: Candidate, study: StudyInput, labels_name: str) -> SegmentOutcome:
        volume, labels_path = self._volume(candidate), study.folder / labels_name
        segmentation = self._segmenter.segment(volume, self._progress)
        save_labels(labels_path, segmentation.labels)
        return SegmentOutcome(
            candidate,
            _volume_digest(volume, study.correction),
            labels_path,
            segmentation.bodies,
            segmentation.reasons,
            (),
            0.0,
        )

    def measure(self, study: StudyInput, segmented: SegmentOutcome) -> MeasureOutcome:
        """Measure the trabecular HU of the labelled levels, and properties of the scan."""
        start = time.perf_counter()
        if segmented.candidate is None or segmented.labels_path is None or not segmented.bodies:
            return MeasureOutcome((), None, None, time.perf_counter() - start)
        population = population_reason(segmented.candidate.facts)
        if population is not None and self._settings.quality.population == "refuse":
            return MeasureOutcome((), None, None, time.perf_counter() - start, (population,), refused=True)
        self._progress("measure: the scan itself, then trabecular attenuation per level")
        volume = self._volume(segmented.candidate)
        labels = load_labels(segmented.labels_path)
        scan = judge_scan(volume, labels, sharp_kernel(volume.facts), self._settings.quality)
        said = scan.findings + ((population,) if population is not None else ())
        if scan.refused:
            return MeasureOutcome((), None, None, time.perf_counter() - start, said, True, scan.readings, scan.contrast)
        image = (volume.hu, labels, volume.affine_lps_mm, segmented.bodies)
        wanted = self._settings.measure
        across = volume.facts.orientation is Orientation.AXIAL
        measurement = judge_levels(
            *image,
            measure_levels(*image, wanted),
            self._settings.quality,
            wanted.metal_hu,
            volume.facts.slice_thickness_mm if across else None,
        )
        regions_path = study.folder / "regions.npz"
        save_labels(regions_path, measurement.regions)
        # fractures come first: they matter most to a reader
        said = measurement.findings + said
        read = (scan.readings, scan.contrast)
        seconds = time.perf_counter() - start
        return MeasureOutcome(
            measurement.levels, measurement.hu_mean, regions_path, seconds, said, measurement.refused, *read
        )

    def calibrate(self, segmented: SegmentOutcome, measured: MeasureOutcome) -> Bmd:
        """Convert HU to BMD and category, or give the reason why not."""
        facts = concluded_facts(segmented, measured)
        if segmented.candidate is None or facts is None or not measured.levels:
            return Bmd(None, (), None, None, None, ())
        # said in the findings already; rods beneath the patient do not heal values that wrapped or were processed
        against = tuple(finding for finding in measured.findings if finding.code in NO_BMD_CODES)
        if against:
            return Bmd(None, (), None, None, None, against)
        if self._phantom_beneath is None:
            return convert(measured.levels, facts, self._registry, contrast=measured.contrast)
        volume = replace(self._volume(segmented.candidate), facts=facts)
        return convert_with_rods(measured.levels, volume, self._phantom_beneath, self._registry, measured.contrast)

    def report(
        self,
        study: StudyInput,
        result: StudyResult,
        segmented: SegmentOutcome,
        measured: MeasureOutcome,
        predecessor: Predecessor,
    ) -> ReportOutcome:
        """Build and write the output for people and PACS. ``result.json`` is last: if it exists, all files do."""
        start = time.perf_counter()
        self._progress("report: SEG, SR and summary page")
        folder = study.folder
        if predecessor.replaces is not None:
            result = replace(result, reasons=(*result.reasons, REPLACES_EARLIER))
        is_measured = result.status == "measured"
        image = self._image_of(segmented, measured)
        kinds = wanted_kinds(self._settings.destinations)
        if image is None:
            content = ReportContent(result, take_views(None, None, None, result), (), {}, None, _now())
        else:
            paths = dict.fromkeys(frame.path for frame in image.volume.frames)
            sources = with_agreed_header([pydicom.dcmread(path, stop_before_pixels=True) for path in paths])
            uids = uids_for(
                image.volume.facts.study_instance_uid,
                segmented.volume_digest,
                __version__,
                self.settings_digest,
                predecessor.identity,
            )
            now = _now()
            segmentations = {
                kind: build_seg(image.volume, sources, image.labels, image.regions, result, uids, now, kind)
                for kind in (kinds.segmentations if is_measured else ())
            }
            for kind, seg in segmentations.items():
                save_object(seg, folder / seg_file(kind))
            views = take_views(image.volume, image.labels, image.regions, result)
            content = ReportContent(result, views, sources, segmentations, uids, now)
            if is_measured:
                save_headers(folder, kept_headers(sources, image.volume.facts, uids.frame_of_reference))
        write_report(folder, content, kinds, self._settings.report, predecessor.folder)
        self._loaded = None
        result = replace(result, timings_s=(*result.timings_s, ("report", time.perf_counter() - start)))
        kept = None
        if content.views is not None and is_measured:
            save_views(folder, content.views)
            kept = KeptRun(result, segmented, measured, _order_of(segmented))
        json_path = finish_report(folder, result, kept, self._settings.report.language)
        objects = object_files(folder)
        return ReportOutcome(
            result=result,
            json_path=json_path,
            seg_path=folder / seg_file(SegKind.BINARY) if content.segmentations else None,
            sr_path=folder / SR_FILE if content.segmentations else None,
            summary_path=folder / PAGE_FILE if content.uids is not None else None,
            picture_path=folder / PICTURE_FILE,
            objects=objects,
            replaces=predecessor.replaces,
        )

    def _image_of(self, segmented: SegmentOutcome, measured: MeasureOutcome) -> _LabelledImage | None:
        """Return the segmented image; ``None`` if no series could be read."""
        if segmented.candidate is None or segmented.labels_path is None:
            return None
        labels = load_labels(segmented.labels_path)
        regions = np.zeros_like(labels) if measured.regions_path is None else load_labels(measured.regions_path)
        return _LabelledImage(self._volume(segmented.candidate), labels, regions)

    def labels_of(self, segmented: SegmentOutcome) -> tuple[Volume, LabelArray] | None:
        """Return the segmented volume with its label map, for ``--labels-out``."""
        if segmented.candidate is None or segmented.labels_path is None:
            return None
        return self._volume(segmented.candidate), load_labels(segmented.labels_path)

    def _volume(self, candidate: Candidate) -> Volume:
        """Decode a series, or reuse the one that the previous step decoded. After a crash it is decoded again."""
        # read the attribute once: several workflows may run in threads of the same worker
        loaded = self._loaded
        if loaded is None or loaded[0] != candidate:
            self._loaded = None
            loaded = (candidate, load_volume(candidate))
            self._loaded = loaded
        return loaded[1]


def run_study(
    pipeline: Stages,
    study: StudyInput,
    run_step: RunStep = run_directly,
    find_prior: FindPrior | None = None,
    find_predecessor: FindPredecessor | None = None,
    find_rank: FindRank | None = None,
) -> tuple[ReportOutcome, SegmentOutcome]:
    """Run one study through the stages.

    With ``find_prior`` the result is compared with an earlier one of the patient, with ``find_rank`` with other patients.
    With ``find_predecessor`` the report refers to the earlier report of the study that it replaces.

    Raises:
        InputError: nothing can be read. A study that can be read but not measured has a result.
    """
    make_folder(study.folder)
    selected = run_step("select", pipeline.select, study)
    segmented = run_step("segment", pipeline.segment, study, selected)
    measured = run_step("measure", pipeline.measure, study, segmented)
    bmd = run_step("calibrate", pipeline.calibrate, segmented, measured)
    result = _result(pipeline.software, selected, segmented, measured, bmd)
    if find_prior is not None:
        result = replace(result, prior=run_step("prior", find_prior, result, segmented))
    if find_rank is not None:
        result = replace(result, rank=run_step("rank", find_rank, result, segmented))
    predecessor = Predecessor(pipeline.identity(result, segmented))
    if find_predecessor is not None:
        predecessor = run_step("predecessor", find_predecessor, predecessor.identity)
    return run_step("report", pipeline.report, study, result, segmented, measured, predecessor), segmented


def _result(
    software: Software, selected: SelectOutcome, segmented: SegmentOutcome, measured: MeasureOutcome, bmd: Bmd
) -> StudyResult:
    usable = any(level.usable for level in measured.levels)
    reasons = reasons_of(segmented, measured, bmd)
    if not usable and segmented.bodies and not measured.refused:
        reasons = (
            Reason("no_usable_level", phrase("no level of L1 to L4 can be measured; see the findings of each level")),
            *reasons,
        )
    return StudyResult(
        status="measured" if usable else "not_measured",
        reasons=reasons_for_people(reasons),
        facts=concluded_facts(segmented, measured),
        why_this_series=segmented.candidate.why if segmented.candidate is not None else as_phrase(""),
        series_left_out=left_out_for_people(selected.selection.left_out + segmented.left_out),
        bodies=segmented.bodies,
        levels=measured.levels,
        hu_mean=measured.hu_mean,
        bmd=bmd,
        timings_s=(("select", selected.seconds), ("segment", segmented.seconds), ("measure", measured.seconds)),
        software=software,
        scan=measured.scan,
        remarks=segmented.candidate.remarks if segmented.candidate is not None else (),
    )


def concluded_facts(segmented: SegmentOutcome, measured: MeasureOutcome) -> SeriesFacts | None:
    """Return the facts of the series with the contrast phase concluded from image and header."""
    facts = segmented.candidate.facts if segmented.candidate is not None else None
    if facts is None or measured.contrast is None:
        return facts
    return replace(facts, contrast_phase=measured.contrast.phase, contrast_probable=measured.contrast.probable)


def reasons_of(segmented: SegmentOutcome, measured: MeasureOutcome, bmd: Bmd) -> tuple[Reason, ...]:
    """Return the reasons of a study, in the order of the pipeline."""
    return tuple(dict.fromkeys(segmented.reasons + measured.findings + bmd.reasons))


def _now() -> datetime:
    return datetime.now().astimezone()


def _order_of(segmented: SegmentOutcome) -> OrderText:
    if segmented.candidate is None:
        return OrderText("")
    return order_text(agreed_header_of(segmented.candidate))


def _other_patients(selected: SelectOutcome) -> tuple[Reason, ...]:
    """That images name different patients: nobody should have to look for this among the reasons of the series."""
    found = (Reason(one.code, one.detail) for one in selected.selection.left_out if one.code == IDENTITY_DIFFERS)
    return tuple(dict.fromkeys(found))


def _found(segmented: SegmentOutcome) -> int:
    return sum(body.level in MEASURED_LEVELS for body in segmented.bodies)


def _volume_digest(volume: Volume, correction: str) -> str:
    digest = hashlib.sha256()
    # a corrected study may have the same pixels and another patient: what was made of it must not have the same UIDs
    digest.update(correction.encode())
    # the repr of the facts omits age and sex, but the findings depend on them
    facts = volume.facts
    doubt = () if facts.age_doubt is None else (facts.age_doubt.value,)
    digest.update(repr((facts, facts.patient_age_years, facts.patient_sex, *doubt)).encode())
    digest.update("".join(f"{f.sop_instance_uid}:{f.frame_number}" for f in volume.frames).encode())
    digest.update(np.round(volume.affine_lps_mm, 4).tobytes())
    digest.update(np.ascontiguousarray(volume.hu).data)
    return digest.hexdigest()
