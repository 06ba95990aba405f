"""The workflow made durable by DBOS: what was finished before a crash is not done again, what was not is taken up.

Four kinds of workflow. ``study`` takes one content of one study through the rooms; its id is the study with the digest of
its content, so a study sent twice runs once. ``recalculated`` sends a report that ``bmd-node recalculate`` has issued again.
``deliver`` brings the results to one destination and goes on until that destination has answered for each object; a PACS
that is down keeps nobody else waiting. ``alert`` does so with one message to a surgeon; which messages there are is decided
between the workflows (:mod:`node.alerts.service`), and kept in the database until a workflow has taken them.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import pydicom
from dbos import DBOS, DBOSConfiguredInstance, SetWorkflowID
from sqlalchemy.exc import SQLAlchemyError

from node.alerts import channel_for, channels_on
from node.alerts.service import AlertService
from node.clinical.identity import identity_of
from node.common.errors import NodeError
from node.deliver import read_form, retry_delay_s
from node.deliver.deliverer import Deliverer, is_wanted
from node.model import PriorComparison, StudyResult
from node.receive import ReceivedStudies
from node.records.patient_key import PatientKeys
from node.records.prior_results import PriorRecords
from node.records.recalculations import Recalculations
from node.records.report_versions import ReportVersions
from node.records.runs import DeliveryState, RunRecords, RunState
from node.records.scans import ScanRecords
from node.settings.tree import Destination, Settings
from node.study.objects import object_files
from node.study.pipeline import Pipeline, run_study
from node.study.priors import compare_with_prior, dated_result
from node.study.run_folder import load_kept_run
from node.study.stages import Predecessor, ReportOutcome, RunStep, SegmentOutcome, StudyInput

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

STUDY_QUEUE = "studies"
#: Raise it when the steps of a workflow change: unfinished work of another version is then started again.
WORKFLOW_VERSION = "3"
_STEP_ATTEMPTS = 8
_FIRST_RETRY_S = 5.0


@DBOS.dbos_class()
class DurableNode(DBOSConfiguredInstance):
    """The workflows; DBOS finds the instance again by its name when it takes up interrupted work."""

    def __init__(self, settings: Settings) -> None:
        """Load the pipeline with its segmenter, and open the records.

        Raises:
            ConfigurationError: see :class:`node.study.pipeline.Pipeline`.
        """
        super().__init__("bmd-node")
        self._settings = settings
        self._pipeline = Pipeline(settings)
        # at start, and not at the first study
        self._pipeline.load()
        self._records = RunRecords.open(settings)
        self._studies = ReceivedStudies.open(settings)
        self._scans = ScanRecords.open(settings)
        self._priors = PriorRecords.open(settings)
        self._versions = ReportVersions.open(settings)
        self._deliverer = Deliverer(settings)
        self._patient_keys = PatientKeys.open(settings)
        self._recalculations = Recalculations.open(settings)
        self.alerting = AlertService(settings)
        # a wrong certificate or secret is told at start, and not at the first alert
        for name in channels_on(settings).names:
            channel_for(name, settings)

    @DBOS.workflow()
    def study(self, study_instance_uid: str, content_digest: str, study: StudyInput, run_id: str = "") -> str:
        """One content of one study: through the rooms, then one ``deliver`` workflow per destination.

        Args:
            run_id: of a run that a person has asked for; the first run of a content has a name made of it.

        Returns:
            The status of the result.
        """
        run_id = run_id or run_id_of(study_instance_uid, content_digest)
        run_step = self._recorded_steps(run_id)

        def find_predecessor(identity: str) -> Predecessor:
            return self._find_predecessor(run_id, study_instance_uid, study.folder, identity)

        try:
            report, segmented = run_study(self._pipeline, study, run_step, self._find_prior, find_predecessor)
            # before anything leaves: a PACS may send it back at once
            run_step("remember", self._remember, report.objects)
            run_step("record", self._record, run_id, report)
            for destination in self._settings.destinations:
                if _is_for(destination, report):
                    self._enqueue_delivery(run_id, destination, report.objects)
            run_step("alert", self._keep_for_alerts, run_id, study_instance_uid, report, segmented)
            not_kept = self._keep_readings_if_possible(run_step, run_id, report, segmented)
        except Exception as error:
            log.exception("study %s failed", study_instance_uid)
            self._records.finished(run_id, RunState.FAILED, f"{type(error).__name__}: {error}")
            raise
        finally:
            self._studies.mark_finished(study_instance_uid, content_digest)
        log.info("study %s: %s", study_instance_uid, report.result.status)
        detail = "; ".join((*(reason.detail for reason in report.result.reasons), *not_kept))
        self._records.finished(run_id, RunState(report.result.status), detail)
        return report.result.status

    @DBOS.workflow()
    def recalculated(self, run_id: str, folder: Path) -> str:
        """A report that was issued again: to every destination; and the alerts of the patient are decided on anew.

        Surgeons who were told something else get a correction, or a withdrawal where no rule holds any more.

        Returns:
            The status of the result.
        """

        run_step = self._recorded_steps(run_id)
        files = object_files(folder)
        try:
            run_step("remember", self._remember, files)
            for destination in self._settings.destinations:
                self._enqueue_delivery(run_id, destination, files)
            detail = run_step("alert", self._keep_recalculated_for_alerts, run_id, folder)
        except Exception as error:
            log.exception("recalculated report %s failed", run_id)
            self._records.finished(run_id, RunState.FAILED, f"{type(error).__name__}: {error}")
            raise
        self._records.finished(run_id, RunState.MEASURED, detail)
        return RunState.MEASURED

    @DBOS.workflow()
    def deliver(self, run_id: str, destination_name: str, files: tuple[Path, ...]) -> int:
        """Offer files to a destination until it has answered for everything.

        Returns:
            The number of attempts.
        """
        attempt = 0
        while True:
            attempt += 1
            outcome = _run_step("deliver", self._deliverer.attempt, run_id, destination_name, files)
            self._records.delivery(run_id, destination_name, outcome.state, attempt, outcome.detail)
            if outcome.state is not DeliveryState.PENDING:
                return attempt
            DBOS.sleep(retry_delay_s(attempt, self._settings.deliver))

    @DBOS.workflow()
    def alert(self, message_id: str) -> int:
        """Send a message to a surgeon until it is taken, refused for good, or overtaken by a later one.

        Returns:
            The number of rounds.
        """
        n_rounds = 0
        while True:
            n_rounds += 1
            try:
                is_over = _run_step("send alert", self.alerting.attempt, message_id)
            except SQLAlchemyError:
                # a surgeon must not wait for ever because a database was away for a moment
                log.exception("alert %s: the database does not answer", message_id)
                is_over = False
            if is_over:
                return n_rounds
            DBOS.sleep(retry_delay_s(n_rounds, self._settings.deliver))

    def _recorded_steps(self, run_id: str) -> RunStep:
        """Runs durable steps, and records where the run stands."""

        def run_step(name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
            self._records.at_step(run_id, name)
            return _run_step(name, function, *args, **kwargs)

        return run_step

    def _enqueue_delivery(self, run_id: str, destination: Destination, files: tuple[Path, ...]) -> None:
        if is_wanted(destination, [read_form(path) for path in files]):
            with SetWorkflowID(f"{run_id}>{destination.name}"):
                DBOS.enqueue_workflow(delivery_queue(destination.name), self.deliver, run_id, destination.name, files)

    def _keep_for_alerts(
        self, run_id: str, study_instance_uid: str, report: ReportOutcome, segmented: SegmentOutcome
    ) -> None:
        """The report among those of its patient, on whom is decided next."""
        if segmented.candidate is None:
            return
        ds = pydicom.dcmread(segmented.candidate.frames[0].path, stop_before_pixels=True)
        folder = report.json_path.parent
        measured = folder if report.result.status == "measured" else None
        self.alerting.keep_result(run_id, study_instance_uid, identity_of(ds), measured, folder)

    def _keep_recalculated_for_alerts(self, run_id: str, folder: Path) -> str:
        """Likewise a report that was issued again; gives what a person should know of it."""
        self.alerting.keep_recalculated(run_id, self._recalculations.measured_run_id(run_id), folder)
        return "; ".join(reason.detail for reason in load_kept_run(folder).result.reasons)

    def enqueue_alerts(self) -> None:
        """Hand every message that was decided on to a workflow of its own; twice is once."""
        for message_id in self.alerting.records.waiting():
            record = self.alerting.records.message(message_id)
            if record is not None:
                with SetWorkflowID(f"alert>{message_id}"):
                    DBOS.enqueue_workflow(alert_queue(record.message.channel), self.alert, message_id)
            self.alerting.records.mark_handed_over(message_id)

    def _find_prior(self, result: StudyResult, segmented: SegmentOutcome) -> PriorComparison | None:
        """The result beside an earlier one of the patient; a step, so that a run taken up again shows the same one."""
        now, key = dated_result(result), self._patient_key(segmented)
        return None if now is None or key is None else compare_with_prior(now, self._priors.of_patient(key))

    def _find_predecessor(self, run_id: str, study_instance_uid: str, folder: Path, identity: str) -> Predecessor:
        """The report that is replaced; a step, so that a run taken up again makes the same objects."""
        run = self._records.run(run_id)
        if run is None:
            raise RuntimeError(f"{run_id} runs and was never handed over")
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
            log.exception("run %s: its readings cannot be kept", run_id)
            return ("its values could not be kept for comparison with other studies: see the log",)
        return ()

    def _keep_readings(self, run_id: str, result: StudyResult, segmented: SegmentOutcome) -> None:
        """What later scans of the scanner and later studies of the patient are compared with."""
        if result.facts is not None:
            self._scans.keep(run_id, result.facts, result.scan)
        now, key = dated_result(result), self._patient_key(segmented)
        if now is not None and key is not None:
            self._priors.keep(run_id, key, now)

    def _patient_key(self, segmented: SegmentOutcome) -> str | None:
        if segmented.candidate is None:
            return None
        path = segmented.candidate.frames[0].path
        ds = pydicom.dcmread(path, specific_tags=["PatientID", "IssuerOfPatientID"], stop_before_pixels=True)
        return self._patient_keys.key(*(str(ds.get(name) or "") for name in ("IssuerOfPatientID", "PatientID")))

    def _remember(self, files: tuple[Path, ...]) -> None:
        uids = [str(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID) for path in files]
        self._studies.record_own_instances(uids)


def run_id_of(study_instance_uid: str, content_digest: str) -> str:
    """Name of the run of one content of a study."""
    return f"{study_instance_uid}-{content_digest[:16]}"


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
    """Run a step whose result is kept; what may go through later is tried again before the study fails."""
    return DBOS.run_step(
        {
            "name": name,
            "retries_allowed": True,
            "interval_seconds": _FIRST_RETRY_S,
            "backoff_rate": 2.0,
            "max_attempts": _STEP_ATTEMPTS,
            "should_retry": _may_go_through_later,
        },
        function,
        *args,
        **kwargs,
    )


def _may_go_through_later(error: BaseException) -> bool:
    return error.retriable if isinstance(error, NodeError) else isinstance(error, OSError)
