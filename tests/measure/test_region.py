"""Erosion is a distance in millimetres, whatever the voxels are."""

import numpy as np
import pytest

from node.measure import erode_mm


def _box_mm(size_mm: tuple[float, float, float], spacing_mm: tuple[float, float, float]) -> np.ndarray:
    counts = [round(size / spacing) for size, spacing in zip(size_mm, spacing_mm, strict=True)]
    return np.pad(np.ones(counts, dtype=bool), 3)


@pytest.mark.parametrize(
    "spacing_mm",
    [(1.0, 1.0, 1.0), (5.0, 1.0, 1.0), (0.5, 0.5, 0.5), (3.0, 0.75, 0.75), (1.0, 5.0, 2.5), (2.5, 0.5, 5.0)],
)
def test_a_box_loses_the_distance_on_every_side(spacing_mm: tuple[float, float, float]) -> None:
    size_mm = (45.0, 45.0, 45.0)
    mask = _box_mm(size_mm, spacing_mm)

    region = erode_mm(mask, spacing_mm, 10.0)

    # voxels are kept by their centre: the extent of the kept ones is within a voxel of 45 - 2 x 10
    for axis, spacing in enumerate(spacing_mm):
        other = tuple(a for a in range(3) if a != axis)
        extent_mm = region.any(axis=other).sum() * spacing
        assert abs(extent_mm - 25.0) <= spacing
    inside = np.argwhere(mask)
    centre = (inside.min(axis=0) + inside.max(axis=0)) / 2
    kept = np.argwhere(region)
    assert np.allclose((kept.min(axis=0) + kept.max(axis=0)) / 2, centre), "the region lies in the middle"


@pytest.mark.parametrize("slice_mm", [0.6, 1.0, 2.0, 3.0, 5.0])
def test_a_ball_of_22_mm_radius_keeps_a_ball_of_12(slice_mm: float) -> None:
    spacing_mm = (slice_mm, 0.8, 0.8)
    axes = [np.arange(-30.0, 30.0, s) for s in spacing_mm]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    radius_mm = np.sqrt(z**2 + y**2 + x**2)

    region = erode_mm(radius_mm <= 22.0, spacing_mm, 10.0)

    # the ball's surface is a staircase of boxes, so the limit is blurred by half the diagonal of a voxel
    blur_mm = 0.5 * float(np.linalg.norm(spacing_mm))
    assert radius_mm[region].max() <= 12.0 + blur_mm
    assert region[radius_mm < 12.0 - blur_mm].all()


def test_the_border_of_the_image_is_a_surface() -> None:
    mask = np.zeros((40, 40, 40), dtype=bool)
    mask[:30, 5:35, 5:35] = True

    region = erode_mm(mask, (1.0, 1.0, 1.0), 10.0)

    assert not region[:10].any()
    assert region[10:20, 15:25, 15:25].all()


def test_nothing_stays_of_a_thin_mask_and_of_an_empty_one() -> None:
    mask = np.zeros((30, 30, 30), dtype=bool)
    assert not erode_mm(mask, (1.0, 1.0, 1.0), 10.0).any()
    mask[10:20] = True
    assert not erode_mm(mask, (1.0, 1.0, 1.0), 10.0).any()
