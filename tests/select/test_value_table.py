"""The table of values: what was filled in says nothing of where air lies, and air that is measured does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from node.select.value_table import ValueTable


def doubt_about(air_hu: npt.NDArray[np.float64]) -> str:
    """What the table says of a trunk of fat, muscle and bone whose surroundings have these values."""
    rng = np.random.default_rng(3)
    tissue = np.concatenate([rng.normal(mean, 20.0, 60_000) for mean in (-100.0, 50.0, 55.0)])
    bone = rng.normal(300.0, 150.0, 6_000)
    plane = rng.permutation(np.round(np.concatenate([tissue, bone, air_hu])))[: 480 * 480].reshape(480, -1)
    table = ValueTable()
    table.add(plane.astype(np.float32), np.zeros(plane.shape, dtype=np.bool_), 3071.0)
    return str(table.doubt())


def test_filled_in_values_are_not_air_even_if_rounding_split_them() -> None:
    """As in sub-verse014 of VerSe: -1024 around the field of view, resampled, so that half of it is -1023."""
    rng = np.random.default_rng(1)
    stray = rng.normal(-1000.0, 30.0, 500)
    filled = np.concatenate([np.full(26_000, -1024.0), np.full(27_900, -1023.0), stray])
    assert doubt_about(filled) == "None"


def test_air_that_is_off_is_found() -> None:
    noisy = np.random.default_rng(2).normal(-1024.0, 8.0, 54_400)
    assert "air measures -1024 HU" in doubt_about(noisy)
    assert doubt_about(noisy + 24.0) == "None"
