"""The image around the spine on an isotropic grid along the patient's axes. The readings of the scan are taken from it.

Arrays on it have axis 0 from the feet to the head, axis 1 from the front to the back, axis 2 from the patient's right to the
left (S, P, L), whatever the orientation of the source: front and left mean the same in supine, prone and sagittal scans.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.measure.boxes import affine_of, places_mm, spacing_mm_of
from node.measure.region import BoolArray
from node.model import MEASURED_LEVELS, Affine, HuArray, LabelArray

FloatImage = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

#: Fine enough for a vessel of 15 mm and a canal of 15 mm, and coarse enough that noise averages out.
GRID_MM = 2.0
#: The grid reaches this far beyond the bodies, mm: to the left and right, to the front and back, up and down. This includes
#: the kidneys and the muscles of the back.
_MARGIN_MM = np.array([100.0, 75.0, 12.0])
#: Padding and the lowest values of a scanner count as air while voxels are averaged.
_LOWEST_HU = -1024


@dataclass(frozen=True, slots=True, eq=False)
class PatientGrid:
    """The slab of the image that contains the labelled bodies.

    Attributes:
        hu: float32, (S, P, L), ``GRID_MM`` apart, averaged over the source's voxels; ``_LOWEST_HU`` outside the image.
        inside: bool, same shape: whether the source image contains the position.
        labels: uint8, same shape: value of :class:`Level` inside a body.
        origin_lps_mm: position of voxel (0, 0, 0).
    """

    hu: FloatImage
    inside: BoolArray
    labels: LabelArray
    origin_lps_mm: Points

    def index_of(self, position_lps_mm: Points) -> Points:
        """Index (S, P, L) of a position, not rounded."""
        index: Points = (np.asarray(position_lps_mm) - self.origin_lps_mm)[::-1] / GRID_MM
        return index


@dataclass(frozen=True, slots=True, eq=False)
class Spine:
    """Position of the spine in each slice of axis 0 of a grid, from the lowest end plate to the highest.

    Attributes:
        rows: the slices, indices of axis 0.
        level: value of :class:`Level` in each of them; 0 between two bodies.
        middle, front, back: index along axis 2 of the body's middle, and along axis 1 of its front and its back there;
            interpolated between bodies.
        half_width: half the width of the bodies, voxels.
    """

    rows: npt.NDArray[np.intp]
    level: npt.NDArray[np.uint8]
    middle: Points
    front: Points
    back: Points
    half_width: float


def patient_grid(hu: HuArray, labels: LabelArray, affine_lps_mm: Affine) -> PatientGrid | None:
    """Resample the slab around the labelled bodies; ``None`` if there are none, or only specks.

    Args:
        hu: int16, 3-D, HU.
        labels: uint8, the same shape; value of :class:`Level` inside a body.
        affine_lps_mm: 4 x 4; maps the array index to the position of the voxel's centre in mm.
    """
    bodies = body_box(labels)
    if bodies is None:
        return None
    low_mm, high_mm = _slab(bodies, hu.shape, affine_lps_mm)
    box = _source_box(low_mm, high_mm, hu.shape, affine_lps_mm)
    affine = affine_of(box, affine_lps_mm)
    shape = tuple(int(n) for n in (np.floor((high_mm - low_mm) / GRID_MM).astype(int) + 1)[::-1])

    factors = tuple(max(1, round(GRID_MM / s)) for s in spacing_mm_of(affine))
    averaged = _averaged(hu[box], factors)
    to_averaged = np.eye(4)
    to_averaged[:3, :3] = np.diag(1 / np.array(factors))
    to_averaged[:3, 3] = -(np.array(factors) - 1) / 2 / np.array(factors)
    to_source = np.linalg.inv(affine) @ _grid_affine(low_mm)
    matrix = to_averaged @ to_source
    sampled = ndimage.affine_transform(averaged, matrix[:3, :3], matrix[:3, 3], shape, order=1, mode="nearest")
    drawn = ndimage.affine_transform(labels[box], to_source[:3, :3], to_source[:3, 3], shape, order=0, cval=0)
    if not drawn.any():
        return None
    inside = _inside(to_source, shape, hu[box].shape)
    sampled[~inside] = _LOWEST_HU
    return PatientGrid(sampled, inside, drawn, low_mm)


def body_box(labels: LabelArray) -> tuple[slice, slice, slice] | None:
    """The box around all labelled bodies; ``None`` if there are none."""
    first = np.flatnonzero(labels.any(axis=(1, 2)))
    if first.size == 0:
        return None
    held = labels[first[0] : first[-1] + 1]
    second, third = np.flatnonzero(held.any(axis=(0, 2))), np.flatnonzero(held.any(axis=(0, 1)))
    ends = [(int(found[0]), int(found[-1]) + 1) for found in (first, second, third)]
    return slice(*ends[0]), slice(*ends[1]), slice(*ends[2])


def spine_of(grid: PatientGrid) -> Spine:
    """The course of the labelled bodies of L1 to L4 through a grid; if there are none of them, of the others."""
    wanted = np.isin(grid.labels, MEASURED_LEVELS)
    bodies = wanted if wanted.any() else grid.labels > 0
    areas = bodies.sum(axis=(1, 2))
    # the first and last slices of a body contain only a corner of it
    seen = np.flatnonzero(areas > 0.5 * np.median(areas[areas > 0]))
    found: list[tuple[float, float, float, float]] = []
    for row in seen:
        places = np.argwhere(bodies[row])
        middle = float(places[:, 1].mean())
        central = places[np.abs(places[:, 1] - middle) <= 6.0 / GRID_MM, 0]
        depths = central if central.size else places[:, 0]
        found.append((middle, float(depths.min()), float(depths.max()), float(np.ptp(places[:, 1])) / 2))
    middle, front, back, half_width = np.array(found).T
    rows = np.arange(seen[0], seen[-1] + 1)

    def along(values: Points) -> Points:
        smooth: Points = ndimage.gaussian_filter1d(np.interp(rows, seen, values), 3.0, mode="nearest")
        return smooth

    level = np.array([_most_common(grid.labels[row][bodies[row]]) for row in rows], dtype=np.uint8)
    return Spine(rows, level, along(middle), along(front), along(back), float(np.median(half_width)))


def _most_common(values: LabelArray) -> int:
    return int(np.bincount(values).argmax()) if values.size else 0


def _slab(bodies: tuple[slice, ...], shape: tuple[int, ...], affine: Affine) -> tuple[Points, Points]:
    """Lowest and highest corner in LPS mm: around the bodies, no further than the image reaches."""
    low, high = _extent([(0, n - 1) for n in shape], affine)
    lowest, highest = _extent([(part.start, part.stop - 1) for part in bodies], affine)
    return np.maximum(low, lowest - _MARGIN_MM), np.minimum(high, highest + _MARGIN_MM)


def _extent(ranges: list[tuple[int, int]], affine: Affine) -> tuple[Points, Points]:
    corners = np.array(list(product(*ranges)), dtype=np.float64)
    places = places_mm(corners, affine)
    return places.min(axis=0), places.max(axis=0)


def _source_box(low_mm: Points, high_mm: Points, shape: tuple[int, ...], affine: Affine) -> tuple[slice, ...]:
    """The part of the source that the slab needs."""
    to_index = np.linalg.inv(affine)
    corners = np.array(list(product(*zip(low_mm, high_mm, strict=True))))
    index = corners @ to_index[:3, :3].T + to_index[:3, 3]
    first = np.clip(np.floor(index.min(axis=0)).astype(int) - 1, 0, np.array(shape) - 1)
    last = np.clip(np.ceil(index.max(axis=0)).astype(int) + 2, first + 1, np.array(shape))
    return tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))


def _averaged(hu: HuArray, factors: tuple[int, ...]) -> FloatImage:
    """Means over blocks of voxels. An incomplete block at the end of an axis is left out, unless it is the only one."""
    factors = tuple(min(f, n) for f, n in zip(factors, hu.shape, strict=True))
    whole = tuple(n // f * f for f, n in zip(factors, hu.shape, strict=True))
    total = np.zeros(tuple(n // f for f, n in zip(factors, whole, strict=True)), dtype=np.float32)
    for offset in product(*map(range, factors)):
        part = hu[tuple(slice(o, n, f) for o, n, f in zip(offset, whole, factors, strict=True))]
        total += np.maximum(part, _LOWEST_HU)
    total /= float(np.prod(factors))
    return total


def _grid_affine(low_mm: Points) -> Affine:
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1] * GRID_MM
    affine[:3, 3] = low_mm
    return affine


def _inside(to_source: Affine, shape: tuple[int, ...], source_shape: tuple[int, ...]) -> BoolArray:
    """Whether a grid position is within the outermost voxel centres of the source, give or take one grid voxel."""
    within = np.ones(shape, dtype=np.bool_)
    ticks = np.ogrid[tuple(slice(0, n) for n in shape)]
    for axis in range(3):
        index = to_source[axis, 3] + sum(to_source[axis, k] * ticks[k] for k in range(3))
        within &= (index >= -0.5) & (index <= source_shape[axis] - 0.5)
    return within
