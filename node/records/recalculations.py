"""Reports that were reissued with another equation: written by ``bmd-node recalculate``, sent by the worker."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from node.records.database import Store, insert_or_keep, metadata
from node.records.erased import refuse_erased

_recalculations = sa.Table(
    "recalculations",
    metadata,
    sa.Column("run_id", sa.String(200), primary_key=True),
    sa.Column("measured_run_id", sa.String(200), nullable=False, index=True),
    sa.Column("study_instance_uid", sa.String(64), nullable=False),
    # counts from 1 for each measured run
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("issued_s", sa.Double, nullable=False),
    # when a worker took it
    sa.Column("handed_over_s", sa.Double, index=True),
)


@dataclass(frozen=True, slots=True)
class Recalculation:
    """A report that replaces another one.

    Attributes:
        run_id: id of the new report in deliveries and status.
        measured_run_id: the run that measured the HU.
        version: 1 for the first report after the original one.
        folder: folder of the new report.
    """

    run_id: str
    measured_run_id: str
    study_instance_uid: str
    version: int
    folder: Path


class Recalculations(Store):
    """The table of recalculations; every call is one transaction and idempotent."""

    def issue(self, recalculation: Recalculation) -> bool:
        """Record a new report for the worker to send. Returns whether it was new.

        Raises:
            ErasedError: the study was erased.
        """
        with self._engine.begin() as connection:
            refuse_erased(connection, recalculation.run_id)
            return insert_or_keep(
                connection,
                _recalculations,
                run_id=recalculation.run_id,
                measured_run_id=recalculation.measured_run_id,
                study_instance_uid=recalculation.study_instance_uid,
                version=recalculation.version,
                folder=str(recalculation.folder),
                issued_s=time.time(),
                handed_over_s=None,
            )

    def latest(self) -> dict[str, Recalculation]:
        """Return the latest reissued report of each measured run that has one, by the id of that run."""
        query = sa.select(_recalculations).order_by(_recalculations.c.version)
        with self._reading.connect() as connection:
            return {row.measured_run_id: _recalculation(row) for row in connection.execute(query)}

    def run_ids(self) -> frozenset[str]:
        """Return the ids of all reissued reports."""
        with self._reading.connect() as connection:
            return frozenset(connection.execute(sa.select(_recalculations.c.run_id)).scalars())

    def measured_run_id(self, run_id: str) -> str:
        """Return the run that measured the values of a report. For a report that is not reissued, this is its own run."""
        query = sa.select(_recalculations.c.measured_run_id).where(_recalculations.c.run_id == run_id)
        with self._reading.connect() as connection:
            return connection.execute(query).scalar_one_or_none() or run_id

    def waiting(self) -> tuple[Recalculation, ...]:
        """Return the reports that no worker has taken yet, in the order of issue."""
        query = (
            sa.select(_recalculations)
            .where(_recalculations.c.handed_over_s.is_(None))
            .order_by(_recalculations.c.issued_s, _recalculations.c.run_id)
        )
        with self._reading.connect() as connection:
            return tuple(_recalculation(row) for row in connection.execute(query))

    def mark_handed_over(self, run_id: str) -> None:
        """Record that a worker has taken a report; it is not returned again."""
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(_recalculations).where(_recalculations.c.run_id == run_id).values(handed_over_s=time.time())
            )


def _recalculation(row: sa.Row[tuple[object, ...]]) -> Recalculation:
    return Recalculation(row.run_id, row.measured_run_id, row.study_instance_uid, row.version, Path(row.folder))
