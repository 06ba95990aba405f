"""The measured region: a body mask, eroded by a distance in millimetres."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.model import Vector

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]

#: Masks are sampled at least this finely while distances are measured, so that the thickness of a slice counts in mm.
_FINE_MM = 1.0


def erode_mm(mask: BoolArray, axis_spacing_mm: Vector, distance_mm: float) -> BoolArray:
    """Keep the voxels whose centre lies at least ``distance_mm`` inside the surface of a mask.

    The surface runs midway between voxels inside and outside, and is interpolated between slices by their shape (Raya and
    Udupa, IEEE Trans Med Imaging 1990;9:32-42), so that a tilted end plate in slices of 5 mm is a plane, not a
    staircase. Distances are Euclidean, in mm, in all directions. Everything beyond the array counts as outside: a
    mask that is cut by the image border is eroded from there too.

    Args:
        mask: bool, 3-D, any axis order.
        axis_spacing_mm: distance between voxel centres along axis 0, 1, 2 in mm.
        distance_mm: 10 in the study (Loeffler et al. 2021); 0 returns the mask.

    Returns:
        bool, the shape of ``mask``.
    """
    if distance_mm <= 0:
        return mask.astype(np.bool_, copy=True)
    kept = np.zeros(mask.shape, dtype=np.bool_)
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return kept
    box = found[0]
    padded = np.pad(mask[box], 1)
    # an odd number of samples per voxel puts one of them on the voxel's centre
    samples = np.array(
        [2 * math.ceil((spacing / _FINE_MM - 1) / 2) + 1 if spacing > _FINE_MM else 1 for spacing in axis_spacing_mm]
    )
    fine_mm = np.array(axis_spacing_mm) / samples

    # signed distance at the voxel centres: linear between an inner and an outer centre, it is zero midway
    signed_mm = ndimage.distance_transform_edt(padded, sampling=axis_spacing_mm) - ndimage.distance_transform_edt(
        ~padded, sampling=axis_spacing_mm
    )
    for axis, n in enumerate(samples):
        signed_mm = _between(signed_mm, int(n), axis)
    fine = signed_mm > 0

    # the transform measures to the centre of the nearest outer sample; the surface lies about half a sample before it
    nearest = ndimage.distance_transform_edt(fine, sampling=fine_mm, return_distances=False, return_indices=True)
    way_mm = np.abs(nearest - np.indices(fine.shape)) * fine_mm.reshape(3, 1, 1, 1)
    half_mm = np.where(way_mm > 0, fine_mm.reshape(3, 1, 1, 1) / 2, 0.0)
    to_surface_mm = np.sqrt(((way_mm - half_mm) ** 2).sum(axis=0))

    centres = to_surface_mm[:: samples[0], :: samples[1], :: samples[2]]
    # spacings in headers are rounded; a voxel exactly on the limit is kept
    kept[box] = (centres >= distance_mm - 1e-6)[1:-1, 1:-1, 1:-1]
    return kept


def _between(values: FloatArray, samples: int, axis: int) -> FloatArray:
    """Linear interpolation with ``samples`` steps from one centre to the next along an axis; the ends are centres."""
    if samples == 1:
        return values
    length = values.shape[axis]
    at = np.arange((length - 1) * samples + 1) / samples
    low = np.minimum(at.astype(np.intp), length - 2)
    shape = [1, 1, 1]
    shape[axis] = -1
    weight = (at - low).reshape(shape)
    return np.asarray(values.take(low, axis) * (1 - weight) + values.take(low + 1, axis) * weight)
