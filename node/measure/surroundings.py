"""The patient's outline, the air around it, the subcutaneous fat, and tissue that is cut off by the image.

Voxels are sampled a few millimetres apart, not averaged, so that the constant that a scanner writes outside its
reconstruction circle stays a constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from node.measure.region import BoolArray
from node.model import Affine, HuArray, LabelArray, Vector

#: Neighbours within an axial slice.
_PLANE = np.array([[[0, 0, 0], [0, 1, 0], [0, 0, 0]], [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0], [0, 1, 0], [0, 0, 0]]])
_SQUARE = np.ones((1, 3, 3), dtype=np.bool_)
#: Distance between sampled voxels, mm.
_PICK_MM = 4.0
#: Skin and fat against air.
_BODY_HU = -400
#: Table, arms, cushions and clothes against air.
_SOLID_HU = -750
#: No scanner measures less than this; it is padding.
_LOWEST_AIR_HU = -1200
_AIR_HU = -800
#: Air is read at least this far from everything else, because of blur, scatter and clothes, mm.
_AIR_CLEAR_MM = 14.0
_LEAST_AIR_MM3 = 30_000.0
#: If this share of the air has the same value, there is no reading: it was clipped or filled in.
_MOST_CONSTANT = 0.5
#: Air in front of skin is at least this thick, mm.
_LEAST_OUTSIDE_MM3 = 150_000.0
#: Subcutaneous fat lies between these depths below the skin.
_FAT_DEPTH_MM = (4.0, 40.0)
_UNDER_SKIN_MM = 7.0
_FAT_HU = (-160.0, -50.0)
_LEAST_FAT_MM3 = 5_000.0


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """Sampled voxels of the slices that contain the bodies, with the axes nearest to the patient's (S, P, L).

    Attributes:
        hu: int16.
        spacing_mm: along the axes.
        body: the patient, without table and separate arms.
        padding: voxels that the scanner filled in.
        field_mm: extent of the image from front to back and from right to left; the larger one is its field of view.
    """

    hu: HuArray
    spacing_mm: Vector
    body: BoolArray
    padding: BoolArray
    field_mm: tuple[float, float]


def surroundings(hu: HuArray, labels: LabelArray, affine_lps_mm: Affine) -> Surroundings | None:
    """Sample the voxels and find the patient; ``None`` without a labelled body.

    Args:
        hu: int16, 3-D, HU.
        labels: uint8, the same shape; above 0 inside a vertebral body.
        affine_lps_mm: 4 x 4; maps the array index to the position of the voxel's centre in mm.
    """
    # which axis of the source runs along S, P and L, and whether it runs the other way
    direction = affine_lps_mm[:3, :3] / np.linalg.norm(affine_lps_mm[:3, :3], axis=0)
    axes = _axes(direction)
    spacing = np.linalg.norm(affine_lps_mm[:3, :3], axis=0)
    whole, drawn = hu.transpose(axes), labels.transpose(axes)
    for k, axis in enumerate(axes):
        if direction[2 - k, axis] < 0:
            whole, drawn = np.flip(whole, k), np.flip(drawn, k)
    steps = [max(1, round(_PICK_MM / spacing[axis])) for axis in axes]
    drawn = drawn[:: steps[0], :: steps[1], :: steps[2]]
    rows = np.flatnonzero(drawn.any(axis=(1, 2)))
    if rows.size == 0:
        return None
    held = slice(int(rows[0]), int(rows[-1]) + 1)
    picked = np.ascontiguousarray(whole[:: steps[0], :: steps[1], :: steps[2]][held])
    spacing_mm = (
        float(spacing[axes[0]] * steps[0]),
        float(spacing[axes[1]] * steps[1]),
        float(spacing[axes[2]] * steps[2]),
    )
    field_mm = (float(whole.shape[1] * spacing[axes[1]]), float(whole.shape[2] * spacing[axes[2]]))
    padding = _padding(picked)
    return Surroundings(picked, spacing_mm, _body(picked, drawn[held] > 0), padding, field_mm)


def air_mask(around: Surroundings) -> BoolArray:
    """Air away from the patient and everything else, on the side opposite the table; empty if there is none."""
    # averaged in the plane, so that noise does not look like specks of cushion
    smooth = ndimage.uniform_filter(around.hu.astype(np.float32), (1, 3, 3))
    solid = smooth > _SOLID_HU
    air = (smooth < _AIR_HU) & ~around.padding
    near = ndimage.distance_transform_edt(~(solid | around.body), sampling=around.spacing_mm) < _AIR_CLEAR_MM
    air &= ~near & ~_near_padding(around.padding)
    middle = float(np.argwhere(around.body)[:, 1].mean()) if around.body.any() else around.hu.shape[1] / 2
    table = solid & ~ndimage.binary_dilation(around.body, iterations=2)
    if table.any():
        p = np.arange(around.hu.shape[1])[None, :, None]
        air &= p < middle if np.argwhere(table)[:, 1].mean() > middle else p > middle
    if air.sum() * np.prod(around.spacing_mm) < _LEAST_AIR_MM3:
        return np.zeros_like(air)
    _, counts = np.unique(around.hu[air], return_counts=True)
    return air if counts.max() <= _MOST_CONSTANT * air.sum() else np.zeros_like(air)


def fat_mask(around: Surroundings) -> BoolArray:
    """Subcutaneous fat, away from skin and muscle; empty if no skin or no fat is seen."""
    outside = ~around.body & ~around.padding & (around.hu < _BODY_HU)
    parts, _ = ndimage.label(outside)
    # gas in bowel that is cut by the border is not air around the patient
    large = np.bincount(parts.ravel()) * np.prod(around.spacing_mm) >= _LEAST_OUTSIDE_MM3
    large[0] = False
    outside = large[parts]
    if not outside.any():
        return outside
    depth_mm = ndimage.distance_transform_edt(~outside, sampling=around.spacing_mm)
    smooth = ndimage.uniform_filter(around.hu.astype(np.float32), (1, 3, 3))
    fat = around.body & (smooth > _FAT_HU[0]) & (smooth < _FAT_HU[1])
    below = (depth_mm >= _FAT_DEPTH_MM[0]) & (depth_mm <= _FAT_DEPTH_MM[1])
    # fat below the skin, not abdominal fat behind the muscular wall
    parts, _ = ndimage.label(fat & (depth_mm <= _FAT_DEPTH_MM[1]), _PLANE)
    under_skin = np.unique(parts[depth_mm <= _UNDER_SKIN_MM])
    fat = np.isin(parts, under_skin[under_skin > 0])
    fat = ndimage.binary_erosion(fat, _SQUARE) & below
    return fat if fat.sum() * np.prod(around.spacing_mm) >= _LEAST_FAT_MM3 else np.zeros_like(fat)


def cut_off_mm(around: Surroundings) -> float:
    """Length over which the patient reaches the border of the image, or of its circle, in an axial slice: the median, mm.

    The reconstruction circle is the largest circle in the image. Filler elsewhere cuts nothing: in some images all air
    is filled in.
    """
    shape = around.body.shape
    border = np.zeros_like(around.body)
    border[:, [0, -1], :] = border[:, :, [0, -1]] = True
    p, left = np.ogrid[: shape[1], : shape[2]]
    p_mm, left_mm = (
        (axis - (n - 1) / 2) * s for axis, n, s in zip((p, left), shape[1:], around.spacing_mm[1:], strict=True)
    )
    on_circle = np.abs(np.hypot(p_mm, left_mm) - min(around.field_mm) / 2) <= 1.5 * max(around.spacing_mm[1:])
    border |= _near_padding(around.padding) & on_circle
    # irregular borders are counted once per sampled voxel
    step_mm = (around.spacing_mm[1] + around.spacing_mm[2]) / 2
    return float(np.median((around.body & border).sum(axis=(1, 2)))) * step_mm


def _axes(direction: Affine) -> tuple[int, int, int]:
    """Axes of the source that run along S, P and L, each used once."""
    strength = np.abs(direction[::-1])
    superior = int(strength[0].argmax())
    posterior = max((k for k in range(3) if k != superior), key=lambda k: strength[1, k])
    return superior, posterior, 3 - superior - posterior


def _padding(hu: HuArray) -> BoolArray:
    """Filled-in voxels: below all air, or areas of one value, unlike air with noise. Resampled values vary by 1 HU."""
    padding = hu < _LOWEST_AIR_HU
    low = hu[(hu < _AIR_HU) & ~padding]
    if low.size:
        values, counts = np.unique(low, return_counts=True)
        filler = np.abs(hu.astype(np.int32) - int(values[counts.argmax()])) <= 1
        padding |= ndimage.binary_opening(filler, _SQUARE)
    return padding


def _near_padding(padding: BoolArray) -> BoolArray:
    return ndimage.binary_dilation(padding, _SQUARE) & ~padding


def _body(hu: HuArray, bodies: BoolArray) -> BoolArray:
    """The piece of tissue that contains the spine, with everything it encloses in each axial slice."""
    tissue = ndimage.binary_opening(np.pad(hu > _BODY_HU, ((0, 0), (1, 1), (1, 1)), mode="edge"), _PLANE[1:2])[:, 1:-1, 1:-1]
    parts, _ = ndimage.label(tissue | bodies)
    held = np.bincount(parts[bodies])
    body = parts == int(held.argmax())
    return np.stack([ndimage.binary_fill_holes(plane_of_body) for plane_of_body in body])
