"""Storage commitment of what the node has sent (PS3.4 annex J): what was asked of whom, and what was answered.

A row for each object that a destination has stored and has to commit to::

             asked()              answered()
    DUE ──────────────▶ ASKED ───────────────▶ COMMITTED
     ▲                   │  │
     │   not_asked()     │  │ answered()
     ├───────────────────┘  ▼
     └────────────────── NOT_COMMITTED
        due(), after it was sent again

The worker asks, and the listener or the worker records the answer. The tables hold no patient data.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from node.common.commitment import Referenced, Report, describe_reason
from node.records.database import Store, insert_or_keep, metadata

_objects = sa.Table(
    "commitments",
    metadata,
    sa.Column("destination", sa.String(64), primary_key=True),
    sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
    sa.Column("sop_class_uid", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(200), nullable=False, index=True),
    # as in destination_abilities: another address is another server
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    # of the last request
    sa.Column("transaction_uid", sa.String(64), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("updated_s", sa.Double, nullable=False),
)

_requests = sa.Table(
    "commitment_requests",
    metadata,
    sa.Column("transaction_uid", sa.String(64), primary_key=True),
    sa.Column("destination", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(200), nullable=False),
    sa.Column("asked_s", sa.Double, nullable=False),
    # whether there is an answer that the worker has not looked at yet
    sa.Column("has_news", sa.Boolean, nullable=False, index=True),
)


class CommitmentState(StrEnum):
    """State of an object; see the diagram in the docstring of this module."""

    DUE = "due"
    ASKED = "asked"
    COMMITTED = "committed"
    NOT_COMMITTED = "not_committed"


@dataclass(frozen=True, slots=True)
class Commitment:
    """An object that a destination has stored.

    Attributes:
        state: whether the destination has committed to it.
        detail: why it has not.
        updated_s: since when it is in this state, seconds since the epoch.
    """

    referenced: Referenced
    state: CommitmentState
    detail: str
    updated_s: float


class Commitments(Store):
    """The tables; every call is one transaction and idempotent."""

    def due(self, destination: str, address: str, run_id: str, objects: Iterable[Referenced]) -> None:
        """The destination has stored these objects, now or again: it is to be asked for them."""
        with self._engine.begin() as connection:
            for one in objects:
                key = {"destination": destination, "sop_instance_uid": one.sop_instance_uid}
                values: dict[str, str | float] = {
                    "sop_class_uid": one.sop_class_uid,
                    "run_id": run_id,
                    "address": address,
                    "state": CommitmentState.DUE,
                    "transaction_uid": "",
                    "detail": "",
                    "updated_s": time.time(),
                }
                if not insert_or_keep(connection, _objects, **key, **values):
                    is_meant = sa.and_(*(_objects.c[name] == value for name, value in key.items()))
                    connection.execute(sa.update(_objects).where(is_meant).values(**values))

    def of_run(self, destination: str, address: str, run_id: str) -> tuple[Commitment, ...]:
        """Return the objects of a run that a destination at this address has to commit to."""
        query = sa.select(_objects).where(_of(destination, run_id), _objects.c.address == address)
        with self._reading.connect() as connection:
            return tuple(
                Commitment(
                    Referenced(row.sop_class_uid, row.sop_instance_uid),
                    CommitmentState(row.state),
                    row.detail,
                    row.updated_s,
                )
                for row in connection.execute(query.order_by(_objects.c.sop_instance_uid))
            )

    def not_committed(self, destination: str, sop_instance_uids: Collection[str]) -> frozenset[str]:
        """Return those of the given objects that a destination said it does not have, so that they are sent again."""
        query = sa.select(_objects.c.sop_instance_uid).where(
            _objects.c.destination == destination,
            _objects.c.state == CommitmentState.NOT_COMMITTED,
            _objects.c.sop_instance_uid.in_(list(sop_instance_uids)),
        )
        with self._reading.connect() as connection:
            return frozenset(connection.execute(query).scalars())

    def asked(self, transaction_uid: str, destination: str, run_id: str, sop_instance_uids: Collection[str]) -> None:
        """Record a request. Call this before it is sent: the answer may be faster than the record."""
        now_s = time.time()
        with self._engine.begin() as connection:
            insert_or_keep(
                connection,
                _requests,
                transaction_uid=transaction_uid,
                destination=destination,
                run_id=run_id,
                asked_s=now_s,
                has_news=False,
            )
            is_meant = _of(destination, run_id) & _objects.c.sop_instance_uid.in_(list(sop_instance_uids))
            values = {"state": CommitmentState.ASKED, "transaction_uid": transaction_uid, "detail": "", "updated_s": now_s}
            connection.execute(sa.update(_objects).where(is_meant).values(**values))

    def not_asked(self, transaction_uid: str, detail: str) -> None:
        """A request did not arrive, or was refused; objects that were answered for nevertheless stay as they are."""
        is_meant = (_objects.c.transaction_uid == transaction_uid) & (_objects.c.state == CommitmentState.ASKED)
        values = {"state": CommitmentState.DUE, "detail": detail, "updated_s": time.time()}
        with self._engine.begin() as connection:
            connection.execute(sa.update(_objects).where(is_meant).values(**values))

    def answered(self, report: Report) -> bool:
        """Record a report of a destination. ``False`` if the node has sent no request with this Transaction UID.

        An object counts as committed whichever request the report answers: a late report is true as well. It counts as not
        committed only by the answer to the last request, since it may have been sent again after an earlier one.
        """
        now_s = time.time()
        is_request = _requests.c.transaction_uid == report.transaction_uid
        with self._engine.begin() as connection:
            request = connection.execute(sa.select(_requests).where(is_request)).one_or_none()
            if request is None:
                return False
            of_request = _of(request.destination, request.run_id)
            for one in report.committed:
                is_meant = of_request & (_objects.c.sop_instance_uid == one.sop_instance_uid)
                values = {"state": CommitmentState.COMMITTED, "detail": "", "updated_s": now_s}
                is_open = _objects.c.state.in_((CommitmentState.DUE, CommitmentState.ASKED))
                connection.execute(sa.update(_objects).where(is_meant, is_open).values(**values))
            for failed in report.failed:
                is_meant = of_request & (_objects.c.sop_instance_uid == failed.referenced.sop_instance_uid)
                is_asked = _objects.c.state == CommitmentState.ASKED
                is_last = _objects.c.transaction_uid == report.transaction_uid
                detail = describe_reason(failed.reason)
                values = {"state": CommitmentState.NOT_COMMITTED, "detail": detail, "updated_s": now_s}
                connection.execute(sa.update(_objects).where(is_meant, is_last, is_asked).values(**values))
            connection.execute(sa.update(_requests).where(is_request).values(has_news=True))
        return True

    def is_answered(self, transaction_uid: str) -> bool:
        """Whether a request has an answer that :meth:`looked_at` has not taken."""
        query = sa.select(_requests.c.has_news).where(_requests.c.transaction_uid == transaction_uid)
        with self._reading.connect() as connection:
            return bool(connection.execute(query).scalar_one_or_none())

    def news(self) -> tuple[tuple[str, str], ...]:
        """Return run and destination of the requests with an answer that nobody has looked at."""
        query = sa.select(_requests.c.run_id, _requests.c.destination).where(_requests.c.has_news).distinct()
        with self._reading.connect() as connection:
            return tuple((row.run_id, row.destination) for row in connection.execute(query))

    def looked_at(self, destination: str, run_id: str) -> None:
        """Somebody looks at the answers of a destination for a run. Call this before reading them."""
        is_meant = (_requests.c.destination == destination) & (_requests.c.run_id == run_id) & _requests.c.has_news
        with self._engine.begin() as connection:
            connection.execute(sa.update(_requests).where(is_meant).values(has_news=False))

    def count_by_state(self) -> dict[CommitmentState, int]:
        """Count the objects in each state."""
        query = sa.select(_objects.c.state, sa.func.count()).group_by(_objects.c.state)
        with self._reading.connect() as connection:
            counted = {CommitmentState(state): int(n) for state, n in connection.execute(query).all()}
        return {state: counted.get(state, 0) for state in CommitmentState}

    def forget_requests(self, before_s: float) -> int:
        """Remove requests that were sent before a time, and return their number. What is known of the objects stays."""
        with self._engine.begin() as connection:
            return connection.execute(sa.delete(_requests).where(_requests.c.asked_s < before_s)).rowcount


def commitments_of(connection: sa.Connection, run_ids: Collection[str]) -> dict[tuple[str, str], str]:
    """Say for each run and destination what the destination has committed to, for people; others are not in it."""
    query = (
        sa.select(_objects.c.run_id, _objects.c.destination, _objects.c.state, sa.func.count().label("n"))
        .where(_objects.c.run_id.in_(run_ids))
        .group_by(_objects.c.run_id, _objects.c.destination, _objects.c.state)
        .order_by(_objects.c.state)
    )
    said: dict[tuple[str, str], list[str]] = {}
    for row in connection.execute(query):
        said.setdefault((row.run_id, row.destination), []).append(f"{row.n} {row.state.replace('_', ' ')}")
    return {key: ", ".join(parts) for key, parts in said.items()}


def _of(destination: str, run_id: str) -> sa.ColumnElement[bool]:
    return (_objects.c.destination == destination) & (_objects.c.run_id == run_id)
