"""The history of workflows in the tables of DBOS: what is removed of it, by age or because a study was erased.

A row holds the id of a workflow, in which there is a Study Instance UID, and the results of its steps: the header facts of
the series, HU and BMD.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from dbos import DBOSClient, WorkflowStatus
from sqlalchemy.exc import DBAPIError

from node.common.batches import batches
from node.records.erased import ErasedRecords, digests_of
from node.records.work import WorkKind, subject_of
from node.records.workers import Workers
from node.settings.tree import Settings
from node.worker.plain_data import PlainData

_OVER = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_LIVE = ["PENDING", "ENQUEUED", "DELAYED"]
#: A worker that says nothing for so long does not run what it had begun.
_SILENT_S = 60.0
#: A step that was running when its study was erased has ended by then: the longest stage may take 4,600 s.
_AFTER_ERASURE_S = 2 * 3600.0
_AT_ONCE = 500
#: Beginnings of ids that one query asks for; SQLite allows expressions of depth 1000.
_PREFIXES_AT_ONCE = 100


def workflow_database(settings: Settings) -> str:
    """URL of the database with the tables of DBOS: that of the node, or an SQLite file of its own.

    Raises:
        ConfigurationError: the file with the password of the database cannot be used.
    """
    file = (settings.state_dir / "workflows.sqlite").absolute()
    return settings.database_url_with_password or f"sqlite:///{file}"


@dataclass(frozen=True, slots=True)
class Removed:
    """Removed workflows.

    Attributes:
        n_removed: their number.
        n_running: further ones that a worker is running; it stops them at their next step, and removes them later.
    """

    n_removed: int
    n_running: int


class History:
    """What is kept of workflows; works beside running workers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._workers = Workers.open(settings)
        self._erased = ErasedRecords.open(settings)

    def count_of(self, subjects: Collection[str]) -> int:
        """Number of the workflows about these runs, messages and studies."""
        with self._client() as client:
            return 0 if client is None else len(_about(client, subjects))

    def erase(self, subjects: Collection[str]) -> Removed:
        """Cancel and remove all workflows about these runs, messages and studies; call it when their rows are gone."""
        with self._client() as client:
            if client is None:
                return Removed(0, 0)
            found = _about(client, subjects)
            alive = {one.worker_id for one in self._workers.known() if not one.is_lost(time.time(), _SILENT_S)}
            running = [one.workflow_id for one in found if one.status == "PENDING" and one.executor_id in alive]
            live = [one.workflow_id for one in found if one.status in _LIVE]
            for some in batches(live, _AT_ONCE):
                client.cancel_workflows(some)
            # the step that runs would still record its result, in a row of its own
            gone = [one.workflow_id for one in found if one.workflow_id not in set(running)]
            for some in batches(gone, _AT_ONCE):
                client.delete_workflows(some)
            return Removed(len(gone), len(running))

    def remove_erased(self) -> int:
        """Remove the workflows that :meth:`erase` has left to the workers, or has not come to."""
        marks = frozenset(self._erased.digests())
        with self._client() as client:
            if client is None or not marks:
                return 0
            until = datetime.fromtimestamp(time.time() - _AFTER_ERASURE_S, UTC).isoformat()
            over = client.list_workflows(status=_OVER, completed_before=until, load_input=False, load_output=False)
            erased = [one.workflow_id for one in over if marks.intersection(digests_of(_subject_of(one.workflow_id)))]
            for some in batches(erased, _AT_ONCE):
                client.delete_workflows(some)
            return len(erased)

    def old(self, before_s: float) -> tuple[str, ...]:
        """Ids of the workflows that ended before a time (seconds since the epoch)."""
        with self._client() as client:
            if client is None:
                return ()
            until = datetime.fromtimestamp(before_s, UTC).isoformat()
            found = client.list_workflows(status=_OVER, end_time=until, load_input=False, load_output=False)
            # version 0.1.0 recorded no time of completion
            ended_ms = {one.workflow_id: one.completed_at or one.updated_at or 0 for one in found}
            return tuple(workflow_id for workflow_id, ms in ended_ms.items() if ms < before_s * 1000.0)

    def remove(self, workflow_ids: Collection[str]) -> None:
        """Remove workflows that have ended."""
        with self._client() as client:
            for some in batches(sorted(workflow_ids), _AT_ONCE):
                if client is not None:
                    client.delete_workflows(some)

    @contextmanager
    def _client(self) -> Iterator[DBOSClient | None]:
        """A client of the tables of DBOS; ``None`` if no worker has made them yet."""
        if self._settings.database_url is None and not (self._settings.state_dir / "workflows.sqlite").exists():
            yield None
            return
        client = DBOSClient(
            system_database_url=workflow_database(self._settings),
            serializer=PlainData(),
            lazy=True,  # connects in the query below
            retry_connection_errors=False,
        )
        try:
            try:
                client.list_workflows(limit=1, load_input=False, load_output=False)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in ("42P01", "3F000"):  # no table, no schema
                    raise
                yield None
                return
            yield client
        finally:
            client.destroy()


def _about(client: DBOSClient, subjects: Collection[str]) -> list[WorkflowStatus]:
    found: dict[str, WorkflowStatus] = {}
    for some in batches(sorted(subjects), _PREFIXES_AT_ONCE):
        # the ids of version 0.1.0 begin with the id of the run
        prefixes = [*some, *(f"{kind}>{subject}" for kind in WorkKind for subject in some)]
        for status in client.list_workflows(workflow_id_prefix=prefixes, load_input=False, load_output=False):
            if _subject_of(status.workflow_id) in some:
                found[status.workflow_id] = status
    return list(found.values())


def _subject_of(workflow_id: str) -> str:
    """The run, message or study that a workflow is about; an id of version 0.1.0 begins with it."""
    work_id = workflow_id.partition("#")[0]
    kind, _, subject = work_id.partition(">")
    return subject_of(work_id) if subject and kind in set(WorkKind) else kind
