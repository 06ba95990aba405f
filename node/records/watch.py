"""What is wrong with the node, and whether the administrators know: one mail when it begins, and one when it is over.

Several processes may look at the same time, and one of them tells. The table holds no patient data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from node.records.database import Store, insert_or_keep, metadata

#: A process that wants to tell and has not done so after this time was killed: another one may.
CLAIM_S = 300.0

_conditions = sa.Table(
    "watch_conditions",
    metadata,
    sa.Column("condition_id", sa.String(200), primary_key=True),
    # host that sees it; empty: every host sees the same
    sa.Column("scope", sa.String(100), nullable=False),
    sa.Column("said", sa.Text, nullable=False),
    sa.Column("since_s", sa.Double, nullable=False),
    # how long it may last before it is told
    sa.Column("patience_s", sa.Double, nullable=False),
    sa.Column("told_s", sa.Double),
    sa.Column("over_s", sa.Double),
    sa.Column("claimed_s", sa.Double),
)


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong now.

    Attributes:
        condition_id: the same at every look.
        scope: host that sees it; empty: every host sees the same.
        said: for people; without patient data.
        patience_s: how long it may last before it is told.
    """

    condition_id: str
    scope: str
    said: str
    patience_s: float


@dataclass(frozen=True, slots=True)
class Known:
    """A condition on record; times in seconds since the epoch. ``over_s`` is ``None`` while it lasts."""

    condition_id: str
    said: str
    since_s: float
    over_s: float | None


class WatchRecords(Store):
    """The table of conditions; every call is one transaction and idempotent."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], float] = time.time) -> None:
        """Take a database opened by :func:`node.records.database.open_database`, and a clock (seconds since the epoch)."""
        super().__init__(engine)
        self._clock = clock

    def seen(self, conditions: Sequence[Condition], scopes: Collection[str]) -> None:
        """Record what is wrong now. Other conditions of these scopes are over; those that were not told are forgotten."""
        now_s = self._clock()
        ids = [one.condition_id for one in conditions]
        with self._engine.begin() as connection:
            for one in conditions:
                values: dict[str, str | float | None] = {"scope": one.scope, "said": one.said, "patience_s": one.patience_s}
                is_new = insert_or_keep(
                    connection,
                    _conditions,
                    condition_id=one.condition_id,
                    since_s=now_s,
                    told_s=None,
                    over_s=None,
                    claimed_s=None,
                    **values,
                )
                if not is_new:
                    is_this = _conditions.c.condition_id == one.condition_id
                    # the clock may have been set back
                    since_s = sa.case((_conditions.c.since_s > now_s, now_s), else_=_conditions.c.since_s)
                    connection.execute(sa.update(_conditions).where(is_this).values(**values, over_s=None, since_s=since_s))
            is_over = _conditions.c.scope.in_(list(scopes)) & _conditions.c.condition_id.not_in(ids)
            connection.execute(sa.delete(_conditions).where(is_over, _conditions.c.told_s.is_(None)))
            is_news = _conditions.c.over_s.is_(None)
            connection.execute(sa.update(_conditions).where(is_over, is_news).values(over_s=now_s))

    def claim(self) -> tuple[Known, ...]:
        """Take what is to be told: what has lasted for too long, and what is over. Nobody else takes it meanwhile.

        Not idempotent: call :meth:`told` or :meth:`not_told` afterwards.
        """
        now_s = self._clock()
        begins = _conditions.c.told_s.is_(None) & (_conditions.c.since_s + _conditions.c.patience_s <= now_s)
        is_to_tell = begins | _conditions.c.over_s.is_not(None)
        claimed_s = _conditions.c.claimed_s
        # beyond the clock: it was set back; a little beyond: another process has claimed while this one waited for the lock
        is_free = claimed_s.is_(None) | (claimed_s < now_s - CLAIM_S) | (claimed_s > now_s + CLAIM_S)
        taken: list[Known] = []
        with self._engine.begin() as connection:
            query = sa.select(_conditions).where(is_to_tell, is_free).order_by(_conditions.c.since_s)
            for row in connection.execute(query).all():
                is_this = _conditions.c.condition_id == row.condition_id
                claimed = connection.execute(
                    sa.update(_conditions).where(is_this, is_to_tell, is_free).values(claimed_s=now_s)
                )
                if claimed.rowcount == 1:
                    taken.append(Known(row.condition_id, row.said, row.since_s, row.over_s))
        return tuple(taken)

    def told(self, taken: Sequence[Known]) -> None:
        """The administrators know. What is over is forgotten; if it has begun again meanwhile, that is told anew."""
        with self._engine.begin() as connection:
            for one in taken:
                is_this = _conditions.c.condition_id == one.condition_id
                if one.over_s is not None:
                    connection.execute(sa.delete(_conditions).where(is_this, _conditions.c.over_s.is_not(None)))
                values = {"told_s": self._clock() if one.over_s is None else None, "claimed_s": None}
                connection.execute(sa.update(_conditions).where(is_this).values(**values))

    def not_told(self, taken: Sequence[Known]) -> None:
        """The mail could not be sent: the next look tries again."""
        ids = [one.condition_id for one in taken]
        with self._engine.begin() as connection:
            connection.execute(sa.update(_conditions).where(_conditions.c.condition_id.in_(ids)).values(claimed_s=None))

    def known(self) -> tuple[Known, ...]:
        """Return everything on record, the oldest first."""
        with self._reading.connect() as connection:
            rows = connection.execute(sa.select(_conditions).order_by(_conditions.c.since_s)).all()
        return tuple(Known(row.condition_id, row.said, row.since_s, row.over_s) for row in rows)
