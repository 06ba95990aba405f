"""Degeneration next to a vertebral body: narrowed discs and large osteophytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage

from node.language.phrase import phrase
from node.measure.boxes import places_mm
from node.measure.heights import BodyShape
from node.measure.inside import BodyView
from node.model import Level, LevelFindingCode, Reason

# All limits are assumptions, set on phantoms and checked on real CTs.
#: A disc counts as narrowed if its middle is lower than the first; or lower than a healthy lumbar disc (the second) and
#: than this share of the patient's usual disc height.
_COLLAPSED_MM, _LOW_MM, _USUAL_SHARE = 4.5, 6.5, 0.5
#: Height of a healthy disc relative to that of L3/L4, by the level above it; the thoracolumbar disc is thinner (an
#: assumption: typical adults, rounded, as in the phantom).
_RELATIVE: Mapping[Level, float] = {Level.T12: 0.65}
#: From this thickness on, mm, the outlines of two end plates leave unknown what exceeds the second: a disc must be narrower
#: by that much before it is called narrowed (an assumption).
_COARSE_MM, _FINE_MM = 3.5, 3.0
#: An osteophyte is bone above this attenuation, HU, within this distance of the body, in front of its middle.
_BONE_HU, _NEAR_MM = 230.0, 12.0
#: What continues beyond that distance is a vessel or bowel with contrast: the largest share of an osteophyte there.
_BEYOND_SHARE = 0.1
#: Osteophytes of one body together count as large from this volume on, mm3.
_OSTEOPHYTES_MM3 = 900.0
#: Bone this near to the surface belongs to the body: uncertainty of the mask, and partial volume.
_SKIN_MM = 1.5


def collapsed_discs(
    shapes: Sequence[BodyShape], thickness_mm: float, caged: frozenset[Level] = frozenset()
) -> Mapping[Level, Reason]:
    """Levels next to a narrowed disc, with the finding of each.

    Args:
        shapes: whole bodies from the head downward. Only discs between neighbours are assessed.
        thickness_mm: thickness that was scanned along the spine.
        caged: levels with an implant at an end plate. What is between two of them is a cage, not a disc.
    """
    found: dict[Level, Reason] = {}
    discs = [
        (upper, lower, disc_height_mm(upper, lower)) for upper, lower in pairwise(shapes) if lower.level == upper.level + 1
    ]
    unknown_mm = thickness_mm - _FINE_MM if thickness_mm > _COARSE_MM else 0.0
    for upper, lower, height in discs:
        if upper.level in caged and lower.level in caged:
            continue
        others = [other / _relative(one) for one, _, other in discs if one is not upper]
        usual = _relative(upper)
        most = height + unknown_mm
        low = most < _LOW_MM * usual and len(others) > 1 and most < _USUAL_SHARE * usual * float(np.median(others))
        if most < _COLLAPSED_MM * usual or low:
            name = f"{upper.level.name}/{lower.level.name}"
            said = phrase("disc-space narrowing at {disc}: {height:.0f} mm", disc=name, height=max(height, 0.0))
            reason = Reason(LevelFindingCode.COLLAPSED_DISC, said)
            for level in (upper.level, lower.level):
                found.setdefault(level, reason)
    return found


def _relative(upper: BodyShape) -> float:
    return _RELATIVE.get(upper.level, 1.0)


def disc_height_mm(upper: BodyShape, lower: BodyShape) -> float:
    """Distance between two end plates in the middle, along the bisector of both bodies."""
    along = upper.axes[2] + lower.axes[2]
    along /= np.linalg.norm(along)
    return float((upper.lower_lps_mm - lower.upper_lps_mm) @ along)


def osteophytes(view: BodyView) -> Reason | None:
    """Large anterior and lateral osteophytes of a body."""
    if view.shape is None:
        return None
    outside_mm = ndimage.distance_transform_edt(~view.mask, sampling=view.spacing_mm)
    bone = (view.smooth > _BONE_HU) & (outside_mm > _SKIN_MM) & ~view.other_bodies
    index = np.argwhere(bone)
    if len(index) == 0:
        return None
    places = places_mm(index, view.affine_lps_mm)
    middle = (view.shape.upper_lps_mm + view.shape.lower_lps_mm) / 2
    behind = (places - middle) @ view.shape.axes[1] > 0.1 * view.shape.depth_mm
    bone[tuple(index[behind].T)] = False
    parts, n = ndimage.label(bone)
    if n == 0:
        return None
    numbers = np.arange(1, n + 1)
    size = ndimage.sum_labels(bone, parts, numbers)
    beyond = ndimage.sum_labels(outside_mm > _NEAR_MM, parts, numbers)
    nearest = np.asarray(ndimage.minimum(outside_mm, parts, numbers))
    grown = (beyond <= _BEYOND_SHARE * size) & (nearest < 2 * _SKIN_MM + max(view.spacing_mm))
    volume = float(size[grown].sum()) * view.voxel_mm3
    if volume < _OSTEOPHYTES_MM3:
        return None
    said = phrase("anterior and lateral osteophytes of {volume:.1f} cm3", volume=volume / 1000)
    return Reason(LevelFindingCode.OSTEOPHYTES, said)
