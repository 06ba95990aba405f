"""Whom the categories are meant for: the finding, and that a child gets no category."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.calibrate import convert, load_registry, population_reason
from node.model import AcrCategory, Level, LevelMeasurement
from tests.calibrate.test_calibrate import PHILIPS


@pytest.mark.parametrize(
    ("age", "sex", "says"),
    [
        (70.0, "F", None),
        (50.0, "F", None),
        (50.0, "M", None),
        (49.9, "M", "younger"),
        (49.0, "F", "younger"),
        (12.0, "F", "younger"),
        (30.0, None, "younger"),
        (None, "F", "the patient's age"),
        (None, None, "the patient's age and sex"),
        (70.0, None, "the patient's sex"),
        (70.0, "O", "the patient's sex"),
    ],
)
def test_the_finding_where_the_categories_are_not_meant_for_the_patient_or_may_not_be(
    age: float | None, sex: str | None, says: str | None
) -> None:
    reason = population_reason(replace(PHILIPS, patient_age_years=age, patient_sex=sex))
    if says is None:
        assert reason is None
        return
    assert reason is not None
    assert reason.code == "population"
    assert says in reason.detail
    assert str(age) not in reason.detail, "no age of a patient in a sentence that is kept"


@pytest.mark.parametrize("hu", [60.0, 128.0, 250.0])
@pytest.mark.parametrize(("age", "has_category"), [(0.0, False), (17.9, False), (19.9, False), (20.0, True), (None, True)])
def test_children_and_adolescents_get_no_category(hu: float, age: float | None, has_category: bool) -> None:
    levels = [LevelMeasurement(Level.L1, (0.0, 0.0, 0.0), hu, 20.0, 1500.0, True, ())]
    bmd = convert(levels, replace(PHILIPS, patient_age_years=age), load_registry(None))
    assert bmd.bmd_mg_cm3 == pytest.approx(0.78 * hu)
    assert (bmd.category is not None) is has_category
    assert ("category_withheld" in [reason.code for reason in bmd.reasons]) is not has_category
    if not has_category:
        assert not bmd.borderline


def test_age_and_sex_are_not_in_the_text_of_the_facts() -> None:
    assert "41.5" not in repr(replace(PHILIPS, patient_age_years=41.5, patient_sex="F"))


def test_the_category_of_an_adult_stays() -> None:
    levels = [LevelMeasurement(Level.L1, (0.0, 0.0, 0.0), 250.0, 20.0, 1500.0, True, ())]
    adult = replace(PHILIPS, patient_age_years=35.0, patient_sex="F")
    assert convert(levels, adult, load_registry(None)).category is AcrCategory.NORMAL
