"""Replays the past of a patient with what was known at each time, and shows what would have been sent. Sends nothing."""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Iterator
from dataclasses import dataclass

from node.alerts import Action, ActionKind, ChannelsOn, Sent, SentState, decide_patient
from node.alerts.cases import KnownPatient, cases_at
from node.clinical.identity import Issuers
from node.settings.alert import AlertSettings


@dataclass(frozen=True, slots=True)
class Step:
    """What would have been decided at a time."""

    when: dt.datetime
    action: Action


def replay(
    patient: KnownPatient,
    since: dt.datetime,
    until: dt.datetime,
    issuers: Issuers,
    settings: AlertSettings,
    channels: ChannelsOn,
    *,
    acknowledged: bool = True,
) -> tuple[Step, ...]:
    """Decide again at every time when something about a patient became known, and at every time that a decision waited for.

    Every message counts as delivered immediately.

    Args:
        acknowledged: whether every message counts as acknowledged immediately; nothing is escalated then.

    Returns:
        The messages, then the last reason of every operation without one.
    """
    times = sorted({when for when in _events(patient) if when <= until})
    waiting = [max(when, since) for when in times]
    heapq.heapify(waiting)
    sent: list[Sent] = []
    steps: list[Step] = []
    silent: dict[str, Step] = {}
    last: dt.datetime | None = None
    while waiting:
        now = heapq.heappop(waiting)
        if now == last:
            continue
        last = now
        told = {one.alert.operation.id for one in sent}
        cases = cases_at(patient, now, told, issuers, settings)
        for action in decide_patient(cases, sent, settings, channels, now):
            if action.alert is not None:
                steps.append(Step(now, action))
                sent.append(Sent(action.alert, SentState.TAKEN, now, acknowledged=acknowledged))
            else:
                silent[action.operation_id] = Step(now, action)
                if action.kind is ActionKind.WAIT and action.due is not None and now < action.due <= until:
                    heapq.heappush(waiting, action.due)
    spoken = {step.action.operation_id for step in steps}
    return (*steps, *(step for operation_id, step in silent.items() if operation_id not in spoken))


def _events(patient: KnownPatient) -> Iterator[dt.datetime]:
    yield from (study.recorded_at for study in patient.studies)
    for revisions in patient.plans:
        yield from (plan.received_at for plan in revisions)
