"""Storage commitment that senders ask the node for (PS3.4 annex J): what was asked, and whether it was reported.

::

    NEW ──────────────────────────────────▶ REPORTED   by the listener, on the association of the request
     └──▶ HANDED_OVER ────────────────────▶ REPORTED   by the worker, on an association of its own

The table holds no patient data.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from node.common.commitment import Referenced
from node.records.database import Store, insert_or_keep, metadata

#: The listener has this long to report on the association of the request.
LISTENER_S = 30.0

_orders = sa.Table(
    "commitment_orders",
    metadata,
    sa.Column("order_id", sa.String(32), primary_key=True),
    sa.Column("calling_ae_title", sa.String(16), nullable=False, index=True),
    sa.Column("transaction_uid", sa.String(64), nullable=False),
    # a line for each instance: SOP Class UID, blank, SOP Instance UID
    sa.Column("instances", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("asked_s", sa.Double, nullable=False),
    # from then on the worker reports
    sa.Column("due_s", sa.Double, nullable=False),
)


class OrderState(StrEnum):
    """State of an order; see the docstring of this module."""

    NEW = "new"
    HANDED_OVER = "handed_over"
    REPORTED = "reported"


@dataclass(frozen=True, slots=True)
class Order:
    """What a sender wants to be committed."""

    order_id: str
    calling_ae_title: str
    transaction_uid: str
    references: tuple[Referenced, ...]
    state: OrderState


class CommitmentOrders(Store):
    """The table of orders; every call is one transaction and idempotent."""

    def add(self, calling_ae_title: str, transaction_uid: str, references: Sequence[Referenced]) -> str:
        """Record an order; returns its id. One that comes again replaces the one before."""
        order_id = hashlib.sha256(f"{calling_ae_title}\n{transaction_uid}".encode()).hexdigest()[:32]
        now_s = time.time()
        values: dict[str, str | float] = {
            "calling_ae_title": calling_ae_title,
            "transaction_uid": transaction_uid,
            "instances": "\n".join(f"{one.sop_class_uid} {one.sop_instance_uid}" for one in references),
            "state": OrderState.NEW,
            "asked_s": now_s,
            "due_s": now_s + LISTENER_S,
        }
        with self._engine.begin() as connection:
            if not insert_or_keep(connection, _orders, order_id=order_id, **values):
                connection.execute(sa.update(_orders).where(_orders.c.order_id == order_id).values(**values))
        return order_id

    def count_open(self, calling_ae_title: str) -> int:
        """Count the orders of a sender that were not reported."""
        is_open = (_orders.c.calling_ae_title == calling_ae_title) & (_orders.c.state != OrderState.REPORTED)
        with self._reading.connect() as connection:
            return int(connection.execute(sa.select(sa.func.count()).where(is_open)).scalar_one())

    def order(self, order_id: str) -> Order | None:
        """Return one order."""
        with self._reading.connect() as connection:
            row = connection.execute(sa.select(_orders).where(_orders.c.order_id == order_id)).one_or_none()
        if row is None:
            return None
        references = tuple(Referenced(*line.split(" ")) for line in row.instances.splitlines())
        return Order(row.order_id, row.calling_ae_title, row.transaction_uid, references, OrderState(row.state))

    def claim(self, order_id: str) -> bool:
        """The listener reports now. ``False`` if the worker does."""
        return self._change_new(order_id, due_s=time.time() + LISTENER_S)

    def leave(self, order_id: str) -> None:
        """The listener could not report: the worker does, from now on."""
        self._change_new(order_id, due_s=time.time())

    def late(self) -> tuple[tuple[str, str], ...]:
        """Return id and calling AE title of the orders that the listener has left to the worker."""
        now_s = time.time()
        is_late = (_orders.c.due_s <= now_s) | (_orders.c.due_s > now_s + LISTENER_S)  # or the clock was set back
        query = sa.select(_orders.c.order_id, _orders.c.calling_ae_title)
        query = query.where(_orders.c.state == OrderState.NEW, is_late)
        with self._reading.connect() as connection:
            return tuple((row.order_id, row.calling_ae_title) for row in connection.execute(query))

    def handed_over(self, order_id: str) -> None:
        """The worker has taken the order."""
        self._change_new(order_id, state=OrderState.HANDED_OVER)

    def reported(self, order_id: str) -> None:
        """The sender has the report."""
        with self._engine.begin() as connection:
            is_meant = _orders.c.order_id == order_id
            connection.execute(sa.update(_orders).where(is_meant).values(state=OrderState.REPORTED))

    def forget(self, before_s: float) -> int:
        """Remove orders that were asked before a time, and return their number: no sender waits for so long."""
        is_old = (_orders.c.state != OrderState.NEW) & (_orders.c.asked_s < before_s)
        with self._engine.begin() as connection:
            return connection.execute(sa.delete(_orders).where(is_old)).rowcount

    def _change_new(self, order_id: str, **values: str | float) -> bool:
        is_meant = (_orders.c.order_id == order_id) & (_orders.c.state == OrderState.NEW)
        with self._engine.begin() as connection:
            return connection.execute(sa.update(_orders).where(is_meant).values(**values)).rowcount == 1
