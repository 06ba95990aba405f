"""JSON contract, table and rounding."""

import json
import math
from dataclasses import replace
from datetime import date

import pytest

from node.language.catalogue import Language
from node.language.phrase import phrase
from node.model import AcrCategory, ContrastPhase, Level, LevelMeasurement, Reason
from node.model.rounding import rounded, rounded_bmd, text
from node.report import result_json, table
from node.report.paste import report_text
from node.report.wording import conclusion, prior_text
from tests.report.conftest import CALIBRATION, MEASURED_RESULTS, PRIOR, fractured, hu_only, measured, not_measured, one_level

KEYS = {
    "status", "reasons", "series", "series_left_out", "levels", "hu_mean", "bmd_mg_cm3", "bmd_interval_mg_cm3", "category",
    "calibration", "timings_s", "software", "borderline", "thresholds_crossed_mg_cm3", "hu_reference", "caveats",
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
    assert tree["bmd_interval_mg_cm3"] == [88.0, 106.0]
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


def borderline(ct, crossed=(80.0,), mean=83.97, interval=(79.6, 88.4), category=AcrCategory.LOW_BONE_MASS):
    result = measured(ct)
    bmd = replace(
        result.bmd, bmd_mg_cm3=mean, interval_mg_cm3=interval, category=category, thresholds_crossed_mg_cm3=crossed
    )
    return replace(result, bmd=bmd)


def test_a_borderline_category_is_called_so_and_the_printed_interval_shows_why(axial):
    result = borderline(axial)
    assert conclusion(result).startswith("Low bone mass range (borderline), ACR (80 to 120 mg/cm3): ")
    assert "interval 79.6 to 88" in conclusion(result), "80 to 88 would not look borderline"
    assert "Borderline: the interval also reaches the osteoporosis range (below 80 mg/cm3)." in conclusion(result)
    tree = json.loads(result_json(result))
    assert (tree["borderline"], tree["thresholds_crossed_mg_cm3"]) == (True, [80.0])
    assert tree["bmd_interval_mg_cm3"] == [79.6, 88.0]
    assert any("Borderline" in caveat for caveat in tree["caveats"])

    both = borderline(axial, (80.0, 120.0), 100.0, (70.0, 130.0))
    assert "the osteoporosis range (below 80 mg/cm3) and the normal range (above 120 mg/cm3)" in conclusion(both)
    low = borderline(axial, (80.0,), 79.96, (73.0, 87.0), AcrCategory.OSTEOPOROSIS)
    assert "also reaches the low bone mass range" in conclusion(low)
    assert "BMD 79.96 mg/cm3" in conclusion(low), "80.0 would contradict osteoporosis"
    assert json.loads(result_json(low))["bmd_mg_cm3"] == 79.96


def test_a_fracture_leads_the_conclusion(axial):
    result = fractured(axial)
    said = conclusion(result)
    assert said.startswith(
        "Vertebral fractures: T12 grade 3 (severe), L2 grade 2 (moderate), L3 grade 1 (mild). Low bone mass range, ACR"
    )
    assert "The age and the cause of a fracture are not assessed." in said
    tree = json.loads(result_json(result))
    assert tree["headline"].startswith("Vertebral fractures: T12 grade 3 (severe)")
    assert [(one["level"], one["grade"]) for one in tree["fractures"]] == [("T12", 3), ("L2", 2), ("L3", 1)]
    assert (tree["category"], tree["severe"]) == ("low_bone_mass", False)
    low = replace(result, bmd=borderline(axial, (80.0,), 76.8, (69.46, 84.2), AcrCategory.OSTEOPOROSIS).bmd)
    assert "Severe osteoporosis range (borderline), ACR (below 80 mg/cm3, with a fracture): " in conclusion(low)
    assert json.loads(result_json(low))["severe"] is True


def test_an_interval_is_rounded_once(axial):
    result = borderline(axial, (80.0,), 76.84, (69.46, 84.2), AcrCategory.OSTEOPOROSIS)
    assert "76.8 mg/cm3 (interval 69 to 84)" in conclusion(result)
    assert json.loads(result_json(result))["bmd_interval_mg_cm3"] == [69.0, 84.0]


def test_a_change_is_that_of_the_values_that_are_shown(axial):
    prior = replace(
        PRIOR, prior_bmd_mg_cm3=76.84, bmd_mg_cm3=62.76, change_mg_cm3=-14.08, change_percent=-18.3, lsc_percent=13.0
    )
    said = prior_text(prior)
    assert "76.8 mg/cm3, now 62.8" in said
    assert "change -14.0 mg/cm3" in said
    tree = json.loads(result_json(replace(measured(axial), prior=prior)))
    assert tree["prior"]["change_mg_cm3"] == -14.0


def test_the_text_to_paste_is_two_lines_in_the_language_of_the_site(axial):
    english = json.loads(result_json(fractured(axial)))["report_text"]
    assert english["findings"].startswith(
        "Findings: CT bone density (automated): mean trabecular BMD 97.1 mg/cm3 (interval 88 to 106), L1 to L4 "
        "(L1 102.4, L2 97.5, L3 93.1, L4 95.3). T12: crush fracture, grade 3: 50 % height loss"
    )
    assert english["impression"].startswith("Impression: Vertebral fractures: T12 grade 3 (severe), ")
    assert "Low bone mass range (ACR, 80 to 120 mg/cm3)." in english["impression"]
    german = report_text(fractured(axial), Language.DE)
    assert "97,1 mg/cm3 (Intervall 88 bis 106), L1 bis L4 (L1 102,4," in german.findings
    assert german.impression.startswith("Beurteilung: Wirbelkörperfrakturen: T12 Grad 3 (schwer), ")
    nothing = report_text(not_measured(axial), Language.EN)
    assert "not measured (no complete lumbar vertebra in the series" in nothing.findings
    assert "\n" not in nothing.findings + nothing.impression


def test_what_is_not_borderline_is_not_called_so(axial):
    assert "orderline" not in table(measured(axial))
    tree = json.loads(result_json(measured(axial)))
    assert (tree["borderline"], tree["thresholds_crossed_mg_cm3"]) == (False, [])
    assert json.loads(result_json(hu_only(axial)))["borderline"] is None
    # the category was withheld: there is nothing to be borderline
    none = replace(borderline(axial), bmd=replace(borderline(axial).bmd, category=None))
    assert json.loads(result_json(none))["borderline"] is None
    assert "orderline" not in conclusion(none)


def test_a_normal_result_says_everywhere_that_it_rules_nothing_out(axial):
    normal = MEASURED_RESULTS["normal"](axial)
    sentence = "A normal result does not rule out low BMD."
    assert sentence in table(normal)
    assert sentence in json.loads(result_json(normal))["caveats"]
    for make in (measured, hu_only, one_level):
        assert sentence not in json.loads(result_json(make(axial)))["caveats"]


def test_the_interval_says_what_it_does_not_hold(axial):
    result = measured(axial)
    sentence = "The interval does not include the error of the equation, which is not known."
    assert sentence in table(result)
    own = replace(CALIBRATION, slope_se=0.002, intercept_se=0.4, fit_points=30)
    fitted = replace(result, bmd=replace(result.bmd, calibration=own))
    assert sentence not in table(fitted)
    assert json.loads(result_json(fitted))["calibration"]["slope_se"] == 0.002


@pytest.mark.parametrize(
    ("hu", "place", "shown"),
    [(110.0, "at or below both", 110.0), (110.04, "between the", 110.04), (160.0, "between the", 160.0),
     (160.3, "above both", 160.3)],
)  # fmt: skip
def test_without_an_equation_l1_stands_beside_published_limits(axial, hu, place, shown):
    result = hu_only(axial)
    result = replace(result, levels=(replace(result.levels[0], hu_mean=hu), *result.levels[1:]))
    reference = json.loads(result_json(result))["hu_reference"]
    assert (reference["level"], reference["hu_mean"], reference["specific_hu"], reference["sensitive_hu"]) == (
        "L1",
        shown,
        110.0,
        160.0,
    )
    assert "Pickhardt 2013" in reference["source"]
    assert f"L1 ({text(shown)} HU) is {place} published limits" in reference["detail"]
    assert "not an ACR category" in reference["detail"]
    assert reference["detail"] in table(result)
    assert json.loads(result_json(result))["category"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"kvp": 100.0},
        {"kvp": None},
        {"contrast_phase": ContrastPhase.UNKNOWN},
        {"contrast_phase": ContrastPhase.PORTAL_VENOUS},
        {"patient_age_years": 15.0},
    ],
    ids=str,
)
def test_published_limits_are_left_out_where_they_do_not_apply(axial, change):
    result = hu_only(axial)
    assert "Pickhardt" in result_json(result)
    elsewhere = replace(result, facts=replace(result.facts, **change))
    assert json.loads(result_json(elsewhere))["hu_reference"] is None
    assert "Pickhardt" not in table(elsewhere)


def test_published_limits_need_a_usable_l1_and_no_bmd(axial):
    assert json.loads(result_json(measured(axial)))["hu_reference"] is None
    result = hu_only(axial)
    excluded = replace(result, levels=(replace(result.levels[0], usable=False), *result.levels[1:]))
    assert json.loads(result_json(excluded))["hu_reference"] is None
    assert json.loads(result_json(replace(result, status="not_measured")))["hu_reference"] is None


@pytest.mark.parametrize("make", [*MEASURED_RESULTS.values(), not_measured])
def test_there_is_no_t_score_and_no_age_anywhere(axial, make):
    result = make(axial)
    result = replace(result, facts=replace(result.facts, patient_age_years=61.5, patient_sex="F"))
    for words in (table(result), result_json(result)):
        assert "t-score" not in words.lower()
        assert "61.5" not in words


def from_one_landmark(axial):
    result = measured(axial)
    evidence = phrase("counted from the last rib alone; no sacrum in view to check the count")
    return replace(result, bodies=tuple(replace(body, confidence=0.6, evidence=evidence) for body in result.bodies))


def test_levels_from_one_landmark_say_what_they_rest_on(axial):
    said = "Levels: counted from the last rib alone; no sacrum in view to check the count (confidence 0.60)."
    assert said in json.loads(result_json(from_one_landmark(axial)))["caveats"]
    assert said in table(from_one_landmark(axial))
    assert "Levels: " not in table(measured(axial))


def test_a_level_that_a_reason_names_is_not_missing_as_well(axial):
    result = one_level(axial)
    assert "Not found in the image: L4." in table(result)
    cut = Reason("body_cut_by_field_of_view", phrase("{level} is cut by the edge of the scanned volume.", level="L4"))
    assert "Not found" not in table(replace(result, reasons=(*result.reasons, cut)))


def test_levels_of_bodies_that_were_found_are_not_labelled(axial):
    doubt = phrase("No level above {level} is labelled. {doubt}", level="L3", doubt="A vertebra may have been missed.")
    result = replace(one_level(axial), reasons=(Reason("level_not_certain", doubt),))
    assert "Not labelled: L4." in table(result)
    assert "Not found" not in table(result)
