"""Metal at the spine, and the planes of its streaks."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.measure.boxes import Box, places_mm, spacing_mm_of, widened
from node.measure.heights import BodyShape
from node.measure.region import BoolArray, FloatArray
from node.model import Affine, HuArray, Vector

#: A pedicle screw has several thousand mm3, a wire or clip a few tens. Single voxels above the limit are noise or cortex.
LEAST_METAL_MM3 = 10.0
#: Metal this near to a body is reported with it, if it is as large as an implant; calcified vessels are smaller
#: (assumption).
_BESIDE_MM, _LEAST_IMPLANT_MM3 = 6.0, 150.0
#: A cage is this near to an end plate; screws are further away (an assumption).
_AT_END_PLATE_MM = 4.0
#: Metal within this distance of a body's centre, in the scanner's plane, causes streaks in it (an assumption).
_REACH_MM = 60.0
#: Less metal than this in a plane, mm2, causes no relevant streaks: a calcified vessel, a clip (an assumption).
_LEAST_AREA_MM2 = 12.0
#: Streaks run in the scanner's plane; they are blurred over half a slice and about this much more.
_MARGIN_MM = 1.0


def without_specks(metal: BoolArray, voxel_mm3: float) -> BoolArray:
    """Connected metal of at least ``LEAST_METAL_MM3``: the region is kept away from implants, not from noise."""
    parts, n = ndimage.label(metal)
    if n == 0:
        return metal
    large = np.bincount(parts.ravel()) * voxel_mm3 >= LEAST_METAL_MM3
    large[0] = False
    return np.asarray(large[parts])


def metal_beside_mm3(hu: HuArray, mask: BoolArray, box: Box, spacing_mm: Vector, metal_hu: float) -> float:
    """Volume of metal within a few mm of a body: a cage in the disc, a rod; 0 if it is too small for an implant.

    Args:
        hu: the whole volume.
        mask: bool, the body in ``box``.
        box: where the body lies in the volume.
        spacing_mm: distance between voxel centres along axis 0, 1 and 2.
        metal_hu: voxels above this are metal.
    """
    wide = widened(box, [math.ceil(_BESIDE_MM / spacing) for spacing in spacing_mm])
    metal = hu[wide] > metal_hu
    if not metal.any():
        return 0.0
    body = np.zeros(metal.shape, dtype=np.bool_)
    body[tuple(slice(p.start - w.start, p.stop - w.start) for p, w in zip(box, wide, strict=True))] = mask
    voxel_mm3 = float(np.prod(spacing_mm))
    near = ndimage.distance_transform_edt(~body, sampling=spacing_mm) <= _BESIDE_MM
    volume = float((without_specks(metal & near, voxel_mm3)).sum()) * voxel_mm3
    return volume if volume >= _LEAST_IMPLANT_MM3 else 0.0


def metal_at_end_plate(hu: FloatArray, affine_lps_mm: Affine, shape: BodyShape, metal_hu: float) -> bool:
    """Whether an implant, such as a cage, is at an end plate. The outline there is not that of bone.

    Args:
        hu: 3-D, a box around the body.
        affine_lps_mm: 4 x 4, of the box.
        shape: shape of the body.
        metal_hu: voxels above this are metal.
    """
    places = places_mm(np.argwhere(hu > metal_hu), affine_lps_mm)
    voxel_mm3 = abs(float(np.linalg.det(affine_lps_mm[:3, :3])))
    for plate in (shape.upper_lps_mm, shape.lower_lps_mm):
        _, y, z = ((places - plate) @ shape.axes.T).T
        near = (np.abs(z) <= _AT_END_PLATE_MM) & (np.abs(y) <= shape.depth_mm / 2)
        if float(near.sum()) * voxel_mm3 >= _LEAST_IMPLANT_MM3:
            return True
    return False


class StreakPlanes:
    """Positions of metal along the scanner's axis (LPS z), and the voxels in the same planes."""

    def __init__(self, hu: HuArray, affine_lps_mm: Affine, metal_hu: float) -> None:
        """Find the metal of the whole volume once. Arguments as in :func:`node.measure.measure_levels`."""
        self._affine = affine_lps_mm
        self._voxel_mm3 = float(np.prod(spacing_mm_of(affine_lps_mm)))
        # distance of voxels along z, whatever the orientation of the slices
        self._step_mm = max(1.0, float(np.max(np.abs(affine_lps_mm[2, :3]))))
        self._metal_mm = places_mm(np.argwhere(hu > metal_hu), affine_lps_mm)

    def beside(self, region: BoolArray, corner: npt.NDArray[np.intp], centre_lps_mm: FloatArray) -> BoolArray:
        """The voxels of a region whose plane holds metal.

        Args:
            region: bool, 3-D, a box of the volume.
            corner: index of the box's first voxel in the volume.
            centre_lps_mm: centre of the body, (3,).
        """
        found = np.zeros(region.shape, dtype=np.bool_)
        if len(self._metal_mm) == 0:
            return found
        near = np.hypot(*(self._metal_mm[:, :2] - centre_lps_mm[:2]).T) <= _REACH_MM
        planes, counts = np.unique(np.round(self._metal_mm[near, 2] / self._step_mm), return_counts=True)
        planes = planes[counts * self._voxel_mm3 / self._step_mm >= _LEAST_AREA_MM2]
        if len(planes) == 0:
            return found
        index = np.argwhere(region)
        z_mm = (index + corner) @ self._affine[2, :3] + self._affine[2, 3]
        apart_mm = np.abs(z_mm[:, None] - planes[None, :] * self._step_mm).min(axis=1)
        found[tuple(index[apart_mm <= self._step_mm / 2 + _MARGIN_MM].T)] = True
        return found
