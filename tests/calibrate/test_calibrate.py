"""Equations are matched exactly or not at all."""

from dataclasses import replace
from pathlib import Path

import pytest

from node.calibrate import acr_category, convert, load_registry
from node.common.errors import ConfigurationError
from node.model import AcrCategory, Calibration, Level, LevelMeasurement, Reason
from tests.calibrate.ct_facts import PHILIPS


def _level(level: Level, hu: float | None, usable: bool = True) -> LevelMeasurement:
    return LevelMeasurement(level, (0.0, 0.0, 0.0), hu, 20.0, 1500.0, usable, ())


@pytest.mark.parametrize(
    ("manufacturer", "model"),
    [("Philips", "Brilliance 64"), ("PHILIPS ", "brilliance64"), ("Philips Medical Systems", "Brilliance  64")],
)
def test_the_validated_scanner_gets_its_equation_in_every_spelling(manufacturer: str, model: str) -> None:
    match = load_registry(None).match(replace(PHILIPS, manufacturer=manufacturer, manufacturer_model_name=model))
    assert isinstance(match, Calibration)
    assert (match.id, match.slope, match.intercept) == ("schwaiger2014-120", 0.78, 0.0)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"kvp": 140.0}, "equation_off"),
        ({"kvp": 130.0}, "no_equation_for_kvp"),
        ({"kvp": 135.0}, "no_equation_for_kvp"),
        ({"kvp": 119.9}, "no_equation_for_kvp"),
        ({"kvp": None}, "scanner_unknown"),
        ({"manufacturer": None}, "scanner_unknown"),
        ({"manufacturer_model_name": None}, "scanner_unknown"),
        ({"manufacturer_model_name": "Brilliance 16"}, "no_equation"),
        ({"manufacturer_model_name": "Brilliance 640"}, "no_equation"),
        ({"manufacturer": "SIEMENS", "manufacturer_model_name": "Biograph 64"}, "no_equation"),
        ({"manufacturer": "SIEMENS"}, "no_equation"),
    ],
)
def test_everything_else_gets_none_and_the_reason(change: dict[str, object], code: str) -> None:
    facts = replace(PHILIPS, **change)  # type: ignore[arg-type]
    match = load_registry(None).match(facts)
    assert isinstance(match, Reason)
    assert match.code == code

    bmd = convert([_level(Level.L1, 100.0)], facts, load_registry(None))
    assert (bmd.bmd_mg_cm3, bmd.category, bmd.interval_mg_cm3, bmd.level_bmd_mg_cm3) == (None, None, None, ())
    assert bmd.reasons == (match,)


def test_the_140_kvp_message_tells_the_site_what_to_do() -> None:
    match = load_registry(None).match(replace(PHILIPS, kvp=140.0))
    assert isinstance(match, Reason)
    assert "Check the article" in match.detail


@pytest.mark.parametrize(
    ("bmd", "category"),
    [
        (79.99, AcrCategory.OSTEOPOROSIS),
        (80.0, AcrCategory.LOW_BONE_MASS),
        (120.0, AcrCategory.LOW_BONE_MASS),
        (120.01, AcrCategory.NORMAL),
    ],
)
def test_acr_limits_are_inclusive_between_80_and_120(bmd: float, category: AcrCategory) -> None:
    assert acr_category(bmd) is category


def test_the_mean_is_over_usable_levels() -> None:
    levels = [
        _level(Level.L1, 100.0),
        _level(Level.L2, 110.0),
        _level(Level.L3, 400.0, usable=False),
        _level(Level.L4, None, usable=False),
    ]
    bmd = convert(levels, PHILIPS, load_registry(None))
    assert dict(bmd.level_bmd_mg_cm3) == pytest.approx({Level.L1: 78.0, Level.L2: 85.8, Level.L3: 312.0})
    assert bmd.bmd_mg_cm3 == pytest.approx(81.9)
    assert bmd.category is AcrCategory.LOW_BONE_MASS
    assert bmd.interval_mg_cm3 is not None
    assert bmd.interval_mg_cm3[0] < 81.9 * (1 - 0.047) < 81.9 * (1 + 0.047) < bmd.interval_mg_cm3[1]


def test_one_level_is_enough_but_said() -> None:
    bmd = convert([_level(Level.L3, 200.0)], PHILIPS, load_registry(None))
    assert bmd.category is AcrCategory.NORMAL
    assert [r.code for r in bmd.reasons] == ["one_level"]


def test_contrast_widens_downward_and_withholds_a_category_that_is_not_sure() -> None:
    enhanced = replace(PHILIPS, contrast_bolus_agent="IV")
    plain = convert(
        [_level(level, 170.0) for level in (Level.L1, Level.L2, Level.L3, Level.L4)], PHILIPS, load_registry(None)
    )
    bmd = convert(
        [_level(level, 170.0) for level in (Level.L1, Level.L2, Level.L3, Level.L4)], enhanced, load_registry(None)
    )
    assert plain.category is AcrCategory.NORMAL
    assert bmd.category is None
    assert [r.code for r in bmd.reasons] == ["contrast", "category_withheld"]
    assert bmd.interval_mg_cm3 is not None
    assert plain.interval_mg_cm3 is not None
    assert bmd.interval_mg_cm3[0] == pytest.approx(plain.interval_mg_cm3[0] - 17.5)
    assert bmd.bmd_mg_cm3 == plain.bmd_mg_cm3, "nothing is subtracted"

    low = convert([_level(level, 60.0) for level in (Level.L1, Level.L2)], enhanced, load_registry(None))
    assert low.category is AcrCategory.OSTEOPOROSIS, "below the threshold with and without the bias"


SITE = """
[[equation]]
id = "our-scanner"
manufacturer = ["SIEMENS"]
model = ["Biograph 64"]
kvp = 120
slope = 0.8
intercept = -3.0
material = "HA"
source = "own phantom"
status = "active"
"""


def test_a_site_file_adds_an_equation(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(SITE)
    facts = replace(PHILIPS, manufacturer="SIEMENS", manufacturer_model_name="Biograph 64")
    bmd = convert([_level(Level.L1, 100.0)], facts, load_registry(site))
    assert bmd.bmd_mg_cm3 == pytest.approx(77.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SITE + SITE, "registry twice"),
        (SITE + SITE.replace("our-scanner", "other"), "fit the same scanner"),
        (SITE.replace("0.8", "8.0"), "slope"),
        (SITE.replace('"HA"', '"water"'), "material"),
        (SITE.replace('"active"', '"off"'), "needs a message"),
        ("[[equation", "not valid TOML"),
    ],
)
def test_a_wrong_site_file_is_an_error_at_start(tmp_path: Path, text: str, says: str) -> None:
    site = tmp_path / "site.toml"
    site.write_text(text)
    with pytest.raises(ConfigurationError, match=says):
        load_registry(site)
