"""The work of a worker that is gone for good goes to another one; see :mod:`node.workers`."""

from __future__ import annotations

import logging
import time

from dbos import DBOS

from node.workers import Workers

log = logging.getLogger(__name__)


def take_up_work_of_lost_workers(workers: Workers, worker_id: str, lost_after_s: float) -> None:
    """Put what lost workers had begun back into its queue, where any worker finds it.

    A worker that only looked lost goes on beside the other: steps may then run twice, which does no harm, since their
    results have the same UIDs and DBOS keeps the first one.

    Args:
        worker_id: of the worker that asks, which DBOS has launched.
        lost_after_s: silence after which a worker is taken for lost.
    """
    for worker in workers.known():
        if worker.worker_id != worker_id and worker.is_lost(time.time(), lost_after_s):
            # DBOS does so by itself only for a worker of the same name that starts again
            taken = DBOS._recover_pending_workflows([worker.worker_id])
            log.warning("the worker %s is gone; %d interrupted workflows are taken up", worker.worker_id, len(taken))
            workers.forget(worker.worker_id)
