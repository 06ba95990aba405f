"""Compare the table of work with the workflows of DBOS, and restart work that has no live workflow.

The two can disagree: the database was unavailable when a workflow tried to record its outcome, a worker is gone, or the
node was upgraded. The worker compares them at start and every half minute.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from dbos import DBOS

from node.common.batches import batches
from node.records.work import Work, WorkKind, WorkRecords, WorkState
from node.records.workers import Workers

log = logging.getLogger(__name__)

_LIVE = ["PENDING", "ENQUEUED", "DELAYED"]
#: Ids that one query asks for.
_BATCH = 500


def end_what_another_version_left(worker_id: str, version: str, work: WorkRecords) -> int:
    """Cancel unfinished workflows of other versions of the node, whose steps differ; this version restarts their work.

    Workflows that have begun on another worker are left alone: that worker may still be running them.

    Returns:
        The number of cancelled workflows.
    """
    count = 0
    for status in DBOS.list_workflows(status=_LIVE, load_input=False, load_output=False):
        if status.app_version in (None, version) or (status.status == "PENDING" and status.executor_id != worker_id):
            continue
        enter_work_of_0_1_0(status.name, status.workflow_id, work)
        DBOS.cancel_workflow(status.workflow_id)
        count += 1
    if count:
        log.warning("%d unfinished workflows of another version of the node are restarted", count)
    return count


def end_work_of_lost_workers(workers: Workers, worker_id: str, lost_after_s: float) -> int:
    """Cancel the workflows that lost workers had begun; :func:`reconcile` then lets any worker restart them.

    A worker that was silent but is still alive finds its workflow cancelled, and stops at the next step.

    Args:
        workers: the workers and their last signs of life.
        worker_id: this worker.
        lost_after_s: silence after which a worker counts as lost.

    Returns:
        The number of lost workers.
    """
    count = 0
    for worker in workers.known():
        if worker.worker_id != worker_id and worker.is_lost(time.time(), lost_after_s):
            begun = DBOS.list_workflows(status="PENDING", executor_id=worker.worker_id, load_input=False, load_output=False)
            for status in begun:
                DBOS.cancel_workflow(status.workflow_id)
            log.warning("worker %s is gone; its %d interrupted workflows are restarted", worker.worker_id, len(begun))
            workers.forget(worker.worker_id)
            count += 1
    return count


def end_what_no_queue_serves(queue_of: Callable[[Work], str], work: WorkRecords) -> None:
    """Cancel workflows in the queue of a destination or receiver that was removed from the settings; no worker serves it.

    Args:
        queue_of: returns the queue that now serves a piece of work.
        work: the table of work.
    """
    running = {one.workflow_id: one for one in work.in_state(WorkState.RUNNING)}
    for status in DBOS.list_workflows(status="ENQUEUED", load_input=False, load_output=False):
        one = running.get(status.workflow_id)
        if one is not None and status.queue_name != queue_of(one):
            DBOS.cancel_workflow(status.workflow_id)
            work.again_unless_ended(one)


def reconcile(work: WorkRecords) -> int:
    """Make all work due again that is marked as running but has no live workflow. Returns the number of rows."""
    running = work.in_state(WorkState.RUNNING)
    count = 0
    for some in batches(running, _BATCH):
        ids = [one.workflow_id for one in some]
        found = DBOS.list_workflows(workflow_ids=ids, status=_LIVE, load_input=False, load_output=False)
        live = {status.workflow_id for status in found}
        count += sum(work.again_unless_ended(one) for one in some if one.workflow_id not in live)
    if count:
        log.warning("%d pieces of work had no live workflow and are restarted", count)
    return count


def enter_work_of_0_1_0(name: str, workflow_id: str, work: WorkRecords) -> None:
    """Add the row for a workflow of version 0.1.0, which may be the only record of its work. Its id names the work."""
    kind = name.rpartition(".")[2]
    parts = workflow_id.split(">")
    if parts[0] in {one.value for one in WorkKind}:
        return  # of a later version, whose work has a row
    if kind == "deliver" and len(parts) >= 2:
        work.add(WorkKind.DELIVER, parts[0], parts[1], int(parts[2]) if len(parts) > 2 else 0)
    elif kind in ("study", "recalculated") and len(parts) == 1:
        work.add(WorkKind(kind), workflow_id)
