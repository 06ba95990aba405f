"""The interval of a mean: each of its parts, and which thresholds it crosses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from node.calibrate import acr_category, convert, load_registry
from node.calibrate.acr import thresholds_crossed
from node.calibrate.interval import CORRELATED_VOLUME_MM3, interval_mg_cm3
from node.model import AcrCategory, Bmd, Calibration, Level, LevelMeasurement
from node.model.rounding import rounded_bmd
from tests.calibrate.ct_facts import PHILIPS

LEVELS = (Level.L1, Level.L2, Level.L3, Level.L4)
PUBLISHED = Calibration("published", 0.8, 0.0, "HA", "made up for a test")
OWN = replace(PUBLISHED, id="own", slope_se=0.01, intercept_se=0.5, fit_points=30, of_this_scanner=True)


def level(at: Level, hu: float, sd: float | None = 0.0, volume_mm3: float = 2000.0) -> LevelMeasurement:
    return LevelMeasurement(at, (0.0, 0.0, 0.0), hu, sd, volume_mm3, True, ())


def four(hu: float, sd: float = 0.0, volume_mm3: float = 2000.0) -> list[LevelMeasurement]:
    return [level(at, hu, sd, volume_mm3) for at in LEVELS]


def half(levels: list[LevelMeasurement], calibration: Calibration) -> float:
    lower, upper = interval_mg_cm3(levels, calibration)
    return (upper - lower) / 2


def converted(mean_mg_cm3: float) -> Bmd:
    return convert(four(mean_mg_cm3 / 0.78), PHILIPS, load_registry(None))


def test_the_floor_is_the_precision_between_sessions_and_between_scanners_where_the_equation_is_of_the_model() -> None:
    this_scanner = replace(PUBLISHED, of_this_scanner=True)
    assert interval_mg_cm3(four(125.0), this_scanner) == pytest.approx((100 * (1 - 0.0921), 100 * (1 + 0.0921)), abs=0.02)
    assert half(four(125.0), PUBLISHED) == pytest.approx(1.96 * 4.9, abs=0.01)
    # a mean below zero, as of fatty marrow, has no negative width
    lower, upper = interval_mg_cm3(four(-50.0), PUBLISHED)
    assert lower < -40.0 < upper


def test_noise_counts_by_the_volume_of_the_region_and_not_by_its_voxels() -> None:
    few = [level(Level.L1, 125.0, 50.0, 300.0)]
    expected = 1.96 * 0.8 * 50.0 * math.sqrt(CORRELATED_VOLUME_MM3 / 300.0)
    assert expected > 1.96 * 4.9
    assert half(few, PUBLISHED) == pytest.approx(expected, rel=1e-3)
    # four such regions average their errors; large and quiet ones do not go below the floor
    assert half(four(125.0, 50.0, 300.0), PUBLISHED) == pytest.approx(max(expected / 2, 1.96 * 4.9), rel=1e-3)
    assert half(four(125.0, 20.0, 3000.0), PUBLISHED) == half(four(125.0), PUBLISHED)
    # no region has less than one independent value
    assert half([level(Level.L1, 125.0, 50.0, 5.0)], PUBLISHED) == pytest.approx(1.96 * 0.8 * 50.0, rel=1e-3)
    assert half([level(Level.L1, 125.0, None)], PUBLISHED) == half([level(Level.L1, 125.0)], PUBLISHED)


def test_the_region_term_is_not_too_small_for_noise_that_is_correlated() -> None:
    """Regions drawn from smoothed noise: their means scatter less than the formula has it, more than single voxels would."""
    from scipy import ndimage

    rng = np.random.default_rng(1)
    edge, means, deviations = 12, [], []
    for _ in range(200):
        # grains of about 2 mm in voxels of 1 mm
        block = ndimage.gaussian_filter(rng.normal(0.0, 1.0, (edge + 8,) * 3), 0.85)[4:-4, 4:-4, 4:-4]
        means.append(block.mean())
        deviations.append(block.std(ddof=1))
    seen, sd = float(np.std(means)), float(np.mean(deviations))
    claimed = sd * math.sqrt(CORRELATED_VOLUME_MM3 / edge**3)
    assert sd / math.sqrt(edge**3) * 2 < seen <= claimed


def test_errors_of_the_fit_widen_and_are_not_made_up_for_a_published_equation() -> None:
    floor = 4.7
    expected = math.sqrt(floor**2 + (125.0 * 0.01) ** 2 + 0.5**2)
    assert half(four(125.0), OWN) == pytest.approx(1.96 * expected, rel=2e-3)
    assert half(four(125.0), replace(OWN, slope_se=None, intercept_se=None, fit_points=None)) == pytest.approx(
        1.96 * 4.7, abs=0.01
    )
    few_rods = replace(OWN, slope_se=0.05, fit_points=3)
    many_rods = replace(few_rods, fit_points=100)
    assert half(four(125.0), few_rods) > 1.15 * half(four(125.0), many_rods)


def test_scatter_of_levels_counts_as_far_as_levels_are_missing() -> None:
    scattered = [level(at, hu) for at, hu in zip(LEVELS, (100.0, 115.0, 135.0, 150.0), strict=True)]
    assert half(scattered, PUBLISHED) == pytest.approx(half(four(125.0), PUBLISHED)), "the mean of all four is the mean"
    pair = [level(Level.L1, 115.0), level(Level.L2, 135.0)]
    spread2 = (0.8 * math.sqrt(200.0)) ** 2 / 2 * (1 - 2 / 4)
    assert half(pair, PUBLISHED) > 1.96 * math.sqrt(4.9**2 + spread2), "two levels are few: Student's factor is larger"
    assert half(pair, PUBLISHED) < 3.5 * math.sqrt(4.9**2 + spread2)


def test_the_equation_of_a_site_carries_its_statistics() -> None:
    assert (OWN.slope_se, OWN.fit_points) == (0.01, 30)
    shipped = load_registry(None).match(PHILIPS)
    assert isinstance(shipped, Calibration)
    assert (shipped.slope_se, shipped.intercept_se, shipped.fit_points, shipped.of_this_scanner) == (None, None, None, False)


@pytest.mark.parametrize(
    ("lower", "upper", "crossed"),
    [
        (70.0, 79.99, ()),
        (70.0, 80.0, (80.0,)),
        (79.99, 100.0, (80.0,)),
        (80.0, 120.0, ()),
        (100.0, 120.01, (120.0,)),
        (120.0, 140.0, (120.0,)),
        (120.01, 140.0, ()),
        (79.0, 121.0, (80.0, 120.0)),
    ],
)
def test_thresholds_are_crossed_where_the_ends_differ_in_category(
    lower: float, upper: float, crossed: tuple[float, ...]
) -> None:
    assert thresholds_crossed(lower, upper) == crossed
    assert bool(crossed) == (acr_category(lower) is not acr_category(upper))
    # what is printed says the same
    assert thresholds_crossed(rounded_bmd(lower, 0), rounded_bmd(upper, 0)) == crossed


@pytest.mark.parametrize(
    ("mean", "category", "crossed"),
    [
        (60.0, AcrCategory.OSTEOPOROSIS, ()),
        (72.0, AcrCategory.OSTEOPOROSIS, ()),
        (74.0, AcrCategory.OSTEOPOROSIS, (80.0,)),
        (79.96, AcrCategory.OSTEOPOROSIS, (80.0,)),
        (80.0, AcrCategory.LOW_BONE_MASS, (80.0,)),
        (88.0, AcrCategory.LOW_BONE_MASS, (80.0,)),
        (90.0, AcrCategory.LOW_BONE_MASS, ()),
        (108.0, AcrCategory.LOW_BONE_MASS, ()),
        (110.0, AcrCategory.LOW_BONE_MASS, (120.0,)),
        (120.04, AcrCategory.NORMAL, (120.0,)),
        (132.0, AcrCategory.NORMAL, (120.0,)),
        (134.0, AcrCategory.NORMAL, ()),
    ],
)
def test_a_category_is_borderline_where_the_interval_reaches_another(
    mean: float, category: AcrCategory, crossed: tuple[float, ...]
) -> None:
    bmd = converted(mean)
    assert bmd.bmd_mg_cm3 == pytest.approx(mean)
    assert (bmd.thresholds_crossed_mg_cm3, bmd.borderline) == (crossed, bool(crossed))
    if mean != 80.0:  # 80 / 0.78 x 0.78 may be the number just below
        assert bmd.category is category
        assert acr_category(rounded_bmd(mean)) is category, "what is printed has the same category"


def test_a_wide_interval_may_cross_both_thresholds() -> None:
    noisy = convert([level(Level.L1, 128.0, 80.0, 200.0)], PHILIPS, load_registry(None))
    assert noisy.category is AcrCategory.LOW_BONE_MASS
    assert noisy.thresholds_crossed_mg_cm3 == (80.0, 120.0)
