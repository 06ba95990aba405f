"""Geometry of a stack of slices: order, spacing, shear, and positions of voxels. Pure functions on arrays.

Positions are Image Position (Patient), the centre of the first voxel of a slice, in mm in LPS; orientations are the cosines
of the row and of the column (PS3.3 C.7.6.2.1.1). Slices are ordered by the projection of their position on the normal of
their plane; Instance Number is an identifier, not a position (PS3.3 C.7.6.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.language.phrase import Phrase, joined, phrase
from node.model import Affine, Orientation, Reason

Floats = npt.NDArray[np.float64]

#: Largest deviation of a slice from an even grid, and of a step from the others, in mm. Headers round positions to 0.1 mm,
#: which changes a step by up to 0.1 mm; for large steps 2 % are allowed.
SPACING_TOLERANCE_MM = 0.1
SPACING_TOLERANCE_PART = 0.02
#: Slices nearer than this have the same position.
SAME_POSITION_MM = 0.05
#: Largest sideways deviation of a slice from the line through the stack, in mm.
SHIFT_TOLERANCE_MM = 0.5
#: Largest deviation of the cosines from unit length; some headers round each of them to two digits.
LENGTH_TOLERANCE = 0.01
#: Largest angle between directions that count as the same, and largest deviation from a right angle, in degrees. No scanner
#: turns its plane by so little within a scan: such a difference comes from rounding.
ANGLE_TOLERANCE_DEG = 1.0

REPEATED = "repeated_positions"


@dataclass(frozen=True, slots=True)
class Plane:
    """The common plane of the slices of a stack: ``row`` and ``column`` are unit vectors along a row and down a column."""

    row: Floats
    column: Floats
    row_distance_mm: float
    column_distance_mm: float

    @property
    def normal(self) -> Floats:
        """Unit normal; with row and column it is right-handed."""
        return np.cross(self.row, self.column)


def orientation_fault(image_orientation: tuple[float, ...]) -> Phrase | None:
    """Why the six cosines do not define a plane; ``None`` if they do."""
    row, column = np.array(image_orientation[:3]), np.array(image_orientation[3:])
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > LENGTH_TOLERANCE:
        return phrase(
            "the direction cosines have the lengths {row:.4f} and {column:.4f} instead of 1",
            row=float(lengths[0]),
            column=float(lengths[1]),
        )
    if abs(float(row @ column)) > np.sin(np.radians(ANGLE_TOLERANCE_DEG)):
        return phrase("rows and columns are not perpendicular (scalar product {product:.4f})", product=float(row @ column))
    return None


def same_orientation(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    """Whether the rows and the columns of two slices run in the same directions, as far as headers are exact."""
    if one is None or other is None:
        return one is other
    return all(
        _angle_deg(np.array(one[part], dtype=np.float64), np.array(other[part], dtype=np.float64)) <= ANGLE_TOLERANCE_DEG
        for part in (slice(0, 3), slice(3, 6))
    )


def _angle_deg(one: Floats, other: Floats) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(one, other)), one @ other)))


def mean_orientation(orientations: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Mean cosines of slices with the same orientation: their rounding errors cancel."""
    if len(set(orientations)) == 1:
        return orientations[0]
    return tuple(float(cosine) for cosine in np.mean(np.array(orientations, dtype=np.float64), axis=0))


def plane_of(image_orientation: tuple[float, ...], pixel_spacing_mm: tuple[float, float]) -> Plane:
    """Plane of a slice, with the rounding of its cosines corrected.

    Args:
        image_orientation: six cosines without :func:`orientation_fault`.
        pixel_spacing_mm: between rows, between columns.
    """
    row = np.array(image_orientation[:3], dtype=np.float64)
    row /= np.linalg.norm(row)
    column = np.array(image_orientation[3:], dtype=np.float64)
    column -= (column @ row) * row
    column /= np.linalg.norm(column)
    return Plane(row, column, pixel_spacing_mm[0], pixel_spacing_mm[1])


def order_along(normal: Floats, positions: Floats) -> npt.NDArray[np.intp]:
    """Indices that sort positions, (n, 3), along a normal."""
    return np.argsort(positions @ normal, kind="stable")


def stack_fault(normal: Floats, positions: Floats, max_tilt_deg: float) -> Reason | None:
    """Why ordered slices are not a regular, unsheared stack; ``None`` if they are.

    Args:
        normal: unit normal of the slices.
        positions: (n, 3), in mm, ordered along the normal, n >= 2.
        max_tilt_deg: largest angle between the normal and the line through the slices.

    Returns:
        ``repeated_positions``, ``missing_slices``, ``uneven_spacing``, ``shifted_slices`` or ``gantry_tilt``.
    """
    return _spacing_fault(positions @ normal) or _shear_fault(normal, positions, max_tilt_deg)


def _spacing_fault(places: Floats) -> Reason | None:
    steps = np.diff(places)
    repeated = int(np.count_nonzero(steps < SAME_POSITION_MM))
    if repeated:
        said = phrase("{n} of {total} slices have the same position as another slice", n=repeated, total=len(places))
        return Reason(REPEATED, said)
    step = float(np.median(steps))
    tolerance = max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE_PART * step) + 1e-6
    multiples = np.rint(steps / step)
    fits = np.abs(steps - multiples * step) <= tolerance * np.maximum(multiples, 1)
    if np.all(fits & (multiples >= 1)):
        gaps = np.flatnonzero(multiples > 1)
        if len(gaps):
            where = joined((_gap(int(multiples[i] - 1), places[i], places[i + 1]) for i in gaps[:5]), ", ")
            if len(gaps) > 5:
                where = phrase("{where} and {more} more gaps", where=where, more=len(gaps) - 5)
            count = int(np.sum(multiples - 1))
            said = (
                phrase("1 slice is missing along the slice normal: {where}", where=where)
                if count == 1
                else phrase("{n} slices are missing along the slice normal: {where}", n=count, where=where)
            )
            return Reason("missing_slices", said)
    even = places[0] + np.arange(len(places)) * (places[-1] - places[0]) / (len(places) - 1)
    off_step, off_grid = float(np.max(np.abs(steps - step))), float(np.max(np.abs(places - even)))
    if max(off_step, off_grid) > tolerance:
        return Reason(
            "uneven_spacing",
            phrase(
                "the slices are {least:.2f} to {most:.2f} mm apart and up to {off:.2f} mm off an even grid (allowed: "
                "{tolerance:.2f} mm)",
                least=float(steps.min()),
                most=float(steps.max()),
                off=off_grid,
                tolerance=tolerance,
            ),
        )
    return None


def _gap(missing: int, start_mm: float, end_mm: float) -> Phrase:
    return phrase("{n} between {start:.1f} and {end:.1f} mm", n=missing, start=start_mm, end=end_mm)


def _shear_fault(normal: Floats, positions: Floats, max_tilt_deg: float) -> Reason | None:
    places = positions @ normal
    sideways = positions - np.outer(places, normal)
    slope, start = np.polynomial.polynomial.polyfit(places, sideways, 1)[::-1]
    off_line = np.linalg.norm(sideways - start - np.outer(places, slope), axis=1)
    if np.max(off_line) > SHIFT_TOLERANCE_MM:
        return Reason(
            "shifted_slices",
            phrase(
                "slices are shifted sideways by up to {shift:.1f} mm (allowed: {tolerance} mm)",
                shift=float(np.max(off_line)),
                tolerance=SHIFT_TOLERANCE_MM,
            ),
        )
    tilt_deg = float(np.degrees(np.arctan(np.linalg.norm(slope))))
    if tilt_deg > max_tilt_deg:
        said = phrase("gantry tilt of {tilt:.1f} degrees (allowed: {most:g})", tilt=tilt_deg, most=max_tilt_deg)
        return Reason("gantry_tilt", said)
    return None


def outliers(normal: Floats, positions: Floats, at_most: int = 2, far_steps: float = 3.0) -> npt.NDArray[np.intp]:
    """Slices far beyond the ends of a stack, which belong to another scan and are not a sign of missing slices.

    Args:
        normal: unit normal of the slices.
        positions: (n, 3), in mm, ordered along the normal.
        at_most: how many slices may be outliers, both ends together.
        far_steps: a slice is far when the gap to its neighbour is larger than this many steps of the stack.

    Returns:
        Their indices; empty if there are none or too many.
    """
    places = positions @ normal
    steps = np.diff(places)
    far = np.flatnonzero(steps > far_steps * max(float(np.median(steps)), SAME_POSITION_MM))
    low = [i + 1 for i in far if i + 1 <= at_most]
    high = [i + 1 for i in far if len(places) - (i + 1) <= at_most]
    first, end = max(low, default=0), min(high, default=len(places))
    found = np.concatenate([np.arange(first), np.arange(end, len(places))])
    return found if len(found) <= at_most else np.empty(0, dtype=np.intp)


def affine_of(plane: Plane, positions: Floats) -> Affine:
    """Map of array indices to positions.

    Args:
        plane: of the slices.
        positions: (n, 3), in mm, of the slices in the order of axis 0, n >= 2, evenly spaced.

    Returns:
        4 x 4; maps (slice, row, column, 1) to the centre of the voxel in mm (PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1).
    """
    affine = np.eye(4)
    affine[:3, 0] = (positions[-1] - positions[0]) / (len(positions) - 1)
    affine[:3, 1] = plane.column * plane.row_distance_mm
    affine[:3, 2] = plane.row * plane.column_distance_mm
    affine[:3, 3] = positions[0]
    return affine


def orientation_of(normal: Floats) -> Orientation:
    """The anatomical plane nearest to slices with this normal (x to the left, y to the back, z to the head)."""
    by_axis = (Orientation.SAGITTAL, Orientation.CORONAL, Orientation.AXIAL)
    return by_axis[int(np.argmax(np.abs(normal)))]


def head_foot_extent_mm(affine: Affine, shape: tuple[int, int, int]) -> float:
    """Craniocaudal extent of a grid of ``shape``, in mm."""
    return float(np.abs(affine[2, :3]) @ np.array(shape))
