"""The audit trail: who did what, when, and from where. Rows are only ever added, and each holds the hash of the one before.

The hash of a row is the SHA-256 of its fields and of the hash before it. A row that is changed or removed later breaks the
chain. Who can write to the database could compute a new chain from there on, or cut off its end: compare the last number
and hash, noted elsewhere, or keep a copy on another machine (``[audit] syslog_host``). Triggers of the database refuse
changes. The table holds no patient data beyond the UIDs of studies.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from node.records.database import Store, metadata

_audit = sa.Table(
    "audit",
    metadata,
    # given by the chain, without gaps
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    # ISO 8601 in UTC, as text: what is hashed must come back as it was
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("action", sa.String(32), nullable=False),
    sa.Column("is_success", sa.Boolean, nullable=False),
    sa.Column("user_name", sa.String(128), nullable=False),
    sa.Column("address", sa.String(64), nullable=False),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("previous_hash", sa.String(64), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)

#: How far the trail was sent to a syslog server, and until when one process alone sends.
_cursors = sa.Table(
    "audit_cursors",
    metadata,
    sa.Column("receiver", sa.String(300), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("holder", sa.String(64), nullable=False),
    sa.Column("held_until_s", sa.Double, nullable=False),
)

#: Before the first row.
NO_HASH = "0" * 64
#: Any number: it is a lock of this table alone.
_PG_LOCK = 4_711_019
_BATCH = 1000


class Action(StrEnum):
    """What was done, or refused."""

    START = "start"
    STOP = "stop"
    LOGIN = "login"
    LOGOUT = "logout"
    SESSION = "session"
    FORM = "form"
    ACCESS = "access"
    LIST = "list"
    VIEW = "view"
    EXPORT = "export"
    SEARCH = "search"
    CHANGE = "change"
    SIGN = "sign"
    ACKNOWLEDGE = "acknowledge"
    ACCOUNT = "account"
    AUDIT = "audit"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """What happened.

    Attributes:
        is_success: ``False`` if it was refused.
        user_name: who; empty if not known.
        address: from where; ``local`` for the command line.
        subject: Study Instance UID, or the account that was changed; empty if none.
        detail: for people, without patient data.
    """

    action: Action
    is_success: bool
    user_name: str
    address: str
    subject: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An entry of the trail; ``at`` is UTC."""

    number: int
    at: dt.datetime
    entry: AuditEntry
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class Chain:
    """What verifying has found; ``problem`` is empty if the chain is whole."""

    n_rows: int
    last_number: int
    last_hash: str
    problem: str


class AuditRecords(Store):
    """The table of the trail."""

    def add(self, entry: AuditEntry) -> int:
        """Add an entry, and return its number."""
        at = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                # SQLite's transactions write one after the other anyway
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_PG_LOCK)))
            last = connection.execute(
                sa.select(_audit.c.number, _audit.c.hash).order_by(_audit.c.number.desc()).limit(1)
            ).one_or_none()
            number, previous_hash = (1, NO_HASH) if last is None else (last.number + 1, last.hash)
            fields = {
                "number": number,
                "at": at,
                "action": entry.action.value,
                "is_success": entry.is_success,
                "user_name": _storable(entry.user_name, 128),
                "address": _storable(entry.address, 64),
                "subject": _storable(entry.subject, 2000),
                "detail": _storable(entry.detail, 2000),
                "previous_hash": previous_hash,
            }
            connection.execute(sa.insert(_audit).values(**fields, hash=_hash_of(fields)))
        return number

    def rows(self, after: int = 0, limit: int | None = None) -> Iterator[AuditRow]:
        """The trail after a number, oldest first."""
        left = limit
        while left is None or left > 0:
            size = _BATCH if left is None else min(_BATCH, left)
            query = sa.select(_audit).where(_audit.c.number > after).order_by(_audit.c.number).limit(size)
            with self._reading.connect() as connection:
                batch = [_row(row) for row in connection.execute(query)]
            yield from batch
            if len(batch) < size:
                return
            after, left = batch[-1].number, None if left is None else left - len(batch)

    def last_number(self) -> int:
        """Number of the last entry; 0 if there is none."""
        with self._reading.connect() as connection:
            return connection.execute(sa.select(sa.func.max(_audit.c.number))).scalar() or 0

    def verify(self, known: tuple[int, str] | None = None) -> Chain:
        """Compute the chain again.

        Args:
            known: a number and its hash, noted earlier. The trail must still hold it.
        """
        number, last, n_rows = 0, NO_HASH, 0
        is_known_found = known is None
        while True:
            query = sa.select(_audit).where(_audit.c.number > number).order_by(_audit.c.number).limit(_BATCH)
            with self._reading.connect() as connection:
                batch = connection.execute(query).all()
            if not batch:
                break
            for row in batch:
                problem = _problem(row, number, last)
                if problem:
                    return Chain(n_rows, number, last, problem)
                number, last, n_rows = row.number, row.hash, n_rows + 1
                if known is not None and number == known[0]:
                    if last != known[1]:
                        return Chain(n_rows, number, last, f"entry {number} is another one than the one that was noted")
                    is_known_found = True
        if not is_known_found and known is not None:
            return Chain(n_rows, number, last, f"entry {known[0]}, which was noted, is missing: the end was cut off")
        return Chain(n_rows, number, last, "")

    def claim(self, receiver: str, holder: str, now_s: float, for_s: float) -> int | None:
        """Take the right to send the trail to a receiver, for some seconds.

        Returns:
            The number up to which it was sent; ``None`` if another process sends.
        """
        is_meant = _cursors.c.receiver == receiver
        is_free = (_cursors.c.holder == holder) | (_cursors.c.held_until_s < now_s)
        with self._engine.begin() as connection:
            row = connection.execute(sa.select(_cursors).where(is_meant)).one_or_none()
            if row is None:
                # what was done before somebody wanted it sent stays here
                last = connection.execute(sa.select(sa.func.max(_audit.c.number))).scalar() or 0
                values = {"number": last, "holder": holder, "held_until_s": now_s + for_s}
                connection.execute(sa.insert(_cursors).values(receiver=receiver, **values))
                return int(last)
            change = sa.update(_cursors).where(is_meant, is_free).values(holder=holder, held_until_s=now_s + for_s)
            return int(row.number) if connection.execute(change).rowcount == 1 else None

    def sent(self, receiver: str, number: int) -> None:
        """Record that everything up to a number was sent."""
        is_meant = (_cursors.c.receiver == receiver) & (_cursors.c.number < number)
        with self._engine.begin() as connection:
            connection.execute(sa.update(_cursors).where(is_meant).values(number=number))


def _storable(text: str, most: int) -> str:
    """What both databases take: no NUL, no lone surrogates, not endless."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")[:most]


def _hash_of(fields: dict[str, object]) -> str:
    text = json.dumps(fields, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _problem(row: sa.Row[tuple[object, ...]], before: int, previous_hash: str) -> str:
    if row.number != before + 1:
        return f"entry {before + 1} is missing"
    if row.previous_hash != previous_hash:
        return f"entry {row.number} does not follow entry {before}: one of them was changed"
    fields = {column.name: getattr(row, column.name) for column in _audit.columns if column.name != "hash"}
    return "" if row.hash == _hash_of(fields) else f"entry {row.number} was changed"


def _row(row: sa.Row[tuple[object, ...]]) -> AuditRow:
    entry = AuditEntry(Action(row.action), row.is_success, row.user_name, row.address, row.subject, row.detail)
    return AuditRow(row.number, dt.datetime.fromisoformat(row.at), entry, row.previous_hash, row.hash)
