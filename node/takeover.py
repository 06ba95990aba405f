"""Work that another version of the node has left unfinished: begun anew by this one.

DBOS goes on with a workflow only if its steps are those that it recorded, so it leaves the work of another version alone,
for ever. The steps of the node may be repeated: the same objects come of them, and a destination keeps one copy of each.
"""

from __future__ import annotations

import logging

from dbos import DBOS

log = logging.getLogger(__name__)

_UNFINISHED = ["PENDING", "ENQUEUED", "DELAYED"]


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
