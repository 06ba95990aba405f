"""The measured region: a body mask, eroded by a distance in millimetres."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.model import Vector

BoolArray = npt.NDArray[np.bool_]

#: Masks are sampled at least this finely while distances are measured, so that the thickness of a slice counts in mm.
_FINE_MM = 1.0


def erode_mm(mask: BoolArray, axis_spacing_mm: Vector, distance_mm: float) -> BoolArray:
    """Keep the voxels whose centre lies at least ``distance_mm`` inside the surface of a mask.

    A voxel is a box as large as its spacing, and the surface is that of the boxes; distances are Euclidean, in mm, in all
    directions, so slices of 5 mm lose as many millimetres as slices of 1 mm. What lies beyond the array counts as
    outside: a mask cut by the border of the image is eroded from there too.

    Args:
        mask: bool, 3-D, any axis order.
        axis_spacing_mm: distance between voxel centres along axis 0, 1, 2 in mm.
        distance_mm: 10 in the study (paper.md, row "erosion"); 0 returns the mask.

    Returns:
        bool, the shape of ``mask``.
    """
    kept = np.zeros(mask.shape, dtype=np.bool_)
    if distance_mm <= 0:
        return mask.astype(np.bool_, copy=True)
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return kept
    box = found[0]
    # an odd number of samples per voxel puts one of them on the voxel's centre
    samples = tuple(
        2 * math.ceil((spacing / _FINE_MM - 1) / 2) + 1 if spacing > _FINE_MM else 1 for spacing in axis_spacing_mm
    )
    fine_mm = tuple(spacing / n for spacing, n in zip(axis_spacing_mm, samples, strict=True))
    fine = mask[box]
    for axis, n in enumerate(samples):
        fine = np.repeat(fine, n, axis=axis)
    padded = np.pad(fine, 1)
    nearest = ndimage.distance_transform_edt(padded, sampling=fine_mm, return_distances=False, return_indices=True)
    # the transform measures to the centre of the nearest outer sample; the surface lies half a sample before it, along
    # the way from here to there
    here = np.indices(padded.shape)
    way_mm = np.abs(nearest - here) * np.reshape(fine_mm, (3, 1, 1, 1))
    half_mm = np.where(way_mm > 0, np.reshape(fine_mm, (3, 1, 1, 1)) / 2, 0.0)
    to_surface_mm = np.sqrt((np.maximum(way_mm - half_mm, 0.0) ** 2).sum(axis=0))
    centres = tuple(slice(1 + n // 2, None, n) for n in samples)
    inside = to_surface_mm[centres][tuple(slice(0, length) for length in mask[box].shape)]
    # header spacings carry rounding errors, a voxel exactly on the limit stays
    kept[box] = inside >= distance_mm - 1e-6
    return kept
