"""Findings of levels on phantoms that have them, and none on a healthy one."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from node.measure import judge_levels, measure_levels
from node.model import FractureKind, Level, LevelMeasurement, Measurement, VertebralBody
from node.phantom import (
    Cement,
    Degeneration,
    FieldOfView,
    Fracture,
    Lesion,
    Pathology,
    Phantom,
    PhantomParameters,
    Screws,
    make_phantom,
)
from node.settings.tree import MeasureSettings, QualitySettings

NARROW = FieldOfView((0.0, 20.0, 0.0), (80.0, 112.0, 250.0))
COARSE = {"pixel_spacing_mm": 0.9, "slice_distance_mm": 1.5, "noise_sd_hu": 15.0, "field_of_view": NARROW}
WEDGE_AND_MORE = Pathology(
    fractures=(Fracture(Level.T12, FractureKind.CRUSH, 0.3), Fracture(Level.L1, FractureKind.WEDGE, 0.25)),
    lesions=(Lesion(Level.L2, 6.0, 700.0),),
    degeneration=(Degeneration(Level.L3),),
)
BICONCAVE_AND_MORE = Pathology(
    fractures=(Fracture(Level.L1, FractureKind.BICONCAVE, 0.45),),
    cement=(Cement(Level.L2),),
    lesions=(Lesion(Level.L3, 6.0, -40.0),),
    cages=(Level.L4,),
)


@cache
def phantom(pathology: Pathology = Pathology(), screws: Screws | None = None, l4: float = 100.0) -> Phantom:  # noqa: B008
    return make_phantom(
        PhantomParameters(
            pathology=pathology,
            screws=screws,
            level_densities_mg_cm3=((Level.L4, l4),),
            **COARSE,  # type: ignore[arg-type]
        )
    )


def judged(
    made: Phantom, settings: QualitySettings | None = None, labels: npt.NDArray[np.uint8] | None = None
) -> Measurement:
    bodies = tuple(
        VertebralBody(truth.level, truth.centroid_lps_mm, 1.0, "truth")
        for truth in made.truth.levels
        if truth.visible_fraction == 1.0
    )
    image = (made.hu, made.truth.labels if labels is None else labels, made.affine_lps_mm, bodies)
    wanted = MeasureSettings()
    return judge_levels(*image, measure_levels(*image, wanted), settings or QualitySettings(), wanted.metal_hu)


def by_level(measurement: Measurement) -> dict[Level, LevelMeasurement]:
    return {level.level: level for level in measurement.levels}


def codes(measurement: Measurement) -> dict[str, set[str]]:
    return {level.level.name: {finding.code for finding in level.findings} for level in measurement.levels}


def test_a_healthy_spine_has_no_finding() -> None:
    measurement = judged(phantom())
    assert codes(measurement) == {"L1": set(), "L2": set(), "L3": set(), "L4": set()}
    assert measurement.findings == ()
    assert measurement.hu_mean == pytest.approx(100 / 0.78, abs=1.5)


def test_wedge_crush_island_and_degeneration_are_told_apart() -> None:
    measurement = judged(phantom(WEDGE_AND_MORE))
    levels = by_level(measurement)
    assert "wedge fracture, grade 2" in next(f.detail for f in levels[Level.L1].findings if f.code == "fracture")
    assert codes(measurement)["L2"] == {"focal_lesion"}
    assert "dense focus" in levels[Level.L2].findings[0].detail
    assert codes(measurement)["L3"] == codes(measurement)["L4"] == {"endplate_sclerosis", "collapsed_disc", "osteophytes"}
    assert not any(level.usable for level in measurement.levels)
    # the fractures are named for the study as a whole, that of T12, which is not measured, too
    (seen,) = measurement.findings
    assert seen.code == "fracture"
    assert "T12 crush fracture, grade 2" in seen.detail
    assert "L1 wedge fracture" in seen.detail


def test_each_grade_of_a_wedge_fracture_is_told() -> None:
    grades = {Level.L1: (0.22, 1), Level.L3: (0.32, 2), Level.L4: (0.5, 3)}
    fractures = tuple(Fracture(level, FractureKind.WEDGE, loss) for level, (loss, _) in grades.items())
    levels = by_level(judged(phantom(Pathology(fractures=fractures))))
    for level, (_, grade) in grades.items():
        (detail,) = (finding.detail for finding in levels[level].findings if finding.code == "fracture")
        assert detail.startswith(f"wedge fracture, grade {grade}:")
    assert levels[Level.L2].findings == ()


def test_biconcave_fracture_cement_lytic_lesion_and_cage_are_told_apart() -> None:
    measurement = judged(phantom(BICONCAVE_AND_MORE))
    levels = by_level(measurement)
    assert "biconcave fracture, grade 3" in levels[Level.L1].findings[1].detail
    assert codes(measurement) == {
        "L1": {"region_too_small", "fracture"},
        "L2": {"region_too_small", "cement"},
        "L3": {"focal_lesion"},
        "L4": {"metal"},
    }
    assert "lytic focus" in levels[Level.L3].findings[0].detail
    assert [level.usable for level in measurement.levels] == [False, False, False, True]
    assert measurement.hu_mean == levels[Level.L4].hu_mean


def test_a_cage_that_an_outline_reaches_into_is_no_sclerosis() -> None:
    made = phantom(Pathology(cages=(Level.L3,)))
    labels = made.truth.labels.copy()
    body = labels == Level.L3
    upward = made.affine_lps_mm[2, :3]
    axis = int(np.argmax(abs(upward)))
    # 7.5 mm further down
    for _ in range(5):
        body |= np.roll(body, -int(np.sign(upward[axis])), axis=axis) & (labels != Level.L4)
    labels[body] = Level.L3
    found = codes(judged(made, labels=labels))
    assert found["L3"] == {"metal"}
    assert found["L4"] == {"metal"}


def test_a_level_far_from_the_others_is_named_and_still_counts() -> None:
    measurement = judged(phantom(l4=200.0))
    assert codes(measurement) == {"L1": set(), "L2": set(), "L3": set(), "L4": {"outlier"}}
    assert all(level.usable for level in measurement.levels)


def test_the_settings_decide_what_a_finding_does() -> None:
    made = phantom(WEDGE_AND_MORE)
    flagged = judged(made, QualitySettings(focal_lesion="flag"))
    assert [level.usable for level in flagged.levels] == [False, True, False, False]
    assert flagged.hu_mean == by_level(flagged)[Level.L2].hu_mean
    refused = judged(made, QualitySettings(endplate_sclerosis="flag", focal_lesion="refuse"))
    assert refused.refused
    assert not any(level.usable for level in refused.levels)
    assert refused.hu_mean is None
    assert [reason.code for reason in refused.findings] == ["fracture", "focal_lesion"]
    assert refused.findings[1].detail.startswith("L2: ")


def test_streaks_of_screws_never_enter_the_mean() -> None:
    made = phantom(screws=Screws((Level.L3, Level.L4), streaks=1.2))
    measurement = judged(made)
    for level in measurement.levels:
        has_screws = level.level in (Level.L3, Level.L4)
        assert ("metal" in {finding.code for finding in level.findings}) == has_screws
        if level.usable:
            assert level.hu_mean == pytest.approx(100 / 0.78, abs=3.0)
    assert measurement.hu_mean == pytest.approx(100 / 0.78, abs=2.0)
    # without streaks the region beside a screw is measured as before
    still = by_level(judged(phantom(screws=Screws((Level.L3, Level.L4)))))
    assert [finding.code for finding in still[Level.L3].findings if finding.code == "streaks"] == []
