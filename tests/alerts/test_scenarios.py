"""The scenario table on the pure decision."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.alerts import ActionKind, Sent, SentState, decide_patient
from node.alerts.cases import cases_at
from node.clinical.identity import Issuers
from tests.alerts.scenarios import Known, Scenario, name_of, said, scenarios

TABLE = scenarios()


def test_the_table_is_long_enough_and_names_are_unique() -> None:
    assert len(TABLE) >= 40
    assert len({scenario.name for scenario in TABLE}) == len(TABLE)


@pytest.mark.parametrize("scenario", TABLE, ids=lambda scenario: scenario.name)
def test_decision(scenario: Scenario) -> None:
    settings, known, sent = scenario.alert_settings(), Known(), list[Sent]()
    for step in scenario.steps:
        known.apply(step)
        # of each recipient the last message
        of = {step.acknowledge: {"acknowledged": True}, step.refuse: {"state": SentState.REJECTED, "since": step.when}}
        last = {one.alert.id: one for one in sent}
        sent = [replace(one, **(of.get(name_of(one.alert.recipient), {}) if one in last.values() else {})) for one in sent]
        told = {one.alert.operation.id for one in sent}
        cases = cases_at(known.patient(), step.when, told, Issuers(), settings)
        actions = decide_patient(cases, sent, settings, scenario.on, step.when)
        assert said(actions) == list(step.expect), f"at {step.at}"
        new = [Sent(action.alert, SentState.TAKEN, step.when) for action in actions if action.alert is not None]
        assert len({one.alert.message_id for one in sent + new}) == len(sent + new), "every message is another one"
        again = decide_patient(cases, [*sent, *new], settings, scenario.on, step.when)
        assert all(action.kind in (ActionKind.WAIT, ActionKind.NOTHING) for action in again), "twice says nothing new"
        sent += new
