"""The workflow made durable by DBOS: what was finished before a crash is not done again, what was not is taken up.

Four kinds of workflow. ``study`` takes one content of one study through the rooms; its id is the study with the digest of
its content, so a study sent twice runs once. ``recalculated`` sends a report that ``bmd-node recalculate`` has issued again.
``deliver`` brings the results to one destination and goes on until that destination has answered for each object; a PACS
that is down keeps nobody else waiting. ``alert`` does so with one message to a surgeon; which messages there are is decided
between the workflows (:mod:`node.alerting`), and kept in the database until a workflow has taken them.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar

import pydicom
from dbos import DBOS, DBOSConfig, DBOSConfiguredInstance, SetWorkflowID
from pydicom.uid import UID
from sqlalchemy.exc import SQLAlchemyError

from node.alert import ChannelName, channels_for
from node.alerting import Alerting
from node.deliver import retry_delay_s, send
from node.errors import NodeError, RejectedError, TransportError
from node.model import PriorComparison, StudyResult
from node.patient_identity import PatientIdentity, identity_of
from node.patient_key import PatientKeys
from node.prior_records import PriorRecords
from node.priors import compare_with_prior, dated_result
from node.recalculate import files_to_send, load_kept_run
from node.recalculations import Recalculation, Recalculations
from node.receive import QuietStudy, ReceivedStudies
from node.records import DeliveryState, Records, RunState
from node.run_folder import load_identity
from node.scan_records import ScanRecords
from node.settings import Destination, Settings
from node.steps import Report, RunStep, StudyInput
from node.workflow import Rooms, Segmented, run_study

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_STUDY_QUEUE = "studies"
#: Work of an earlier version of the node is taken up too; raised only when the steps of a workflow change their meaning.
_WORKFLOW_VERSION = "1"
_POLL_S = 1.0
_HOUSEKEEPING_S = 3600.0
_STEP_ATTEMPTS = 8
_FIRST_RETRY_S = 5.0
#: Deliveries to one destination at the same time; also how many may wait for one that is down.
_DELIVERIES_AT_ONCE = 2
#: Alerts on one channel at the same time; also how many recipients that do not answer may wait beside those that do.
_ALERTS_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt at a destination; ``retry_because`` is ``None`` once it has answered for every object."""

    rejected: tuple[str, ...]
    retry_because: str | None


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
        self._patient_keys = PatientKeys.open(settings)
        self._recalculations = Recalculations.open(settings)
        self.alerting = Alerting(settings)
        # a wrong certificate or secret is told at start, and not at the first alert
        channels_for(settings)

    @DBOS.workflow()
    def study(self, study_instance_uid: str, content_digest: str, study: StudyInput) -> str:
        """One content of one study: through the rooms, then one ``deliver`` workflow per destination.

        Returns:
            The status of the result.
        """
        run_id = _workflow_id()
        run_step = self._recorded_steps(run_id)
        try:
            report, segmented = run_study(self._rooms, study, run_step, self._find_prior)
            # before anything leaves: a PACS may send it back at once
            run_step("remember", self._remember, report.to_send)
            run_step("record", self._record, run_id, report.result, segmented)
            for destination in self._settings.destinations:
                self._enqueue_delivery(run_id, destination, _files_for(destination, report))
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
        files = files_to_send(folder)
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
        """Send files to a destination until each is stored or refused for good.

        Returns:
            The number of attempts.
        """
        return self._until_answered(run_id, destination_name, "deliver", self._send, destination_name, files)

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

    def _until_answered(
        self, run_id: str, receiver: str, name: str, function: Callable[P, _Attempt], /, *args: P.args, **kwargs: P.kwargs
    ) -> int:
        """Repeat a step, with growing durable waits between, until the other side has answered; returns the attempts."""
        attempt = 0
        while True:
            attempt += 1
            outcome = _run_step(name, function, *args, **kwargs)
            if outcome.retry_because is None:
                state = DeliveryState.REJECTED if outcome.rejected else DeliveryState.STORED
                self._records.delivery(run_id, receiver, state, attempt, "; ".join(outcome.rejected))
                return attempt
            self._records.delivery(run_id, receiver, DeliveryState.PENDING, attempt, outcome.retry_because)
            DBOS.sleep(retry_delay_s(attempt, self._settings.deliver))

    def _enqueue_delivery(self, run_id: str, destination: Destination, files: tuple[Path, ...]) -> None:
        if files:
            with SetWorkflowID(f"{run_id}>{destination.name}"):
                DBOS.enqueue_workflow(_queue_of(destination), self.deliver, run_id, destination.name, files)

    def _keep_for_alerts(self, run_id: str, study_instance_uid: str, report: Report, segmented: Segmented) -> None:
        """The report among those of its patient, on whom is decided next."""
        identity = self._identity(segmented)
        if identity is not None:
            folder = report.json_path.parent
            measured = folder if report.result.status == "measured" else None
            self.alerting.keep_result(run_id, study_instance_uid, identity, measured, folder)

    def _keep_recalculated_for_alerts(self, run_id: str, folder: Path) -> str:
        """Likewise a report that was issued again; gives what a person should know of it."""
        kept = load_kept_run(folder)
        known = self.alerting.records.result_of_run(self._recalculations.measured_run_id(run_id))
        if known is not None:
            identity = load_identity(known.identity_folder)
            self.alerting.keep_result(run_id, known.study_instance_uid, identity, folder, known.identity_folder)
        return "; ".join(reason.detail for reason in kept.result.reasons)

    def _identity(self, segmented: Segmented) -> PatientIdentity | None:
        if segmented.candidate is None:
            return None
        return identity_of(pydicom.dcmread(segmented.candidate.frames[0].path, stop_before_pixels=True))

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

    def _record(self, run_id: str, result: StudyResult, segmented: Segmented) -> None:
        """What later scans of the scanner and later studies of the patient are compared with."""
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

    def _send(self, destination_name: str, files: tuple[Path, ...]) -> _Attempt:
        """One association with the destination; objects that are there already are answered and kept once."""
        destination = next((d for d in self._settings.destinations if d.name == destination_name), None)
        if destination is None:
            return _Attempt(("the destination is no longer in the settings",), None)
        try:
            delivery = send(files, destination, self._settings.listener.ae_title, self._settings.deliver.timeout_s)
        except (TransportError, RejectedError) as error:
            # an association that is refused is tried again too: an administrator may still enter our AE title there
            log.warning("destination %s: %s", destination_name, error)
            return _Attempt((), str(error))
        rejected = tuple(f"{UID(sent.sop_class_uid).name}: {sent.detail}" for sent in delivery.rejected)
        for text in rejected:
            log.error("destination %s refuses for good: %s", destination_name, text)
        return _Attempt(rejected, None)


def run_worker(settings: Settings, stop: threading.Event) -> None:
    """Process studies until ``stop`` is set: hand over what is complete, run the workflows, remove old images.

    Raises:
        ConfigurationError: the settings cannot be used.
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    config: DBOSConfig = {
        "name": "bmd-node",
        "system_database_url": settings.database_url or f"sqlite:///{(settings.state_dir / 'workflows.sqlite').absolute()}",
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
        log.info("worker ready")
        _hand_over_until(stop, settings, node)
    finally:
        DBOS.destroy()


def _hand_over_until(stop: threading.Event, settings: Settings, node: DurableNode) -> None:
    studies = ReceivedStudies.open(settings)
    records, recalculations = Records.open(settings), Recalculations.open(settings)
    next_housekeeping = time.monotonic()
    while not stop.wait(_POLL_S):
        for quiet in studies.quiet_studies(datetime.now(UTC), settings.study):
            _hand_over(quiet, settings, node, records)
            studies.mark_handed_over(quiet.study_instance_uid, quiet.content_digest, _run_id(quiet))
        for recalculation in recalculations.waiting():
            _hand_over_recalculation(recalculation, node)
            recalculations.mark_handed_over(recalculation.run_id)
        node.alerting.read_plans()
        node.alerting.decide_due(datetime.now(UTC))
        node.enqueue_alerts()
        if time.monotonic() >= next_housekeeping:
            removed = studies.remove_images_older_than(datetime.now(UTC) - timedelta(days=settings.study.keep_days))
            log.info("%d images of finished studies removed after %g days", removed, settings.study.keep_days)
            next_housekeeping = time.monotonic() + _HOUSEKEEPING_S


def _hand_over(quiet: QuietStudy, settings: Settings, node: DurableNode, records: Records) -> None:
    """Enqueue the workflow of a study; doing it twice with the same content is doing it once."""
    run_id = _run_id(quiet)
    folder = settings.state_dir.absolute() / "results" / hashlib.sha256(run_id.encode()).hexdigest()[:32]
    records.queued(run_id, quiet.study_instance_uid, folder)
    if quiet.n_removed:
        detail = f"{quiet.n_removed} images of this study were removed earlier: send the whole study again"
        records.finished(run_id, RunState.FAILED, detail)
        log.error("study %s: %s", quiet.study_instance_uid, detail)
        return
    log.info("study %s is complete: %d instances, %s", quiet.study_instance_uid, quiet.n_instances, quiet.reason)
    with SetWorkflowID(run_id):
        DBOS.enqueue_workflow(
            _STUDY_QUEUE, node.study, quiet.study_instance_uid, quiet.content_digest, StudyInput(quiet.paths, folder)
        )


def _hand_over_recalculation(recalculation: Recalculation, node: DurableNode) -> None:
    log.info("study %s: a recalculated report is sent", recalculation.study_instance_uid)
    with SetWorkflowID(recalculation.run_id):
        DBOS.enqueue_workflow(_STUDY_QUEUE, node.recalculated, recalculation.run_id, recalculation.folder)


def _run_id(quiet: QuietStudy) -> str:
    return f"{quiet.study_instance_uid}-{quiet.content_digest[:16]}"


def _files_for(destination: Destination, report: Report) -> tuple[Path, ...]:
    return report.to_send if report.result.status == "measured" or destination.send_not_measured else ()


def _queue_of(destination: Destination) -> str:
    # a queue of its own: deliveries that wait for one PACS take no place from those for another
    return f"deliver-{destination.name}"


def _alert_queue(channel: str) -> str:
    # of each channel, so that a mail server that is down takes no place from the others
    return f"alerts-{channel}"


def _workflow_id() -> str:
    workflow_id = DBOS.workflow_id
    if workflow_id is None:
        raise RuntimeError("called outside a workflow")
    return workflow_id


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
