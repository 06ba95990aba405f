"""A level that alone decides the ACR category does not do so without a word."""

from __future__ import annotations

import pytest

from node.calibrate import convert, load_registry
from node.language.phrase import phrase
from node.model import AcrCategory, Bmd, Level, LevelFindingCode, LevelMeasurement, Reason
from tests.calibrate.ct_facts import PHILIPS

LEVELS = (Level.L1, Level.L2, Level.L3, Level.L4)


def bmd_of(*hu: float, outlier: Level | None = None) -> Bmd:
    finding = (Reason(LevelFindingCode.OUTLIER, phrase("no value")),)
    levels = [
        LevelMeasurement(level, (0.0, 0.0, 0.0), one, 20.0, 1500.0, True, finding if level is outlier else ())
        for level, one in zip(LEVELS, hu, strict=True)
    ]
    return convert(levels, PHILIPS, load_registry(None))


def test_a_level_that_alone_changes_the_category_withholds_it() -> None:
    # mean 109 mg/cm3, interval 98 to 119: not even borderline; without L3 it is 131
    bmd = bmd_of(168.0, 168.0, 56.0, 168.0)
    assert bmd.bmd_mg_cm3 == pytest.approx(0.78 * 140.0)
    assert bmd.category is None
    (reason,) = (reason for reason in bmd.reasons if reason.code == "category_withheld")
    assert reason.detail.startswith("L3 alone (44 mg/cm3) decides the category")
    assert "131.0 mg/cm3, above 120 mg/cm3" in reason.detail


def test_an_outlier_withholds_it_also_within_the_interval() -> None:
    bmd = bmd_of(160.0, 160.0, 125.0, 160.0, outlier=Level.L3)
    assert bmd.category is None
    assert "category_withheld" in [reason.code for reason in bmd.reasons]


def test_ordinary_levels_keep_a_borderline_category_and_say_on_which_it_rests() -> None:
    bmd = bmd_of(157.0, 155.0, 143.0, 157.0)
    assert bmd.category is AcrCategory.LOW_BONE_MASS
    assert bmd.borderline
    (reason,) = (reason for reason in bmd.reasons if reason.code == "one_level_decides")
    assert reason.detail.startswith("the category rests on L3 (112 mg/cm3)")


@pytest.mark.parametrize("hu", [(128.0, 129.0, 127.0, 128.0), (160.0, 200.0, 180.0, 170.0), (60.0, 70.0, 80.0, 50.0)])
def test_otherwise_nothing_is_said(hu: tuple[float, float, float, float]) -> None:
    bmd = bmd_of(*hu)
    assert bmd.category is not None
    assert not {reason.code for reason in bmd.reasons} & {"category_withheld", "one_level_decides"}
