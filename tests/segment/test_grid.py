"""The working grid: positions in the patient must survive any orientation of the source."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from node.model import Affine
from node.segment.grid import AIR_HU, grid_around, resample_to_grid


def affine(spacing: tuple[float, float, float], columns: list[list[float]], origin: tuple[float, float, float]) -> Affine:
    out = np.eye(4)
    out[:3, :3] = np.array(columns).T * np.array(spacing)
    out[:3, 3] = origin
    return out


AXIAL = affine((1.0, 0.7, 0.7), [[0, 0, 1], [0, 1, 0], [1, 0, 0]], (-40.0, -30.0, -500.0))
FEET_FIRST = affine((2.0, 0.7, 0.7), [[0, 0, -1], [0, 1, 0], [1, 0, 0]], (-40.0, -30.0, -420.0))
SAGITTAL = affine((3.0, 0.5, 0.5), [[1, 0, 0], [0, 0, -1], [0, 1, 0]], (-60.0, -30.0, -400.0))
OBLIQUE = AXIAL.copy()
OBLIQUE[:3, :3] = Rotation.from_rotvec([20, -15, 10], degrees=True).as_matrix() @ AXIAL[:3, :3]


@pytest.mark.parametrize(
    "source", [AXIAL, FEET_FIRST, SAGITTAL, OBLIQUE], ids=["axial", "feet-first", "sagittal", "oblique"]
)
def test_a_ramp_through_the_patient_is_the_same_ramp_on_the_grid(source: Affine) -> None:
    shape = (48, 120, 130)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    slope = np.array([0.9, -1.3, 0.7])
    positions = index @ source[:3, :3].T + source[:3, 3]
    middle = positions.reshape(-1, 3).mean(axis=0)
    hu = np.round((positions - middle) @ slope).astype(np.int16)
    grid = grid_around(source, shape, 3.0)
    resampled = resample_to_grid(hu, source, grid)
    grid_index = np.argwhere(np.ones(grid.shape, dtype=bool))
    grid_positions = grid.to_lps_mm(grid_index.astype(float))
    inside_index = (grid_positions - source[:3, 3]) @ np.linalg.inv(source[:3, :3]).T
    inside = ((inside_index > 8) & (inside_index < np.array(shape) - 9)).all(axis=1)
    assert inside.sum() > 200
    expected = (grid_positions - middle) @ slope
    assert np.abs(resampled[tuple(grid_index.T)] - expected)[inside].max() < 0.6
    outside = ((inside_index < -6) | (inside_index > np.array(shape) + 5)).any(axis=1)
    if outside.any():
        assert (resampled[tuple(grid_index.T)][outside] == AIR_HU).all()
