"""The workflow made durable by DBOS: what was finished before a crash is not done again, what was not is taken up.

Four kinds of workflow. ``study`` takes one content of one study through the rooms; its id is the study with the digest of
its content, so a study sent twice runs once. ``recalculated`` sends a report that ``bmd-node recalculate`` has issued again.
``deliver`` brings the results to one destination and goes on until that destination has answered for each object; a PACS
that is down keeps nobody else waiting. ``alert`` does so with one message to a surgeon; which messages there are is decided
between the workflows (:mod:`node.alerting.evaluator`), and kept in the database until a workflow has taken them.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar

import pydicom
from dbos import DBOS, DBOSConfig, DBOSConfiguredInstance, SetWorkflowID
from sqlalchemy.exc import SQLAlchemyError

from node.alert import ChannelName, channel_for, channels_on
from node.alerting.evaluator import Alerting
from node.deliver import read_form, retry_delay_s
from node.delivering import Deliverer, ask_again_what_was_not_taken, destination_of, is_wanted
from node.errors import NodeError
from node.model import PriorComparison, StudyResult
from node.patient.identity import identity_of
from node.priors import compare_with_prior, dated_result
from node.recalculate import load_kept_run
from node.receive import QuietStudy, ReceivedStudies
from node.records.destinations import DestinationRecords, Redelivery
from node.records.patient_key import PatientKeys
from node.records.prior_results import PriorRecords
from node.records.recalculations import Recalculation, Recalculations
from node.records.report_versions import ReportVersions
from node.records.runs import DeliveryState, Records, RunState
from node.records.scans import ScanRecords
from node.records.workers import BEAT_S, Workers
from node.report_files import object_files
from node.settings.tree import Destination, Settings
from node.steps import Predecessor, Report, RunStep, Segmented, StudyInput
from node.takeover import begin_anew_what_another_version_left, take_up_work_of_lost_workers
from node.workflow import Rooms, run_study

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_STUDY_QUEUE = "studies"
#: To be raised when the steps of a workflow change: unfinished work of another version is then begun anew.
_WORKFLOW_VERSION = "2"
_POLL_S = 1.0
_HOUSEKEEPING_S = 3600.0
_STEP_ATTEMPTS = 8
_FIRST_RETRY_S = 5.0
#: Deliveries to one destination at the same time; also how many may wait for one that is down.
_DELIVERIES_AT_ONCE = 2
#: Alerts on one channel at the same time; also how many recipients that do not answer may wait beside those that do.
_ALERTS_AT_ONCE = 20


@DBOS.dbos_class()
class DurableNode(DBOSConfiguredInstance):
    """The workflows; DBOS finds the instance again by its name when it takes up interrupted work."""

    def __init__(self, settings: Settings) -> None:
        """Load the rooms and open the records.

        Raises:
            ConfigurationError: see :class:`node.workflow.Rooms`.
        """
        super().__init__("bmd-node")
        self._settings = settings
        self._rooms = Rooms(settings)
        self._records = Records.open(settings)
        self._studies = ReceivedStudies.open(settings)
        self._scans = ScanRecords.open(settings)
        self._priors = PriorRecords.open(settings)
        self._versions = ReportVersions.open(settings)
        self._deliverer = Deliverer(settings)
        self._patient_keys = PatientKeys.open(settings)
        self._recalculations = Recalculations.open(settings)
        self.alerting = Alerting(settings)
        # a wrong certificate or secret is told at start, and not at the first alert
        for name in channels_on(settings):
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
            report, segmented = run_study(self._rooms, study, run_step, self._find_prior, find_predecessor)
            # before anything leaves: a PACS may send it back at once
            run_step("remember", self._remember, report.objects)
            run_step("record", self._record, run_id, report, segmented)
            for destination in self._settings.destinations:
                if _is_for(destination, report):
                    self._enqueue_delivery(run_id, destination, report.objects)
            run_step("alert", self._keep_for_alerts, run_id, study_instance_uid, report, segmented)
        except Exception as error:
            log.exception("study %s failed", study_instance_uid)
            self._records.finished(run_id, RunState.FAILED, f"{type(error).__name__}: {error}")
            raise
        finally:
            self._studies.mark_finished(study_instance_uid, content_digest)
        log.info("study %s: %s", study_instance_uid, report.result.status)
        detail = "; ".join(reason.detail for reason in report.result.reasons)
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
                DBOS.enqueue_workflow(_queue_of(destination), self.deliver, run_id, destination.name, files)

    def _keep_for_alerts(self, run_id: str, study_instance_uid: str, report: Report, segmented: Segmented) -> None:
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
                    DBOS.enqueue_workflow(_alert_queue(record.message.channel), self.alert, message_id)
            self.alerting.records.mark_handed_over(message_id)

    def _find_prior(self, result: StudyResult, segmented: Segmented) -> PriorComparison | None:
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

    def _record(self, run_id: str, report: Report, segmented: Segmented) -> None:
        """What later scans of the scanner and later studies of the patient are compared with; and which report holds now."""
        result = report.result
        if report.objects:  # else it could take the place of nothing
            self._versions.mark_made(run_id)
            if report.replaces is not None:
                self._records.replaced(report.replaces)
        if result.facts is not None:
            self._scans.keep(run_id, result.facts, result.scan)
        now, key = dated_result(result), self._patient_key(segmented)
        if now is not None and key is not None:
            self._priors.keep(run_id, key, now)

    def _patient_key(self, segmented: Segmented) -> str | None:
        if segmented.candidate is None:
            return None
        path = segmented.candidate.frames[0].path
        ds = pydicom.dcmread(path, specific_tags=["PatientID", "IssuerOfPatientID"], stop_before_pixels=True)
        return self._patient_keys.key(*(str(ds.get(name) or "") for name in ("IssuerOfPatientID", "PatientID")))

    def _remember(self, files: tuple[Path, ...]) -> None:
        uids = [str(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID) for path in files]
        self._studies.record_own_instances(uids)


def run_worker(settings: Settings, stop: threading.Event) -> None:
    """Process studies until ``stop`` is set: hand over what is complete, run the workflows, remove old images.

    Raises:
        ConfigurationError: the settings cannot be used.
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    config: DBOSConfig = {
        "name": "bmd-node",
        "system_database_url": settings.database_url_with_password
        or f"sqlite:///{(settings.state_dir / 'workflows.sqlite').absolute()}",
        "application_version": _WORKFLOW_VERSION,
        "executor_id": settings.worker_id,
        "log_level": "WARNING",
    }
    DBOS(config=config)
    node = DurableNode(settings)
    DBOS.launch()
    try:
        DBOS.register_queue(_STUDY_QUEUE, worker_concurrency=settings.worker_concurrency)
        for channel in ChannelName:
            DBOS.register_queue(_alert_queue(channel), worker_concurrency=_ALERTS_AT_ONCE)
        for destination in settings.destinations:
            DBOS.register_queue(_queue_of(destination), worker_concurrency=_DELIVERIES_AT_ONCE)
        begin_anew_what_another_version_left(settings.worker_id, _WORKFLOW_VERSION)
        log.info("worker ready")
        _hand_over_until(stop, settings, node)
    finally:
        DBOS.destroy()
    Workers.open(settings).beat(settings.worker_id, stopped=True)


def _hand_over_until(stop: threading.Event, settings: Settings, node: DurableNode) -> None:
    studies = ReceivedStudies.open(settings)
    records, recalculations = Records.open(settings), Recalculations.open(settings)
    destinations, workers = DestinationRecords.open(settings), Workers.open(settings)
    next_housekeeping = next_beat = time.monotonic()
    while not stop.wait(_POLL_S):
        if time.monotonic() >= next_beat:
            workers.beat(settings.worker_id)
            take_up_work_of_lost_workers(workers, settings.worker_id, settings.worker_lost_after_s, _WORKFLOW_VERSION)
            next_beat = time.monotonic() + BEAT_S
        for quiet in studies.quiet_studies(datetime.now(UTC), settings.study):
            run_id = run_id_of(quiet.study_instance_uid, quiet.content_digest)
            _hand_over(run_id, quiet, settings, node, records)
            studies.mark_handed_over(quiet.study_instance_uid, quiet.content_digest, run_id)
        for rerun in studies.reruns():
            run_id = f"{run_id_of(rerun.study.study_instance_uid, rerun.study.content_digest)}-n{rerun.number}"
            _hand_over(run_id, rerun.study, settings, node, records)
            studies.mark_rerun_taken(rerun)
        for recalculation in recalculations.waiting():
            _hand_over_recalculation(recalculation, node)
            recalculations.mark_handed_over(recalculation.run_id)
        for redelivery in destinations.redeliveries():
            _hand_over_redelivery(redelivery, settings, node, records)
            destinations.mark_taken(redelivery)
        node.alerting.read_plans()
        node.alerting.decide_due(datetime.now(UTC))
        node.enqueue_alerts()
        if time.monotonic() >= next_housekeeping:
            removed = studies.remove_images_older_than(datetime.now(UTC) - timedelta(days=settings.study.keep_days))
            ask_again_what_was_not_taken(settings)
            log.info("%d images of finished studies removed after %g days", removed, settings.study.keep_days)
            next_housekeeping = time.monotonic() + _HOUSEKEEPING_S


def _hand_over(run_id: str, quiet: QuietStudy, settings: Settings, node: DurableNode, records: Records) -> None:
    """Enqueue the workflow of a study; doing it twice with the same run is doing it once."""
    folder = settings.state_dir.absolute() / "results" / hashlib.sha256(run_id.encode()).hexdigest()[:32]
    records.queued(run_id, quiet.study_instance_uid, folder)
    if quiet.n_removed:
        detail = f"{quiet.n_removed} images of this study were removed earlier: send the whole study again"
        records.finished(run_id, RunState.FAILED, detail)
        log.error("study %s: %s", quiet.study_instance_uid, detail)
        return
    log.info("study %s is complete: %d instances, %s", quiet.study_instance_uid, quiet.n_instances, quiet.reason)
    with SetWorkflowID(run_id):
        study = StudyInput(quiet.paths, folder)
        DBOS.enqueue_workflow(_STUDY_QUEUE, node.study, quiet.study_instance_uid, quiet.content_digest, study, run_id)


def _hand_over_recalculation(recalculation: Recalculation, node: DurableNode) -> None:
    log.info("study %s: a recalculated report is sent", recalculation.study_instance_uid)
    with SetWorkflowID(recalculation.run_id):
        DBOS.enqueue_workflow(_STUDY_QUEUE, node.recalculated, recalculation.run_id, recalculation.folder)


def _hand_over_redelivery(redelivery: Redelivery, settings: Settings, node: DurableNode, records: Records) -> None:
    run = records.run(redelivery.run_id)
    destination = destination_of(settings, redelivery.destination)
    if run is None or destination is None:
        return
    log.info("study %s: once more to %s", run.study_instance_uid, destination.name)
    with SetWorkflowID(f"{run.run_id}>{destination.name}>{redelivery.number}"):
        DBOS.enqueue_workflow(_queue_of(destination), node.deliver, run.run_id, destination.name, object_files(run.folder))


def run_id_of(study_instance_uid: str, content_digest: str) -> str:
    """Name of the run of one content of a study."""
    return f"{study_instance_uid}-{content_digest[:16]}"


def _is_for(destination: Destination, report: Report) -> bool:
    """Whether a destination gets a result of this kind; what takes the place of a report always goes there."""
    if report.replaces is not None:
        return True
    if report.result.status != "measured":
        return destination.send_not_measured
    return destination.send_hu_only or report.result.bmd.bmd_mg_cm3 is not None


def _queue_of(destination: Destination) -> str:
    # a queue of its own: deliveries that wait for one PACS take no place from those for another
    return f"deliver-{destination.name}"


def _alert_queue(channel: str) -> str:
    # of each channel, so that a mail server that is down takes no place from the others
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
