"""Implausible shapes of vertebral bodies are recognised."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from node.model import Level
from node.segment.instances import Body
from node.segment.reach import Named
from node.segment.refine import CROP_VOXELS, Refined, crop_grid
from node.segment.selfcheck import form_of, narrow_throughout, outline_doubts, overlap

MIDDLE = np.array(CROP_VOXELS) // 2


def cylinder(height: int = 26, depth: int = 32, width: int = 44) -> npt.NDArray[np.bool_]:
    """A body as an elliptic cylinder; sizes in mm."""
    z, y, x = (np.arange(n) - m for n, m in zip(CROP_VOXELS, MIDDLE, strict=True))
    plane = (y[:, None] / (depth / 2)) ** 2 + (x[None, :] / (width / 2)) ** 2 <= 1
    return np.asarray((abs(z) <= height / 2)[:, None, None] & plane[None])


def drawn(mask: npt.NDArray[np.bool_], agreement: float = 0.9, z_mm: float = 0.0) -> Refined:
    return Refined(mask.astype(np.float32), crop_grid(np.array([0.0, 0.0, z_mm])), agreement)


def named(level: Level) -> Named:
    return Named(level, Body(1, np.zeros(3), 40.0, 0.0, 0.9), 0.9, "")


def test_a_body_is_plausible() -> None:
    form = form_of(drawn(cylinder()))
    assert form.doubt is None
    # An ellipse of 32 x 44 mm (1106 mm2), 27 voxels high.
    assert form.volume_cm3 == pytest.approx(29.9, rel=0.03)
    assert form.width_mm == pytest.approx(44, abs=3)
    assert form.symmetry > 0.95
    assert form.solidity > 0.9


def test_a_wedge_and_a_crush_fracture_are_plausible() -> None:
    wedge = cylinder()
    z, y = np.indices(CROP_VOXELS)[:2]
    wedge &= z - MIDDLE[0] <= 13 - 0.5 * np.maximum(MIDDLE[1] + 12 - y, 0)
    assert form_of(drawn(wedge)).doubt is None
    assert form_of(drawn(cylinder(height=12))).doubt is None


def quarter_missing() -> npt.NDArray[np.bool_]:
    mask = cylinder()
    mask[: MIDDLE[0], :, : MIDDLE[2]] = False
    return mask


def spiked() -> npt.NDArray[np.bool_]:
    mask = cylinder()
    mask[30:34, 2:70, 38:42] = True
    mask[2:62, 34:38, 38:42] = True
    return mask


IMPLAUSIBLE = {
    "networks": (drawn(cylinder(), agreement=0.4), "two networks"),
    "tiny": (drawn(cylinder(6, 16, 30)), "volume"),
    "huge": (drawn(cylinder(60, 70, 60)), "volume"),
    "quarter missing": (drawn(quarter_missing()), "halves"),
    "spikes": (drawn(spiked()), "irregular"),
    "nothing": (drawn(np.zeros(CROP_VOXELS, dtype=bool)), "volume"),
}


@pytest.mark.parametrize("case", IMPLAUSIBLE)
def test_other_forms_are_doubted(case: str) -> None:
    body, words = IMPLAUSIBLE[case]
    doubt = form_of(body).doubt
    assert doubt is not None
    assert words in doubt


def test_overlap_is_measured_in_the_patient() -> None:
    assert overlap(drawn(cylinder()), drawn(cylinder())) == 1.0
    assert overlap(drawn(cylinder(26)), drawn(cylinder(26), z_mm=-35.0)) == 0.0
    assert overlap(drawn(cylinder(26)), drawn(cylinder(26), z_mm=-20.0)) == pytest.approx(7 / 27, abs=0.01)
    assert overlap(drawn(cylinder(26)), drawn(cylinder(26), z_mm=-200.0)) == 0.0


def test_neighbours_that_overlap_are_both_withheld() -> None:
    column = (
        (named(Level.L1), drawn(cylinder())),
        (named(Level.L2), drawn(cylinder(), z_mm=-35.0)),
        (named(Level.L3), drawn(cylinder(), z_mm=-55.0)),
    )
    doubts = outline_doubts(column)
    assert set(doubts) == {Level.L2, Level.L3}
    assert doubts[Level.L2] == "L2 and L3 overlap by 26 %"


def test_bodies_that_are_all_narrow_are_drawn_right() -> None:
    """The header of a sagittal study may state half the distance between slices: that is said, and nothing is withheld."""
    levels = (Level.L1, Level.L2, Level.L3)
    narrow = tuple((named(level), drawn(cylinder(width=20), z_mm=-40.0 * i)) for i, level in enumerate(levels))
    assert outline_doubts(narrow) == {}
    assert "only 19 mm wide" in str(narrow_throughout(narrow))
    thin = (*narrow, (named(Level.L4), drawn(cylinder(height=60, width=12), z_mm=-120.0)))
    assert set(outline_doubts(thin)) == {Level.L4}
    usual = tuple((named(level), drawn(cylinder(), z_mm=-40.0 * i)) for i, level in enumerate(levels))
    assert narrow_throughout(usual) is None
    one = (*usual, (named(Level.L4), drawn(cylinder(width=20), z_mm=-120.0)))
    assert set(outline_doubts(one)) == {Level.L4}
