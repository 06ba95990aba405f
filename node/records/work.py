"""The work of the worker: what is to be done, when, how often it was tried, and what was given up.

One row for each study to be measured, report to be sent, delivery and alert. The rows are the truth: a workflow of DBOS does
what a row says, and a row whose workflow has ended without a word is done again (:mod:`node.worker.reconcile`). No patient
data in here: studies are named by their UIDs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from node.records.database import Store, insert_or_keep, metadata

_work = sa.Table(
    "work",
    metadata,
    sa.Column("work_id", sa.String(400), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    # run, or message of an alert
    sa.Column("subject", sa.String(200), nullable=False, index=True),
    # destination of a delivery, channel of an alert; empty for the others
    sa.Column("target", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("due_s", sa.Double, nullable=False, index=True),
    # workflows that were started for it; the last one carries the number in its id
    sa.Column("rounds", sa.Integer, nullable=False),
    # of the current round: how often it began, which survives a kill
    sa.Column("begun", sa.Integer, nullable=False),
    # rounds that ended in an error that may pass, in a row
    sa.Column("failures", sa.Integer, nullable=False),
    # rounds in which the other side, or the study itself, refused
    sa.Column("refusals", sa.Integer, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("added_s", sa.Double, nullable=False),
    sa.Column("updated_s", sa.Double, nullable=False),
)


class WorkKind(StrEnum):
    """What is to be done."""

    STUDY = "study"
    RECALCULATED = "recalculated"
    DELIVER = "deliver"
    ALERT = "alert"


class WorkState(StrEnum):
    """Where it stands: waiting for its time, with a workflow, finished, or given up until a person says otherwise."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class Work:
    """One piece of work; times are seconds since the epoch.

    Attributes:
        subject: run, or message of an alert.
        target: destination of a delivery, channel of an alert; empty for the others.
        due_s: when it may start.
        rounds: workflows that were started for it.
        begun: how often the workflow of this round began: more than once after a kill.
        failures: rounds in a row that ended in an error that may pass.
        refusals: rounds in which it was refused.
        detail: what happened last, for a person.
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
        """Id of the workflow of this round."""
        return f"{self.work_id}#{self.rounds}"


def work_id_of(kind: WorkKind, subject: str, target: str = "", number: int = 0) -> str:
    """Id of a piece of work; ``number`` tells deliveries apart that a person has asked for."""
    parts = [kind.value, subject, *([target] if target else []), *([str(number)] if number else [])]
    return ">".join(parts)


class WorkRecords(Store):
    """The table of work; every call is one transaction and idempotent, unless it says otherwise."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], float] = time.time) -> None:
        """Take a database as :func:`node.records.database.open_database` opens it, and a clock (seconds since the epoch)."""
        super().__init__(engine)
        self._clock = clock

    def add(self, kind: WorkKind, subject: str, target: str = "", number: int = 0) -> str:
        """Have something done; work that is known stays as it is. Gives its id."""
        now_s = self._clock()
        work_id = work_id_of(kind, subject, target, number)
        with self._engine.begin() as connection:
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
        """Work whose time has come, the longest waiting first.

        Args:
            longest_wait_s: nothing is ever put off for longer: what lies further ahead does so because the clock was set
                back, and is due.
        """
        now_s = self._clock()
        is_due = (_work.c.due_s <= now_s) | (_work.c.due_s > now_s + longest_wait_s)
        query = sa.select(_work).where(_work.c.state == WorkState.WAITING, is_due)
        return self._read(query.order_by(_work.c.due_s, _work.c.added_s, _work.c.work_id).limit(limit))

    def started(self, work: Work) -> bool:
        """A workflow was started for the next round; ``False`` if another worker has done so meanwhile."""
        with self._engine.begin() as connection:
            changed = connection.execute(
                sa.update(_work)
                .where(_work.c.work_id == work.work_id, _work.c.rounds == work.rounds, _work.c.state == WorkState.WAITING)
                .values(state=WorkState.RUNNING, rounds=work.rounds + 1, begun=0, updated_s=self._clock())
            )
        return changed.rowcount == 1

    def begin(self, work_id: str) -> Work | None:
        """The workflow of a round begins, once more after each kill: counted where it survives one. Not idempotent."""
        with self._engine.begin() as connection:
            is_work = _work.c.work_id == work_id
            connection.execute(sa.update(_work).where(is_work).values(begun=_work.c.begun + 1, updated_s=self._clock()))
        return self.work(work_id)

    def stopped_in_order(self, work_id: str) -> None:
        """The workflow of a round was interrupted because the worker stops: that is no attempt. Not idempotent."""
        with self._engine.begin() as connection:
            is_begun = (_work.c.work_id == work_id) & (_work.c.begun > 0)
            connection.execute(sa.update(_work).where(is_begun).values(begun=_work.c.begun - 1))

    def again(self, work_id: str, due_s: float, detail: str, *, failures: int, refusals: int) -> None:
        """It is tried again at a time."""
        self._update(work_id, state=WorkState.WAITING, due_s=due_s, detail=detail, failures=failures, refusals=refusals)

    def again_unless_ended(self, work: Work) -> bool:
        """A round ended without a word: it is due again. ``False`` if it said how it ended meanwhile."""
        now_s = self._clock()
        is_same = (_work.c.work_id == work.work_id) & (_work.c.rounds == work.rounds) & (_work.c.state == WorkState.RUNNING)
        with self._engine.begin() as connection:
            changed = connection.execute(
                sa.update(_work).where(is_same).values(state=WorkState.WAITING, due_s=now_s, updated_s=now_s)
            )
        return changed.rowcount == 1

    def finished(self, work_id: str, detail: str = "") -> None:
        """It is done."""
        self._update(work_id, state=WorkState.FINISHED, detail=detail, failures=0)

    def given_up(self, work_id: str, detail: str) -> None:
        """It is not tried again until a person says so."""
        self._update(work_id, state=WorkState.GIVEN_UP, detail=detail)

    def retry(self, work_id: str) -> bool:
        """A person wants what was given up to be tried again; ``False`` if there is no such work."""
        now_s = self._clock()
        return self._change_given_up(work_id, state=WorkState.WAITING, due_s=now_s, failures=0, refusals=0)

    def drop(self, work_id: str) -> bool:
        """A person wants what was given up to be forgotten; ``False`` if there is no such work."""
        return self._change_given_up(work_id, state=WorkState.FINISHED)

    def work(self, work_id: str) -> Work | None:
        """One piece of work."""
        found = self._read(sa.select(_work).where(_work.c.work_id == work_id))
        return found[0] if found else None

    def in_state(self, state: WorkState) -> tuple[Work, ...]:
        """All work in a state, oldest first."""
        return self._read(sa.select(_work).where(_work.c.state == state).order_by(_work.c.added_s, _work.c.work_id))

    def count_given_up(self) -> dict[WorkKind, int]:
        """How much was given up, by kind."""
        query = sa.select(_work.c.kind, sa.func.count()).where(_work.c.state == WorkState.GIVEN_UP).group_by(_work.c.kind)
        with self._reading.connect() as connection:
            counted = {WorkKind(kind): int(n) for kind, n in connection.execute(query).all()}
        return {kind: counted.get(kind, 0) for kind in WorkKind}

    def forget_finished(self, before_s: float) -> int:
        """Remove what was finished before a time; says how many rows. The records of runs and messages stay."""
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
