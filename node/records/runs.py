"""The state of every run and its deliveries: written by the workflows, read by the status page and ``bmd-node status``.

The tables hold no patient data: studies are identified by their Study Instance UID.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa

from node.common.batches import batches
from node.records.commitments import commitments_of
from node.records.conflicts import conflicts_of
from node.records.database import Store, insert_or_keep, metadata
from node.records.erased import refuse_erased

_runs = sa.Table(
    "runs",
    metadata,
    sa.Column("run_id", sa.String(200), primary_key=True),
    sa.Column("study_instance_uid", sa.String(64), nullable=False, index=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("step", sa.String(32), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("queued_s", sa.Float, nullable=False),
    sa.Column("updated_s", sa.Float, nullable=False),
    sa.Column("is_replaced", sa.Boolean, nullable=False, server_default=sa.false()),
)

_deliveries = sa.Table(
    "deliveries",
    metadata,
    sa.Column("run_id", sa.String(200), primary_key=True),
    sa.Column("destination", sa.String(64), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("updated_s", sa.Float, nullable=False),
)


#: Rows that are read at once: databases limit the values of one query.
_PART = 500
#: Detail of a measured run whose images all turned out to be of another study: its result does not stand any more.
WITHDRAWN = "its images came again as images of another study"


class RunState(StrEnum):
    """State of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    MEASURED = "measured"
    NOT_MEASURED = "not_measured"
    FAILED = "failed"


class DeliveryState(StrEnum):
    """State of a delivery.

    * ``PENDING``: retried until the destination answers.
    * ``STORED``: the destination has stored the objects.
    * ``REJECTED``: the destination refused an object because of its content.
    * ``NOT_TAKEN``: the destination accepts no form of the result that a person could read.
    * ``SUPERSEDED``: nothing was sent, because a later report has replaced this one.
    * ``GIVEN_UP``: it was refused or failed repeatedly, and is retried only when a person asks for it.
    """

    PENDING = "pending"
    STORED = "stored"
    REJECTED = "rejected"
    NOT_TAKEN = "not_taken"
    SUPERSEDED = "superseded"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """The delivery of a run to one destination; ``detail`` is the last answer.

    Attributes:
        commitment: how many of its objects the destination has committed to, for people; empty without storage commitment.
    """

    destination: str
    state: DeliveryState
    attempts: int
    detail: str
    updated_s: float
    commitment: str = ""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run: one content of one study on its way through the stages.

    Attributes:
        step: the current or last step.
        detail: reasons or the error, for people.
        folder: folder of its results (``result.json``, ``summary.png``, ...).
        queued_s, updated_s: seconds since the epoch.
        is_replaced: whether a later report replaces the one of this run.
        n_conflicts: images of the study that came again with other content, on which nobody has decided.
    """

    run_id: str
    study_instance_uid: str
    state: RunState
    step: str
    detail: str
    folder: Path
    queued_s: float
    updated_s: float
    deliveries: tuple[DeliveryRecord, ...]
    is_replaced: bool = False
    n_conflicts: int = 0

    @property
    def said(self) -> str:
        """The detail, and that a later report replaces this one or that its images are in conflict, where it is so."""
        replaced = "replaced by a later report" if self.is_replaced else ""
        conflict = (
            f"in conflict: {self.n_conflicts} of its images came again with other content, see bmd-node conflicts list"
        )
        return "; ".join(part for part in (self.detail, replaced, conflict if self.is_in_conflict else "") if part)

    @property
    def is_in_conflict(self) -> bool:
        """Whether this report stands, and images came again with other content."""
        return self.n_conflicts > 0 and not self.is_replaced


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed since a given time.

    Attributes:
        runs: the latest run of each study with a changed run or delivery.
        until_s: time of the last change that was read, in seconds since the epoch; ``None`` if there was none.
        is_all: whether all changes were read; ``False`` if the limit was reached.
    """

    runs: tuple[RunRecord, ...]
    until_s: float | None
    is_all: bool


class RunRecords(Store):
    """The table of runs and their deliveries; every call is one transaction and idempotent."""

    def queued(self, run_id: str, study_instance_uid: str, folder: Path) -> None:
        """Record a run that was handed over. A known run stays unchanged.

        Raises:
            ErasedError: the study was erased.
        """
        now_s = time.time()
        with self._engine.begin() as connection:
            refuse_erased(connection, run_id)
            insert_or_keep(
                connection,
                _runs,
                run_id=run_id,
                study_instance_uid=study_instance_uid,
                state=RunState.QUEUED,
                step="queued",
                detail="",
                folder=str(folder),
                queued_s=now_s,
                updated_s=now_s,
            )

    def at_step(self, run_id: str, step: str) -> None:
        """Record the step that the run has reached."""
        self._update(run_id, state=RunState.RUNNING, step=step)

    def waits(self, run_id: str, detail: str) -> None:
        """Record that an error that may pass interrupted the run, and that it is retried."""
        self._update(run_id, state=RunState.QUEUED, detail=detail)

    def finished(self, run_id: str, state: RunState, detail: str) -> None:
        """Record the end of the run, with a detail for people."""
        self._update(run_id, state=state, detail=detail)

    def replaced(self, run_id: str) -> None:
        """Record that a later report replaces the report of this run."""
        self._update(run_id, is_replaced=True)

    def delivery(self, run_id: str, destination: str, state: DeliveryState, attempts: int, detail: str) -> None:
        """Record the state of a delivery.

        Raises:
            ErasedError: the study was erased.
        """
        values: dict[str, str | float] = {"state": state, "attempts": attempts, "detail": detail, "updated_s": time.time()}
        key = (_deliveries.c.run_id == run_id) & (_deliveries.c.destination == destination)
        with self._engine.begin() as connection:
            refuse_erased(connection, run_id)
            insert_or_keep(connection, _deliveries, run_id=run_id, destination=destination, **values)
            connection.execute(sa.update(_deliveries).where(key).values(**values))

    def delivery_waits(self, run_id: str, destination: str) -> None:
        """Record a delivery that is still to be made. One that is known stays as it is: it may be over already."""
        with self._engine.begin() as connection:
            insert_or_keep(
                connection,
                _deliveries,
                run_id=run_id,
                destination=destination,
                state=DeliveryState.PENDING,
                attempts=0,
                detail="",
                updated_s=time.time(),
            )

    def runs(self, limit: int = 200) -> tuple[RunRecord, ...]:
        """Return the latest runs, newest first."""
        return self._read(sa.select(_runs).order_by(_runs.c.queued_s.desc()).limit(limit))

    def measured_since(self, since_s: float) -> tuple[RunRecord, ...]:
        """Return measured runs that were handed over at this time (seconds since the epoch) or later, oldest first."""
        is_meant = (_runs.c.state == RunState.MEASURED) & (_runs.c.queued_s >= since_s)
        return self._read(sa.select(_runs).where(is_meant).order_by(_runs.c.queued_s, _runs.c.run_id))

    def latest_ended(self, since_s: float, until_s: float) -> Iterator[RunRecord]:
        """The latest result of each study, handed over between these times (seconds since the epoch).

        A study that is being measured again, or failed to be, appears with its previous result. Oldest first, read in parts.
        """
        is_meant = (_runs.c.queued_s >= since_s) & (_runs.c.queued_s < until_s) & _runs.c.is_replaced.is_(False)
        has_ended = _runs.c.state.in_([RunState.MEASURED, RunState.NOT_MEASURED, RunState.FAILED])
        query = sa.select(_runs.c.run_id, _runs.c.study_instance_uid, _runs.c.state).where(is_meant, has_ended)
        with self._reading.connect() as connection:
            rows = connection.execute(query.order_by(_runs.c.queued_s, _runs.c.run_id)).all()
        latest: dict[str, str] = {}
        for row in rows:
            if row.state != RunState.FAILED or row.study_instance_uid not in latest:
                latest[row.study_instance_uid] = row.run_id
        ids = list(latest.values())
        for part in batches(ids, _PART):
            yield from self._read(
                sa.select(_runs).where(_runs.c.run_id.in_(part)).order_by(_runs.c.queued_s, _runs.c.run_id)
            )

    def changed_since(self, since_s: float, limit: int) -> Changes:
        """Return changes at this time (seconds since the epoch) or later. Reads up to ``limit`` changes, oldest first."""
        of_runs = sa.select(_runs.c.study_instance_uid, _runs.c.updated_s.label("at_s")).where(_runs.c.updated_s >= since_s)
        of_deliveries = (
            sa.select(_runs.c.study_instance_uid, _deliveries.c.updated_s.label("at_s"))
            .join(_runs, _runs.c.run_id == _deliveries.c.run_id)
            .where(_deliveries.c.updated_s >= since_s)
        )
        query = sa.union_all(of_runs, of_deliveries).order_by(sa.text("at_s")).limit(limit)
        with self._reading.connect() as connection:
            changes = connection.execute(query).all()
        is_meant = _runs.c.study_instance_uid.in_({change.study_instance_uid for change in changes})
        runs = self._read(sa.select(_runs).where(is_meant).order_by(_runs.c.queued_s, _runs.c.run_id))
        newest = {run.study_instance_uid: run for run in runs}
        return Changes(tuple(newest.values()), changes[-1].at_s if changes else None, len(changes) < limit)

    def run(self, run_id: str) -> RunRecord | None:
        """Return one run, or ``None`` if it is not known."""
        found = self._read(sa.select(_runs).where(_runs.c.run_id == run_id))
        return found[0] if found else None

    def of_study(self, study_instance_uid: str) -> tuple[RunRecord, ...]:
        """Return all runs of a study, oldest first."""
        is_meant = _runs.c.study_instance_uid == study_instance_uid
        return self._read(sa.select(_runs).where(is_meant).order_by(_runs.c.queued_s, _runs.c.run_id))

    def measured_runs_of(self, study_instance_uid: str) -> tuple[RunRecord, ...]:
        """Return the measured runs of a study, oldest first."""
        is_meant = (_runs.c.study_instance_uid == study_instance_uid) & (_runs.c.state == RunState.MEASURED)
        return self._read(sa.select(_runs).where(is_meant).order_by(_runs.c.queued_s, _runs.c.run_id))

    def deliveries_in(self, destination: str, state: DeliveryState, before_s: float) -> tuple[str, ...]:
        """Return runs whose delivery has been in a state since before a time (seconds since the epoch), oldest first."""
        is_meant = (_deliveries.c.destination == destination) & (_deliveries.c.state == state)
        query = (
            sa.select(_deliveries.c.run_id)
            .where(is_meant, _deliveries.c.updated_s < before_s)
            .order_by(_deliveries.c.updated_s, _deliveries.c.run_id)
        )
        with self._reading.connect() as connection:
            return tuple(connection.execute(query).scalars())

    def count_by_state(self) -> dict[RunState, int]:
        """Count the runs in each state."""
        with self._reading.connect() as connection:
            rows = connection.execute(sa.select(_runs.c.state, sa.func.count()).group_by(_runs.c.state)).all()
        counted = {RunState(state): int(n) for state, n in rows}
        return {state: counted.get(state, 0) for state in RunState}

    def count_deliveries_by_state(self) -> dict[DeliveryState, int]:
        """Count the deliveries in each state."""
        with self._reading.connect() as connection:
            rows = connection.execute(sa.select(_deliveries.c.state, sa.func.count()).group_by(_deliveries.c.state)).all()
        counted = {DeliveryState(state): int(n) for state, n in rows}
        return {state: counted.get(state, 0) for state in DeliveryState}

    def _update(self, run_id: str, **values: object) -> None:
        with self._engine.begin() as connection:
            connection.execute(sa.update(_runs).where(_runs.c.run_id == run_id).values(updated_s=time.time(), **values))

    def _read(self, query: sa.Select[tuple[object, ...]]) -> tuple[RunRecord, ...]:
        with self._reading.connect() as connection:
            rows = connection.execute(query).all()
            ids = [row.run_id for row in rows]
            in_conflict = conflicts_of(connection, {row.study_instance_uid for row in rows})
            committed = commitments_of(connection, ids)
            deliveries = connection.execute(
                sa.select(_deliveries).where(_deliveries.c.run_id.in_(ids)).order_by(_deliveries.c.destination)
            ).all()
        of_run: dict[str, list[DeliveryRecord]] = {}
        for d in deliveries:
            said = committed.get((d.run_id, d.destination), "")
            record = DeliveryRecord(d.destination, DeliveryState(d.state), d.attempts, d.detail, d.updated_s, said)
            of_run.setdefault(d.run_id, []).append(record)
        return tuple(
            RunRecord(
                row.run_id,
                row.study_instance_uid,
                RunState(row.state),
                row.step,
                row.detail,
                Path(row.folder),
                row.queued_s,
                row.updated_s,
                tuple(of_run.get(row.run_id, ())),
                row.is_replaced,
                in_conflict.get(row.study_instance_uid, 0),
            )
            for row in rows
        )
