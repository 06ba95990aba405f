"""Planned operations, with every statement received about them and every resulting change.

What is known about an operation is the fold of all statements of its source in the order in which they were *sent*.
Statements sent at the same time keep their order of arrival. Otherwise the result does not depend on the order of arrival:
an old message that arrives late undoes nothing, and a repeated message changes nothing.

This is patient data in the database of the node; ``forget`` removes it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import reduce
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from node.clinical.identity import Issuers, PatientIdentifier, PatientIdentity
from node.clinical.matching import MatchedPatient, PatientMatch, match_patient
from node.clinical.planned_operation import OperationKey, PlannedOperation, PlanSource, PlanStatus, merged, same_statement
from node.common.errors import InputError
from node.records.database import Store, insert_or_keep, metadata

#: Longest id and source name that are stored; the length of a primary key is limited.
MAX_ID_LENGTH = 400
#: Any number that nothing else in the database uses. Allows one writer at a time, so that readers see changes in order.
_POSTGRES_LOCK_KEY = 0x706C616E


def _key_columns(*, primary: bool) -> tuple[sa.Column[str], ...]:
    sizes = (("source", 16), ("source_name", MAX_ID_LENGTH), ("operation_id", MAX_ID_LENGTH))
    return tuple(sa.Column(name, sa.String(size), primary_key=primary, nullable=False) for name, size in sizes)


_current = sa.Table(
    "planned_operations",
    metadata,
    *_key_columns(primary=True),
    sa.Column("status", sa.String(16), nullable=False),
    # when it starts or, without a time, when it was last mentioned
    sa.Column("concerns_s", sa.Double, nullable=False, index=True),
    sa.Column("operation", sa.Text, nullable=False),
)

_statements = sa.Table(
    "planned_operation_statements",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    *_key_columns(primary=False),
    sa.Column("arrival", sa.Integer, nullable=False),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column("keeps_status", sa.Boolean, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Index("planned_operation_statements_of", "source", "source_name", "operation_id"),
)

_changes = sa.Table(
    "planned_operation_changes",
    metadata,
    sa.Column("sequence", sa.Integer, primary_key=True),
    *_key_columns(primary=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Index("planned_operation_changes_of", "source", "source_name", "operation_id", "revision"),
    sqlite_autoincrement=True,  # a number is never reused, even after the last change was forgotten
)

_identifiers = sa.Table(
    "planned_operation_identifiers",
    metadata,
    sa.Column("value", sa.String(MAX_ID_LENGTH), primary_key=True),
    *_key_columns(primary=True),
)

_as_json = TypeAdapter(PlannedOperation)


class Kept(StrEnum):
    """Effect of a statement."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True)
class PlanChange:
    """One change of what is known about an operation.

    Attributes:
        sequence: increasing number over all changes, from which a reader continues.
        previous: what was known before; ``None`` for the first change.
    """

    sequence: int
    operation: PlannedOperation
    previous: PlannedOperation | None


@dataclass(frozen=True, slots=True)
class MatchedOperation:
    """An operation, and how certain it is that it belongs to the patient."""

    operation: PlannedOperation
    match: MatchedPatient


@dataclass(frozen=True, slots=True)
class PlansOfPatient:
    """What is kept about the operations of a patient.

    Attributes:
        operations: operations that are the patient's as far as is known now: everything about them.
        statements: digests of statements about other operations, which were once said to be the patient's.
        changes: numbers of the changes that came of these.
    """

    operations: tuple[OperationKey, ...]
    statements: tuple[str, ...]
    changes: tuple[int, ...]


class PlannedOperations(Store):
    """The tables of planned operations; every call is one transaction and idempotent."""

    def keep(self, said: PlannedOperation, message_id: str, *, keeps_status: bool = False) -> Kept:
        """Keep a statement. When this returns, the statement is on disk.

        Args:
            said: the statement; ``revision`` is ignored.
            message_id: id of the statement at its source (MSH-10, version of the resource, line of the list).
            keeps_status: see :func:`node.clinical.planned_operation.merged`.

        Raises:
            InputError: an id contains a NUL character, which PostgreSQL cannot store.
        """
        if any("\0" in one for one in (said.key.source_name, said.key.operation_id, message_id, *_values(said))):
            raise InputError("an id contains a NUL character")
        text = _as_json.dump_json(said).decode()
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRES_LOCK_KEY)))
            arrivals = sa.select(sa.func.coalesce(sa.func.max(_statements.c.arrival), 0)).where(_is(_statements, said.key))
            is_new = insert_or_keep(
                connection,
                _statements,
                digest=_digest(said, message_id, keeps_status),
                arrival=connection.execute(arrivals).scalar_one() + 1,
                message_id=message_id,
                keeps_status=keeps_status,
                operation=text,
                **_columns(said.key),
            )
            if not is_new:
                return Kept.REPEATED
            known = _read_current(connection, said.key)
            if known is None or said.sent_at >= known.sent_at:
                now_known = merged(known, said, keeps_status=keeps_status)
            else:
                now_known = _folded(connection, said.key)
            if known is not None and same_statement(known, now_known):
                _write_current(connection, replace(now_known, revision=known.revision))
                return Kept.UNCHANGED
            now_known = replace(now_known, revision=1 if known is None else known.revision + 1)
            _write_current(connection, now_known)
            _write_change(connection, now_known)
            return Kept.NEW if known is None else Kept.CHANGED

    def update_patient(
        self,
        said: PatientIdentity,
        numbers: Collection[PatientIdentifier],
        issuers: Issuers,
        sent_at: dt.datetime,
        received_at: dt.datetime,
        message_id: str,
    ) -> int:
        """Keep what an HL7 message says of a patient, as a statement about each operation of HL7 with one of the numbers.

        Args:
            said: who the patient is; what it leaves out stays as before. Its numbers are added.
            numbers: of this person; those whose issuer is not known are of nobody.
            issuers: spellings of the issuers.
            sent_at: by the clock of the sender.
            received_at: by the clock of the node.
            message_id: of the message.

        Returns:
            The number of operations that it changes.
        """
        of_values = _identifiers.c.value.in_(sorted({one.value.strip() for one in numbers}))
        query = sa.select(_identifiers).where(of_values, _identifiers.c.source == PlanSource.HL7_SIU.value)
        with self._reading.connect() as connection:
            keys = {_key(row) for row in connection.execute(query)}
        n_changed = 0
        for key in sorted(keys, key=repr):
            known = self.operation(key)
            if known is None or not any(
                one.value.strip() == other.value.strip() and issuers.names_of(one) & issuers.names_of(other)
                for one in known.patient.identifiers
                for other in numbers
            ):
                continue
            patient = PatientIdentity(
                identifiers=tuple(dict.fromkeys((*known.patient.identifiers, *said.identifiers))),
                names=said.names or known.patient.names,
                birth_date=said.birth_date or known.patient.birth_date,
                sex=said.sex or known.patient.sex,
            )
            statement = PlannedOperation(key, known.status, sent_at, received_at, patient)
            n_changed += self.keep(statement, message_id, keeps_status=True) is Kept.CHANGED
        return n_changed

    def operation(self, key: OperationKey) -> PlannedOperation | None:
        """Return what is known about one operation."""
        with self._reading.connect() as connection:
            return _read_current(connection, key)

    def current(self) -> tuple[PlannedOperation, ...]:
        """Return all known operations (planned, cancelled, done) by start time; those without one by time of receipt."""
        order = (_current.c.concerns_s, _current.c.source, _current.c.source_name, _current.c.operation_id)
        with self._reading.connect() as connection:
            rows = connection.execute(sa.select(_current.c.operation).order_by(*order)).scalars()
            return tuple(_as_json.validate_json(text) for text in rows)

    def for_patient(self, patient: PatientIdentity, issuers: Issuers) -> tuple[MatchedOperation, ...]:
        """Return operations that belong, or may belong, to this patient, in the order of :meth:`current`.

        They may come from several sources; see :func:`node.clinical.planned_operation.without_weaker`.
        """
        values = sorted({one.value.strip() for one in patient.identifiers})
        on = sa.and_(*(_current.c[name] == _identifiers.c[name] for name in ("source", "source_name", "operation_id")))
        query = sa.select(_current.c.operation).join(_identifiers, on).where(_identifiers.c.value.in_(values)).distinct()
        with self._reading.connect() as connection:
            operations = [_as_json.validate_json(text) for text in connection.execute(query).scalars()]
        operations.sort(key=lambda one: (_concerns_s(one), one.key.source.value, one.key.source_name, one.key.operation_id))
        matched = (MatchedOperation(one, match_patient(one.patient, patient, issuers)) for one in operations)
        return tuple(one for one in matched if one.match.match is not PatientMatch.OTHER)

    def of_patient(self, is_patient: Callable[[PatientIdentity], bool]) -> PlansOfPatient:
        """Find everything that names a patient, also what was corrected since; reads all that is stored."""
        with self._reading.connect() as connection:
            known = [_as_json.validate_json(text) for text in connection.execute(sa.select(_current.c.operation)).scalars()]
            keys = tuple(one.key for one in known if is_patient(one.patient))
            statements = connection.execute(sa.select(_statements.c.digest, _statements.c.operation)).all()
            changes = connection.execute(sa.select(_changes.c.sequence, _changes.c.operation)).all()

        def of_another(text: str) -> bool:
            said = _as_json.validate_json(text)
            return said.key not in keys and is_patient(said.patient)

        return PlansOfPatient(
            keys,
            tuple(row.digest for row in statements if of_another(row.operation)),
            tuple(row.sequence for row in changes if of_another(row.operation)),
        )

    def erase(self, found: PlansOfPatient) -> None:
        """Remove what :meth:`of_patient` has found."""
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRES_LOCK_KEY)))
            for key in found.operations:
                _remove(connection, key)
            for digest in found.statements:
                connection.execute(sa.delete(_statements).where(_statements.c.digest == digest))
            for sequence in found.changes:
                connection.execute(sa.delete(_changes).where(_changes.c.sequence == sequence))

    def changes_since(self, sequence: int, limit: int = 1000) -> tuple[PlanChange, ...]:
        """Return the changes after this number, in order; 0 returns all that are stored."""
        before = _changes.alias()
        on = sa.and_(
            *(before.c[name] == _changes.c[name] for name in ("source", "source_name", "operation_id")),
            before.c.revision == _changes.c.revision - 1,
        )
        query = (
            sa.select(_changes.c.sequence, _changes.c.operation, before.c.operation.label("previous"))
            .join(before, on, isouter=True)
            .where(_changes.c.sequence > sequence)
            .order_by(_changes.c.sequence)
            .limit(limit)
        )
        with self._reading.connect() as connection:
            return tuple(_change(row) for row in connection.execute(query))

    def history(self, key: OperationKey) -> tuple[PlannedOperation, ...]:
        """Return every revision of an operation, the first one first."""
        query = sa.select(_changes.c.operation).where(_is(_changes, key)).order_by(_changes.c.revision)
        with self._reading.connect() as connection:
            return tuple(_as_json.validate_json(text) for text in connection.execute(query).scalars())

    def message_ids(self) -> frozenset[str]:
        """Return the ids of all stored statements."""
        with self._reading.connect() as connection:
            return frozenset(connection.execute(sa.select(_statements.c.message_id)).scalars())

    def counts(self) -> dict[tuple[PlanSource, PlanStatus], int]:
        """Count the operations by source and status."""
        query = sa.select(_current.c.source, _current.c.status, sa.func.count()).group_by(
            _current.c.source, _current.c.status
        )
        with self._reading.connect() as connection:
            found = {(PlanSource(source), PlanStatus(status)): int(n) for source, status, n in connection.execute(query)}
        return {(source, status): found.get((source, status), 0) for source in PlanSource for status in PlanStatus}

    def forget(self, before: dt.datetime) -> int:
        """Remove operations that started before this time, with all their statements. Returns the number of operations.

        An operation without a time is removed if it was last mentioned before this time.
        """
        is_old = _current.c.concerns_s < before.timestamp()
        with self._engine.begin() as connection:
            columns = (_current.c.source, _current.c.source_name, _current.c.operation_id)
            keys = [_key(row) for row in connection.execute(sa.select(*columns).where(is_old))]
            for key in keys:
                _remove(connection, key)
        return len(keys)


def _remove(connection: sa.Connection, key: OperationKey) -> None:
    for table in (_statements, _changes, _identifiers, _current):
        connection.execute(sa.delete(table).where(_is(table, key)))


def _digest(said: PlannedOperation, message_id: str, keeps_status: bool) -> str:
    """Digest of a statement. Two are the same if content, message id and sending time are equal, whenever received."""
    plain = replace(said, received_at=said.sent_at, revision=0)
    parts = (message_id.encode(), b"1" if keeps_status else b"0", _as_json.dump_json(plain))
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _folded(connection: sa.Connection, key: OperationKey) -> PlannedOperation:
    rows = connection.execute(sa.select(_statements).where(_is(_statements, key)).order_by(_statements.c.arrival))
    said = [(_as_json.validate_json(row.operation), bool(row.keeps_status)) for row in rows]
    said.sort(key=lambda one: one[0].sent_at)
    first, *later = said
    return reduce(lambda known, one: merged(known, one[0], keeps_status=one[1]), later, first[0])


def _read_current(connection: sa.Connection, key: OperationKey) -> PlannedOperation | None:
    text = connection.execute(sa.select(_current.c.operation).where(_is(_current, key))).scalar_one_or_none()
    return None if text is None else _as_json.validate_json(text)


def _write_current(connection: sa.Connection, operation: PlannedOperation) -> None:
    values: dict[str, str | float | None] = {
        "status": operation.status.value,
        "concerns_s": _concerns_s(operation),
        "operation": _as_json.dump_json(operation).decode(),
    }
    if not insert_or_keep(connection, _current, **_columns(operation.key), **values):
        connection.execute(sa.update(_current).where(_is(_current, operation.key)).values(**values))
    connection.execute(sa.delete(_identifiers).where(_is(_identifiers, operation.key)))
    for value in _values(operation):
        insert_or_keep(connection, _identifiers, value=value, **_columns(operation.key))


def _write_change(connection: sa.Connection, operation: PlannedOperation) -> None:
    text = _as_json.dump_json(operation).decode()
    values = {"revision": operation.revision, "operation": text, **_columns(operation.key)}
    connection.execute(sa.insert(_changes).values(**values))


def _change(row: Any) -> PlanChange:
    before = None if row.previous is None else _as_json.validate_json(row.previous)
    return PlanChange(row.sequence, _as_json.validate_json(row.operation), before)


def _values(operation: PlannedOperation) -> Iterable[str]:
    return sorted({one.value.strip() for one in operation.patient.identifiers if one.value.strip()})


def _concerns_s(operation: PlannedOperation) -> float:
    return (operation.starts or operation.received_at).timestamp()


def _columns(key: OperationKey) -> dict[str, str | float | None]:
    return {"source": key.source.value, "source_name": key.source_name, "operation_id": key.operation_id}


def _key(row: Any) -> OperationKey:
    return OperationKey(PlanSource(row.source), row.source_name, row.operation_id)


def _is(table: sa.Table, key: OperationKey) -> sa.ColumnElement[bool]:
    return sa.and_(*(table.c[name] == value for name, value in _columns(key).items()))
