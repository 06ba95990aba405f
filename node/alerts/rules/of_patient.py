"""The decisions on all operations of one patient: which messages belong to which operation.

A plan may come again under another name: an appointment for the same operation, or the order of another CT, replaces an
imaging order, and a scheduling message replaces a theatre list. The new plan then inherits the alerts of the old one: their
recipients get a correction if something has changed, and not a second alert.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace

from node.alerts.rules.decision import Action, Sent, decide
from node.alerts.values import AlertKind, ChannelsOn, Offer, Operation
from node.clinical.planned_operation import PlanSource
from node.settings.alert import AlertSettings


@dataclass(frozen=True, slots=True)
class Case:
    """An operation with the results that belong, or may belong, to its patient."""

    operation: Operation
    offers: tuple[Offer, ...]


def decide_patient(
    cases: Sequence[Case],
    sent: Sequence[Sent],
    settings: AlertSettings,
    channels: ChannelsOn,
    now: dt.datetime,
) -> tuple[Action, ...]:
    """Decide on every operation of a patient, including those that are gone and that somebody was alerted to.

    Args:
        cases: the operations as known now; each once, from the most trusted source that has it.
        sent: every message about this patient so far.
    """
    of_alert: dict[str, list[Sent]] = {}
    for one in sorted(sent, key=lambda one: one.alert.revision):
        of_alert.setdefault(one.alert.id, []).append(one)
    known = {case.operation.id for case in cases}
    vanished = {case.operation.id for case in cases if case.operation.vanished}
    of_operation: dict[str, list[Sent]] = {}
    gone: list[list[Sent]] = []
    for messages in of_alert.values():
        operation_id = messages[-1].alert.operation.id
        if operation_id in known - vanished:
            of_operation.setdefault(operation_id, []).extend(messages)
        else:
            gone.append(messages)
    actions: list[Action] = []
    for messages in gone:
        operation_id = messages[-1].alert.operation.id
        heir = _heir(messages, cases, of_operation, has_vanished=operation_id in vanished)
        if heir is not None or operation_id in vanished:
            of_operation.setdefault(operation_id if heir is None else heir.operation.id, []).extend(messages)
            continue
        operation = replace(messages[-1].alert.operation, active=False)
        actions += decide(operation, (), messages, settings, channels, now)
    for case in cases:
        actions += decide(case.operation, case.offers, of_operation.get(case.operation.id, ()), settings, channels, now)
    return tuple(actions)


def _heir(
    messages: list[Sent], cases: Sequence[Case], of_operation: dict[str, list[Sent]], *, has_vanished: bool
) -> Case | None:
    """The operation that a weaker source meant: of the same patient, and one that this recipient was not alerted to yet.

    An imaging order without a date means the next operation; a plan with a date means one on the same day.

    Args:
        has_vanished: the operation is no longer found in its source. A weaker source that still has it takes it over, even
            if it says that the operation was cancelled.
    """
    last = messages[-1].alert
    if last.kind is AlertKind.WITHDRAWAL:
        return None
    study = last.result.study_instance_uid
    fitting = [
        case
        for case in cases
        if (case.operation.active or has_vanished)
        and not case.operation.vanished
        and case.operation.found is not None
        and _may_be_meant(last.operation, case.operation, has_vanished=has_vanished)
        and all(one.alert.recipient != last.recipient for one in of_operation.get(case.operation.id, ()))
        and any(offer.result.study_instance_uid == study and not offer.doubts for offer in case.offers)
    ]
    return min(fitting, key=_starts, default=None)


def _may_be_meant(weaker: Operation, stronger: Operation, *, has_vanished: bool) -> bool:
    if has_vanished and stronger.source is PlanSource.DICOM_ORDER:
        return False
    if weaker.source is PlanSource.DICOM_ORDER and stronger.source is PlanSource.DICOM_ORDER:
        return True
    if weaker.source.trust >= stronger.source.trust and not has_vanished:
        return False
    if weaker.starts is None or stronger.starts is None:
        return True
    return weaker.starts.astimezone(stronger.starts.tzinfo).date() == stronger.starts.date()


def _starts(case: Case) -> tuple[bool, bool, float]:
    starts = case.operation.starts
    return (not case.operation.active, starts is None, 0.0 if starts is None else starts.timestamp())
