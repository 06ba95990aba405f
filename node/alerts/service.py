"""Decides on alerts with what the stores know, and sends one message at a time.

Every event (a new report, a changed plan, an answer, an acknowledgement, a time that has come) only marks the patient. The
decision then uses everything that is known. Decision and mark are one transaction, so that a crash loses nothing and repeats
nothing. Durable workflows send the messages (:mod:`node.worker.workflows`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from node.alerts import (
    Action,
    Alert,
    AlertKind,
    Channel,
    Sent,
    SentState,
    channel_for,
    channels_on,
    decide_patient,
    message_for,
    operation_key,
    screened,
)
from node.alerts.cases import KnownPatient, KnownStudy, cases_at
from node.clinical.identity import Issuers, PatientIdentity
from node.clinical.imaging_order import OrderText
from node.clinical.planned_operation import PlanSource
from node.common.errors import ConfigurationError, InputError, RejectedError, TransportError
from node.records.alert_links import AlertLinks
from node.records.alerts import AlertRecords, DuePatient, KnownResult, MessageRecord, MessageState, NewMessage
from node.records.database import open_database
from node.records.patient_key import PatientKeys
from node.records.patient_merges import Merge, PatientMerges
from node.records.planned_operations import PlannedOperations
from node.settings.tree import Settings
from node.study.run_folder import load_identity, load_kept_run, save_identity

log = logging.getLogger(__name__)

_ALERT_JSON = TypeAdapter(Alert)
#: A patient whose decision failed is tried again after this time, or at the next event.
_AGAIN_AFTER_S = 3600.0
#: After a message was decided on, its patient is decided on again, to find out when the acknowledgement is due. While the
#: receiver does not answer there is no other event, and the second recipient would never be alerted.
_UNTIL_IT_COUNTS = dt.timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The decision on one patient."""

    actions: tuple[Action, ...]
    messages: tuple[NewMessage, ...]
    due: dt.datetime | None


@dataclass(frozen=True, slots=True)
class ToSend:
    """A message with its channel, or why it is not sent."""

    alert: Alert
    channel: Channel | None
    state: MessageState
    because: str


class AlertService:
    """The stores of alerts, results and plans together."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        """Open the stores.

        Args:
            clock: seconds since the epoch.

        Raises:
            ConfigurationError: the database cannot be opened.
        """
        self._settings = settings
        self._clock = clock
        self.records = AlertRecords(open_database(settings), clock)
        self._plans = PlannedOperations.open(settings)
        self._merges = PatientMerges.open(settings)
        self._keys = PatientKeys.open(settings)
        self._links = AlertLinks.open(settings)
        self._issuers = Issuers(settings.plans.issuers, settings.plans.default_issuer)
        self._channels_on = channels_on(settings)

    @property
    def issuers(self) -> Issuers:
        """Spellings of the issuers at this site."""
        return self._issuers

    def keep_result(
        self, run_id: str, study_instance_uid: str, identity: PatientIdentity, folder: Path | None, identity_folder: Path
    ) -> None:
        """Record a new report of a study, and mark its patient. A study without a patient number is a patient of its own.

        Args:
            folder: of the report; ``None`` if the run measured nothing.
            identity_folder: holds who the patient is.
        """
        keys = self._number_keys(identity) or [key for key in [self._keys.key("study", study_instance_uid)] if key]
        if folder in (None, identity_folder):
            save_identity(identity_folder, identity)
        known = KnownResult(run_id, study_instance_uid, folder, identity_folder, self._clock())
        # a patient who is known by one of the numbers keeps the key
        patient_key = next(iter(self.records.patients_with(keys)), keys[0])
        self.records.keep_result(patient_key, keys, known)
        self.withdraw_study(run_id, study_instance_uid, patient_key)

    def withdraw_study(self, run_id: str, study_instance_uid: str, patient_key: str | None = None) -> None:
        """A study is this patient's, or nobody's (``None``): others whose it was taken to be are decided on without it.

        Args:
            run_id: which has found out.
        """
        for other, known in self.records.results_of_study(study_instance_uid):
            if other != patient_key and known.folder is not None:
                # a run under two patients needs two names
                name = f"{run_id}~{other[:16]}"
                left = KnownResult(name, study_instance_uid, None, known.identity_folder, self._clock())
                self.records.keep_result(other, [], left)

    def follow(self, merge: Merge) -> None:
        """Two numbers are one person: results, alerts and plans of both are decided on together from now on."""
        keys = self._number_keys(PatientIdentity((merge.prior,)))
        surviving = self._keys.key(None, self._merges.surviving(merge.prior, self._issuers).value)
        if surviving is not None:
            self.records.merge_patients(surviving, keys)

    def keep_recalculated(self, run_id: str, measured_run_id: str, folder: Path) -> None:
        """Record a report that was issued again, and mark its patient.

        Args:
            measured_run_id: the run that measured it; ignored if it was never recorded here.

        Raises:
            InputError: the file that says who the patient is is gone.
        """
        known = self.records.result_of_run(measured_run_id)
        if known is not None:
            identity = load_identity(known.identity_folder)
            self.keep_result(run_id, known.study_instance_uid, identity, folder, known.identity_folder)

    def read_plans(self) -> int:
        """Mark the patients whose plans have changed since the last call; returns the number of changes."""
        changes = self._plans.changes_since(self.records.plans_read())
        if changes:
            said = [change.operation for change in changes]
            said += [change.previous for change in changes if change.previous is not None]
            keys = {key for plan in said for key in self._number_keys(plan.patient)}
            self.records.plans_changed(keys, changes[-1].sequence)
        return len(changes)

    def decide_due(self, now: dt.datetime) -> int:
        """Decide on every patient who is due; returns the number of new messages."""
        n_messages = 0
        for patient in self.records.due(now.timestamp()):
            try:
                evaluation = self.evaluate(patient.patient_key, now)
            except (InputError, ValidationError):
                log.exception("cannot decide on the alerts of patient %s now", patient.patient_key[:12])
                self.records.decided(patient, (), now.timestamp() + _AGAIN_AFTER_S)
                continue
            n_messages += self._keep(patient, evaluation)
        return n_messages

    def evaluate(self, patient_key: str, now: dt.datetime) -> Evaluation:
        """Decide on one patient; changes nothing.

        Raises:
            InputError: a file of a report is missing or damaged.
        """
        sent = self._sent(patient_key)
        told = _told(sent)
        cases = cases_at(self._known_patient(patient_key, told), now, told, self._issuers, self._settings.alert)
        actions = decide_patient(cases, sent, self._settings.alert, self._channels_on, now)
        alerts = [self._of_patient(action.alert, patient_key) for action in actions if action.alert is not None]
        dues = [action.due for action in actions if action.due is not None]
        dues += [now + _UNTIL_IT_COUNTS] if alerts else []
        return Evaluation(actions, tuple(_new_message(alert) for alert in alerts), min(dues, default=None))

    def _of_patient(self, alert: Alert, patient_key: str) -> Alert:
        """The alert, with an id of its own if the study was first taken to be another patient's.

        The order in its headers is then one operation of two patients. One person under two numbers is told once.
        """
        others = {record.patient_key for record in self.records.of_alert(alert.id)}
        if not others or patient_key in others:
            return alert
        latest = dict(self.records.results_of_study(alert.result.study_instance_uid))
        if not all(key in latest and latest[key].folder is None for key in others):
            return alert
        return replace(alert, id=hashlib.sha256(f"{alert.id} {patient_key}".encode()).hexdigest()[:32])

    def known_patient(self, patient_key: str) -> KnownPatient:
        """All reports of a patient, and all plans that are, may be or were assumed to be the patient's.

        Raises:
            InputError: a file of a report is missing or damaged.
        """
        return self._known_patient(patient_key, _told(self._sent(patient_key)))

    def _known_patient(self, patient_key: str, told: Collection[str]) -> KnownPatient:
        studies = tuple(self._study(known) for known in self.records.results_of(patient_key))
        keys = {
            matched.operation.key
            for identity in {study.identity for study in studies}
            for matched in self._plans.for_patient(identity, self._issuers)
        }
        keys |= {operation_key(id_) for id_ in told}
        # imaging orders come with the studies
        histories = [self._plans.history(key) for key in sorted(keys, key=repr) if key.source is not PlanSource.DICOM_ORDER]
        return KnownPatient(studies, tuple(history for history in histories if history))

    def attempt(self, message_id: str) -> bool:
        """Make one attempt at a message and record the answer; returns whether it was the last attempt."""
        try:
            to_send = self.to_send(message_id)
            if to_send.channel is None:
                self.records.answered(message_id, to_send.state, to_send.because)
                return to_send.state is not MessageState.PENDING
            answer = self.send(to_send)
        except (RejectedError, InputError) as error:
            log.error("alert %s refused permanently: %s", message_id, error)  # noqa: TRY400 - no traceback for an answer
            self.records.answered(message_id, MessageState.REJECTED, str(error))
            return True
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            # a fault of the node: a person must see it, and somebody else gets the alert instead
            log.exception("alert %s cannot be composed or sent", message_id)
            self.records.answered(message_id, MessageState.REJECTED, f"failed: {type(error).__name__}")
            return True
        except (TransportError, ConfigurationError) as error:
            # the alert waits until a person replaces an expired certificate
            log.warning("alert %s: %s", message_id, error)
            self.records.answered(message_id, MessageState.PENDING, str(error))
            return False
        self.records.answered(message_id, MessageState.TAKEN, answer)
        return True

    def to_send(self, message_id: str) -> ToSend:
        """What to do with a message now: an attempt, another wait, or nothing more.

        A message that was replaced by a later one is not sent. A correction of a message that was never sent is sent as a
        first message, and a withdrawal of it is not needed.

        Raises:
            ConfigurationError: a file that the settings name for the channel cannot be used.
        """
        record = self.records.message(message_id)
        if record is None:
            raise InputError(f"the message {message_id} is not in the database")
        alert = _ALERT_JSON.validate_json(record.message.alert)
        all_of_it = self.records.of_alert(record.message.alert_id)
        if any(one.message.revision > alert.revision for one in all_of_it):
            return ToSend(alert, None, MessageState.SUPERSEDED, "replaced by a later message")
        earlier = [one for one in all_of_it if one.message.revision < alert.revision]
        if any(one.state is MessageState.PENDING for one in earlier):
            return ToSend(alert, None, MessageState.PENDING, "waiting for the message before it")
        if earlier and not any(one.attempts for one in earlier):
            if alert.kind is AlertKind.WITHDRAWAL:
                return ToSend(alert, None, MessageState.NOT_NEEDED, "the message that it withdraws was never sent")
            alert = replace(alert, kind=AlertKind.NEW, because=None)
        name = alert.recipient.channel
        if name not in self._channels_on.names:
            return ToSend(alert, None, MessageState.REJECTED, "the channel is no longer switched on")
        return ToSend(alert, channel_for(name, self._settings), MessageState.PENDING, "")

    def send(self, to_send: ToSend) -> str:
        """Make one attempt; returns the answer.

        Raises:
            NodeError: see :meth:`node.alerts.Channel.send`; also if the file that says who the patient is is gone.
        """
        alert, channel = to_send.alert, to_send.channel
        if channel is None:
            raise ValueError("this message has no channel")
        known = self.records.result_of_run(alert.result.run_id)
        if known is None:
            raise InputError(f"the report {alert.result.run_id} is not in the database")
        patient = self._merges.with_surviving_numbers(load_identity(known.identity_folder), self._issuers)
        link = self._links.link(self._settings.alert.acknowledge_url, alert.id)
        order = _order_of(known)
        message = message_for(alert, self._settings.alert, self._settings.report.language, link, order)
        self.records.begin_attempt(alert.message_id)
        return channel.send(alert, message, patient)

    def text_of(self, alert: Alert) -> str:
        """Subject and text as they would be sent now, without the link for the acknowledgement."""
        message = message_for(alert, self._settings.alert, self._settings.report.language)
        return f"{message.subject}\n\n{message.text}"

    def _keep(self, patient: DuePatient, evaluation: Evaluation) -> int:
        due_s = evaluation.due.timestamp() if evaluation.due is not None else None
        if not self.records.decided(patient, evaluation.messages, due_s):
            return 0
        for action in evaluation.actions:
            channel = action.recipient.channel if action.recipient is not None else "-"
            log.info("alerts of patient %s: %s, %s: %s", patient.patient_key[:12], action.kind, channel, action.reason.code)
        return len(evaluation.messages)

    def _study(self, known: KnownResult) -> KnownStudy:
        recorded_at = dt.datetime.fromtimestamp(known.recorded_s, dt.UTC)
        if known.folder is None:
            order = OrderText(known.study_instance_uid)
            return KnownStudy(recorded_at, known.study_instance_uid, None, order, PatientIdentity())
        # plans name the patient by any number that was merged with the one in the images
        identity = self._merges.with_all_numbers(load_identity(known.identity_folder), self._issuers)
        kept = load_kept_run(known.folder)
        result = screened(known.run_id, kept.result, kept.order)
        return KnownStudy(recorded_at, known.study_instance_uid, result, kept.order, identity)

    def _number_keys(self, identity: PatientIdentity) -> list[str]:
        """Keys of all numbers of a patient, without their issuers: sources spell an issuer differently."""
        merged = self._merges.with_all_numbers(identity, self._issuers).identifiers
        keys = [self._keys.key(None, identifier.value) for identifier in (*identity.identifiers, *merged)]
        return [key for key in dict.fromkeys(keys) if key is not None]

    def _sent(self, patient_key: str) -> tuple[Sent, ...]:
        return tuple(_sent_of(record) for record in self.records.of_patient(patient_key))


def _order_of(known: KnownResult) -> OrderText | None:
    """What the headers say about who requested the CT; ``None`` if the file is gone, so that the alert is not held up."""
    try:
        return load_kept_run(known.folder).order if known.folder is not None else None
    except InputError as error:
        log.warning("an alert is sent without who requested the CT: %s", error)
        return None


def _sent_of(record: MessageRecord) -> Sent:
    states = {MessageState.TAKEN: SentState.TAKEN, MessageState.REJECTED: SentState.REJECTED}
    since_s = record.answered_s if record.answered_s is not None else record.decided_s
    return Sent(
        alert=_ALERT_JSON.validate_json(record.message.alert),
        state=states.get(record.state, SentState.PENDING),
        since=dt.datetime.fromtimestamp(since_s, dt.UTC),
        acknowledged=record.acknowledged_s is not None,
    )


def _told(sent: Collection[Sent]) -> frozenset[str]:
    """Ids of the operations that somebody was alerted to."""
    return frozenset(one.alert.operation.id for one in sent)


def _new_message(alert: Alert) -> NewMessage:
    return NewMessage(
        message_id=alert.message_id,
        alert_id=alert.id,
        revision=alert.revision,
        kind=alert.kind.value,
        rules=", ".join(alert.rules),
        because=alert.because.detail if alert.because is not None else "",
        escalation=alert.escalation,
        run_id=alert.result.run_id,
        study_instance_uid=alert.result.study_instance_uid,
        channel=alert.recipient.channel,
        recipient=alert.recipient.address,
        alert=_ALERT_JSON.dump_json(alert).decode(),
    )
