"""Patient numbers that were merged into others (HL7 ADT^A40): both are one person from then on.

Statements of sources and headers of images stay as they are; the numbers are looked up here when patients are compared. The
table holds numbers and issuers in clear, no names; ``bmd-node erase`` removes those of a patient.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from node.clinical.identity import Issuers, PatientIdentifier, PatientIdentity
from node.records.database import Store, insert_or_keep, metadata

_SIZE = 400

_merges = sa.Table(
    "patient_merges",
    metadata,
    # SHA-256 of the prior number with its issuer
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("prior_value", sa.String(_SIZE), nullable=False, index=True),
    sa.Column("prior_issuer", sa.Text, nullable=False),
    sa.Column("prior_universal_id", sa.Text, nullable=False),
    sa.Column("surviving_value", sa.String(_SIZE), nullable=False, index=True),
    sa.Column("surviving_issuer", sa.Text, nullable=False),
    sa.Column("surviving_universal_id", sa.Text, nullable=False),
    sa.Column("sent_s", sa.Double, nullable=False),
    # whether results and alerts of the prior number are found under the surviving one
    sa.Column("is_followed", sa.Boolean, nullable=False, index=True),
)


@dataclass(frozen=True, slots=True)
class Merge:
    """A number that no longer stands for a patient, and the one that does."""

    prior: PatientIdentifier
    surviving: PatientIdentifier


class PatientMerges(Store):
    """The table of merged numbers; every call is one transaction and idempotent."""

    def keep(self, merges: Iterable[Merge], sent_at: dt.datetime, issuers: Issuers) -> None:
        """Keep what a message says. Of two statements about a number, the one that was sent later holds."""
        sent_s = sent_at.timestamp()
        with self._engine.begin() as connection:
            for merge in merges:
                if not _overrules(connection, merge, sent_s, issuers):
                    continue
                values: dict[str, str | float | None] = {**_columns(merge), "sent_s": sent_s, "is_followed": False}
                digest = _digest(merge.prior)
                if not insert_or_keep(connection, _merges, digest=digest, **values):
                    is_older = (_merges.c.digest == digest) & (_merges.c.sent_s <= sent_s)
                    is_other = _merges.c.surviving_value != merge.surviving.value
                    connection.execute(sa.update(_merges).where(is_older, is_other).values(**values))

    def surviving(self, identifier: PatientIdentifier, issuers: Issuers) -> PatientIdentifier:
        """Return the number that stands for the patient now; the same one, if it was not merged."""
        with self._reading.connect() as connection:
            return _surviving(connection, identifier, issuers)

    def all_numbers(self, identifier: PatientIdentifier, issuers: Issuers) -> tuple[PatientIdentifier, ...]:
        """Return all numbers of the person, the surviving one first; only this one, if there was no merge."""
        with self._reading.connect() as connection:
            last = _surviving(connection, identifier, issuers)
            found, waiting = [last], [last]
            while waiting:
                number = waiting.pop()
                for merge in _read(connection, _merges.c.surviving_value == number.value.strip()):
                    if _is_same(merge.surviving, number, issuers) and not _is_in(merge.prior, found, issuers):
                        found[0] = merge.surviving if number is last else found[0]  # in one form, however it was asked for
                        found.append(merge.prior)
                        waiting.append(merge.prior)
        return (found[0], *sorted(found[1:], key=lambda one: (one.value, one.issuer, one.issuer_universal_id)))

    def with_all_numbers(self, patient: PatientIdentity, issuers: Issuers) -> PatientIdentity:
        """The patient with all numbers that were ever merged with the patient's."""
        numbers = (number for one in patient.identifiers for number in self.all_numbers(one, issuers))
        return replace(patient, identifiers=tuple(dict.fromkeys(numbers)))

    def with_surviving_numbers(self, patient: PatientIdentity, issuers: Issuers) -> PatientIdentity:
        """The patient with the numbers that stand for the patient now."""
        numbers = (self.surviving(one, issuers) for one in patient.identifiers)
        return replace(patient, identifiers=tuple(dict.fromkeys(numbers)))

    def merges(self, *, only_new: bool = False) -> tuple[Merge, ...]:
        """Return all merges, or those that were not followed yet."""
        with self._reading.connect() as connection:
            return _read(connection, _merges.c.is_followed.is_(False) if only_new else sa.true())

    def mark_followed(self, merges: Iterable[Merge]) -> None:
        """Record that results and alerts of the prior numbers are found under the surviving ones."""
        with self._engine.begin() as connection:
            for merge in merges:
                is_merge = sa.and_(*(_merges.c[name] == value for name, value in _columns(merge).items()))
                connection.execute(sa.update(_merges).where(is_merge).values(is_followed=True))

    def erase(self, numbers: Collection[PatientIdentifier], issuers: Issuers) -> int:
        """Forget all merges of these numbers; returns how many."""
        with self._engine.begin() as connection:
            meant = [
                merge
                for merge in _read(connection, sa.true())
                if _is_in(merge.prior, numbers, issuers) or _is_in(merge.surviving, numbers, issuers)
            ]
            for merge in meant:
                connection.execute(sa.delete(_merges).where(_merges.c.digest == _digest(merge.prior)))
        return len(meant)


def _overrules(connection: sa.Connection, merge: Merge, sent_s: float, issuers: Issuers) -> bool:
    """Whether the merge holds. It would lead back to itself if the two numbers were merged the other way round.

    Then the later statement holds, and the earlier one is removed.
    """
    number, seen = merge.surviving, [merge.surviving]
    while (step := _step(connection, number, issuers)) is not None:
        if _is_same(step.surviving, merge.prior, issuers):
            this = _merges.c.digest == _digest(step.prior)
            if connection.execute(sa.select(_merges.c.sent_s).where(this)).scalar_one() > sent_s:
                return False
            connection.execute(sa.delete(_merges).where(this))
            return True
        if _is_in(step.surviving, seen, issuers):
            return True
        seen.append(step.surviving)
        number = step.surviving
    return True


def _surviving(connection: sa.Connection, identifier: PatientIdentifier, issuers: Issuers) -> PatientIdentifier:
    number, seen = identifier, [identifier]
    while (step := _step(connection, number, issuers)) is not None and not _is_in(step.surviving, seen, issuers):
        number = step.surviving
        seen.append(number)
    return number


def _step(connection: sa.Connection, number: PatientIdentifier, issuers: Issuers) -> Merge | None:
    """The merge of a number; ``None`` if there is none, or its issuer is not known: nothing is guessed."""
    found = _read(connection, _merges.c.prior_value == number.value.strip())
    return next((merge for merge in found if _is_same(merge.prior, number, issuers)), None)


def _is_same(one: PatientIdentifier, other: PatientIdentifier, issuers: Issuers) -> bool:
    return one.value.strip() == other.value.strip() and bool(issuers.names_of(one) & issuers.names_of(other))


def _is_in(one: PatientIdentifier, others: Iterable[PatientIdentifier], issuers: Issuers) -> bool:
    return any(_is_same(one, other, issuers) for other in others)


def _digest(number: PatientIdentifier) -> str:
    parts = (number.value, number.issuer, number.issuer_universal_id)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _columns(merge: Merge) -> dict[str, str | float | None]:
    sides = {"prior": merge.prior, "surviving": merge.surviving}
    return {
        f"{side}_{name}": value
        for side, number in sides.items()
        for name, value in (
            ("value", number.value),
            ("issuer", number.issuer),
            ("universal_id", number.issuer_universal_id),
        )
    }


def _read(connection: sa.Connection, which: sa.ColumnElement[bool]) -> tuple[Merge, ...]:
    rows = connection.execute(sa.select(_merges).where(which).order_by(_merges.c.sent_s.desc(), _merges.c.digest))
    return tuple(_merge(row) for row in rows)


def _merge(row: Any) -> Merge:
    return Merge(
        PatientIdentifier(row.prior_value, row.prior_issuer, row.prior_universal_id),
        PatientIdentifier(row.surviving_value, row.surviving_issuer, row.surviving_universal_id),
    )
