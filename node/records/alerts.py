"""Alerts: the messages that were decided on, their state, and the patients that need a new decision.

Written by the worker, read by the status page and ``bmd-node alerts``. The tables hold no patient data: patients have
pseudonymous keys (:mod:`node.records.patient_key`), and the alert itself contains none.
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
from node.records.erased import refuse_erased

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

#: Every patient number, so that a plan can refer to the patient by any of them.
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
    # every event increments events; decided is its value at the last decision
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
    """The part of a reason that is read here."""

    detail: Phrase


class _Told(BaseModel):
    """The part of the JSON of an alert that is read here."""

    because: _Because | None = None


class MessageState(StrEnum):
    """State of a message. All but ``PENDING`` are final."""

    PENDING = "pending"
    TAKEN = "taken"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    NOT_NEEDED = "not_needed"


@dataclass(frozen=True, slots=True)
class KnownResult:
    """A run of a patient.

    Attributes:
        folder: folder of the report; ``None`` if the run measured nothing.
        identity_folder: folder with the identity of the patient.
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
        rules, because: for people.
        alert: the whole alert as JSON.
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
    """A message and its state; times are in seconds since the epoch.

    Attributes:
        attempts: number of attempts that have begun.
        answer: last answer of the receiver.
        answered_s: when it was accepted or refused; ``None`` while it is pending.
        acknowledged_s: when a person acknowledged the alert, if this was its last message then; else ``None``.
        acknowledged_by: how it was acknowledged: on the page or by the command line.
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
        """Why the message corrects, withdraws or escalates, in any language; ``None`` for a first message."""
        if not self.message.because:
            return None
        told = _Told.model_validate_json(self.message.alert).because
        return as_phrase(self.message.because) if told is None else told.detail


@dataclass(frozen=True, slots=True)
class DuePatient:
    """A patient to decide on. Pass ``events`` back with the decision."""

    patient_key: str
    events: int


class AlertRecords(Store):
    """The tables of the alerts; every call is one transaction and idempotent."""

    def __init__(self, engine: sa.Engine, clock: Callable[[], float] = time.time) -> None:
        """Take a database opened by :func:`node.records.database.open_database`, and a clock (seconds since the epoch)."""
        super().__init__(engine)
        self._clock = clock

    def keep_result(self, patient_key: str, number_keys: Collection[str], result: KnownResult) -> None:
        """Record a new report of a patient, and mark the patient for a decision.

        Raises:
            ErasedError: the study was erased.
        """
        with self._engine.begin() as connection:
            refuse_erased(connection, result.study_instance_uid)
            refuse_erased(connection, result.run_id.partition("~")[0])
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
                mark_for_decision(connection, [patient_key])

    def plans_changed(self, number_keys: Collection[str], sequence: int) -> None:
        """Mark patients with these numbers, whose plans have changed, and store the last change that was read."""
        with self._engine.begin() as connection:
            mark_for_decision(connection, self._with_numbers(connection, number_keys))
            insert_or_keep(connection, _cursors, name="plans", sequence=0)
            connection.execute(sa.update(_cursors).where(_cursors.c.name == "plans").values(sequence=sequence))

    def plans_read(self) -> int:
        """Return the number of the last change of plans that was read; 0 at the start."""
        with self._reading.connect() as connection:
            found = connection.execute(sa.select(_cursors.c.sequence).where(_cursors.c.name == "plans")).scalar_one_or_none()
        return int(found or 0)

    def due(self, now_s: float, limit: int = 100) -> tuple[DuePatient, ...]:
        """Return patients with new events or a passed due time."""
        is_due = (_patients.c.events > _patients.c.decided) | (_patients.c.due_s <= now_s)
        query = sa.select(_patients.c.patient_key, _patients.c.events).where(is_due).order_by(_patients.c.patient_key)
        with self._reading.connect() as connection:
            return tuple(DuePatient(row.patient_key, row.events) for row in connection.execute(query.limit(limit)))

    def decided(self, patient: DuePatient, messages: Sequence[NewMessage], due_s: float | None) -> bool:
        """Keep a decision completely, or not at all if another worker has decided on the patient in the meantime.

        Args:
            due_s: when to decide again if there is no event before.

        Returns:
            Whether the decision was kept. If not, the patient is still due.
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
                # a message known under another number of the same person is not sent twice
                if not is_new and connection.execute(same).scalar_one() == patient.patient_key:
                    transaction.rollback()
                    return False
            is_patient = _patients.c.patient_key == patient.patient_key
            known = connection.execute(sa.update(_patients).where(is_patient).values(decided=patient.events, due_s=due_s))
            if not known.rowcount:  # erased, or merged into another patient, in the meantime
                transaction.rollback()
                return False
        return True

    def results_of(self, patient_key: str) -> tuple[KnownResult, ...]:
        """Return every report of a patient, in the order of recording."""
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
        """Return the report of one run."""
        with self._reading.connect() as connection:
            row = connection.execute(sa.select(_results).where(_results.c.run_id == run_id)).one_or_none()
        return None if row is None else _known_result(row)

    def patients_since(self, since_s: float) -> tuple[str, ...]:
        """Return keys of patients with a report recorded at this time or later, in that order."""
        query = (
            sa.select(_results.c.patient_key)
            .where(_results.c.recorded_s >= since_s)
            .group_by(_results.c.patient_key)
            .order_by(sa.func.min(_results.c.recorded_s), _results.c.patient_key)
        )
        with self._reading.connect() as connection:
            return tuple(connection.execute(query).scalars())

    def patients_with(self, number_keys: Collection[str]) -> tuple[str, ...]:
        """Return keys of the patients that have one of these numbers."""
        with self._reading.connect() as connection:
            return tuple(self._with_numbers(connection, number_keys))

    def merge_patients(self, surviving: str, number_keys: Collection[str]) -> None:
        """All patients with one of these numbers are one; results and messages go to the one with the surviving number."""
        with self._engine.begin() as connection:
            patients = self._with_numbers(connection, {surviving, *number_keys})
            if not patients:
                return
            target = next(iter(self._with_numbers(connection, [surviving])), patients[0])
            others = [key for key in patients if key != target]
            of_others = sa.select(_numbers.c.number_key).where(_numbers.c.patient_key.in_(others))
            numbers = {surviving, *number_keys, *connection.execute(of_others).scalars()}
            is_news = [insert_or_keep(connection, _numbers, number_key=one, patient_key=target) for one in sorted(numbers)]
            for table in (_numbers, _patients):
                connection.execute(sa.delete(table).where(table.c.patient_key.in_(others)))
            for table in (_results, _messages):
                connection.execute(sa.update(table).where(table.c.patient_key.in_(others)).values(patient_key=target))
            if others or any(is_news):
                mark_for_decision(connection, [target])

    def waiting(self) -> tuple[str, ...]:
        """Return ids of the messages that no worker has taken yet, oldest first."""
        query = sa.select(_messages.c.message_id).where(_messages.c.handed_over_s.is_(None))
        with self._reading.connect() as connection:
            return tuple(connection.execute(query.order_by(_messages.c.decided_s, _messages.c.message_id)).scalars())

    def mark_handed_over(self, message_id: str) -> None:
        """Record that a worker has taken a message; it is not returned again."""
        self._update(message_id, handed_over_s=self._clock())

    def begin_attempt(self, message_id: str) -> None:
        """Record that an attempt begins. From now on, the recipient may have received the message."""
        self._update(message_id, attempts=_messages.c.attempts + 1)

    def answered(self, message_id: str, state: MessageState, answer: str) -> None:
        """Record the state of a message. Any state but ``PENDING`` is final and marks the patient for a new decision."""
        with self._engine.begin() as connection:
            is_message = _messages.c.message_id == message_id
            ends = state is not MessageState.PENDING
            values = {"state": state, "answer": answer, "answered_s": self._clock() if ends else None}
            connection.execute(sa.update(_messages).where(is_message).values(**values))
            if ends:
                key = connection.execute(sa.select(_messages.c.patient_key).where(is_message)).scalar_one_or_none()
                mark_for_decision(connection, [] if key is None else [key])

    def acknowledge(self, alert_id: str, by: str) -> bool:
        """Record that a person has read an alert up to its last message. ``False`` if no alert has this id. Idempotent."""
        with self._engine.begin() as connection:
            query = sa.select(_messages.c.patient_key, _messages.c.revision).where(_messages.c.alert_id == alert_id)
            last = connection.execute(query.order_by(_messages.c.revision.desc()).limit(1)).one_or_none()
            if last is None:
                return False
            values: dict[str, str | float | None] = {"acknowledged_s": self._clock(), "acknowledged_by": by}
            if insert_or_keep(connection, _acknowledged, alert_id=alert_id, revision=last.revision, **values):
                mark_for_decision(connection, [last.patient_key])
        return True

    def message(self, message_id: str) -> MessageRecord | None:
        """Return one message, or ``None`` if it is not known."""
        found = self._read(_messages.c.message_id == message_id)
        return found[0] if found else None

    def of_alert(self, alert_id: str) -> tuple[MessageRecord, ...]:
        """Return the messages of one alert, by revision."""
        return tuple(sorted(self._read(_messages.c.alert_id == alert_id), key=lambda one: one.message.revision))

    def of_patient(self, patient_key: str) -> tuple[MessageRecord, ...]:
        """Return every message of a patient, oldest first."""
        return self._read(_messages.c.patient_key == patient_key)

    def of_study(self, study_instance_uid: str) -> tuple[MessageRecord, ...]:
        """Return every message about a study, oldest first."""
        return self._read(_messages.c.study_instance_uid == study_instance_uid)

    def since(self, since_s: float) -> tuple[MessageRecord, ...]:
        """Return every message that was decided on at this time or later, oldest first."""
        return self._read(_messages.c.decided_s >= since_s)

    def count_by_state(self) -> dict[MessageState, int]:
        """Count the messages in each state."""
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


def mark_for_decision(connection: sa.Connection, patient_keys: Collection[str]) -> None:
    """Record that something about these patients is new, in the transaction of the caller."""
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
