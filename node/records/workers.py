"""Signs of life of the workers: written by each of them, read by the others, by ``bmd-node doctor`` and ``bmd-node health``.

A worker that is gone for good, on another machine or in a container that was removed, must not keep its interrupted studies
for ever. So each worker says every few seconds that it lives; who has been silent for ``worker_lost_after_s`` is taken for
lost, and another worker takes up its work.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa

from node.records.database import Store, insert_or_keep, metadata

#: Pause between two signs of life.
BEAT_S = 10.0

_workers = sa.Table(
    "workers",
    metadata,
    sa.Column("worker_id", sa.String(64), primary_key=True),
    sa.Column("seen_s", sa.Double, nullable=False),
    # it stopped in order: what it had begun may be taken up at once
    sa.Column("stopped", sa.Boolean, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as it was seen last; ``seen_s`` is seconds since the epoch."""

    worker_id: str
    seen_s: float
    stopped: bool

    def is_lost(self, now_s: float, lost_after_s: float) -> bool:
        """Whether it stopped, or has been silent for this long."""
        return self.stopped or now_s - self.seen_s > lost_after_s


class Workers(Store):
    """The table of workers; every call is one transaction and may be repeated."""

    def beat(self, worker_id: str, *, stopped: bool = False) -> None:
        """The worker lives, or stops now."""
        values: dict[str, float | bool] = {"seen_s": time.time(), "stopped": stopped}
        with self._engine.begin() as connection:
            insert_or_keep(connection, _workers, worker_id=worker_id, **values)
            connection.execute(sa.update(_workers).where(_workers.c.worker_id == worker_id).values(**values))

    def known(self) -> tuple[Worker, ...]:
        """All workers that were ever seen, the latest first."""
        with self._reading.connect() as connection:
            rows = connection.execute(sa.select(_workers).order_by(_workers.c.seen_s.desc())).all()
        return tuple(Worker(row.worker_id, row.seen_s, row.stopped) for row in rows)

    def forget(self, worker_id: str) -> None:
        """Its work was taken up; should it come back, it will say so."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(_workers).where(_workers.c.worker_id == worker_id))
