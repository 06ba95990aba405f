"""The alerts that were decided on, what became of each message, and which patients are to be decided on again.

Written by the worker, read by the status page and ``bmd-node alerts``. No patient data in here: patients stand under keys
that name nobody (:mod:`node.records.patient_key`), and the alert itself holds none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa
from pydantic import BaseModel

from node.language.phrase import Phrase, as_phrase
from node.records.database import Store, insert_or_keep, metadata

_results = sa.Table(
    "alert_results",
    metadata,
    sa.Column("run_id", sa.String(200), primary_key=True),
    sa.Column("patient_key", sa.String(64), nullable=False, index=True),
    sa.Column("study_instance_uid", sa.String(64), nullable=False),
    # empty: the run measured nothing
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("identity_folder", sa.Text, nullable=False),
    sa.Column("recorded_s", sa.Double, nullable=False, index=True),
)

#: Every number of a patient, so that a plan finds the patient by any of them.
_numbers = sa.Table(
    "alert_patient_numbers",
    metadata,
    sa.Column("number_key", sa.String(64), primary_key=True),
    sa.Column("patient_key", sa.String(64), primary_key=True),
)

_patients = sa.Table(
    "alert_patients",
    metadata,
    sa.Column("patient_key", sa.String(64), primary_key=True),
    # raised by every event; decided is what it was when the last decision was taken
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("decided", sa.Integer, nullable=False),
    sa.Column("due_s", sa.Double, index=True),
)

_messages = sa.Table(
    "alert_messages",
    metadata,
    sa.Column("message_id", sa.String(64), primary_key=True),
    sa.Column("alert_id", sa.String(64), nullable=False, index=True),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("rules", sa.Text, nullable=False),
    sa.Column("because", sa.Text, nullable=False),
    sa.Column("escalation", sa.Boolean, nullable=False),
    sa.Column("patient_key", sa.String(64), nullable=False, index=True),
    sa.Column("run_id", sa.String(200), nullable=False, index=True),
    sa.Column("study_instance_uid", sa.String(64), nullable=False, index=True),
    sa.Column("channel", sa.String(16), nullable=False),
    sa.Column("recipient", sa.String(254), nullable=False),
    sa.Column("alert", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Column("decided_s", sa.Double, nullable=False),
    sa.Column("handed_over_s", sa.Double, index=True),
    sa.Column("answered_s", sa.Double),
)

_acknowledged = sa.Table(
    "alert_acknowledgements",
    metadata,
    sa.Column("alert_id", sa.String(64), primary_key=True),
    # the last message when it was acknowledged
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("acknowledged_s", sa.Double, nullable=False),
    sa.Column("acknowledged_by", sa.String(64), nullable=False),
)

_cursors = sa.Table(
    "alert_cursors",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False),
)


class _Because(BaseModel):
    """A reason, as far as it is read here."""

    detail: Phrase


class _Told(BaseModel):
    """The JSON of an alert, as far as it is read here."""

    because: _Because | None = None


class MessageState(StrEnum):
    """Where a message stands; the last three are ends, too."""

    PENDING = "pending"
    TAKEN = "taken"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    NOT_NEEDED = "not_needed"


@dataclass(frozen=True, slots=True)
class KnownResult:
    """A run of a patient.

    Attributes:
        folder: of the report; ``None`` if the run measured nothing.
        identity_folder: where it is kept who the patient is.
        recorded_s: seconds since the epoch.
    """

    run_id: str
    study_instance_uid: str
    folder: Path | None
    identity_folder: Path
    recorded_s: float


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message that was decided on; see :class:`node.alerts.Alert`.

    Attributes:
        rules, because: for a person.
        alert: all of it, as JSON.
    """

    message_id: str
    alert_id: str
    revision: int
    kind: str
    rules: str
    because: str
    escalation: bool
    run_id: str
    study_instance_uid: str
    channel: str
    recipient: str
    alert: str


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A message and what became of it; times are seconds since the epoch.

    Attributes:
        attempts: that were begun.
        answer: what the other side said last.
        answered_s: when it was taken or refused; ``None`` as long as it is pending.
        acknowledged_s: when a person acknowledged the alert, this being its last message; ``None`` if nobody has.
        acknowledged_by: the way: the page, or the command line.
    """

    message: NewMessage
    patient_key: str
    state: MessageState
    attempts: int
    answer: str
    decided_s: float
    answered_s: float | None
    acknowledged_s: float | None
    acknowledged_by: str

    @property
    def because(self) -> Phrase | None:
        """Why it corrects, withdraws or escalates, for any language; ``None`` for a first message."""
        if not self.message.because:
            return None
        told = _Told.model_validate_json(self.message.alert).because
        return as_phrase(self.message.because) if told is None else told.detail


@dataclass(frozen=True, slots=True)
class DuePatient:
    """A patient to decide on; ``events`` is to be given back with the decision."""

    patient_key: str
    events: int


class AlertRecords(Store):
    """The tables of the alerts; every call is one transaction and may be repeated."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], float] = time.time) -> None:
        """Take a database as :func:`node.records.database.open_database` opens it, and a clock (seconds since the epoch)."""
        super().__init__(engine)
        self._clock = clock

    def keep_result(self, patient_key: str, number_keys: Collection[str], result: KnownResult) -> None:
        """A study of a patient has a new report: the patient is to be decided on."""
        with self._engine.begin() as connection:
            is_new = insert_or_keep(
                connection,
                _results,
                run_id=result.run_id,
                patient_key=patient_key,
                study_instance_uid=result.study_instance_uid,
                folder="" if result.folder is None else str(result.folder),
                identity_folder=str(result.identity_folder),
                recorded_s=result.recorded_s,
            )
            for number_key in sorted({*number_keys, patient_key}):
                insert_or_keep(connection, _numbers, number_key=number_key, patient_key=patient_key)
            if is_new:
                _event(connection, [patient_key])

    def plans_changed(self, number_keys: Collection[str], sequence: int) -> None:
        """Plans of patients with these numbers have changed, up to this change of the store of plans."""
        with self._engine.begin() as connection:
            _event(connection, self._with_numbers(connection, number_keys))
            insert_or_keep(connection, _cursors, name="plans", sequence=0)
            connection.execute(sa.update(_cursors).where(_cursors.c.name == "plans").values(sequence=sequence))

    def plans_read(self) -> int:
        """The last change of plans that was looked at; 0 at the start."""
        with self._reading.connect() as connection:
            found = connection.execute(sa.select(_cursors.c.sequence).where(_cursors.c.name == "plans")).scalar_one_or_none()
        return int(found or 0)

    def due(self, now_s: float, limit: int = 100) -> tuple[DuePatient, ...]:
        """Patients of whom something has changed, or whose time has come."""
        is_due = (_patients.c.events > _patients.c.decided) | (_patients.c.due_s <= now_s)
        query = sa.select(_patients.c.patient_key, _patients.c.events).where(is_due).order_by(_patients.c.patient_key)
        with self._reading.connect() as connection:
            return tuple(DuePatient(row.patient_key, row.events) for row in connection.execute(query.limit(limit)))

    def decided(self, patient: DuePatient, messages: Sequence[NewMessage], due_s: float | None) -> bool:
        """Keep a decision: all of it, or nothing if another worker has decided the same patient meanwhile.

        Args:
            due_s: when to decide again if nothing happens.

        Returns:
            Whether it was kept; if not, the patient is still due.
        """
        now_s = self._clock()
        with self._engine.connect() as connection, connection.begin() as transaction:
            for message in messages:
                is_new = insert_or_keep(
                    connection,
                    _messages,
                    **_columns(message),
                    patient_key=patient.patient_key,
                    state=MessageState.PENDING,
                    attempts=0,
                    answer="",
                    decided_s=now_s,
                    handed_over_s=None,
                    answered_s=None,
                )
                same = sa.select(_messages.c.patient_key).where(_messages.c.message_id == message.message_id)
                # told under another number of the same person: once is enough
                if not is_new and connection.execute(same).scalar_one() == patient.patient_key:
                    transaction.rollback()
                    return False
            is_patient = _patients.c.patient_key == patient.patient_key
            connection.execute(sa.update(_patients).where(is_patient).values(decided=patient.events, due_s=due_s))
        return True

    def results_of(self, patient_key: str) -> tuple[KnownResult, ...]:
        """Every report of a patient, in the order in which they were recorded."""
        query = sa.select(_results).where(_results.c.patient_key == patient_key)
        with self._reading.connect() as connection:
            rows = connection.execute(query.order_by(_results.c.recorded_s, _results.c.run_id)).all()
        return tuple(_known_result(row) for row in rows)

    def results_of_study(self, study_instance_uid: str) -> tuple[tuple[str, KnownResult], ...]:
        """The latest report of a study under the key of each patient whose it was, or was taken to be."""
        query = sa.select(_results).where(_results.c.study_instance_uid == study_instance_uid)
        with self._reading.connect() as connection:
            rows = connection.execute(query.order_by(_results.c.recorded_s, _results.c.run_id)).all()
        return tuple({str(row.patient_key): _known_result(row) for row in rows}.items())

    def result_of_run(self, run_id: str) -> KnownResult | None:
        """The report of one run."""
        with self._reading.connect() as connection:
            row = connection.execute(sa.select(_results).where(_results.c.run_id == run_id)).one_or_none()
        return None if row is None else _known_result(row)

    def patients_since(self, since_s: float) -> tuple[str, ...]:
        """Keys of the patients with a report that was recorded at this time or later, in that order."""
        query = (
            sa.select(_results.c.patient_key)
            .where(_results.c.recorded_s >= since_s)
            .group_by(_results.c.patient_key)
            .order_by(sa.func.min(_results.c.recorded_s), _results.c.patient_key)
        )
        with self._reading.connect() as connection:
            return tuple(connection.execute(query).scalars())

    def patients_with(self, number_keys: Collection[str]) -> tuple[str, ...]:
        """Keys of the patients that have one of these numbers."""
        with self._reading.connect() as connection:
            return tuple(self._with_numbers(connection, number_keys))

    def waiting(self) -> tuple[str, ...]:
        """Ids of the messages that no worker has taken yet, oldest first."""
        query = sa.select(_messages.c.message_id).where(_messages.c.handed_over_s.is_(None))
        with self._reading.connect() as connection:
            return tuple(connection.execute(query.order_by(_messages.c.decided_s, _messages.c.message_id)).scalars())

    def mark_handed_over(self, message_id: str) -> None:
        """A worker has taken it; it is not given again."""
        self._update(message_id, handed_over_s=self._clock())

    def begin_attempt(self, message_id: str) -> None:
        """An attempt begins: from now on the recipient may have it."""
        self._update(message_id, attempts=_messages.c.attempts + 1)

    def answered(self, message_id: str, state: MessageState, answer: str) -> None:
        """What became of a message; with anything but ``PENDING`` that is its end, and its patient is decided on again."""
        with self._engine.begin() as connection:
            is_message = _messages.c.message_id == message_id
            ends = state is not MessageState.PENDING
            values = {"state": state, "answer": answer, "answered_s": self._clock() if ends else None}
            connection.execute(sa.update(_messages).where(is_message).values(**values))
            if ends:
                key = connection.execute(sa.select(_messages.c.patient_key).where(is_message)).scalar_one_or_none()
                _event(connection, [] if key is None else [key])

    def acknowledge(self, alert_id: str, by: str) -> bool:
        """A person has read an alert up to its last message; ``False`` if there is none with this id. Twice is once."""
        with self._engine.begin() as connection:
            query = sa.select(_messages.c.patient_key, _messages.c.revision).where(_messages.c.alert_id == alert_id)
            last = connection.execute(query.order_by(_messages.c.revision.desc()).limit(1)).one_or_none()
            if last is None:
                return False
            values: dict[str, str | float | None] = {"acknowledged_s": self._clock(), "acknowledged_by": by}
            if insert_or_keep(connection, _acknowledged, alert_id=alert_id, revision=last.revision, **values):
                _event(connection, [last.patient_key])
        return True

    def message(self, message_id: str) -> MessageRecord | None:
        """One message."""
        found = self._read(_messages.c.message_id == message_id)
        return found[0] if found else None

    def of_alert(self, alert_id: str) -> tuple[MessageRecord, ...]:
        """The messages of one alert, by revision."""
        return tuple(sorted(self._read(_messages.c.alert_id == alert_id), key=lambda one: one.message.revision))

    def of_patient(self, patient_key: str) -> tuple[MessageRecord, ...]:
        """Every message of a patient, oldest first."""
        return self._read(_messages.c.patient_key == patient_key)

    def of_study(self, study_instance_uid: str) -> tuple[MessageRecord, ...]:
        """Every message that spoke of a study, oldest first."""
        return self._read(_messages.c.study_instance_uid == study_instance_uid)

    def since(self, since_s: float) -> tuple[MessageRecord, ...]:
        """Every message that was decided on at this time or later, oldest first."""
        return self._read(_messages.c.decided_s >= since_s)

    def count_by_state(self) -> dict[MessageState, int]:
        """Number of messages in each state."""
        with self._reading.connect() as connection:
            rows = connection.execute(sa.select(_messages.c.state, sa.func.count()).group_by(_messages.c.state)).all()
        counted = {MessageState(state): int(n) for state, n in rows}
        return {state: counted.get(state, 0) for state in MessageState}

    def _with_numbers(self, connection: sa.Connection, number_keys: Collection[str]) -> list[str]:
        query = sa.select(_numbers.c.patient_key).where(_numbers.c.number_key.in_(sorted(number_keys))).distinct()
        return list(connection.execute(query.order_by(_numbers.c.patient_key)).scalars())

    def _update(self, message_id: str, **values: object) -> None:
        with self._engine.begin() as connection:
            connection.execute(sa.update(_messages).where(_messages.c.message_id == message_id).values(**values))

    def _read(self, which: sa.ColumnElement[bool]) -> tuple[MessageRecord, ...]:
        is_acknowledged = (_acknowledged.c.alert_id == _messages.c.alert_id) & (
            _acknowledged.c.revision == _messages.c.revision
        )
        query = (
            sa.select(_messages, _acknowledged.c.acknowledged_s, _acknowledged.c.acknowledged_by)
            .join(_acknowledged, is_acknowledged, isouter=True)
            .where(which)
            .order_by(_messages.c.decided_s, _messages.c.alert_id, _messages.c.revision)
        )
        with self._reading.connect() as connection:
            return tuple(_record(row) for row in connection.execute(query))


def _event(connection: sa.Connection, patient_keys: Collection[str]) -> None:
    for key in patient_keys:
        insert_or_keep(connection, _patients, patient_key=key, events=0, decided=0, due_s=None)
        is_patient = _patients.c.patient_key == key
        connection.execute(sa.update(_patients).where(is_patient).values(events=_patients.c.events + 1))


def _columns(message: NewMessage) -> dict[str, str | float | None]:
    names = NewMessage.__dataclass_fields__
    return {name: getattr(message, name) for name in names}


def _known_result(row: sa.Row[tuple[object, ...]]) -> KnownResult:
    folder = Path(row.folder) if row.folder else None
    return KnownResult(row.run_id, row.study_instance_uid, folder, Path(row.identity_folder), row.recorded_s)


def _record(row: sa.Row[tuple[object, ...]]) -> MessageRecord:
    return MessageRecord(
        message=NewMessage(**{name: getattr(row, name) for name in NewMessage.__dataclass_fields__}),
        patient_key=row.patient_key,
        state=MessageState(row.state),
        attempts=row.attempts,
        answer=row.answer,
        decided_s=row.decided_s,
        answered_s=row.answered_s,
        acknowledged_s=row.acknowledged_s,
        acknowledged_by=row.acknowledged_by or "",
    )
