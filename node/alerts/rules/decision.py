"""Who gets which message, and when: one pure function on values.

It uses what is known now and what was sent before, never the event that has just happened. So the order of events does not
matter: a result before its plan, a plan before its result, and every change of either lead to the same messages. A second
decision on the same values adds nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from node.alerts.rules.choice import chosen_result
from node.alerts.rules.quiet_hours import end_of_quiet_hours, site_time
from node.alerts.rules.recipients import can_still_be_told, first_recipients, second_recipients
from node.alerts.rules.thresholds import not_concerned
from node.alerts.rules.told import NO_LONGER_FOUND, difference
from node.alerts.values import Alert, AlertKind, ChannelsOn, Offer, Operation, Recipient, Rule, ScreenedResult, alert_id
from node.language.phrase import phrase
from node.model import Reason
from node.settings.alert import AlertSettings

#: Reasons for a withdrawal that mean that the message was wrong. With all others, the plans have changed.
_WRONG = frozenset(
    {
        "bmd_not_low",
        "attenuation_not_low",
        "no_bmd",
        "category_withheld",
        "not_measured",
        "other_study",
        "patient_in_doubt",
        "no_result",
    }
)


class SentState(StrEnum):
    """State of a message."""

    PENDING = "pending"
    TAKEN = "taken"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was decided on before.

    Attributes:
        since: when it was accepted or refused; until then, when it was decided on.
        acknowledged: whether a person acknowledged the alert while this was its last message.
    """

    alert: Alert
    state: SentState
    since: dt.datetime
    acknowledged: bool = False


class ActionKind(StrEnum):
    """What to do."""

    SEND = "send"
    CORRECT = "correct"
    WITHDRAW = "withdraw"
    ESCALATE = "escalate"
    WAIT = "wait"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Action:
    """One decision, with its reason.

    Attributes:
        recipient: ``None`` if it is about the operation as a whole.
        alert: the message to send; ``None`` to wait or do nothing.
        due: for a wait, when to decide again.
    """

    kind: ActionKind
    operation_id: str
    reason: Reason
    recipient: Recipient | None = None
    alert: Alert | None = None
    due: dt.datetime | None = None


def decide(
    operation: Operation,
    offers: Sequence[Offer],
    sent: Sequence[Sent],
    settings: AlertSettings,
    channels: ChannelsOn,
    now: dt.datetime,
) -> tuple[Action, ...]:
    """Decide on one planned operation.

    Args:
        operation: as known now.
        offers: the latest report of every study that belongs, or may belong, to its patient.
        sent: every message of its alerts so far, in any order.
        settings: rules and recipients.
        channels: the channels that are switched on.
        now: aware.

    Returns:
        At least one action. In quiet hours, one action that waits for their end replaces the messages.
    """
    if operation.starts is not None and operation.starts <= now:
        return (_nothing(operation, Reason("operation_began", phrase("the operation has started or is over"))),)
    if operation.open_until is not None and site_time(now, settings).date() > operation.open_until:
        return (_nothing(operation, Reason("plan_is_old", phrase("the plan has no date and is too old to be still open"))),)
    latest = _latest(sent)
    open_alerts = {id_: one for id_, one in latest.items() if one.alert.kind is not AlertKind.WITHDRAWAL}
    refused = not_concerned(operation, settings)
    choice = refused or chosen_result(operation, offers, settings, now, bool(open_alerts))
    if isinstance(choice, Reason):
        actions = [_withdrawal(operation, one, choice) for one in open_alerts.values() if _reaches(one, settings, channels)]
        return _outside_quiet_hours(actions, operation, settings, now) or (_nothing(operation, choice),)
    result, rules = choice
    begins_to_matter = _begins_to_matter(operation, settings)
    if begins_to_matter is not None and begins_to_matter > now and not open_alerts:
        why = Reason("too_far_ahead", phrase("the operation is more than {days} days ahead", days=settings.days_ahead))
        return (Action(ActionKind.WAIT, operation.id, why, due=begins_to_matter),)
    first = first_recipients(operation, settings, channels)
    if operation.vanished:
        # those who were alerted may have to ask; nobody else is alerted to an operation that may not take place
        actions = _further_messages(operation, result, rules, first, open_alerts, settings, channels)
        return _outside_quiet_hours(actions, operation, settings, now) or (_nothing(operation, NO_LONGER_FOUND),)
    if not first and not open_alerts:
        why = Reason("no_recipient", phrase("the rule {rule} applies, but the settings name no recipient", rule=rules[0]))
        return (_nothing(operation, why),)
    actions = _first_messages(operation, result, rules, first, latest)
    actions += _further_messages(operation, result, rules, first, open_alerts, settings, channels)
    if not _acknowledged(sent):
        actions += _escalations(operation, result, rules, first, sent, settings, channels, now)
    return _outside_quiet_hours(actions, operation, settings, now)


def _latest(sent: Sequence[Sent]) -> dict[str, Sent]:
    """The last message of every alert by the id of the alert, ordered by recipient."""
    latest: dict[str, Sent] = {}
    for one in sorted(sent, key=lambda one: one.alert.revision):
        latest[one.alert.id] = one
    return dict(sorted(latest.items(), key=lambda item: (item[1].alert.escalation, str(item[1].alert.recipient))))


def _acknowledged(sent: Sequence[Sent]) -> bool:
    """Whether somebody has acknowledged. A correction needs no second acknowledgement; an alert sent again after its
    withdrawal does.
    """
    since_new: dict[str, bool] = {}
    for one in sorted(sent, key=lambda one: one.alert.revision):
        goes_on = one.alert.kind is AlertKind.CORRECTION
        counts = one.acknowledged and one.alert.kind is not AlertKind.WITHDRAWAL
        since_new[one.alert.id] = counts or (goes_on and since_new.get(one.alert.id, False))
    return any(since_new.values())


def _of_recipient(recipient: Recipient, latest: dict[str, Sent]) -> Sent | None:
    return next((one for one in latest.values() if one.alert.recipient == recipient), None)


def _begins_to_matter(operation: Operation, settings: AlertSettings) -> dt.datetime | None:
    if operation.starts is None:
        return None
    return site_time(operation.starts, settings) - dt.timedelta(days=settings.days_ahead)


def _first_messages(
    operation: Operation,
    result: ScreenedResult,
    rules: tuple[Rule, ...],
    recipients: tuple[Recipient, ...],
    latest: dict[str, Sent],
) -> list[Action]:
    """To recipients who were not alerted yet, or whose alert was withdrawn."""
    actions = []
    for recipient in recipients:
        before = _of_recipient(recipient, latest)
        if before is None or before.alert.kind is AlertKind.WITHDRAWAL:
            alert = _alert(operation, result, rules, recipient, before)
            actions.append(Action(ActionKind.SEND, operation.id, _why(rules, result), recipient, alert))
    return actions


def _further_messages(
    operation: Operation,
    result: ScreenedResult,
    rules: tuple[Rule, ...],
    first: tuple[Recipient, ...],
    open_alerts: dict[str, Sent],
    settings: AlertSettings,
    channels: ChannelsOn,
) -> list[Action]:
    """To recipients who were alerted before: what has changed, or that the operation is no longer theirs."""
    actions = []
    for one in open_alerts.values():
        recipient = one.alert.recipient
        if not _reaches(one, settings, channels):
            continue
        if recipient not in first and not one.alert.escalation:
            actions.append(
                _withdrawal(operation, one, Reason("other_surgeon", phrase("the operation now has another surgeon")))
            )
            continue
        changed = difference(one.alert, operation, result, rules, settings)
        if changed is None:
            why = Reason("already_told", phrase("this recipient has been alerted, and nothing has changed since"))
            actions.append(Action(ActionKind.NOTHING, operation.id, why, recipient))
            continue
        alert = replace(
            one.alert,
            revision=one.alert.revision + 1,
            kind=AlertKind.CORRECTION,
            rules=rules,
            operation=operation,
            result=result,
            because=changed,
        )
        actions.append(Action(ActionKind.CORRECT, operation.id, changed, recipient, alert))
    return actions


def _escalations(
    operation: Operation,
    result: ScreenedResult,
    rules: tuple[Rule, ...],
    first: tuple[Recipient, ...],
    sent: Sequence[Sent],
    settings: AlertSettings,
    channels: ChannelsOn,
    now: dt.datetime,
) -> list[Action]:
    """To the second recipients, if nobody has acknowledged in time or nobody could be reached."""
    latest = _latest(sent)
    told = [one for one in latest.values() if one.alert.kind is not AlertKind.WITHDRAWAL and not one.alert.escalation]
    second = [
        recipient
        for recipient in second_recipients(settings, channels)
        if recipient not in first and _was_withdrawn_or_never_sent(recipient, latest)
    ]
    if not told or not second:
        return []
    if all(one.state is SentState.REJECTED for one in told):
        due, why = now, Reason("nobody_reached", phrase("every recipient refused the alert permanently"))
    else:
        due = _escalation_due(_waits_since(sent), operation, settings)
        why = Reason("not_acknowledged", phrase("nobody has acknowledged the alert in time"))
    if due > now:
        return [
            Action(
                ActionKind.WAIT,
                operation.id,
                Reason("not_acknowledged_yet", phrase("waiting for an acknowledgement")),
                due=due,
            )
        ]
    actions = []
    for recipient in second:
        alert = replace(
            _alert(operation, result, rules, recipient, _of_recipient(recipient, latest)), escalation=True, because=why
        )
        actions.append(Action(ActionKind.ESCALATE, operation.id, why, recipient, alert))
    return actions


def _waits_since(sent: Sequence[Sent]) -> dt.datetime:
    """Since when an acknowledgement is missing: since the first recipient was alerted, whatever was corrected later, or
    since the alert of somebody who had acknowledged was withdrawn.
    """
    told: dict[str, dt.datetime] = {}
    acknowledged, lost = set[str](), list[dt.datetime]()
    for one in sorted(sent, key=lambda one: one.alert.revision):
        id_ = one.alert.id
        if one.alert.kind is AlertKind.WITHDRAWAL:
            told.pop(id_, None)
            lost += [one.since] if id_ in acknowledged else []
            acknowledged.discard(id_)
            continue
        if one.acknowledged:
            acknowledged.add(id_)
        if not one.alert.escalation:
            told.setdefault(id_, one.since)
    return max([min(told.values()), *lost])


def _escalation_due(since: dt.datetime, operation: Operation, settings: AlertSettings) -> dt.datetime:
    """After the time in the settings, at the latest halfway to the operation. Halfway is an assumption."""
    due = since + dt.timedelta(hours=settings.escalate_after_h)
    if operation.starts is None or operation.starts <= since:
        return due
    return min(due, since + (operation.starts - since) / 2)


def _was_withdrawn_or_never_sent(recipient: Recipient, latest: dict[str, Sent]) -> bool:
    before = _of_recipient(recipient, latest)
    return before is None or before.alert.kind is AlertKind.WITHDRAWAL


def _outside_quiet_hours(
    actions: list[Action], operation: Operation, settings: AlertSettings, now: dt.datetime
) -> tuple[Action, ...]:
    """The same actions; in quiet hours a wait replaces those that send something, unless the operation starts before."""
    end = end_of_quiet_hours(now, settings)
    is_urgent = end is not None and operation.starts is not None and operation.starts <= end
    if end is None or is_urgent or all(action.alert is None for action in actions):
        return tuple(actions)
    why = Reason("quiet_hours", phrase("quiet hours of the site; the operation starts after they end"))
    silent = [action for action in actions if action.alert is None]
    return (*silent, Action(ActionKind.WAIT, operation.id, why, due=end))


def _alert(
    operation: Operation, result: ScreenedResult, rules: tuple[Rule, ...], recipient: Recipient, before: Sent | None
) -> Alert:
    id_ = alert_id(operation.id, recipient) if before is None else before.alert.id
    revision = 1 if before is None else before.alert.revision + 1
    return Alert(id_, revision, AlertKind.NEW, rules, recipient, False, operation, result)


def _withdrawal(operation: Operation, one: Sent, why: Reason) -> Action:
    alert = replace(
        one.alert,
        revision=one.alert.revision + 1,
        kind=AlertKind.WITHDRAWAL,
        operation=operation,
        because=why,
        wrong=why.code in _WRONG,
    )
    return Action(ActionKind.WITHDRAW, operation.id, why, one.alert.recipient, alert)


def _reaches(one: Sent, settings: AlertSettings, channels: ChannelsOn) -> bool:
    return can_still_be_told(one.alert.recipient, settings, channels)


def _why(rules: tuple[Rule, ...], result: ScreenedResult) -> Reason:
    named = ", ".join(rules)
    if result.bmd_mg_cm3 is not None:
        return Reason(
            rules[0], phrase("rules that apply: {rules}; mean BMD {bmd:.1f} mg/cm3", rules=named, bmd=result.bmd_mg_cm3)
        )
    return Reason(rules[0].value, phrase("rules that apply: {rules}; no calibrated BMD", rules=named))


def _nothing(operation: Operation, why: Reason) -> Action:
    return Action(ActionKind.NOTHING, operation.id, why)
