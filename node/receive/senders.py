"""Who has sent to the node: the recorded calling AE titles."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from node.records.database import Store
from node.records.received import associations


@dataclass(frozen=True, slots=True)
class Sender:
    """A calling AE title; ``last_at`` is the local time of its last association with a stored instance."""

    ae_title: str
    last_at: datetime


class Senders(Store):
    """The recorded senders. Associations that stored nothing, such as C-ECHO, leave no record."""

    def latest(self, limit: int = 10) -> tuple[Sender, ...]:
        """The senders, most recent first."""
        last = sa.func.max(associations.c.opened_s).label("last_s")
        query = (
            sa.select(associations.c.calling_ae_title, last)
            .group_by(associations.c.calling_ae_title)
            .order_by(last.desc())
            .limit(limit)
        )
        with self._reading.connect() as connection:
            rows = connection.execute(query).all()
        return tuple(Sender(row.calling_ae_title, datetime.fromtimestamp(row.last_s).astimezone()) for row in rows)
