"""What the node knows about its destinations: what each accepts, which objects it has stored, and what to send again.

Written by the worker, read by the status page and ``bmd-node destinations``. The tables hold no patient data: objects are
identified by their SOP Instance UID.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from node.records.database import Store, insert_or_keep, metadata
from node.records.erased import refuse_erased
from node.settings.tree import Destination

_Row = dict[str, str | float | None]

_abilities = sa.Table(
    "destination_abilities",
    metadata,
    sa.Column("destination", sa.String(64), primary_key=True),
    sa.Column("sop_class_uid", sa.String(64), primary_key=True),
    sa.Column("transfer_syntax_uid", sa.String(64), primary_key=True),
    # an entry is valid for the AE at this address only: another address is another server
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("answer", sa.String(32), nullable=False),
    sa.Column("since_s", sa.Double, nullable=False),
    sa.Column("learned_s", sa.Double, nullable=False),
)

_objects = sa.Table(
    "delivered_objects",
    metadata,
    sa.Column("destination", sa.String(64), primary_key=True),
    sa.Column("sop_instance_uid", sa.String(64), primary_key=True),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("run_id", sa.String(200), nullable=False, index=True),
    sa.Column("sop_class_uid", sa.String(64), nullable=False),
    sa.Column("stored_s", sa.Double, nullable=False),
)

_redeliveries = sa.Table(
    "redeliveries",
    metadata,
    sa.Column("run_id", sa.String(200), primary_key=True),
    sa.Column("destination", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    # whether no worker has taken it yet
    sa.Column("is_waiting", sa.Boolean, nullable=False, index=True),
)


class Answer(StrEnum):
    """Answer of a destination for a SOP class."""

    ACCEPTED = "accepted"
    #: its presentation context was refused during association negotiation (PS3.8 7.1.1.13)
    REFUSED_CONTEXT = "refused_context"
    #: 0x0122 SOP class not supported, in answer to C-STORE (PS3.7 C.5.6)
    REFUSED_STORE = "refused_store"


@dataclass(frozen=True, slots=True)
class Ability:
    """Whether a destination accepts a SOP class in a transfer syntax."""

    sop_class_uid: str
    transfer_syntax_uid: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class KnownAbility:
    """A stored ability.

    Attributes:
        since_s: when the destination first gave this answer, in seconds since the epoch.
        learned_s: when it last gave it.
    """

    destination: str
    ability: Ability
    since_s: float
    learned_s: float


@dataclass(frozen=True, slots=True)
class Redelivery:
    """A request to deliver a run again; ``number`` counts from 1 for each run and destination."""

    run_id: str
    destination: str
    number: int


class DestinationRecords(Store):
    """The tables of destinations; every call is one transaction and idempotent."""

    def learn(self, destination: Destination, abilities: Iterable[Ability]) -> None:
        """Store the answers of a destination in place of earlier ones."""
        now_s = time.time()
        with self._engine.begin() as connection:
            for ability in abilities:
                key: _Row = {
                    "destination": destination.name,
                    "sop_class_uid": ability.sop_class_uid,
                    "transfer_syntax_uid": ability.transfer_syntax_uid,
                }
                values: _Row = {"address": address_of(destination), "answer": str(ability.answer), "learned_s": now_s}
                if insert_or_keep(connection, _abilities, **key, **values, since_s=now_s):
                    continue
                is_meant = sa.and_(*(_abilities.c[name] == value for name, value in key.items()))
                is_news = sa.or_(_abilities.c.answer != values["answer"], _abilities.c.address != values["address"])
                since = sa.case((is_news, now_s), else_=_abilities.c.since_s)
                connection.execute(sa.update(_abilities).where(is_meant).values(**values, since_s=since))

    def abilities(self, destination: Destination) -> tuple[KnownAbility, ...]:
        """Return what is known about a destination at its current address."""
        is_meant = (_abilities.c.destination == destination.name) & (_abilities.c.address == address_of(destination))
        query = sa.select(_abilities).where(is_meant).order_by(_abilities.c.sop_class_uid, _abilities.c.transfer_syntax_uid)
        with self._reading.connect() as connection:
            return tuple(
                KnownAbility(
                    row.destination,
                    Ability(row.sop_class_uid, row.transfer_syntax_uid, Answer(row.answer)),
                    row.since_s,
                    row.learned_s,
                )
                for row in connection.execute(query)
            )

    def forget(self, destination_name: str) -> None:
        """Forget the answers of a destination, so that the next delivery asks for everything again."""
        with self._engine.begin() as connection:
            connection.execute(sa.delete(_abilities).where(_abilities.c.destination == destination_name))

    def stored(self, destination: Destination, run_id: str, objects: Iterable[tuple[str, str]]) -> None:
        """Record that a destination has stored objects of a run: pairs of SOP class and SOP Instance UID.

        Raises:
            ErasedError: the study was erased.
        """
        with self._engine.begin() as connection:
            refuse_erased(connection, run_id)
            for sop_class_uid, sop_instance_uid in objects:
                values: _Row = {
                    "address": address_of(destination),
                    "run_id": run_id,
                    "sop_class_uid": sop_class_uid,
                    "stored_s": time.time(),
                }
                key: _Row = {"destination": destination.name, "sop_instance_uid": sop_instance_uid}
                if not insert_or_keep(connection, _objects, **key, **values):
                    is_meant = sa.and_(*(_objects.c[name] == value for name, value in key.items()))
                    connection.execute(sa.update(_objects).where(is_meant).values(**values))

    def held(self, destination: Destination, sop_instance_uids: Iterable[str]) -> frozenset[str]:
        """Return those of the given objects that a destination has stored."""
        is_meant = (
            (_objects.c.destination == destination.name)
            & (_objects.c.address == address_of(destination))
            & _objects.c.sop_instance_uid.in_(list(sop_instance_uids))
        )
        with self._reading.connect() as connection:
            return frozenset(connection.execute(sa.select(_objects.c.sop_instance_uid).where(is_meant)).scalars())

    def ask_for_redelivery(self, run_id: str, destination_name: str) -> None:
        """Request that the worker delivers a run to a destination again. A request that still waits is not counted twice.

        Raises:
            ErasedError: the study was erased.
        """
        is_meant = (_redeliveries.c.run_id == run_id) & (_redeliveries.c.destination == destination_name)
        with self._engine.begin() as connection:
            refuse_erased(connection, run_id)
            key = {"run_id": run_id, "destination": destination_name}
            if not insert_or_keep(connection, _redeliveries, **key, number=1, is_waiting=True):
                connection.execute(
                    sa.update(_redeliveries)
                    .where(is_meant, _redeliveries.c.is_waiting.is_(False))
                    .values(number=_redeliveries.c.number + 1, is_waiting=True)
                )

    def redeliveries(self) -> tuple[Redelivery, ...]:
        """Return the redeliveries that no worker has taken yet."""
        query = (
            sa.select(_redeliveries)
            .where(_redeliveries.c.is_waiting)
            .order_by(_redeliveries.c.run_id, _redeliveries.c.destination)
        )
        with self._reading.connect() as connection:
            return tuple(Redelivery(row.run_id, row.destination, row.number) for row in connection.execute(query))

    def mark_taken(self, redelivery: Redelivery) -> None:
        """Record that a worker has taken a redelivery; it is not returned again."""
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(_redeliveries)
                .where(
                    _redeliveries.c.run_id == redelivery.run_id,
                    _redeliveries.c.destination == redelivery.destination,
                    _redeliveries.c.number == redelivery.number,
                )
                .values(is_waiting=False)
            )


def address_of(destination: Destination) -> str:
    """Return the address of a destination. Another AE title, host or port is another server, of which nothing is known."""
    return f"{destination.ae_title}@{destination.host}:{destination.port}"
