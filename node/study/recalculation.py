"""``bmd-node recalculate``: new reports for studies whose equation was corrected, approved, expired or replaced.

Nothing is segmented or measured again. A run keeps its HU, the headers of its images without pixels, and the pictures of
its page (:mod:`node.study.run_folder`), so this works after the images were removed. The new page is drawn from the kept
pictures and the new result; no number comes from the old page. The segmentation is unchanged, and the new report refers to
it.

The BMD is computed with the *current* equations, by the same stage as for every study
(:meth:`node.study.pipeline.Pipeline.calibrate`). The new report refers to the old one as its predecessor. It has a separate
folder and new UIDs, derived from the old report and the new values. The worker sends it (:mod:`node.worker.workflows`).
Recalculation is idempotent: the second time, the equations are those of the latest report.

A follow-up report is also reissued if the earlier result that it is compared with was corrected, or was withdrawn: its study
turned out to be another patient's. After a withdrawal the worker does so by itself, with the equation of the report
(:meth:`Recalculator.without_withdrawn_prior`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pydicom

from node import __version__
from node.common.errors import InputError
from node.common.files import sync_folder
from node.language.phrase import phrase
from node.model import Bmd, Calibration, PriorComparison, Reason, Software, StudyResult
from node.model.object_kinds import SegKind
from node.records.prior_results import DatedResult, PriorRecords
from node.records.recalculations import Recalculation, Recalculations
from node.records.report_versions import ReportVersions
from node.records.runs import RunRecord, RunRecords
from node.report import uids_for
from node.settings.tree import ReportSettings, Settings
from node.study.objects import (
    SR_FILE,
    ReportContent,
    WantedKinds,
    finish_report,
    seg_file,
    share_file,
    wanted_kinds,
    write_report,
)
from node.study.pipeline import Pipeline, reasons_of
from node.study.priors import compare, compare_with_prior, dated_result
from node.study.run_folder import folder_of, load_headers, load_kept_run, load_views
from node.study.stages import KeptRun

_CODE = "recalculated"
_PRIOR_CORRECTED = Reason(
    _CODE, phrase("replaces an earlier report of this study: the earlier result that it is compared with was corrected")
)
_PRIOR_WITHDRAWN = Reason(
    _CODE, phrase("replaces an earlier report of this study: the earlier result that it was compared with was withdrawn")
)


@dataclass(frozen=True, slots=True)
class Change:
    """A report that would be, or was, reissued.

    Attributes:
        recalculation: the new report.
        previous_run_id: run whose report is replaced.
        previous_folder: folder of the replaced report.
        measured_folder: folder of the run that measured, with segmentation, headers and pictures.
        patient_key: key of the patient; ``None`` if the run has none.
        before: result of the replaced report.
        after: kept values of the new report.
    """

    recalculation: Recalculation
    previous_run_id: str
    previous_folder: Path
    measured_folder: Path
    patient_key: str | None
    before: StudyResult
    after: KeptRun

    def __str__(self) -> str:
        """Study, equation, BMD and category, before and after."""
        sides = [(r.bmd.calibration, r.bmd.bmd_mg_cm3, r.bmd.category) for r in (self.before, self.after.result)]
        ids, values, categories = zip(*sides, strict=True)
        parts = (
            " -> ".join("no equation" if one is None else one.id for one in ids),
            "BMD " + " -> ".join("none" if one is None else f"{one:.1f}" for one in values) + " mg/cm3",
            " -> ".join("no category" if one is None else one.value for one in categories),
        )
        return f"{self.recalculation.study_instance_uid}: {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class NotRecalculable:
    """A run that cannot be recalculated, and why."""

    study_instance_uid: str
    detail: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes that a recalculation makes; ``n_unchanged`` runs keep their report."""

    changes: tuple[Change, ...]
    not_recalculable: tuple[NotRecalculable, ...]
    n_unchanged: int


@dataclass(frozen=True, slots=True)
class _Version:
    """The latest report of a measured run."""

    run: RunRecord
    run_id: str
    folder: Path
    version: int
    kept: KeptRun


class Recalculator:
    """Compares the kept results with the current equations, and reissues reports."""

    def __init__(self, settings: Settings, pipeline: Pipeline) -> None:
        """Open the records of the settings.

        Raises:
            ConfigurationError: the database cannot be opened.
        """
        self._pipeline = pipeline
        self._state_dir = settings.state_dir
        self._records = RunRecords.open(settings)
        self._priors = PriorRecords.open(settings)
        self._recalculations = Recalculations.open(settings)
        self._versions = ReportVersions.open(settings)
        self._kinds = wanted_kinds(settings.destinations)
        self._report = settings.report

    def plan(self, since: dt.datetime, equation_id: str | None = None) -> Plan:
        """Find the reports to reissue; changes nothing.

        Args:
            since: considers runs handed over at this time or later; for each study the latest measured run.
            equation_id: considers only reports that had or get this equation.
        """
        versions, not_recalculable = self._latest_reports(self._records.measured_since(since.timestamp()))
        corrected: dict[str, DatedResult] = {}
        changes, n_unchanged = [], 0
        # earlier CTs first, so that a follow-up is compared with the corrected result
        for version in sorted(versions, key=_made_on):
            try:
                change = self._change(version, corrected)
            except InputError as error:
                # the rods of a phantom in the scan are found in the images, which may have been removed
                not_recalculable.append(NotRecalculable(version.run.study_instance_uid, str(error)))
                continue
            if change is None:
                n_unchanged += 1
                continue
            equations = (change.before.bmd.calibration, change.after.result.bmd.calibration)
            if equation_id is not None and all(one is None or one.id != equation_id for one in equations):
                n_unchanged += 1
                continue
            changes.append(change)
            dated = dated_result(change.after.result)
            if dated is not None:
                corrected[dated.study_instance_uid] = dated
        return Plan(tuple(changes), tuple(not_recalculable), n_unchanged)

    def without_withdrawn_prior(self, study_instance_uid: str) -> Change | None:
        """Return the report that replaces the current one of a study, if that is compared with a withdrawn result.

        BMD and equation stay as they are reported; only the comparison changes. Changes nothing yet.

        Raises:
            InputError: a kept file is missing or damaged, so that nobody can tell what the report is compared with.
        """
        versions, not_recalculable = self._latest_reports(self._records.measured_runs_of(study_instance_uid))
        for one in not_recalculable:
            raise InputError(one.detail)
        for version in versions:
            patient_key, known = self._known(version.run, {})
            if self._prior_was_withdrawn(version.kept.result, patient_key):
                return self._new(version, version.kept.result.bmd, _PRIOR_WITHDRAWN, patient_key, known)
        return None

    def issue(self, change: Change) -> None:
        """Write the new report and record it for the worker. Idempotent, so it can be repeated after a crash.

        Raises:
            InputError: a kept file is missing or damaged.
        """
        new = change.recalculation
        if not new.folder.exists():
            # first under a temporary name: a folder with its final name is complete, and is never written again
            part = new.folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            _write_report(change, part, self._kinds, self._report)
            part.replace(new.folder)
            sync_folder(new.folder.parent)
        dated = dated_result(change.after.result)
        if change.patient_key is not None and dated is not None:
            self._priors.keep(new.run_id, change.patient_key, dated)
        self._records.queued(new.run_id, new.study_instance_uid, new.folder)
        self._enter(change)
        self._records.replaced(change.previous_run_id)
        # last: from now on the worker sends the report, and the next plan starts from it
        self._recalculations.issue(new)

    def _enter(self, change: Change) -> None:
        """Record that the new report replaces the previous one, even if an old version recorded no order of reports."""
        uid = change.recalculation.study_instance_uid
        for run_id, folder, result in (
            (change.previous_run_id, change.previous_folder, change.before),
            (change.recalculation.run_id, change.recalculation.folder, change.after.result),
        ):
            run = self._records.run(run_id)
            if run is not None and self._versions.version(run_id) is None:
                self._versions.enter(run_id, uid, _digest(run_id, result), folder, run.queued_s)
                self._versions.mark_made(run_id)

    def _latest_reports(self, measured: Iterable[RunRecord]) -> tuple[list[_Version], list[NotRecalculable]]:
        """The latest report of each study, of measured runs in the order in which they were handed over."""
        recalculated, latest = self._recalculations.run_ids(), self._recalculations.latest()
        # oldest first, so that the latest run of each study remains
        of_study = {run.study_instance_uid: run for run in measured if run.run_id not in recalculated}
        versions, not_recalculable = [], []
        for run in of_study.values():
            newest = latest.get(run.run_id)
            run_id, folder, number = (run.run_id, run.folder, 0)
            if newest is not None:
                run_id, folder, number = newest.run_id, newest.folder, newest.version
            try:
                versions.append(_Version(run, run_id, folder, number, load_kept_run(folder)))
            except InputError as error:
                not_recalculable.append(NotRecalculable(run.study_instance_uid, str(error)))
        return versions, not_recalculable

    def _change(self, version: _Version, corrected: dict[str, DatedResult]) -> Change | None:
        """Return the new report of a run; ``None`` if the report is unchanged.

        Raises:
            InputError: the equation comes from rods in the scan, and its images are gone.
        """
        kept = version.kept
        bmd = self._pipeline.calibrate(kept.segmented, kept.measured)
        patient_key, known = self._known(version.run, corrected)
        if _equation(bmd) != _equation(kept.result.bmd):
            return self._new(version, bmd, _why(kept.result.bmd, bmd), patient_key, known)
        if self._prior_was_withdrawn(kept.result, patient_key):
            return self._new(version, kept.result.bmd, _PRIOR_WITHDRAWN, patient_key, known)
        if _prior_was_corrected(kept.result, known):
            return self._new(version, kept.result.bmd, _PRIOR_CORRECTED, patient_key, known)
        return None

    def _known(self, run: RunRecord, corrected: dict[str, DatedResult]) -> tuple[str | None, dict[str, DatedResult]]:
        """Key of the patient of a run, and what is known of the patient, by study; corrected results take precedence."""
        patient_key = self._priors.patient_key_of(run.run_id)
        of_patient = () if patient_key is None else self._priors.of_patient(patient_key)
        return patient_key, {one.study_instance_uid: corrected.get(one.study_instance_uid, one) for one in of_patient}

    def _prior_was_withdrawn(self, result: StudyResult, patient_key: str | None) -> bool:
        """Whether the report is compared with a study that turned out to be another patient's."""
        prior = result.prior
        if prior is None or patient_key is None:
            return False
        return self._priors.is_withdrawn(prior.study_instance_uid, patient_key)

    def _new(
        self, version: _Version, bmd: Bmd, why: Reason, patient_key: str | None, known: dict[str, DatedResult]
    ) -> Change:
        """Return the new report of a run."""
        kept, run = version.kept, version.run
        result = replace(kept.result, bmd=bmd, software=Software(__version__, kept.result.software.segmenter))
        result = replace(
            result,
            reasons=(*reasons_of(kept.segmented, kept.measured, result.bmd), why),
            prior=_prior(result, known.values()),
        )
        run_id = f"{run.run_id}-r{_digest(version.run_id, result)[:16]}"
        folder = folder_of(self._state_dir, run_id)
        new = Recalculation(run_id, run.run_id, run.study_instance_uid, version.version + 1, folder)
        return Change(
            new, version.run_id, version.folder, run.folder, patient_key, kept.result, replace(kept, result=result)
        )


def _write_report(change: Change, folder: Path, kinds: WantedKinds, settings: ReportSettings) -> None:
    """Write report, page and values of a change. A missing file raises an error before anything is recorded."""
    kept, result = change.after, change.after.result
    sources = load_headers(change.measured_folder)
    if not (change.previous_folder / SR_FILE).is_file():
        raise InputError(f"{change.previous_folder / SR_FILE}, the report that is replaced, is missing")
    segmentations = {}
    for kind in kinds.segmentations:
        path = change.measured_folder / seg_file(kind)
        if kind is not SegKind.BINARY and not path.exists():
            continue  # no destination wanted this kind when the study was measured
        try:
            segmentations[kind] = pydicom.dcmread(path, stop_before_pixels=True)
        except (OSError, pydicom.errors.InvalidDicomError) as error:
            raise InputError(f"{path} cannot be read: {error}") from error
        # a destination that has it does not get it again; one that was down all the while does
        share_file(path, folder / seg_file(kind))
    digest = _digest(change.previous_run_id, result)
    uids = uids_for(change.recalculation.study_instance_uid, kept.segmented.volume_digest, __version__, digest)
    now = dt.datetime.now().astimezone()
    content = ReportContent(result, load_views(change.measured_folder), sources, segmentations, uids, now)
    write_report(folder, content, kinds, settings, change.previous_folder)
    finish_report(folder, result, kept, settings.language)


def _made_on(version: _Version) -> tuple[dt.date, str]:
    facts = version.kept.result.facts
    made = facts.acquisition_date if facts is not None else None
    return made or dt.date.min, version.run.study_instance_uid


def _equation(bmd: Bmd) -> Calibration | None:
    """Return the equation without its approval: another approver alone gives no new report."""
    return None if bmd.calibration is None else replace(bmd.calibration, approved_by=None, approved_on=None)


def _why(before: Bmd, after: Bmd) -> Reason:
    old, new = before.calibration, after.calibration
    if old is None:
        what = phrase("the equation {new} now applies", new=new.id if new else "-")
    elif new is None:
        what = phrase("the equation {old} no longer applies", old=old.id)
    elif old.id == new.id:
        what = phrase("the equation {old} was corrected", old=old.id)
    else:
        what = phrase("the equation {new} replaces {old}", new=new.id, old=old.id)
    said = phrase("replaces an earlier report of this study: {what}; the HU values are unchanged", what=what)
    return Reason(_CODE, said)


def _prior(result: StudyResult, of_patient: Iterable[DatedResult]) -> PriorComparison | None:
    now = dated_result(result)
    return None if now is None else compare_with_prior(now, of_patient)


def _prior_was_corrected(result: StudyResult, known: dict[str, DatedResult]) -> bool:
    """Whether the report shows a BMD of its prior study that is no longer current."""
    now, prior = dated_result(result), result.prior
    before = known.get(prior.study_instance_uid) if prior is not None else None
    if now is None or prior is None or before is None:
        return False
    return compare(now, before).prior_bmd_mg_cm3 != prior.prior_bmd_mg_cm3


def _digest(previous_run_id: str, result: StudyResult) -> str:
    """Return the identity of a new report: a digest of the replaced report and of everything that may be new."""
    parts = (previous_run_id, repr(result.bmd), repr(result.prior), repr(result.reasons), result.software.version)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
