"""The workflows of the worker. DBOS makes them durable: steps that finished before a crash do not run again.

There is one workflow for each kind of work (:mod:`node.records.work`):

* ``study`` runs one content of one study through the stages, and adds its deliveries and alerts as new work.
* ``recalculated`` sends a report that ``bmd-node recalculate`` or ``follow_up`` has reissued.
* ``follow_up`` reissues a report that is compared with a withdrawn study: one that turned out to be another patient's.
* ``deliver`` makes one attempt to deliver the objects of a run to one destination.
* ``commit`` makes one attempt to obtain the storage commitment of a destination for the objects of a run.
* ``report_commitment`` makes one attempt to report to a sender what the node commits to.
* ``alert`` makes one attempt to send one message to a surgeon.

A workflow makes one attempt and records the outcome in its row of the table ``work``, which also holds the time of the next
attempt. So work that waits for a retry occupies no place in a queue. The inputs of a workflow are ids, names and the number
of the round; all else is read from the database.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import pydicom
from dbos import DBOS, DBOSConfiguredInstance
from sqlalchemy.exc import SQLAlchemyError

from node.alerts import channel_for, channels_on
from node.alerts.service import AlertService
from node.clinical.agreement import text_of
from node.clinical.identity import identity_of
from node.common.errors import NodeError
from node.common.retry import retry_delay_s
from node.deliver import read_form
from node.deliver.deliverer import Deliverer, is_wanted
from node.model import LevelFindingCode, PatientRank, PriorComparison, StudyResult
from node.model.fractures import fractures_of
from node.receive import ReceivedStudies
from node.records.conflicts import ConflictRecords
from node.records.erased import ErasedRecords
from node.records.prior_results import PriorRecords
from node.records.recalculations import Recalculations
from node.records.report_versions import ReportVersions
from node.records.runs import WITHDRAWN, DeliveryState, RunRecord, RunRecords, RunState
from node.records.scans import ScanRecords
from node.records.work import Work, WorkKind, WorkRecords, WorkState, subject_of, work_id_of
from node.report.wording import headline
from node.settings.tree import Destination, Settings
from node.study.agreed import agreed_header_of
from node.study.objects import object_files
from node.study.pipeline import Pipeline, run_study
from node.study.priors import compare_with_prior, dated_result, rank_among
from node.study.recalculation import Recalculator
from node.study.run_folder import folder_of, load_kept_run
from node.study.stages import Predecessor, ReportOutcome, RunStep, SegmentOutcome, StudyInput
from node.worker.commitments import CommitmentWork
from node.worker.compute import Computing
from node.worker.merges import MergedPatients
from node.worker.passing import FIRST_WAIT_S, LONGEST_WAIT_S, MAX_ATTEMPTS, Passes, Verdict, verdict_on

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

STUDY_QUEUE = "studies"
#: Raise this when the steps of a workflow change; unfinished workflows of the old version are then restarted.
WORKFLOW_VERSION = "4"
_STEP_ATTEMPTS = 4
_FIRST_RETRY_S = 2.0


class Interrupted(Exception):  # noqa: N818 - no error
    """The worker is stopping; the workflow resumes at the next start."""


@DBOS.dbos_class()
class DurableNode(DBOSConfiguredInstance):
    """The workflows. DBOS finds this instance by its name when it resumes interrupted workflows."""

    def __init__(self, settings: Settings, computing: Computing, stop: threading.Event) -> None:
        """Open the records.

        Args:
            settings: settings of the node.
            computing: the processes in which the stages of a study run.
            stop: is set when the worker stops.

        Raises:
            ConfigurationError: the settings cannot be used.
        """
        super().__init__("bmd-node")
        self._settings = settings
        self._computing = computing
        self._stop = stop
        self._records = RunRecords.open(settings)
        self._work = WorkRecords.open(settings)
        self._studies = ReceivedStudies.open(settings)
        self._scans = ScanRecords.open(settings)
        self._priors = PriorRecords.open(settings)
        self._conflicts = ConflictRecords.open(settings)
        self._versions = ReportVersions.open(settings)
        self._erased = ErasedRecords.open(settings)
        self._deliverer = Deliverer(settings)
        self._commitments = CommitmentWork(settings)
        self._recalculations = Recalculations.open(settings)
        self._recalculator = Recalculator(settings, Pipeline(settings))
        self.alerting = AlertService(settings)
        self.merged_patients = MergedPatients(settings, self.alerting)
        # so that a wrong certificate or secret is reported at start, not at the first alert
        for name in channels_on(settings).names:
            channel_for(name, settings)

    @DBOS.workflow()
    def study(self, work_id: str, round_number: int, run_id: str) -> str:
        """Run one content of one study through the stages, then add its deliveries and alerts as new work.

        Returns:
            The state of the run.
        """
        with self._begun(work_id, round_number) as work:
            if work is None:
                return RunState.FAILED
            run = self._run(run_id)
            study = self._studies.of_run(run_id, run.study_instance_uid)
            if study is None and run.state in (RunState.MEASURED, RunState.NOT_MEASURED):
                # killed right after its end; its images were removed since
                self._work.finished(work_id)
                return run.state
            if study is None:
                detail = "its images have changed or were removed since; a run with the current images takes its place"
                self._end_study(run_id, RunState.NOT_MEASURED, detail)
                self._work.finished(work_id, detail)
                return RunState.NOT_MEASURED
            correction = self._conflicts.correction_of(run.study_instance_uid)
            return self._measure(run, StudyInput(study.paths, run.folder, correction), work)

    def _measure(self, run: RunRecord, study: StudyInput, work: Work) -> RunState:
        run_id, uid, work_id = run.run_id, run.study_instance_uid, work.work_id
        run_step = self._recorded_steps(work_id, run_id)

        def find_predecessor(identity: str) -> Predecessor:
            return self._find_predecessor(run_id, uid, study.folder, identity)

        with self._computing.pipeline() as pipeline:
            report, segmented = run_study(pipeline, study, run_step, self._find_prior, find_predecessor, self._find_rank)
        # before anything is sent: a PACS may send it back at once
        are_new = run_step("remember", self._remember, run_id, report.objects)
        run_step("record", self._record, run_id, report)
        for destination in self._settings.destinations:
            if _is_for(destination, report):
                # an earlier round may have delivered the objects of another version of the node, or with other settings
                self._add_delivery(run_id, destination, report.objects, again=bool(are_new) and work.rounds > 1)
        run_step("alert", self._keep_for_alerts, run_id, uid, report, segmented)
        not_kept = self._keep_readings_if_possible(run_step, run_id, report, segmented)
        state = RunState(report.result.status)
        detail = "; ".join(part for part in (_in_one_line(report.result), *not_kept) if part)
        self._end_study(run_id, state, detail)
        self._look_at_prior(run_id, uid, report.result.prior, self._patient_key(segmented))
        self._work.finished(work_id)
        log.info("study %s: %s", uid, state)
        return state

    @DBOS.workflow()
    def recalculated(self, work_id: str, round_number: int, run_id: str) -> str:
        """Deliver a reissued report to every destination, and decide on the alerts of the patient again.

        Surgeons who received another result get a correction, or a withdrawal if no rule applies any more.

        Returns:
            The state of the run.
        """
        with self._begun(work_id, round_number) as work:
            if work is None:
                return RunState.FAILED
            run_step = self._recorded_steps(work_id, run_id)
            run = self._run(run_id)
            folder = run.folder
            files = object_files(folder)
            run_step("remember", self._remember, run_id, files)
            for destination in self._settings.destinations:
                self._add_delivery(run_id, destination, files)
            detail = run_step("alert", self._keep_recalculated_for_alerts, run_id, folder)
            self._records.finished(run_id, RunState.MEASURED, detail)
            prior = load_kept_run(folder).result.prior
            self._look_at_prior(run_id, run.study_instance_uid, prior, self._priors.patient_key_of(run_id))
            self._work.finished(work_id)
        return RunState.MEASURED

    @DBOS.workflow()
    def follow_up(self, work_id: str, round_number: int, study_instance_uid: str) -> bool:
        """Reissue the report of a study without the comparison with a withdrawn study; nothing if it has none.

        The new report is sent like any other that is reissued (:meth:`recalculated`).

        Returns:
            Whether there is a new report.
        """
        with self._begun(work_id, round_number) as work:
            if work is None:
                return False
            change = self._recalculator.without_withdrawn_prior(study_instance_uid)
            if change is not None:
                self._recalculator.issue(change)
                log.warning("study %s: its prior study was withdrawn; its report is reissued", study_instance_uid)
            self._work.finished(work_id)
            return change is not None

    @DBOS.workflow()
    def deliver(self, work_id: str, round_number: int, run_id: str, destination_name: str) -> str:
        """Make one attempt to deliver the objects of a run to a destination.

        Returns:
            The state of the delivery.
        """
        with self._begun(work_id, round_number) as work:
            if work is None:
                return DeliveryState.GIVEN_UP
            files = object_files(self._run(run_id).folder)
            outcome = self._deliverer.attempt(run_id, destination_name, files)
            state, refusals = outcome.state, work.refusals + outcome.is_refusal
            detail = outcome.detail
            if state is DeliveryState.PENDING and refusals >= self._settings.deliver.give_up_after:
                state = DeliveryState.GIVEN_UP
                detail = f"{detail}. Given up after {refusals} refusals. To retry: bmd-node deliveries retry {work_id}"
                log.error("destination %s: %s", destination_name, detail)
            elif outcome.is_damaged:
                state, detail = self._make_again(run_id, detail)
            self._records.delivery(run_id, destination_name, state, work.rounds, detail)
            self._commitments.add(run_id, destination_name)
            if state is DeliveryState.PENDING:
                failures = work.failures + 1
                due_s = self._due_after(failures)
                self._work.again(work_id, due_s, detail, failures=failures, refusals=refusals)
            elif state is DeliveryState.GIVEN_UP:
                self._work.given_up(work_id, detail)
            else:
                self._work.finished(work_id, detail)
            return state

    @DBOS.workflow()
    def commit(self, work_id: str, round_number: int) -> str:
        """Make one attempt to obtain the storage commitment of a destination for the objects of a run.

        Returns:
            Why it is given up; else empty.
        """
        return self._commitment_step(work_id, round_number, self._commitments.attempt)

    @DBOS.workflow()
    def report_commitment(self, work_id: str, round_number: int) -> str:
        """Make one attempt to report to a sender what the node commits to.

        Returns:
            Why it is given up; else empty.
        """
        return self._commitment_step(work_id, round_number, self._commitments.report)

    @DBOS.workflow()
    def alert(self, work_id: str, round_number: int, message_id: str) -> bool:
        """Make one attempt to send a message to a surgeon, unless a later message supersedes it.

        Returns:
            Whether it was the last attempt.
        """
        with self._begun(work_id, round_number) as work:
            if work is None:
                return True
            is_over = self.alerting.attempt(message_id)
            if is_over:
                self._work.finished(work_id)
            else:
                failures = work.failures + 1
                due_s = self._due_after(failures)
                self._work.again(work_id, due_s, "", failures=failures, refusals=work.refusals)
            return is_over

    def _commitment_step(self, work_id: str, round_number: int, attempt: Callable[[Work], str]) -> str:
        """Make the attempt, which returns why the work is to be given up; else empty."""
        with self._begun(work_id, round_number) as work:
            if work is None:
                return ""
            given_up = attempt(work)
            if given_up:
                self._give_up(work, given_up)
            return given_up

    def _due_after(self, n_failures: int) -> float:
        """When an attempt is made again that a receiver did not take."""
        settings = self._settings.deliver
        return time.time() + retry_delay_s(n_failures, settings.retry_first_s, settings.retry_max_s)

    def _make_again(self, run_id: str, detail: str) -> tuple[DeliveryState, str]:
        """Run a study again because a file of its objects is damaged. The delivery waits for the new objects."""
        run = self._run(run_id)
        if self._studies.of_run(run_id, run.study_instance_uid) is None:
            return DeliveryState.GIVEN_UP, f"{detail}. Its images were removed, so it cannot run again: resend the study"
        work_id = work_id_of(WorkKind.STUDY, run_id)
        self._work.add(WorkKind.STUDY, run_id)
        self._work.again(work_id, time.time(), "a file is damaged", failures=0, refusals=0)
        return DeliveryState.PENDING, f"{detail}; the study runs again"

    @contextmanager
    def _begun(self, work_id: str, round_number: int) -> Iterator[Work | None]:
        """Run one round of a piece of work, and apply the rule for errors (:mod:`node.worker.passing`).

        Yields:
            The work, or ``None`` if there is nothing to do: the round has already ended, or the work was just given up.
        """
        try:
            work = self._work.begin(work_id, round_number)
            if work is None:
                yield None
            elif work.begun > MAX_ATTEMPTS:
                self._give_up(work, f"the worker was killed {work.begun - 1} times during this work")
                yield None
            else:
                yield work
        except Exception as error:
            if self._stop.is_set():
                # the error means nothing: connections and processes are being closed
                self._work_of_stopped(work_id)
                raise Interrupted from error
            self._after(work_id, round_number, verdict_on(error), error)
            raise
        finally:
            if not self._stop.is_set():
                self._remove_if_erased(work_id)

    def _remove_if_erased(self, work_id: str) -> None:
        """Remove what a round has written to a folder that was erased while it ran; its rows cannot come back."""
        run_id = subject_of(work_id)
        try:
            is_erased = self._erased.is_erased(run_id)
        except SQLAlchemyError:
            return  # housekeeping looks again
        if is_erased:
            log.warning("%s: the study was erased while this work was running", work_id.partition(">")[0])
            shutil.rmtree(folder_of(self._settings.state_dir, run_id), ignore_errors=True)

    def _after(self, work_id: str, round_number: int, verdict: Verdict, error: Exception) -> None:
        """Schedule the next attempt, end the work, or give it up."""
        log.error("%s: %s", work_id, verdict.said, exc_info=error if verdict.passes is Passes.PERHAPS else None)
        work = self._work.work(work_id)
        if work is None or work.state is not WorkState.RUNNING or work.rounds != round_number:
            return  # another worker has taken it, or its outcome is already recorded
        failures = work.failures + 1
        if verdict.passes is Passes.YES or (verdict.passes is Passes.PERHAPS and failures < MAX_ATTEMPTS):
            due_s = time.time() + retry_delay_s(failures, FIRST_WAIT_S, LONGEST_WAIT_S)
            detail = f"{verdict.said}; tried again"
            if work.kind in (WorkKind.STUDY, WorkKind.RECALCULATED):
                self._records.waits(work.subject, detail)
            self._work.again(work_id, due_s, detail, failures=failures, refusals=work.refusals)
        elif verdict.passes is Passes.NO and work.kind in (WorkKind.STUDY, WorkKind.RECALCULATED):
            self._end_study(work.subject, RunState.FAILED, verdict.said)
            self._work.finished(work_id, verdict.said)
        else:
            self._give_up(work, f"{verdict.said} ({failures} attempts)")

    def _give_up(self, work: Work, why: str) -> None:
        """Give work up: it is not retried until a person asks for it, and other work continues."""
        detail = f"{why}. Given up. To retry: bmd-node deliveries retry {work.work_id}"
        log.error("%s: %s", work.work_id, detail)
        if work.kind in (WorkKind.STUDY, WorkKind.RECALCULATED):
            # the images stay, since a person may want to retry it
            self._records.finished(work.subject, RunState.FAILED, detail)
        elif work.kind is WorkKind.DELIVER:
            self._records.delivery(work.subject, work.target, DeliveryState.GIVEN_UP, work.rounds, detail)
        self._work.given_up(work.work_id, detail)

    def _end_study(self, run_id: str, state: RunState, detail: str) -> None:
        """End a run; its images may be removed from now on. Not called for interrupted studies or those given up."""
        self._records.finished(run_id, state, detail)
        self._studies.mark_run_finished(run_id)

    def _work_of_stopped(self, work_id: str) -> None:
        try:
            self._work.stopped_in_order(work_id)
        except Exception:  # noqa: BLE001 - the database may already be closed; then this round counts as an attempt
            log.warning("%s: interrupted, the worker is stopping", work_id)

    def _run(self, run_id: str) -> RunRecord:
        run = self._records.run(run_id)
        if run is None:
            raise LookupError(f"{run_id} is in the table of work, but was never handed over")
        return run

    def _recorded_steps(self, work_id: str, run_id: str) -> RunStep:
        """Return a function that runs durable steps and records the step that the run is in.

        A step that was recorded before a kill is not run again. One that is run now is progress: kills before it no longer
        count as attempts.
        """

        def run_step(name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
            self._records.at_step(run_id, name)
            runs: list[str] = []

            def noted(*args: P.args, **kwargs: P.kwargs) -> T:
                runs.append(name)
                try:
                    return function(*args, **kwargs)
                finally:
                    # nothing is recorded of a study that was erased meanwhile, and it is not tried again
                    self._erased.refuse(run_id)

            result = _run_step(name, noted, *args, **kwargs)
            if runs:
                self._work.progressed(work_id)
            return result

        return run_step

    def _add_delivery(self, run_id: str, destination: Destination, files: tuple[Path, ...], *, again: bool = False) -> None:
        if is_wanted(destination, [read_form(path) for path in files]):
            self._records.delivery_waits(run_id, destination.name)
            work_id = self._work.add(WorkKind.DELIVER, run_id, destination.name)
            if again:
                self._work.reopen(work_id, time.time(), "the objects are new")

    def _keep_for_alerts(
        self, run_id: str, study_instance_uid: str, report: ReportOutcome, segmented: SegmentOutcome
    ) -> None:
        """Record the result for its patient, so that the alerts of the patient are decided on."""
        if self._versions.replaced_by(run_id) is not None:
            return  # a later content of the study was faster, and may be of another patient
        self._priors.withdraw(study_instance_uid, self._patient_key(segmented))
        self._look_at_follow_ups(run_id, study_instance_uid)
        if segmented.candidate is None:
            self.alerting.withdraw_study(run_id, study_instance_uid)
            return
        identity = identity_of(agreed_header_of(segmented.candidate))
        folder = report.json_path.parent
        measured = folder if report.result.status == "measured" else None
        self.alerting.keep_result(run_id, study_instance_uid, identity, measured, folder)

    def _keep_recalculated_for_alerts(self, run_id: str, folder: Path) -> str:
        """Do the same for a reissued report. Returns its reasons, for people."""
        self.alerting.keep_recalculated(run_id, self._recalculations.measured_run_id(run_id), folder)
        return _in_one_line(load_kept_run(folder).result)

    def leave_study(self, study_instance_uid: str) -> None:
        """All images of a study turned out to be of another study: nothing is concluded from its report any more."""
        self._priors.withdraw(study_instance_uid, None)
        runs = self._records.measured_runs_of(study_instance_uid)
        self._look_at_follow_ups(runs[-1].run_id if runs else "", study_instance_uid)
        if runs:
            self.alerting.withdraw_study(runs[-1].run_id, study_instance_uid)
            self._records.finished(runs[-1].run_id, runs[-1].state, WITHDRAWN)

    def _look_at_follow_ups(self, run_id: str, study_instance_uid: str) -> None:
        """Add work for every study whose report may be compared with a withdrawn one. ``run_id`` is what withdrew it."""
        withdrawal = hashlib.sha256(f"{run_id}\n{study_instance_uid}".encode()).hexdigest()[:16]
        for follow_up in self._priors.compared_with(study_instance_uid):
            self._work.add(WorkKind.FOLLOW_UP, follow_up, withdrawal)

    def _look_at_prior(
        self, run_id: str, study_instance_uid: str, prior: PriorComparison | None, patient_key: str | None
    ) -> None:
        """Add the same work for a study that was compared with another one before that was withdrawn, and ends after."""
        if prior is None or patient_key is None:
            return
        if self._priors.is_withdrawn(prior.study_instance_uid, patient_key):
            self._work.add(WorkKind.FOLLOW_UP, study_instance_uid, hashlib.sha256(run_id.encode()).hexdigest()[:16])

    def add_alerts(self) -> None:
        """Add a piece of work for every message that was decided on. Idempotent."""
        for message_id in self.alerting.records.waiting():
            record = self.alerting.records.message(message_id)
            if record is not None:
                self._work.add(WorkKind.ALERT, message_id, record.message.channel)
            self.alerting.records.mark_handed_over(message_id)

    def _find_rank(self, result: StudyResult, segmented: SegmentOutcome) -> PatientRank | None:
        """Find the place of the patient among the others of the hospital."""
        now, key = dated_result(result), self._patient_key(segmented)
        return None if now is None or key is None else rank_among(now, self._priors.similar_patients(now, key))

    def _find_prior(self, result: StudyResult, segmented: SegmentOutcome) -> PriorComparison | None:
        """Compare the result with an earlier one of the patient. A step, so that a resumed run shows the same comparison."""
        now, key = dated_result(result), self._patient_key(segmented)
        return None if now is None or key is None else compare_with_prior(now, self._priors.of_patient(key))

    def _find_predecessor(self, run_id: str, study_instance_uid: str, folder: Path, identity: str) -> Predecessor:
        """Find the report that this one replaces. A step, so that a resumed run creates the same objects."""
        run = self._run(run_id)
        for earlier in self._records.measured_runs_of(study_instance_uid):
            # a run of an old version, which recorded no order of reports
            if earlier.run_id != run_id and self._versions.version(earlier.run_id) is None:
                self._versions.enter(earlier.run_id, study_instance_uid, earlier.run_id, earlier.folder, earlier.queued_s)
                self._versions.mark_made(earlier.run_id)
        version = self._versions.enter(run_id, study_instance_uid, identity, folder, run.queued_s)
        before = None if version.replaces is None else self._versions.version(version.replaces)
        if before is None:
            return Predecessor(identity)
        digest = hashlib.sha256(f"{identity}\n{before.run_id}".encode()).hexdigest()
        return Predecessor(digest, before.run_id, before.folder)

    def _record(self, run_id: str, report: ReportOutcome) -> None:
        """Record that this report is now the current one of its study."""
        if report.objects:  # without objects it replaces nothing
            self._versions.mark_made(run_id)
            if report.replaces is not None:
                self._records.replaced(report.replaces)

    def _keep_readings_if_possible(
        self, run_step: RunStep, run_id: str, report: ReportOutcome, segmented: SegmentOutcome
    ) -> tuple[str, ...]:
        """Keep the readings of the scan. If that fails, the run still succeeds and its report is still delivered.

        Returns:
            A note for people if the readings could not be kept.
        """
        try:
            run_step("readings", self._keep_readings, run_id, report.result, segmented)
        except Exception:  # of any kind: no delivery depends on these values
            if self._stop.is_set():
                raise
            log.exception("run %s: cannot keep its readings", run_id)
            return ("its values could not be stored for comparison with other studies: see the log",)
        return ()

    def _keep_readings(self, run_id: str, result: StudyResult, segmented: SegmentOutcome) -> None:
        """Keep the values that later scans of the scanner and later studies of the patient are compared with."""
        if result.facts is not None:
            self._scans.keep(run_id, result.facts, result.scan)
        now, key = dated_result(result), self._patient_key(segmented)
        if now is not None and key is not None and self._versions.replaced_by(run_id) is None:
            self._priors.keep(run_id, key, now)

    def _patient_key(self, segmented: SegmentOutcome) -> str | None:
        if segmented.candidate is None:
            return None
        header = agreed_header_of(segmented.candidate)
        return self.merged_patients.key(text_of(header, "IssuerOfPatientID"), text_of(header, "PatientID"))

    def _remember(self, run_id: str, files: tuple[Path, ...]) -> bool:
        uids = [str(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID) for path in files]
        return self._studies.record_own_instances(run_id, uids)


def _in_one_line(result: StudyResult) -> str:
    """What was found, and the reasons and remarks, for the list of studies."""
    fractures = fractures_of(result)
    said = [headline(result)] if fractures or result.status == "measured" else []
    # the headline names the fractures
    said += [reason.detail for reason in result.reasons if not fractures or reason.code != LevelFindingCode.FRACTURE]
    return "; ".join((*said, *(remark.detail for remark in result.remarks)))


def _is_for(destination: Destination, report: ReportOutcome) -> bool:
    """Whether a destination gets a result of this kind. A report that replaces another one is always sent."""
    if report.replaces is not None:
        return True
    if report.result.status != "measured":
        return destination.send_not_measured
    return destination.send_hu_only or report.result.bmd.bmd_mg_cm3 is not None


def delivery_queue(destination_name: str) -> str:
    """Return the name of the queue of a destination. Deliveries to one PACS do not hold up those to another."""
    return f"deliver-{destination_name}"


def commit_queue(destination_name: str) -> str:
    """Return the name of the queue of the requests for storage commitment to a destination."""
    return f"commit-{destination_name}"


def report_queue(ae_title: str) -> str:
    """Return the name of the queue of the reports of storage commitment to a sender."""
    return f"reports-{ae_title}"


def alert_queue(channel: str) -> str:
    """Return the name of the queue of a channel. A mail server that is down does not hold up the other channels."""
    return f"alerts-{channel}"


def _run_step(name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a step and record its result. Errors that are likely to be brief are retried at once."""
    return DBOS.run_step(
        {
            "name": name,
            "retries_allowed": True,
            "interval_seconds": _FIRST_RETRY_S,
            "backoff_rate": 2.0,
            "max_attempts": _STEP_ATTEMPTS,
            "should_retry": _may_pass_in_a_moment,
        },
        function,
        *args,
        **kwargs,
    )


def _may_pass_in_a_moment(error: BaseException) -> bool:
    return isinstance(error, NodeError | OSError) and verdict_on(error).passes is Passes.YES
