"""Settings that cannot work, or that would not be safe, are refused with what to write."""

from __future__ import annotations

import datetime as dt
import time

import pytest
from pydantic import BaseModel, ValidationError

from node.settings.alert import AlertSettings
from node.settings.plans import PlanFhirSettings, PlanHl7Settings, PlanListSettings, PlanSettings, with_offset
from node.settings.tree import Settings


@pytest.mark.parametrize(
    ("section", "values", "says"),
    [
        (PlanSettings, {"time_zone": "Europe/Nowhere"}, "Europe/Berlin"),
        (PlanHl7Settings, {"encoding": "klingon"}, "utf-8"),
        (PlanHl7Settings, {"certificate_file": "x.pem"}, "key_file"),
        (PlanHl7Settings, {"client_ca_file": "x.pem"}, "certificate_file"),
        (PlanHl7Settings, {"senders": ("10.1.2.0/99",)}, "network"),
        (PlanFhirSettings, {"base_url": "http://fhir.example/r4", "token_file": "token"}, "https"),
        (PlanFhirSettings, {"hook_port": 8080}, "hook_token_file"),
        (PlanListSettings, {"patient_id": ""}, "patient_id"),
    ],
)
def test_refuses(section: type[BaseModel], values: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        section.model_validate(values)


def test_a_time_keeps_the_offset_of_its_day() -> None:
    berlin = PlanSettings(time_zone="Europe/Berlin").zone
    for month, hours in ((1, 1), (7, 2)):
        when = with_offset(dt.datetime(2030, month, 20, 8, tzinfo=berlin), berlin)
        assert when.utcoffset() == dt.timedelta(hours=hours)
        assert when.hour == 8


def test_without_a_setting_the_zone_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        zone = PlanSettings().zone
        for month, hours in ((1, -5), (7, -4)):
            when = with_offset(dt.datetime(2030, month, 20, 8, tzinfo=zone), zone)
            assert (when.utcoffset(), when.hour) == (dt.timedelta(hours=hours), 8)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_plans_and_alerts_have_one_clock():
    mail = AlertSettings(
        smtp_host="mail.hospital.example", sender="bmd@hospital.example", recipients=("a@hospital.example",)
    )
    hl7 = PlanHl7Settings(enabled=True)
    with pytest.raises(ValidationError, match=r"plans\.time_zone is .Europe/Berlin. and alert\.time_zone is ..:"):
        Settings(plans=PlanSettings(time_zone="Europe/Berlin"), plans_hl7=hl7, alert=mail)
    both = mail.model_copy(update={"time_zone": "Europe/Berlin"})
    assert (
        Settings(plans=PlanSettings(time_zone="Europe/Berlin"), plans_hl7=hl7, alert=both).alert.time_zone == "Europe/Berlin"
    )
