"""Work that another worker, or another version of the node, has left unfinished.

DBOS takes up by itself what a worker of the same name and version had begun. What is here is for a worker that is gone
for good (see :mod:`node.records.workers`), and for an upgrade: DBOS goes on with a workflow only if its steps are those that
it recorded, so it leaves the work of another version alone, for ever. The steps of the node may be repeated: the same
objects come of them, and a destination keeps one copy of each.
"""

from __future__ import annotations

import importlib
import logging
import sys
import time

from dbos import DBOS

from node.records.workers import Workers

log = logging.getLogger(__name__)

_UNFINISHED = ["PENDING", "ENQUEUED", "DELAYED"]
#: Modules of version 0.1.0 whose classes its unfinished workflows hold pickled, and where these classes are now.
_MODULES_BEFORE = {"node.steps": "node.study.stages"}


def let_inputs_of_earlier_versions_be_read() -> None:
    """Let DBOS find the classes that it pickled under their old names."""
    for before, now in _MODULES_BEFORE.items():
        sys.modules.setdefault(before, importlib.import_module(now))


def begin_anew_what_another_version_left(worker_id: str, version: str) -> int:
    """Begin unfinished workflows of other versions anew, under this one; call it when DBOS is launched.

    Of what had begun only that of this worker: another worker may still be at its own. A crash between the new workflow and
    the end of the old one leaves a mark at the old one, so that it is not begun twice.

    Returns:
        How many were begun anew.
    """
    count = 0
    for status in DBOS.list_workflows(status=_UNFINISHED, load_input=False, load_output=False):
        if status.app_version in (None, version) or (status.status == "PENDING" and status.executor_id != worker_id):
            continue
        if not status.was_forked_from:
            DBOS.fork_workflow(status.workflow_id, 1, application_version=version, queue_name=status.queue_name)
            count += 1
        DBOS.cancel_workflow(status.workflow_id)
    if count:
        log.warning("%d pieces of work of another version of the node are begun anew", count)
    return count


def take_up_work_of_lost_workers(workers: Workers, worker_id: str, lost_after_s: float, version: str) -> None:
    """Put what lost workers had begun back into its queue, where any worker finds it.

    A worker that only looked lost goes on beside the other: steps may then run twice, which does no harm, since their
    results have the same UIDs and DBOS keeps the first one.

    Args:
        worker_id: of the worker that asks, which DBOS has launched.
        lost_after_s: silence after which a worker is taken for lost.
        version: of the workflows of this worker.
    """
    for worker in workers.known():
        if worker.worker_id != worker_id and worker.is_lost(time.time(), lost_after_s):
            # DBOS does so by itself only for a worker of the same name that starts again
            n_taken = len(DBOS._recover_pending_workflows([worker.worker_id]))
            n_taken += begin_anew_what_another_version_left(worker.worker_id, version)
            log.warning("the worker %s is gone; %d interrupted workflows are taken up", worker.worker_id, n_taken)
            workers.forget(worker.worker_id)
