"""The table of work beside the workflow engine: what has no live workflow any more is tried again.

The two may disagree for a while: a database that was away when a workflow wanted to say how it ended, a worker that is gone,
an upgrade. At the start and every few minutes the worker compares them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from dbos import DBOS

from node.records.work import Work, WorkKind, WorkRecords, WorkState
from node.records.workers import Workers

log = logging.getLogger(__name__)

_LIVE = ["PENDING", "ENQUEUED", "DELAYED"]
#: Ids that one query asks for.
_BATCH = 500


def end_what_another_version_left(worker_id: str, version: str, work: WorkRecords) -> int:
    """End unfinished workflows of other versions, whose steps are not those of this one; their work is done by this one.

    Of what had begun only that of this worker: another worker may still be at its own.

    Returns:
        How many were ended.
    """
    count = 0
    for status in DBOS.list_workflows(status=_LIVE, load_input=False, load_output=False):
        if status.app_version in (None, version) or (status.status == "PENDING" and status.executor_id != worker_id):
            continue
        _enter_work_of_0_1_0(status.name, status.workflow_id, work)
        DBOS.cancel_workflow(status.workflow_id)
        count += 1
    if count:
        log.warning("%d unfinished workflows of another version of the node are started again", count)
    return count


def end_work_of_lost_workers(workers: Workers, worker_id: str, lost_after_s: float) -> None:
    """End what lost workers had begun; :func:`reconcile` has it done by any worker.

    A worker that only looked lost finds its workflow cancelled, and stops at the next step.

    Args:
        workers: and their signs of life.
        worker_id: of the worker that asks.
        lost_after_s: silence after which a worker is taken for lost.
    """
    for worker in workers.known():
        if worker.worker_id != worker_id and worker.is_lost(time.time(), lost_after_s):
            begun = DBOS.list_workflows(status="PENDING", executor_id=worker.worker_id, load_input=False, load_output=False)
            for status in begun:
                DBOS.cancel_workflow(status.workflow_id)
            log.warning("the worker %s is gone; %d interrupted workflows are started again", worker.worker_id, len(begun))
            workers.forget(worker.worker_id)


def end_what_no_queue_serves(queue_of: Callable[[Work], str], work: WorkRecords) -> None:
    """End what waits in the queue of a destination or receiver that is no longer in the settings: nobody would look at it.

    Args:
        queue_of: the queue that serves a piece of work now.
        work: all of it.
    """
    running = {one.workflow_id: one for one in work.in_state(WorkState.RUNNING)}
    for status in DBOS.list_workflows(status="ENQUEUED", load_input=False, load_output=False):
        one = running.get(status.workflow_id)
        if one is not None and status.queue_name != queue_of(one):
            DBOS.cancel_workflow(status.workflow_id)
            work.again_unless_ended(one)


def reconcile(work: WorkRecords) -> int:
    """Have everything done again that is said to run and has no live workflow; says how much that was."""
    running = work.in_state(WorkState.RUNNING)
    count = 0
    for some in _batches(running):
        ids = [one.workflow_id for one in some]
        found = DBOS.list_workflows(workflow_ids=ids, status=_LIVE, load_input=False, load_output=False)
        live = {status.workflow_id for status in found}
        count += sum(work.again_unless_ended(one) for one in some if one.workflow_id not in live)
    if count:
        log.warning("%d pieces of work had no workflow any more and are started again", count)
    return count


def _batches(works: Sequence[Work]) -> Iterator[Sequence[Work]]:
    for start in range(0, len(works), _BATCH):
        yield works[start : start + _BATCH]


def _enter_work_of_0_1_0(name: str, workflow_id: str, work: WorkRecords) -> None:
    """A workflow of version 0.1.0 may be the only one to know of its work; its id names it."""
    kind = name.rpartition(".")[2]
    parts = workflow_id.split(">")
    if kind == "deliver" and len(parts) >= 2:
        work.add(WorkKind.DELIVER, parts[0], parts[1], int(parts[2]) if len(parts) > 2 else 0)
    elif kind in ("study", "recalculated") and len(parts) == 1:
        work.add(WorkKind(kind), workflow_id)
