"""What contrast means for a BMD: widened and withheld, unless the site entered a correction; then that, and it is said."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import pytest

from node.calibrate import Registry, convert, load_registry
from node.common.errors import ConfigurationError
from node.model import (
    AcrCategory,
    Bmd,
    ContrastConclusion,
    ContrastPhase,
    Level,
    LevelMeasurement,
    SeriesFacts,
    Software,
    StudyResult,
)
from node.report import result_json
from tests.calibrate.ct_facts import PHILIPS

PORTAL = replace(PHILIPS, contrast_phase=ContrastPhase.PORTAL_VENOUS)
LEVELS = (Level.L1, Level.L2, Level.L3, Level.L4)
SEEN = ContrastConclusion(ContrastPhase.PORTAL_VENOUS, True, "aorta 152 HU, inferior vena cava 138 HU: portal venous phase")

CORRECTION = """
[[contrast_correction]]
equation = "schwaiger2014-120"
phase = "portal_venous"
mg_cm3 = 12.0
sd_mg_cm3 = 5.0
source = "40 own patients, before and after contrast"
approved_by = "A. Physicist"
approved_on = 2026-02-03
"""


def _bmd(hu: float, facts: SeriesFacts, contrast: ContrastConclusion | None, registry: Registry) -> Bmd:
    levels = [LevelMeasurement(level, (0.0, 0.0, 0.0), hu, 20.0, 1500.0, True, ()) for level in LEVELS]
    return convert(levels, facts, registry, contrast=contrast)


def _site(tmp_path: Path, text: str) -> Registry:
    path = tmp_path / "site.toml"
    path.write_text(text, encoding="utf-8")
    return load_registry(path)


def test_the_image_that_shows_none_goes_before_a_header_that_names_an_agent() -> None:
    registry = load_registry(None)
    facts = replace(PHILIPS, contrast_bolus_agent="Ultravist", contrast_phase=ContrastPhase.NONE)
    plain = _bmd(170.0, PHILIPS, None, registry)
    seen = _bmd(170.0, facts, ContrastConclusion(ContrastPhase.NONE, False, ""), registry)
    assert (seen.interval_mg_cm3, seen.category, seen.reasons) == (plain.interval_mg_cm3, plain.category, ())


@pytest.mark.parametrize(
    ("conclusion", "says"),
    [
        (SEEN, "portal venous phase: BMD is overestimated"),
        (ContrastConclusion(ContrastPhase.UNKNOWN, True, ""), "contrast, phase not known: BMD may be overestimated"),
        (ContrastConclusion(ContrastPhase.UNKNOWN, None, ""), "not known whether contrast was given"),
    ],
    ids=["portal venous", "phase not known", "not known at all"],
)
def test_contrast_widens_downward_and_withholds_a_doubtful_category(conclusion: ContrastConclusion, says: str) -> None:
    registry = load_registry(None)
    facts = replace(PHILIPS, contrast_phase=conclusion.phase)
    plain, bmd = _bmd(170.0, PHILIPS, None, registry), _bmd(170.0, facts, conclusion, registry)
    assert plain.category is AcrCategory.NORMAL
    assert plain.interval_mg_cm3 is not None
    assert bmd.bmd_mg_cm3 == plain.bmd_mg_cm3, "nothing is subtracted"
    assert bmd.interval_mg_cm3 == pytest.approx((plain.interval_mg_cm3[0] - 17.5, plain.interval_mg_cm3[1]))
    assert [reason.code for reason in bmd.reasons] == ["contrast", "category_withheld"]
    assert says in bmd.reasons[0].detail
    assert bmd.category is None
    # far below a threshold the category does not depend on it
    assert _bmd(60.0, facts, conclusion, registry).category is AcrCategory.OSTEOPOROSIS


def test_a_sites_correction_is_taken_off_widens_and_is_said(tmp_path: Path) -> None:
    plain = _bmd(170.0, PHILIPS, None, load_registry(None))
    bmd = _bmd(170.0, PORTAL, SEEN, _site(tmp_path, CORRECTION))
    assert bmd.bmd_mg_cm3 == pytest.approx(170 * 0.78 - 12)
    assert dict(bmd.level_bmd_mg_cm3) == pytest.approx(dict.fromkeys(LEVELS, 170 * 0.78 - 12))
    assert plain.interval_mg_cm3 is not None
    assert bmd.interval_mg_cm3 is not None
    half = (plain.interval_mg_cm3[1] - plain.interval_mg_cm3[0]) / 2
    corrected_half = (bmd.interval_mg_cm3[1] - bmd.interval_mg_cm3[0]) / 2
    assert corrected_half == pytest.approx((half**2 + (1.96 * 5) ** 2) ** 0.5)
    assert sum(bmd.interval_mg_cm3) / 2 == pytest.approx(170 * 0.78 - 12)
    assert bmd.category is AcrCategory.NORMAL
    (reason,) = bmd.reasons
    assert reason.code == "contrast_corrected"
    for words in ("12.0 mg/cm3 subtracted", "40 own patients", "A. Physicist", "2026-02-03", "5.0 mg/cm3"):
        assert words in reason.detail


def test_a_correction_in_hu_goes_through_the_slope(tmp_path: Path) -> None:
    text = CORRECTION.replace("sd_mg_cm3 = 5.0", "sd_hu = 10.0").replace("mg_cm3 = 12.0", "hu = 20.0")
    bmd = _bmd(170.0, PORTAL, SEEN, _site(tmp_path, text))
    assert bmd.bmd_mg_cm3 == pytest.approx((170 - 20) * 0.78)
    assert bmd.contrast_correction is not None
    assert bmd.contrast_correction.sd_mg_cm3 == pytest.approx(7.8)


@pytest.mark.parametrize("phase", [ContrastPhase.ARTERIAL, ContrastPhase.UNKNOWN, ContrastPhase.NONE], ids=str)
def test_a_correction_is_for_its_phase_only(tmp_path: Path, phase: ContrastPhase) -> None:
    registry = _site(tmp_path, CORRECTION)
    conclusion = ContrastConclusion(phase, phase is not ContrastPhase.NONE, "")
    bmd = _bmd(170.0, replace(PHILIPS, contrast_phase=phase), conclusion, registry)
    assert bmd.bmd_mg_cm3 == pytest.approx(170 * 0.78)
    assert bmd.contrast_correction is None


def test_the_result_names_what_was_taken_off(tmp_path: Path) -> None:
    bmd = _bmd(170.0, PORTAL, SEEN, _site(tmp_path, CORRECTION))
    software = Software("1", "test")
    result = StudyResult("measured", (), PORTAL, "", (), (), (), 170.0, bmd, (), software)
    assert json.loads(result_json(result))["calibration"]["contrast_correction"] == {
        "phase": "portal_venous",
        "taken_off_mg_cm3": 12.0,
        "sd_mg_cm3": 5.0,
        "source": "40 own patients, before and after contrast",
        "approved_by": "A. Physicist",
        "approved_on": dt.date(2026, 2, 3).isoformat(),
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (CORRECTION.replace("schwaiger2014-120", "nobody"), "no equation with this id"),
        (CORRECTION + CORRECTION, "is there twice"),
        (CORRECTION.replace("sd_mg_cm3 = 5.0\n", ""), "mg_cm3 and sd_mg_cm3, or hu and sd_hu"),
        (CORRECTION + "hu = 3.0\nsd_hu = 1.0\n", "mg_cm3 and sd_mg_cm3, or hu and sd_hu"),
        (CORRECTION.replace('approved_by = "A. Physicist"\n', ""), "approved_by"),
        (CORRECTION.replace('"portal_venous"', '"none"'), "phase"),
        (CORRECTION.replace("12.0", "nan"), "mg_cm3"),
    ],
)
def test_a_wrong_correction_is_an_error_at_start(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        _site(tmp_path, text)


def test_an_equation_for_a_phase_takes_no_correction(tmp_path: Path) -> None:
    equation = """
[[equation]]
id = "portal"
manufacturer = ["Philips"]
model = ["Brilliance 64"]
kvp = 120
contrast_phase = "portal_venous"
slope = 0.7
intercept = 0.0
material = "HA"
source = "own"
status = "active"
"""
    with pytest.raises(ConfigurationError, match="restricted to a contrast phase"):
        _site(tmp_path, equation + CORRECTION.replace("schwaiger2014-120", "portal"))
