"""The table ``work``: what the worker has to do, when, how often it was tried, and what was given up.

There is one row for each study to measure, each reissued report to send, each follow-up report to look at after its prior
study was withdrawn, each delivery, each storage commitment to obtain or to report, and each alert. The rows are the source
of truth. The worker starts a DBOS workflow for each row that is due; the workflow makes one attempt, called a round, and
records the outcome in the row::

                  started()                 finished()        reopen() leads from FINISHED to WAITING
        WAITING ──────────────▶ RUNNING ─────────────────▶ FINISHED
         ▲   ▲      again()      │   │                        ▲
         │   └───────────────────┘   │ given_up()             │
         │                           ▼                        │
         └─────────────────────── GIVEN_UP ───────────────────┘
                  retry()                      drop()

If a workflow ends without recording an outcome, its row becomes due again (:mod:`node.worker.reconcile`). The table holds no
patient data: studies are identified by their UIDs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from node.records.database import Store, insert_or_keep, metadata
from node.records.erased import refuse_erased

_work = sa.Table(
    "work",
    metadata,
    sa.Column("work_id", sa.String(400), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    # id of the run, or of the message of an alert; Study Instance UID of a follow-up
    sa.Column("subject", sa.String(200), nullable=False, index=True),
    # destination of a delivery or commitment, sender of a report, channel of an alert, digest of what withdrew the prior of
    # a follow-up; else empty
    sa.Column("target", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("due_s", sa.Double, nullable=False, index=True),
    # workflows started so far; the id of the last one ends in this number
    sa.Column("rounds", sa.Integer, nullable=False),
    # how often the workflow of the current round began; a kill does not undo the count
    sa.Column("begun", sa.Integer, nullable=False),
    # consecutive rounds that ended in an error that may pass
    sa.Column("failures", sa.Integer, nullable=False),
    # rounds in which the destination refused
    sa.Column("refusals", sa.Integer, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("added_s", sa.Double, nullable=False),
    sa.Column("updated_s", sa.Double, nullable=False),
)


class WorkKind(StrEnum):
    """Kind of work."""

    STUDY = "study"
    RECALCULATED = "recalculated"
    FOLLOW_UP = "follow_up"
    DELIVER = "deliver"
    ALERT = "alert"
    COMMIT = "commit"
    COMMIT_REPORT = "commit_report"


class WorkState(StrEnum):
    """State of a piece of work; see the diagram in the docstring of this module.

    Work that is given up stays so until a person retries or drops it.
    """

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of work; times are seconds since the epoch.

    Attributes:
        subject: id of the run, or of the message of an alert; Study Instance UID of a follow-up.
        target: destination of a delivery or commitment, sender of a report, channel of an alert, digest of what withdrew the
            prior of a follow-up; else empty.
        due_s: earliest time of the next round.
        rounds: number of workflows started so far.
        begun: how often the workflow of this round began; more than once after a kill.
        failures: consecutive rounds that ended in an error that may pass.
        refusals: rounds in which the destination refused.
        detail: what happened last, for people.
    """

    work_id: str
    kind: WorkKind
    subject: str
    target: str
    state: WorkState
    due_s: float
    rounds: int
    begun: int
    failures: int
    refusals: int
    detail: str
    added_s: float
    updated_s: float

    @property
    def workflow_id(self) -> str:
        """Id of the DBOS workflow of this round."""
        return f"{self.work_id}#{self.rounds}"


def work_id_of(kind: WorkKind, subject: str, target: str = "", number: int = 0) -> str:
    """Return the id of a piece of work. ``number`` distinguishes repeated deliveries that a person has requested."""
    parts = [kind.value, subject, *([target] if target else []), *([str(number)] if number else [])]
    return ">".join(parts)


def subject_of(work_id: str) -> str:
    """Return the run, message or study that a piece of work is about."""
    return work_id.split(">")[1]


class WorkRecords(Store):
    """The table of work. Every call is one transaction, and idempotent unless its docstring says otherwise."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], float] = time.time) -> None:
        """Take a database opened by :func:`node.records.database.open_database`, and a clock (seconds since the epoch)."""
        super().__init__(engine)
        self._clock = clock

    def add(self, kind: WorkKind, subject: str, target: str = "", number: int = 0) -> str:
        """Add work that is due now, and return its id. Work that is already in the table stays unchanged.

        Raises:
            ErasedError: the study was erased.
        """
        now_s = self._clock()
        work_id = work_id_of(kind, subject, target, number)
        with self._engine.begin() as connection:
            refuse_erased(connection, subject)
            insert_or_keep(
                connection,
                _work,
                work_id=work_id,
                kind=kind,
                subject=subject,
                target=target,
                state=WorkState.WAITING,
                due_s=now_s,
                rounds=0,
                begun=0,
                failures=0,
                refusals=0,
                detail="",
                added_s=now_s,
                updated_s=now_s,
            )
        return work_id

    def due(self, longest_wait_s: float, limit: int = 200) -> tuple[Work, ...]:
        """Return work that is due, the longest waiting first.

        Args:
            longest_wait_s: the longest delay that is ever scheduled. A due time further ahead means that the clock was set
                back; such work counts as due.
        """
        now_s = self._clock()
        is_due = (_work.c.due_s <= now_s) | (_work.c.due_s > now_s + longest_wait_s)
        query = sa.select(_work).where(_work.c.state == WorkState.WAITING, is_due)
        return self._read(query.order_by(_work.c.due_s, _work.c.added_s, _work.c.work_id).limit(limit))

    def started(self, work: Work) -> bool:
        """Record that the workflow of the next round was started. ``False`` if another worker has already done so."""
        with self._engine.begin() as connection:
            changed = connection.execute(
                sa.update(_work)
                .where(_work.c.work_id == work.work_id, _work.c.rounds == work.rounds, _work.c.state == WorkState.WAITING)
                .values(state=WorkState.RUNNING, rounds=work.rounds + 1, begun=0, updated_s=self._clock())
            )
        return changed.rowcount == 1

    def begin(self, work_id: str, round_number: int) -> Work | None:
        """Count that the workflow of a round begins, as it does again after each kill. Not idempotent.

        Returns:
            The work; ``None`` if it is not in this round any more, so that a workflow that was resumed too late does not
            count as an attempt of a later round.
        """
        is_meant = (_work.c.work_id == work_id) & (_work.c.rounds == round_number) & (_work.c.state == WorkState.RUNNING)
        with self._engine.begin() as connection:
            changed = connection.execute(
                sa.update(_work).where(is_meant).values(begun=_work.c.begun + 1, updated_s=self._clock())
            )
        return self.work(work_id) if changed.rowcount == 1 else None

    def progressed(self, work_id: str) -> None:
        """A step of the round is done: kills before it no longer count, since the work gets ahead."""
        with self._engine.begin() as connection:
            is_counted = (_work.c.work_id == work_id) & (_work.c.begun > 1)
            connection.execute(sa.update(_work).where(is_counted).values(begun=1))

    def stopped_in_order(self, work_id: str) -> None:
        """Take back one :meth:`begin`: a round that an orderly stop interrupts is not an attempt. Not idempotent."""
        with self._engine.begin() as connection:
            is_begun = (_work.c.work_id == work_id) & (_work.c.begun > 0)
            connection.execute(sa.update(_work).where(is_begun).values(begun=_work.c.begun - 1))

    def again(self, work_id: str, due_s: float, detail: str, *, failures: int, refusals: int) -> None:
        """Schedule the next round."""
        self._update(work_id, state=WorkState.WAITING, due_s=due_s, detail=detail, failures=failures, refusals=refusals)

    def again_unless_ended(self, work: Work) -> bool:
        """Make work due again whose workflow is gone. ``False`` if it has begun or ended since ``work`` was read."""
        now_s = self._clock()
        is_same = (
            (_work.c.work_id == work.work_id)
            & (_work.c.rounds == work.rounds)
            & (_work.c.begun == work.begun)
            & (_work.c.state == WorkState.RUNNING)
        )
        with self._engine.begin() as connection:
            changed = connection.execute(
                sa.update(_work).where(is_same).values(state=WorkState.WAITING, due_s=now_s, updated_s=now_s)
            )
        return changed.rowcount == 1

    def now(self, work_id: str) -> bool:
        """Make waiting work due now, because what it waits for has happened. ``False`` if it does not wait."""
        now_s = self._clock()
        is_waiting = (_work.c.work_id == work_id) & (_work.c.state == WorkState.WAITING)
        with self._engine.begin() as connection:
            return connection.execute(sa.update(_work).where(is_waiting).values(due_s=now_s)).rowcount == 1

    def reopen(self, work_id: str, due_s: float, detail: str) -> bool:
        """Make finished work due again, since what it was about has changed. ``False`` if it is not finished."""
        values = {"state": WorkState.WAITING, "due_s": due_s, "detail": detail, "failures": 0, "refusals": 0}
        is_over = (_work.c.work_id == work_id) & (_work.c.state == WorkState.FINISHED)
        with self._engine.begin() as connection:
            changed = connection.execute(sa.update(_work).where(is_over).values(updated_s=self._clock(), **values))
        return changed.rowcount == 1

    def finished(self, work_id: str, detail: str = "") -> None:
        """Record that the work is finished."""
        self._update(work_id, state=WorkState.FINISHED, detail=detail, failures=0)

    def given_up(self, work_id: str, detail: str) -> None:
        """Record that the work is given up: it is not retried until a person asks for it."""
        self._update(work_id, state=WorkState.GIVEN_UP, detail=detail)

    def retry(self, work_id: str) -> bool:
        """Make work due again that was given up, at the request of a person. ``False`` if there is no such work."""
        now_s = self._clock()
        return self._change_given_up(work_id, state=WorkState.WAITING, due_s=now_s, failures=0, refusals=0)

    def drop(self, work_id: str) -> bool:
        """Finish work that was given up, at the request of a person. ``False`` if there is no such work."""
        return self._change_given_up(work_id, state=WorkState.FINISHED)

    def work(self, work_id: str) -> Work | None:
        """Return one piece of work, or ``None`` if there is none with this id."""
        found = self._read(sa.select(_work).where(_work.c.work_id == work_id))
        return found[0] if found else None

    def in_state(self, state: WorkState) -> tuple[Work, ...]:
        """Return all work in a state, oldest first."""
        return self._read(sa.select(_work).where(_work.c.state == state).order_by(_work.c.added_s, _work.c.work_id))

    def count_given_up(self) -> dict[WorkKind, int]:
        """Count the work that was given up, by kind."""
        query = sa.select(_work.c.kind, sa.func.count()).where(_work.c.state == WorkState.GIVEN_UP).group_by(_work.c.kind)
        with self._reading.connect() as connection:
            counted = {WorkKind(kind): int(n) for kind, n in connection.execute(query).all()}
        return {kind: counted.get(kind, 0) for kind in WorkKind}

    def count_finished(self, before_s: float) -> int:
        """Number of the rows that :meth:`forget_finished` would remove."""
        is_old = (_work.c.state == WorkState.FINISHED) & (_work.c.updated_s < before_s)
        with self._reading.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(_work).where(is_old)).scalar_one())

    def forget_finished(self, before_s: float) -> int:
        """Remove work that was finished before a time, and return the number of rows. Records of runs and messages stay."""
        is_old = (_work.c.state == WorkState.FINISHED) & (_work.c.updated_s < before_s)
        with self._engine.begin() as connection:
            return connection.execute(sa.delete(_work).where(is_old)).rowcount

    def _change_given_up(self, work_id: str, **values: str | float) -> bool:
        is_meant = (_work.c.work_id == work_id) & (_work.c.state == WorkState.GIVEN_UP)
        with self._engine.begin() as connection:
            changed = connection.execute(sa.update(_work).where(is_meant).values(updated_s=self._clock(), **values))
        return changed.rowcount == 1

    def _update(self, work_id: str, **values: str | float) -> None:
        with self._engine.begin() as connection:
            connection.execute(sa.update(_work).where(_work.c.work_id == work_id).values(updated_s=self._clock(), **values))

    def _read(self, query: sa.Select[tuple[object, ...]]) -> tuple[Work, ...]:
        with self._reading.connect() as connection:
            rows: Sequence[sa.Row[tuple[object, ...]]] = connection.execute(query).all()
        return tuple(
            Work(
                row.work_id,
                WorkKind(row.kind),
                row.subject,
                row.target,
                WorkState(row.state),
                row.due_s,
                row.rounds,
                row.begun,
                row.failures,
                row.refusals,
                row.detail,
                row.added_s,
                row.updated_s,
            )
            for row in rows
        )
