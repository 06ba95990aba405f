"""The workflows, made durable by DBOS: what a workflow has finished before a crash is not done again.

Four kinds, each for one kind of work (:mod:`node.records.work`). ``study`` takes one content of one study through the rooms.
``recalculated`` sends a report that ``bmd-node recalculate`` has issued again. ``deliver`` offers the results to one
destination, once; ``alert`` sends one message to a surgeon, once. Which attempt comes when is said in the table of work, so
that nobody who waits holds a place that another one needs. Inputs are names: everything else is read from the database.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

import pydicom
from dbos import DBOS, DBOSConfiguredInstance

from node.alerts import channel_for, channels_on
from node.alerts.service import AlertService
from node.clinical.agreement import text_of
from node.clinical.identity import identity_of
from node.common.errors import NodeError
from node.deliver import read_form, retry_delay_s
from node.deliver.deliverer import Deliverer, is_wanted
from node.model import PriorComparison, StudyResult
from node.receive import ReceivedStudies
from node.records.conflicts import ConflictRecords
from node.records.patient_key import PatientKeys
from node.records.prior_results import PriorRecords
from node.records.recalculations import Recalculations
from node.records.report_versions import ReportVersions
from node.records.runs import DeliveryState, RunRecord, RunRecords, RunState
from node.records.scans import ScanRecords
from node.records.work import Work, WorkKind, WorkRecords, WorkState, work_id_of
from node.settings.tree import Destination, Settings
from node.study.agreed import agreed_header_of
from node.study.objects import object_files
from node.study.pipeline import run_study
from node.study.priors import compare_with_prior, dated_result
from node.study.run_folder import load_kept_run
from node.study.stages import Predecessor, ReportOutcome, RunStep, SegmentOutcome, StudyInput
from node.worker.compute import Computing
from node.worker.passing import MAX_ATTEMPTS, Passes, Verdict, verdict_on, wait_s

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

STUDY_QUEUE = "studies"
#: Raise it when the steps of a workflow change: unfinished work of another version is then started again.
WORKFLOW_VERSION = "3"
_STEP_ATTEMPTS = 4
_FIRST_RETRY_S = 2.0


class Interrupted(Exception):  # noqa: N818 - no error
    """The worker stops: what was begun goes on at the next start."""


@DBOS.dbos_class()
class DurableNode(DBOSConfiguredInstance):
    """The workflows; DBOS finds the instance again by its name when it takes up interrupted work."""

    def __init__(self, settings: Settings, computing: Computing, stop: threading.Event) -> None:
        """Open the records.

        Args:
            settings: of the node.
            computing: where the stages of a study run.
            stop: set when the worker stops.

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
        self._deliverer = Deliverer(settings)
        self._patient_keys = PatientKeys.open(settings)
        self._recalculations = Recalculations.open(settings)
        self.alerting = AlertService(settings)
        # a wrong certificate or secret is told at start, and not at the first alert
        for name in channels_on(settings).names:
            channel_for(name, settings)

    @DBOS.workflow()
    def study(self, work_id: str, round_number: int, run_id: str) -> str:
        """One content of one study: through the rooms, then deliveries and alerts become work of their own.

        Returns:
            The state of the run.
        """
        with self._begun(work_id, round_number) as work:
            if work is None:
                return RunState.FAILED
            run = self._run(run_id)
            study = self._studies.of_run(run_id, run.study_instance_uid)
            if study is None:
                detail = "its images have changed since, or were removed: the run of what is there now takes its place"
                self._end_study(run_id, RunState.NOT_MEASURED, detail)
                self._work.finished(work_id, detail)
                return RunState.NOT_MEASURED
            correction = self._conflicts.correction_of(run.study_instance_uid)
            return self._measure(run, StudyInput(study.paths, run.folder, correction), work_id)

    def _measure(self, run: RunRecord, study: StudyInput, work_id: str) -> RunState:
        run_id, uid = run.run_id, run.study_instance_uid
        run_step = self._recorded_steps(run_id)

        def find_predecessor(identity: str) -> Predecessor:
            return self._find_predecessor(run_id, uid, study.folder, identity)

        with self._computing.pipeline() as pipeline:
            report, segmented = run_study(pipeline, study, run_step, self._find_prior, find_predecessor)
        # before anything leaves: a PACS may send it back at once
        run_step("remember", self._remember, report.objects)
        run_step("record", self._record, run_id, report)
        for destination in self._settings.destinations:
            if _is_for(destination, report):
                self._add_delivery(run_id, destination, report.objects)
        run_step("alert", self._keep_for_alerts, run_id, uid, report, segmented)
        not_kept = self._keep_readings_if_possible(run_step, run_id, report, segmented)
        state = RunState(report.result.status)
        said = (*report.result.reasons, *report.result.remarks)
        detail = "; ".join((*(reason.detail for reason in said), *not_kept))
        self._end_study(run_id, state, detail)
        self._work.finished(work_id)
        log.info("study %s: %s", uid, state)
        return state

    @DBOS.workflow()
    def recalculated(self, work_id: str, round_number: int, run_id: str) -> str:
        """A report that was issued again: to every destination; and the alerts of the patient are decided on again.

        Surgeons who were told something else get a correction, or a withdrawal where no rule holds any more.

        Returns:
            The state of the run.
        """
        with self._begun(work_id, round_number) as work:
            if work is None:
                return RunState.FAILED
            run_step = self._recorded_steps(run_id)
            folder = self._run(run_id).folder
            files = object_files(folder)
            run_step("remember", self._remember, files)
            for destination in self._settings.destinations:
                self._add_delivery(run_id, destination, files)
            detail = run_step("alert", self._keep_recalculated_for_alerts, run_id, folder)
            self._records.finished(run_id, RunState.MEASURED, detail)
            self._work.finished(work_id)
        return RunState.MEASURED

    @DBOS.workflow()
    def deliver(self, work_id: str, round_number: int, run_id: str, destination_name: str) -> str:
        """Offer the objects of a run to a destination once.

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
                detail = f"{detail}. Given up after {refusals} refusals; to try again: bmd-node deliveries retry {work_id}"
                log.error("destination %s: %s", destination_name, detail)
            elif outcome.is_damaged:
                state, detail = self._make_again(run_id, detail)
            self._records.delivery(run_id, destination_name, state, work.rounds, detail)
            if state is DeliveryState.PENDING:
                failures = work.failures + 1
                due_s = time.time() + retry_delay_s(failures, self._settings.deliver)
                self._work.again(work_id, due_s, detail, failures=failures, refusals=refusals)
            elif state is DeliveryState.GIVEN_UP:
                self._work.given_up(work_id, detail)
            else:
                self._work.finished(work_id, detail)
            return state

    @DBOS.workflow()
    def alert(self, work_id: str, round_number: int, message_id: str) -> bool:
        """Send a message to a surgeon once, unless a later one has overtaken it.

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
                due_s = time.time() + retry_delay_s(failures, self._settings.deliver)
                self._work.again(work_id, due_s, "", failures=failures, refusals=work.refusals)
            return is_over

    def _make_again(self, run_id: str, detail: str) -> tuple[DeliveryState, str]:
        """Have the objects of a run made again, of which a file is damaged; the delivery waits for them."""
        run = self._run(run_id)
        if self._studies.of_run(run_id, run.study_instance_uid) is None:
            return DeliveryState.GIVEN_UP, f"{detail}; its images were removed, so it cannot be made again: send them again"
        work_id = work_id_of(WorkKind.STUDY, run_id)
        self._work.add(WorkKind.STUDY, run_id)
        self._work.again(work_id, time.time(), "a file is damaged", failures=0, refusals=0)
        return DeliveryState.PENDING, f"{detail}; it is made again"

    @contextmanager
    def _begun(self, work_id: str, round_number: int) -> Iterator[Work | None]:
        """One round of a piece of work, with the one rule of what happens after an error.

        Yields:
            The work; ``None`` if it is not to be done: it is finished already, or was given up just now.
        """
        try:
            work = self._work.begin(work_id)
            if work is None or work.state is not WorkState.RUNNING or work.rounds != round_number:
                yield None
            elif work.begun > MAX_ATTEMPTS:
                self._give_up(work, f"the worker was killed {work.begun - 1} times while it was at it")
                yield None
            else:
                yield work
        except Exception as error:
            if self._stop.is_set():
                # whatever it says: connections and processes are being closed around it
                self._work_of_stopped(work_id)
                raise Interrupted from error
            self._after(work_id, round_number, verdict_on(error), error)
            raise

    def _after(self, work_id: str, round_number: int, verdict: Verdict, error: Exception) -> None:
        """Try again, or give up."""
        log.error("%s: %s", work_id, verdict.said, exc_info=error if verdict.passes is Passes.PERHAPS else None)
        work = self._work.work(work_id)
        if work is None or work.state is not WorkState.RUNNING or work.rounds != round_number:
            return  # another worker has taken it, or it had said how it ended
        failures = work.failures + 1
        if verdict.passes is Passes.YES or (verdict.passes is Passes.PERHAPS and failures < MAX_ATTEMPTS):
            waits_s = wait_s(failures)
            detail = f"{verdict.said}; tried again"
            if work.kind in (WorkKind.STUDY, WorkKind.RECALCULATED):
                self._records.waits(work.subject, detail)
            self._work.again(work_id, time.time() + waits_s, detail, failures=failures, refusals=work.refusals)
        elif verdict.passes is Passes.NO and work.kind in (WorkKind.STUDY, WorkKind.RECALCULATED):
            self._end_study(work.subject, RunState.FAILED, verdict.said)
            self._work.finished(work_id, verdict.said)
        else:
            self._give_up(work, f"{verdict.said} ({failures} attempts)")

    def _give_up(self, work: Work, why: str) -> None:
        """Nothing is tried again until a person says so; the next study goes on."""
        detail = f"{why}. Given up; to try again: bmd-node deliveries retry {work.work_id}"
        log.error("%s: %s", work.work_id, detail)
        if work.kind in (WorkKind.STUDY, WorkKind.RECALCULATED):
            # its images stay: a person may want it to be tried again
            self._records.finished(work.subject, RunState.FAILED, detail)
        elif work.kind is WorkKind.DELIVER:
            self._records.delivery(work.subject, work.target, DeliveryState.GIVEN_UP, work.rounds, detail)
        self._work.given_up(work.work_id, detail)

    def _end_study(self, run_id: str, state: RunState, detail: str) -> None:
        """From now on retention counts; an interrupted study never comes here, nor one that was given up."""
        self._records.finished(run_id, state, detail)
        self._studies.mark_run_finished(run_id)

    def _work_of_stopped(self, work_id: str) -> None:
        try:
            self._work.stopped_in_order(work_id)
        except Exception:  # noqa: BLE001 - the database may be closed already; then this counts as an attempt
            log.warning("%s: interrupted by the stop of the worker", work_id)

    def _run(self, run_id: str) -> RunRecord:
        run = self._records.run(run_id)
        if run is None:
            raise LookupError(f"{run_id} is work and was never handed over")
        return run

    def _recorded_steps(self, run_id: str) -> RunStep:
        """Runs durable steps, and records where the run stands."""

        def run_step(name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
            self._records.at_step(run_id, name)
            return _run_step(name, function, *args, **kwargs)

        return run_step

    def _add_delivery(self, run_id: str, destination: Destination, files: tuple[Path, ...]) -> None:
        if is_wanted(destination, [read_form(path) for path in files]):
            self._records.delivery(run_id, destination.name, DeliveryState.PENDING, 0, "")
            self._work.add(WorkKind.DELIVER, run_id, destination.name)

    def _keep_for_alerts(
        self, run_id: str, study_instance_uid: str, report: ReportOutcome, segmented: SegmentOutcome
    ) -> None:
        """The report among those of its patient, on whom is decided next."""
        if self._versions.replaced_by(run_id) is not None:
            return  # a later content of the study was faster, and may be of another patient
        self._priors.withdraw(study_instance_uid, self._patient_key(segmented))
        if segmented.candidate is None:
            self.alerting.withdraw_study(run_id, study_instance_uid)
            return
        identity = identity_of(agreed_header_of(segmented.candidate))
        folder = report.json_path.parent
        measured = folder if report.result.status == "measured" else None
        self.alerting.keep_result(run_id, study_instance_uid, identity, measured, folder)

    def _keep_recalculated_for_alerts(self, run_id: str, folder: Path) -> str:
        """Likewise a report that was issued again; gives what a person should know of it."""
        self.alerting.keep_recalculated(run_id, self._recalculations.measured_run_id(run_id), folder)
        return "; ".join(reason.detail for reason in load_kept_run(folder).result.reasons)

    def leave_study(self, study_instance_uid: str) -> None:
        """All images of a study turned out to be of another study: nothing is concluded from its report any more."""
        self._priors.withdraw(study_instance_uid, None)
        runs = self._records.measured_runs_of(study_instance_uid)
        if runs:
            self.alerting.withdraw_study(runs[-1].run_id, study_instance_uid)
            self._records.finished(runs[-1].run_id, runs[-1].state, "its images came again as images of another study")

    def add_alerts(self) -> None:
        """Make every message that was decided on a piece of work; idempotent."""
        for message_id in self.alerting.records.waiting():
            record = self.alerting.records.message(message_id)
            if record is not None:
                self._work.add(WorkKind.ALERT, message_id, record.message.channel)
            self.alerting.records.mark_handed_over(message_id)

    def _find_prior(self, result: StudyResult, segmented: SegmentOutcome) -> PriorComparison | None:
        """The result beside an earlier one of the patient; a step, so that a run taken up again shows the same one."""
        now, key = dated_result(result), self._patient_key(segmented)
        return None if now is None or key is None else compare_with_prior(now, self._priors.of_patient(key))

    def _find_predecessor(self, run_id: str, study_instance_uid: str, folder: Path, identity: str) -> Predecessor:
        """The report that is replaced; a step, so that a run taken up again makes the same objects."""
        run = self._run(run_id)
        for earlier in self._records.measured_runs_of(study_instance_uid):
            # of a node that kept no order of reports
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
        """Which report of the study holds now."""
        if report.objects:  # else it could take the place of nothing
            self._versions.mark_made(run_id)
            if report.replaces is not None:
                self._records.replaced(report.replaces)

    def _keep_readings_if_possible(
        self, run_step: RunStep, run_id: str, report: ReportOutcome, segmented: SegmentOutcome
    ) -> tuple[str, ...]:
        """Keep the readings; a report that is on its way is not held back, and its run does not fail, if that fails.

        Returns:
            What a person should know of it.
        """
        try:
            run_step("readings", self._keep_readings, run_id, report.result, segmented)
        except Exception:  # whatever it is: nobody waits for these values
            if self._stop.is_set():
                raise
            log.exception("run %s: its readings cannot be kept", run_id)
            return ("its values could not be kept for comparison with other studies: see the log",)
        return ()

    def _keep_readings(self, run_id: str, result: StudyResult, segmented: SegmentOutcome) -> None:
        """What later scans of the scanner and later studies of the patient are compared with."""
        if result.facts is not None:
            self._scans.keep(run_id, result.facts, result.scan)
        now, key = dated_result(result), self._patient_key(segmented)
        if now is not None and key is not None and self._versions.replaced_by(run_id) is None:
            self._priors.keep(run_id, key, now)

    def _patient_key(self, segmented: SegmentOutcome) -> str | None:
        if segmented.candidate is None:
            return None
        header = agreed_header_of(segmented.candidate)
        return self._patient_keys.key(text_of(header, "IssuerOfPatientID"), text_of(header, "PatientID"))

    def _remember(self, files: tuple[Path, ...]) -> None:
        uids = [str(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID) for path in files]
        self._studies.record_own_instances(uids)


def _is_for(destination: Destination, report: ReportOutcome) -> bool:
    """Whether a destination gets a result of this kind; what takes the place of a report always goes there."""
    if report.replaces is not None:
        return True
    if report.result.status != "measured":
        return destination.send_not_measured
    return destination.send_hu_only or report.result.bmd.bmd_mg_cm3 is not None


def delivery_queue(destination_name: str) -> str:
    """Name of the queue of a destination: deliveries that wait for one PACS take no place from those for another."""
    return f"deliver-{destination_name}"


def alert_queue(channel: str) -> str:
    """Name of the queue of a channel: a mail server that is down takes no place from the other channels."""
    return f"alerts-{channel}"


def _run_step(name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a step whose result is kept; what is likely to pass in a moment is tried again at once."""
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
