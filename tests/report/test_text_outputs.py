"""JSON contract, table and rounding."""

import json
import math
from dataclasses import replace
from datetime import date

import pytest

from node.model import AcrCategory, Level, LevelMeasurement
from node.report import result_json, table
from node.report.rounding import rounded, rounded_bmd, text
from node.report.wording import conclusion
from tests.report.conftest import CALIBRATION, MEASURED_RESULTS, hu_only, measured, not_measured, one_level

KEYS = {
    "status", "reasons", "series", "series_left_out", "levels", "hu_mean", "bmd_mg_cm3", "bmd_interval_mg_cm3", "category",
    "calibration", "timings_s", "software",
}  # fmt: skip
SERIES_KEYS = {
    "study_instance_uid", "series_instance_uid", "manufacturer", "model", "kvp", "kernel", "spacing_mm", "orientation",
    "contrast_phase",
}  # fmt: skip
LEVEL_KEYS = {"level", "centroid_lps_mm", "hu_mean", "hu_sd", "roi_volume_mm3", "bmd_mg_cm3", "usable", "findings"}


@pytest.mark.parametrize("make", [*MEASURED_RESULTS.values(), not_measured])
def test_json_has_the_keys_of_the_contract(axial, make):
    tree = json.loads(result_json(make(axial)))
    assert set(tree) >= KEYS
    assert set(tree["series"]) >= SERIES_KEYS
    assert all(set(level) >= LEVEL_KEYS for level in tree["levels"])


def test_json_of_a_measured_study(axial):
    tree = json.loads(result_json(measured(axial)))
    assert tree["status"] == "measured"
    assert tree["category"] == "low_bone_mass"
    assert tree["bmd_mg_cm3"] == 97.1
    assert tree["bmd_interval_mg_cm3"] == [88.1, 106.1]
    assert tree["hu_mean"] == 124.4
    assert tree["series"]["spacing_mm"] == [1.5, 1.25, 3.0]
    assert tree["levels"][0] | {"findings": []} == {
        "level": "L1",
        "centroid_lps_mm": [3.0, 20.0, 55.0],
        "hu_mean": 131.2,
        "hu_sd": 24.6,
        "roi_volume_mm3": 4200.5,
        "bmd_mg_cm3": 102.4,
        "usable": True,
        "findings": [],
        "confidence": 0.97,
        "evidence": "counted from the sacrum",
    }
    assert tree["calibration"]["slope"] == 0.78
    assert tree["timings_s"] == {"select": 0.12, "segment": 4.0, "measure": 0.5}


def test_json_names_who_approved_an_equation_of_the_site(axial):
    result = measured(axial)
    assert json.loads(result_json(result))["calibration"]["approved_by"] is None
    own = replace(CALIBRATION, approved_by="A. Physicist", approved_on=date(2026, 1, 12))
    tree = json.loads(result_json(replace(result, bmd=replace(result.bmd, calibration=own))))
    assert (tree["calibration"]["approved_by"], tree["calibration"]["approved_on"]) == ("A. Physicist", "2026-01-12")


def test_json_says_null_for_what_does_not_exist(axial):
    tree = json.loads(result_json(hu_only(axial)))
    assert [tree[key] for key in ("bmd_mg_cm3", "bmd_interval_mg_cm3", "category", "calibration")] == [None] * 4
    assert {level["bmd_mg_cm3"] for level in tree["levels"]} == {None}
    assert [reason["code"] for reason in tree["reasons"]] == ["no_equation"]

    empty = json.loads(result_json(one_level(axial)))["levels"][0]
    assert (empty["hu_mean"], empty["hu_sd"], empty["bmd_mg_cm3"], empty["usable"]) == (None, None, None, False)

    nothing = json.loads(result_json(replace(not_measured(axial), facts=None, why_this_series="")))
    assert nothing["status"] == "not_measured"
    assert (nothing["series"], nothing["hu_mean"], nothing["levels"]) == (None, None, [])


def test_json_never_holds_nan(axial):
    level = LevelMeasurement(Level.L1, (0.0, 0.0, 0.0), math.nan, math.inf, 12.0, usable=False, findings=())
    tree = json.loads(result_json(replace(measured(axial), levels=(level,), hu_mean=math.nan)))
    assert (tree["levels"][0]["hu_mean"], tree["levels"][0]["hu_sd"], tree["hu_mean"]) == (None, None, None)


@pytest.mark.parametrize(
    ("value", "short"),
    [(97.0344, 97.0), (79.97, 79.97), (79.9996, 79.9996), (80.0, 80.0), (120.0, 120.0), (120.03, 120.03), (120.06, 120.1)],
)
def test_a_rounded_bmd_stays_in_its_category(value, short):
    assert rounded_bmd(value) == short


def test_numbers_as_text():
    assert [text(v) for v in (98.0, 79.97, -0.5)] == ["98.0", "79.97", "-0.5"]
    assert math.copysign(1.0, rounded(-0.01)) == 1.0


def test_table_shows_levels_findings_and_reasons(axial):
    lines = table(one_level(axial)).splitlines()
    row = {line.split()[0]: line.split() for line in lines if line.startswith("L")}
    assert row["L1"][:6] == ["L1", "-", "-", "0", "-", "no"]
    assert row["L2"] == ["L2", "125.0", "26.0", "4200", "97.5", "yes"]
    assert "wedge shape" in next(line for line in lines if line.startswith("L3"))
    assert any("[one_level]" in line for line in lines)
    assert any("[localizer]" in line for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_conclusion_says_what_it_is_not(axial):
    assert conclusion(measured(axial)).startswith("Low bone mass range")
    assert "not a diagnosis" in conclusion(measured(axial))
    assert "does not rule out" not in conclusion(measured(axial))
    assert "A normal result does not rule out low BMD." in conclusion(MEASURED_RESULTS["normal"](axial))
    assert "L2 only" in conclusion(one_level(axial))
    for category in AcrCategory:
        assert category.value not in conclusion(hu_only(axial))
    assert "mg/cm3" not in conclusion(hu_only(axial))
    assert conclusion(not_measured(axial)).startswith("Not measured.")
