"""Heartbeats of the workers: written by each worker, read by the others, ``bmd-node doctor`` and ``bmd-node health``.

A worker that is permanently gone, on another machine or in a container that was removed, must not hold its interrupted
studies forever. Each worker records a heartbeat every few seconds. A worker that has been silent for ``worker_lost_after_s``
counts as lost, and another worker takes over its work.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa

from node.records.database import Store, insert_or_keep, metadata

#: Time between two heartbeats.
BEAT_S = 10.0

_workers = sa.Table(
    "workers",
    metadata,
    sa.Column("worker_id", sa.String(64), primary_key=True),
    sa.Column("seen_s", sa.Double, nullable=False),
    # after an orderly stop, others may take over its work at once
    sa.Column("stopped", sa.Boolean, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Worker:
    """Last heartbeat of a worker; ``seen_s`` is in seconds since the epoch."""

    worker_id: str
    seen_s: float
    stopped: bool

    def is_lost(self, now_s: float, lost_after_s: float) -> bool:
        """Whether the worker stopped, or has been silent for longer than this."""
        return self.stopped or now_s - self.seen_s > lost_after_s


class Workers(Store):
    """The table of workers; every call is one transaction and idempotent."""

    def beat(self, worker_id: str, *, stopped: bool = False) -> None:
        """Record that the worker is alive, or that it stops now."""
        values: dict[str, float | bool] = {"seen_s": time.time(), "stopped": stopped}
        with self._engine.begin() as connection:
            insert_or_keep(connection, _workers, worker_id=worker_id, **values)
            connection.execute(sa.update(_workers).where(_workers.c.worker_id == worker_id).values(**values))

    def known(self) -> tuple[Worker, ...]:
        """Return all known workers, the most recent heartbeat first."""
        with self._reading.connect() as connection:
            rows = connection.execute(sa.select(_workers).order_by(_workers.c.seen_s.desc())).all()
        return tuple(Worker(row.worker_id, row.seen_s, row.stopped) for row in rows)

    def forget(self, worker_id: str) -> None:
        """Remove a worker whose work was taken over. If it comes back, its next heartbeat adds it again."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(_workers).where(_workers.c.worker_id == worker_id))
