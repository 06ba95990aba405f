"""Levels are measured as in the study: metal out, 10 mm eroded, mean over the usable ones."""

import numpy as np
import pytest

from node.measure import measure_levels
from node.model import Level, VertebralBody
from node.settings.tree import MeasureSettings

#: Axial slices, 1 mm voxels.
AFFINE = np.array([[0.0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])


def _body(level: Level) -> VertebralBody:
    return VertebralBody(level, (0.0, 0.0, 0.0), 0.9, "test")


def _spine(levels: dict[Level, int]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of 30 x 34 x 44 mm with a cortex of 600 HU, 2 mm thick, one above the other, in water."""
    hu = np.zeros((len(levels) * 36 + 8, 60, 60), dtype=np.int16)
    labels = np.zeros(hu.shape, dtype=np.uint8)
    for n, (level, value) in enumerate(levels.items()):
        z = 4 + n * 36
        hu[z : z + 30, 10:44, 8:52] = 600
        hu[z + 2 : z + 28, 12:42, 10:50] = value
        labels[z : z + 30, 10:44, 8:52] = level
    return hu, labels


def test_the_mean_is_that_of_the_inside_and_l5_does_not_count() -> None:
    truth = {Level.L1: 100, Level.L2: 120, Level.L3: 140, Level.L4: 160, Level.L5: 400}
    hu, labels = _spine(truth)

    result = measure_levels(hu, labels, AFFINE, [_body(level) for level in truth], MeasureSettings())

    assert [level.level for level in result.levels] == [Level.L1, Level.L2, Level.L3, Level.L4]
    assert [level.hu_mean for level in result.levels] == [100.0, 120.0, 140.0, 160.0]
    assert all(level.usable and not level.findings for level in result.levels)
    assert all(level.roi_volume_mm3 == pytest.approx(10 * 14 * 24) for level in result.levels)
    assert result.hu_mean == pytest.approx(130.0)


def test_a_screw_is_left_out_and_the_region_keeps_away_from_it() -> None:
    hu, labels = _spine({Level.L1: 100, Level.L2: 120})
    hu[20:24, 20:34, 28:32] = 3000
    # the streaks around a screw raise what is near it
    hu[16:20, 20:34, 24:36] = 300

    result = measure_levels(hu, labels, AFFINE, [_body(Level.L1), _body(Level.L2)], MeasureSettings())

    first, second = result.levels
    assert first.findings[0].code == "metal"
    assert not (result.regions[(hu > 250)] == Level.L1).any()
    assert second.hu_mean == 120.0
    assert second.usable


def test_a_region_that_is_too_small_makes_the_level_unusable() -> None:
    hu, labels = _spine({Level.L1: 100, Level.L2: 120})
    flat = (labels == Level.L2) & (np.arange(hu.shape[0]) > 55)[:, None, None]
    labels[flat] = 0

    result = measure_levels(hu, labels, AFFINE, [_body(Level.L1), _body(Level.L2)], MeasureSettings())

    assert result.levels[1].usable is False
    assert result.levels[1].hu_mean is None
    assert result.levels[1].findings[0].code == "region_too_small"
    assert result.hu_mean == 100.0


def test_a_body_at_the_border_is_not_used() -> None:
    hu, labels = _spine({Level.L1: 100, Level.L2: 120})

    result = measure_levels(hu[10:], labels[10:], AFFINE, [_body(Level.L1), _body(Level.L2)], MeasureSettings())

    assert [level.usable for level in result.levels] == [False, True]
    assert result.levels[0].findings[0].code == "truncated"
    assert result.hu_mean == 120.0


def test_no_usable_level_gives_no_mean() -> None:
    hu, labels = _spine({Level.L1: 100})
    result = measure_levels(hu[10:], labels[10:], AFFINE, [_body(Level.L1)], MeasureSettings())
    assert result.hu_mean is None


def test_a_bright_speck_is_left_out_but_is_no_implant() -> None:
    hu, labels = _spine({Level.L1: 100})
    hu[19, 27, 30] = 1500

    (level,) = measure_levels(hu, labels, AFFINE, [_body(Level.L1)], MeasureSettings()).levels

    assert level.findings == ()
    assert level.hu_mean == 100.0
    assert level.roi_volume_mm3 == pytest.approx(10 * 14 * 24 - 1)
