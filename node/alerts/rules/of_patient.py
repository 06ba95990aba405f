"""The decisions on all operations of one patient: which messages belong to which operation.

A plan may come anew under another name: an imaging order is overtaken by the appointment for the same operation, or by the
order of another CT, and a theatre list by a scheduling message. Then the new one inherits the alerts of the old, so that
their recipients get a correction where something has changed, and not a second alert.
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
    """An operation with the results that are, or may be, of its patient."""

    operation: Operation
    offers: tuple[Offer, ...]


def decide_patient(
    cases: Sequence[Case],
    sent: Sequence[Sent],
    settings: AlertSettings,
    channels: ChannelsOn,
    now: dt.datetime,
) -> tuple[Action, ...]:
    """Decide on every operation of a patient, also on those that were told of and are gone.

    Args:
        cases: the operations as they are known now, each once; of two that speak of the same one only the more trusted.
        sent: every message of this patient so far.
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
    """The operation that a weaker source meant: of the same patient, and this recipient was not told of it yet.

    An imaging order without a date means the next one; a plan with a date one of the same day.

    Args:
        has_vanished: the operation is no longer found in its source: a weaker source that still knows it takes it over, also
            one that says that it was cancelled.
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
