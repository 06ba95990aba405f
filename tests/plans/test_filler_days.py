"""Days at the ends of the calendar, which systems write for "not known": refused with a reason, in every zone."""

from __future__ import annotations

import datetime as dt

import pytest

from benchmarks.plan_messages import message_text
from node.plans.hl7_message import RefusedMessageError, read_message, time_of
from node.plans.siu import statement_of
from node.plans.theatre_list import read_list
from node.settings.plans import PlanHl7Settings, PlanListSettings, PlanSettings
from tests.plans.operations import at

ZONES = ["Europe/Berlin", "America/New_York", "Pacific/Kiritimati"]
HEAD = "operation_id;date;time;patient_id;family_name;given_name;birth_date;procedure;surgeon\r\n"


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("day", ["01.01.0001", "31.12.9999", "30.12.9999"])
@pytest.mark.parametrize("time", ["00:00", "23:59"])
def test_a_theatre_list_says_so_and_its_other_lines_are_read(zone: str, day: str, time: str) -> None:
    """An exception would have ended the intake again and again: the file stays in the folder."""
    lines = f"1;{day};{time};4711;M;A;;x;y\r\n2;20.01.2030;08:00;4712;M;A;;x;y\r\n"
    listed = read_list((HEAD + lines).encode(), PlanListSettings(), PlanSettings(time_zone=zone).zone, at(7), at(8))
    assert [one.operation.key.operation_id for one in listed.operations] == ["2"]
    assert [(bad.number, bad.why) for bad in listed.bad_lines] == [(2, "column date has a filler value instead of a day")]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("text", ["00010101", "00010101000000+1400", "99991231235959", "99991231235959-1200", "99991230"])
def test_a_message_is_refused_and_answered(zone: str, text: str) -> None:
    plans = PlanSettings(time_zone=zone)
    with pytest.raises(ValueError, match="filler"):
        time_of(text, plans.zone)
    said = message_text(1).replace("20300120080000", text)
    with pytest.raises(RefusedMessageError):
        statement_of(read_message(said.encode(), "utf-8"), plans, PlanHl7Settings(), dt.datetime.now(dt.UTC))
