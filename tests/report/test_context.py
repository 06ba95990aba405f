"""What a result is set beside: a bound in spite of contrast, what is usual at the age, other patients of the hospital."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from node.language.catalogue import Language, say
from node.model import ContrastPhase, PatientRank
from node.report import result_json, table
from node.report.attenuation import usual_at_age
from node.report.context import hu_reference, low_text
from node.report.notes import page_notes
from node.report.wording import conclusion
from tests.report.conftest import hu_only, measured, not_measured


def _with(result, hu=None, **facts):
    first = result.levels[0] if hu is None else replace(result.levels[0], hu_mean=hu)
    return replace(result, levels=(first, *result.levels[1:]), facts=replace(result.facts, **facts))


def test_low_even_though_contrast_raises_hu(axial):
    result = _with(hu_only(axial), 74.2, contrast_phase=ContrastPhase.ARTERIAL)
    assert low_text(result) == "L1 (74.2 HU) is low even though contrast raises HU"
    assert "L1 (74.2 HU) is low even though contrast raises HU." in conclusion(result)
    assert "ist niedrig, obwohl Kontrastmittel die HU erhöht" in say(conclusion(result), Language.DE)
    assert "110 HU or less in L1 at 120 kVp is over 90 % specific" in table(result)
    tree = json.loads(result_json(result))
    assert (tree["low_despite_contrast"]["hu_mean"], tree["hu_reference"], tree["category"]) == (74.2, None, None)
    # L2 alone is enough
    without = replace(result, levels=(replace(result.levels[0], usable=False), replace(result.levels[1], hu_mean=74.0)))
    assert low_text(without).startswith("L2 (74.0 HU)")
    for doubt in ({"contrast_phase": ContrastPhase.UNKNOWN}, {"contrast_probable": True}):
        assert low_text(_with(result, **doubt)) == "L1 (74.2 HU) is low, with or without contrast"


@pytest.mark.parametrize(
    "change",
    [{"hu": 111.0}, {"kvp": 140.0}, {"kvp": None}, {"multi_energy": True}, {"patient_age_years": 15.0}],
    ids=str,
)
def test_the_bound_is_not_said_where_it_proves_nothing(axial, change):
    result = _with(hu_only(axial), 74.2, contrast_phase=ContrastPhase.PORTAL_VENOUS)
    assert low_text(result)
    assert not low_text(_with(result, **change))


@pytest.mark.parametrize(
    ("phase", "words"),
    [(ContrastPhase.ARTERIAL, "arterial contrast phase"), (ContrastPhase.PORTAL_VENOUS, "portal venous contrast phase")],
)
def test_hu_alone_read_too_high_with_contrast(axial, phase, words):
    said = f"The HU read too high: contrast raises them ({words})."
    result = _with(hu_only(axial), 150.0, contrast_phase=phase)
    assert said in page_notes(result)
    assert said in json.loads(result_json(result))["caveats"]
    assert not any("read too high" in note for note in page_notes(hu_only(axial)))
    # with a BMD the reasons of the equation say it
    assert said not in json.loads(result_json(_with(measured(axial), contrast_phase=phase)))["caveats"]


@pytest.mark.parametrize(
    ("age", "mean", "sd"), [(20.0, 226, 44), (29.0, 226, 44), (30.0, 226, 44), (60.0, 151, 41), (90.0, 89, 38)]
)
def test_what_is_usual_at_an_age(axial, age, mean, sd):
    for make in (measured, hu_only):
        result = _with(make(axial), patient_age_years=age)
        usual = usual_at_age(result)
        assert (usual.usual_hu, usual.usual_sd_hu) == (mean, sd)
        said = json.loads(result_json(result))["usual_at_age"]["detail"]
        assert said == (
            f"L1 131.2 HU; the mean at this age is {mean} ± {sd} HU "
            "(adults, 120 kVp, no contrast; Jang 2019, Radiology 291:360)."
        )
        assert said in page_notes(result)


@pytest.mark.parametrize(
    "change",
    [
        {"patient_age_years": None},
        {"patient_age_years": 19.0},
        {"patient_age_years": 91.0},
        {"kvp": 100.0},
        {"contrast_phase": ContrastPhase.UNKNOWN},
        {"contrast_phase": ContrastPhase.ARTERIAL},
    ],
    ids=str,
)
def test_nothing_is_usual_where_the_source_says_nothing(axial, change):
    assert usual_at_age(_with(measured(axial), patient_age_years=70.0)) is not None
    assert usual_at_age(_with(measured(axial), **({"patient_age_years": 70.0} | change))) is None


def test_a_study_that_was_not_measured_is_compared_with_nothing(axial):
    result = replace(not_measured(axial), levels=measured(axial).levels)
    assert usual_at_age(_with(result, patient_age_years=70.0)) is None


def test_the_place_among_the_patients_of_the_hospital(axial):
    result = replace(measured(axial), rank=PatientRank(34, 512, 120.0))
    said = json.loads(result_json(result))["rank_in_hospital"]
    assert (said["percentile"], said["n_patients"]) == (34, 512)
    assert "L1 is at percentile 34 of 512 patients of this hospital of the same sex and age" in said["detail"]
    assert said["detail"] in page_notes(result)
    assert "score" not in said["detail"] + hu_reference(hu_only(axial))
