"""The loop of the worker: hand over what is ready to durable workflows, and do the housekeeping.

Every task of the loop is idempotent. A task that fails does not affect the others, and runs again at the next turn. So the
loop survives a database that is unavailable for a while.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from dbos import DBOS, DBOSConfig, SetWorkflowID
from sqlalchemy.exc import SQLAlchemyError

from node.alerts import channels_on
from node.common.errors import NodeError
from node.common.private import keep_private
from node.deliver.deliverer import ask_again_what_was_not_taken, destination_of
from node.receive import Corrections, QuietStudy, ReceivedStudies, run_id_of
from node.records.destinations import DestinationRecords
from node.records.recalculations import Recalculations
from node.records.runs import RunRecords, RunState
from node.records.work import Work, WorkKind, WorkRecords
from node.records.workers import BEAT_S, Workers
from node.select import is_same_image
from node.settings.alert import MAIL
from node.settings.tree import Settings
from node.study.run_folder import folder_of
from node.worker.commitments import CommitmentWork
from node.worker.compute import Computing
from node.worker.history import workflow_database
from node.worker.housekeeping import Housekeeping
from node.worker.passing import LONGEST_WAIT_S
from node.worker.plain_data import PlainData, refuse_pickles
from node.worker.reconcile import (
    end_what_another_version_left,
    end_what_no_queue_serves,
    end_work_of_lost_workers,
    reconcile,
)
from node.worker.workflows import (
    STUDY_QUEUE,
    WORKFLOW_VERSION,
    DurableNode,
    alert_queue,
    commit_queue,
    delivery_queue,
    report_queue,
)

log = logging.getLogger(__name__)

_POLL_S = 1.0
_HOUSEKEEPING_S = 3600.0
_DAY_S = 86_400.0
_RECONCILE_S = 30.0
#: Queue for work whose destination or receiver is no longer in the settings.
_NOT_CONFIGURED = "not-configured"
#: Concurrent deliveries to one destination; also how many can block on one that is down.
_DELIVERIES_AT_ONCE = 2
#: Concurrent alerts on one channel; also how many unresponsive recipients it takes to block the others.
_ALERTS_AT_ONCE = 20


def run_worker(settings: Settings, stop: threading.Event, computing: Computing | None = None) -> None:
    """Process studies until ``stop`` is set: hand over complete studies, run the workflows, remove old images.

    Args:
        settings: settings of the node.
        stop: ends the worker.
        computing: the processes that compute, if they were started before this module was imported; closed at the end.

    Raises:
        ConfigurationError: the settings cannot be used.
    """
    keep_private(settings.state_dir)
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    config: DBOSConfig = {
        "name": "bmd-node",
        "system_database_url": workflow_database(settings),
        "application_version": WORKFLOW_VERSION,
        "executor_id": settings.worker_id,
        "serializer": PlainData(),
        "log_level": "WARNING",
    }
    refuse_pickles()
    computing = computing or Computing(settings)
    try:
        DBOS(config=config)
        loop = Loop(settings, DurableNode(settings, computing, stop))
        computing.wait_until_loaded()
        # resumes interrupted workflows at once
        DBOS.launch()
        loop.register_queues()
        work = WorkRecords.open(settings)
        end_what_another_version_left(settings.worker_id, WORKFLOW_VERSION, work)
        end_what_no_queue_serves(loop.queue_of, work)
        log.info("worker ready")
        loop.run(stop)
    finally:
        # in this order, so that a study whose process is killed here cannot record a failure
        stop.set()
        DBOS.destroy()
        computing.close()
    Workers.open(settings).beat(settings.worker_id, stopped=True)


@dataclass
class _Task:
    """A recurring task of the loop.

    Attributes:
        name: name in the log.
        every_s: shortest time between two runs; 0 runs it at every turn.
        next_s: monotonic time of the next run.
    """

    name: str
    do: Callable[[], object]
    every_s: float = 0.0
    next_s: float = 0.0


class Loop:
    """Turns what waits in the records into work, and starts a workflow for all work that is due."""

    def __init__(self, settings: Settings, node: DurableNode) -> None:
        """Open the records.

        Raises:
            ConfigurationError: the database cannot be opened.
        """
        self._settings = settings
        self._node = node
        self._studies = ReceivedStudies.open(settings)
        self._corrections = Corrections.open(settings, is_same_image)
        self._records = RunRecords.open(settings)
        self._recalculations = Recalculations.open(settings)
        self._destinations = DestinationRecords.open(settings)
        self._commitments = CommitmentWork(settings)
        self._workers = Workers.open(settings)
        self._work = WorkRecords.open(settings)
        self._housekeeping = Housekeeping(settings)
        receivers = {MAIL, *channels_on(settings).names}
        self._queues = {delivery_queue(one.name) for one in settings.destinations} | {alert_queue(one) for one in receivers}
        self._queues |= {commit_queue(one.name) for one in settings.destinations if one.storage_commitment}
        self._queues |= {report_queue(one.ae_title.strip()) for one in settings.senders if one.host}

    def register_queues(self) -> None:
        """Tell DBOS which queues this worker serves."""
        DBOS.register_queue(STUDY_QUEUE, worker_concurrency=self._settings.worker_concurrency)
        DBOS.register_queue(_NOT_CONFIGURED, worker_concurrency=_DELIVERIES_AT_ONCE)
        for queue in sorted(self._queues):
            at_once = _ALERTS_AT_ONCE if queue.startswith(alert_queue("")) else _DELIVERIES_AT_ONCE
            DBOS.register_queue(queue, worker_concurrency=at_once)

    def run(self, stop: threading.Event) -> None:
        """Run all tasks, turn by turn, until ``stop`` is set."""
        tasks = (
            _Task("sign of life", self._beat, BEAT_S),
            _Task("corrected images", lambda: self._corrections.follow(self._node.leave_study)),
            _Task("received studies", self._hand_over_studies),
            _Task("reruns", self._hand_over_reruns),
            _Task("recalculated reports", self._hand_over_recalculations),
            _Task("redeliveries", self._hand_over_redeliveries),
            _Task("merged patients", self._node.merged_patients.follow),
            _Task("plans", self._node.alerting.read_plans),
            _Task("alerts that are due", lambda: self._node.alerting.decide_due(datetime.now(UTC))),
            _Task("alerts", self._node.add_alerts),
            _Task("reports of storage commitment", self._commitments.wake),
            _Task("requests for storage commitment", self._commitments.take_orders),
            # before the work that is due, so that what a kill left behind starts in the first turn
            _Task("work without a workflow", lambda: reconcile(self._work), _RECONCILE_S),
            _Task("work", self._start_due),
            _Task("housekeeping", self._keep_house, _HOUSEKEEPING_S),
        )
        while not stop.is_set():
            for task in tasks:
                now_s = time.monotonic()
                if now_s < task.next_s:
                    continue
                try:
                    task.do()
                except (NodeError, SQLAlchemyError, OSError) as error:
                    # not the text of a database error: it may hold the values that were to be stored
                    said = str(error) if isinstance(error, NodeError) else type(error).__name__
                    log.error("%s: %s; tried again", task.name, said)  # noqa: TRY400
                else:
                    task.next_s = now_s + task.every_s
            stop.wait(_POLL_S)

    def _beat(self) -> None:
        settings = self._settings
        self._workers.beat(settings.worker_id)
        if end_work_of_lost_workers(self._workers, settings.worker_id, settings.worker_lost_after_s):
            reconcile(self._work)

    def _hand_over_studies(self) -> None:
        for quiet in self._studies.quiet_studies(datetime.now(UTC), self._settings.study):
            run_id = run_id_of(quiet.study_instance_uid, quiet.content_digest)
            self._hand_over(run_id, quiet)
            self._studies.mark_handed_over(quiet.study_instance_uid, quiet.content_digest, run_id)

    def _hand_over_reruns(self) -> None:
        for rerun in self._studies.reruns():
            run_id = f"{run_id_of(rerun.study.study_instance_uid, rerun.study.content_digest)}-n{rerun.number}"
            self._hand_over(run_id, rerun.study)
            self._studies.mark_rerun_taken(rerun)

    def _hand_over(self, run_id: str, quiet: QuietStudy) -> None:
        """Record the run of a study and add it to the table of work. Idempotent."""
        folder = folder_of(self._settings.state_dir, run_id)
        self._records.queued(run_id, quiet.study_instance_uid, folder)
        if quiet.n_removed:
            detail = f"{quiet.n_removed} images of this study were removed earlier: resend the whole study"
            self._records.finished(run_id, RunState.FAILED, detail)
            log.error("study %s: %s", quiet.study_instance_uid, detail)
            return
        log.info("study %s is complete: %d instances, %s", quiet.study_instance_uid, quiet.n_instances, quiet.reason)
        self._work.add(WorkKind.STUDY, run_id)

    def _hand_over_recalculations(self) -> None:
        for recalculation in self._recalculations.waiting():
            log.info("study %s: sending a recalculated report", recalculation.study_instance_uid)
            self._work.add(WorkKind.RECALCULATED, recalculation.run_id)
            self._recalculations.mark_handed_over(recalculation.run_id)

    def _hand_over_redeliveries(self) -> None:
        for redelivery in self._destinations.redeliveries():
            run = self._records.run(redelivery.run_id)
            destination = destination_of(self._settings, redelivery.destination)
            if run is not None and destination is not None:
                log.info("study %s: delivering again to %s", run.study_instance_uid, destination.name)
                self._work.add(WorkKind.DELIVER, run.run_id, destination.name, redelivery.number)
            self._destinations.mark_taken(redelivery)

    def _start_due(self) -> None:
        """Start a workflow for all work that is due. Idempotent: each round has one workflow, whose id names the round.

        The row is changed first: a workflow that begins before its row says so has nothing to do. Work whose workflow could
        not be enqueued is due again at once, or by :func:`reconcile` after a kill.
        """
        deliver = self._settings.deliver
        longest_wait_s = max(LONGEST_WAIT_S, deliver.retry_max_s, deliver.commitment_wait_s)
        for work in self._work.due(longest_wait_s):
            if not self._work.started(work):
                continue
            started = replace(work, rounds=work.rounds + 1, begun=0)
            try:
                with SetWorkflowID(started.workflow_id):
                    self._start(started)
            except Exception:
                self._work.again_unless_ended(started)
                raise

    def _start(self, work: Work) -> None:
        node, about = self._node, (work.work_id, work.rounds, work.subject)
        match work.kind:
            case WorkKind.STUDY:
                DBOS.enqueue_workflow(self.queue_of(work), node.study, *about)
            case WorkKind.RECALCULATED:
                DBOS.enqueue_workflow(self.queue_of(work), node.recalculated, *about)
            case WorkKind.FOLLOW_UP:
                DBOS.enqueue_workflow(self.queue_of(work), node.follow_up, *about)
            case WorkKind.DELIVER:
                DBOS.enqueue_workflow(self.queue_of(work), node.deliver, *about, work.target)
            case WorkKind.COMMIT:
                DBOS.enqueue_workflow(self.queue_of(work), node.commit, work.work_id, work.rounds)
            case WorkKind.COMMIT_REPORT:
                DBOS.enqueue_workflow(self.queue_of(work), node.report_commitment, work.work_id, work.rounds)
            case WorkKind.ALERT:
                DBOS.enqueue_workflow(self.queue_of(work), node.alert, *about)

    def queue_of(self, work: Work) -> str:
        """Return the name of the queue for a piece of work; this worker serves every queue that is returned."""
        if work.kind in (WorkKind.STUDY, WorkKind.RECALCULATED, WorkKind.FOLLOW_UP):
            return STUDY_QUEUE
        named = {
            WorkKind.DELIVER: delivery_queue,
            WorkKind.COMMIT: commit_queue,
            WorkKind.COMMIT_REPORT: report_queue,
            WorkKind.ALERT: alert_queue,
        }
        queue = named[work.kind](work.target)
        # a destination or receiver that is no longer in the settings: the workflow reports it
        return queue if queue in self._queues else _NOT_CONFIGURED

    def _keep_house(self) -> None:
        ask_again_what_was_not_taken(self._settings)
        self._node.merged_patients.follow_all()
        self._housekeeping.do(datetime.now(UTC))
        self._commitments.forget(time.time() - self._settings.retention.workflows_days * _DAY_S)
