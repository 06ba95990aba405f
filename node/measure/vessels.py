"""Finds the aorta and the inferior vena cava (IVC) in front of the lumbar spine.

The aorta lies on the front of the lumbar bodies, left of the middle, and divides above the lower end of L4. The IVC lies to
its right. In a slice each is a round or oval patch of even attenuation, and it keeps its position from slice to slice, which
bowel does not. So every position in a window in front of the bodies is rated as a patch (how even inside, how much of its
rim stands out), and the best course through the slices is chosen (dynamic programming). Sizes and windows are those of
adults, widened; they are assumptions, checked on real CT.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.measure.patient_grid import GRID_MM, FloatImage, PatientGrid, Points, Spine
from node.measure.region import BoolArray
from node.model import Level

#: Patches that are tried: half axes in mm from left to right and from front to back. The aorta is round, narrow or wide. The
#: IVC is often flat, especially in a dehydrated patient.
_ROUND_MM = ((7.0, 7.0), (9.0, 9.0), (11.0, 11.0), (14.0, 14.0), (18.0, 18.0))
_FLAT_MM = ((5.0, 5.0), (7.0, 4.0), (7.0, 7.0), (10.0, 5.0), (11.0, 8.0), (13.0, 6.0), (13.0, 11.0))
#: The rim is sampled this far outside a patch, mm.
_RIM_MM = 3.0
_RIM_SAMPLES = 32
#: A rim stands out if it differs by this much, HU, and by this share of the mean inside; fat differs from blood by 140 HU.
_LEAST_EDGE_HU = 25.0
_EDGE_SHARE = 0.25
#: Blood, without contrast and with; brighter patches are bone or bowel with oral contrast agent.
_BLOOD_HU = (5.0, 600.0)
#: SD inside a patch that reduces its rating to 0: noise and mixing of blood; and its share of the mean.
_UNEVEN_HU = 40.0
_UNEVEN_SHARE = 0.15
#: Every second slice of the grid is used.
_STEP = 2
#: Largest shift of a course from one slice to the next, voxels; and the cost of a shift of one voxel and of 1 HU.
_MAX_SHIFT = 2
_SHIFT_COST = 0.03
_CHANGE_COST = 0.004
#: Rating from which a slice counts, and total length of such slices from which a vessel counts as found.
_GOOD = 0.33
_LEAST_LENGTH_MM = 24.0
_LEAST_SHARE = 0.5
#: Rating lost per mm away from the usual position.
_AWAY_COST_PER_MM = 0.005
#: The reading avoids the wall and its plaques: it uses this share of the radius.
_CORE = 0.6


@dataclass(frozen=True, slots=True)
class Window:
    """Where the centre of a vessel may be, where it usually is, and the patches to try.

    Attributes:
        left_mm: to the left of the middle of the body.
        behind_mm: behind the front of the body.
        usual_mm: left of the middle and behind the front.
        half_axes_mm: of patches, from left to right and from front to back.
    """

    left_mm: tuple[float, float]
    behind_mm: tuple[float, float]
    usual_mm: tuple[float, float]
    half_axes_mm: tuple[tuple[float, float], ...]


AORTA = Window((-14.0, 34.0), (-34.0, 2.0), (8.0, -12.0), _ROUND_MM)
VENA_CAVA = Window((-48.0, -4.0), (-36.0, 8.0), (-20.0, -12.0), _FLAT_MM)


@dataclass(frozen=True, slots=True, eq=False)
class Vessel:
    """The course of a vessel.

    Attributes:
        rows: slices that contain it, indices of axis 0.
        centres: (n, 2), indices of axis 1 and 2.
        half_axes_mm: (n, 2), from left to right and from front to back.
        slice_hu: median of its core in each of them.
    """

    rows: npt.NDArray[np.intp]
    centres: npt.NDArray[np.intp]
    half_axes_mm: Points
    slice_hu: Points


@dataclass(frozen=True, slots=True, eq=False)
class _Ratings:
    """For every position in the window, (slices, P, L): rating, mean HU and number of the best patch."""

    rating: FloatImage
    mean_hu: FloatImage
    patch: npt.NDArray[np.intp]


def find_vessels(grid: PatientGrid, spine: Spine) -> tuple[Vessel | None, Vessel | None]:
    """Aorta and IVC; ``None`` for a vessel that was not found."""
    use = (spine.level < Level.L4) | (np.arange(spine.rows.size) > _middle_of_l4(spine))
    rows = np.flatnonzero(use)[::_STEP]
    if rows.size < 3:
        return None, None
    aorta = _find(grid, spine, rows, AORTA, None)
    return aorta, _find(grid, spine, rows, VENA_CAVA, aorta)


def _middle_of_l4(spine: Spine) -> float:
    """Position of the middle of L4 in ``spine.rows``, below which the aorta has divided."""
    l4 = np.flatnonzero(spine.level == Level.L4)
    return float(l4.mean()) if l4.size else -1.0


def _find(
    grid: PatientGrid, spine: Spine, rows: npt.NDArray[np.intp], window: Window, other: Vessel | None
) -> Vessel | None:
    offsets_p = np.arange(round(window.behind_mm[0] / GRID_MM), round(window.behind_mm[1] / GRID_MM) + 1)
    offsets_l = np.arange(round(window.left_mm[0] / GRID_MM), round(window.left_mm[1] / GRID_MM) + 1)
    base_p = np.round(spine.front[rows]).astype(np.intp)
    base_l = np.round(spine.middle[rows]).astype(np.intp)
    p = np.broadcast_to(base_p[:, None, None] + offsets_p[None, :, None], (rows.size, offsets_p.size, offsets_l.size))
    left = np.broadcast_to(base_l[:, None, None] + offsets_l[None, None, :], p.shape)
    ratings = _rate(grid, spine.rows[rows], p, left, window)
    if other is not None:
        _keep_off(ratings, spine.rows[rows], p, left, window, other)
    away_mm = np.hypot(offsets_l * GRID_MM - window.usual_mm[0], offsets_p[:, None] * GRID_MM - window.usual_mm[1])
    ratings.rating[:] -= _AWAY_COST_PER_MM * away_mm.astype(np.float32)
    # windows follow the spine, so a position moves with it
    path = _best_course(ratings, np.diff(base_p), np.diff(base_l))
    at = (np.arange(rows.size), path[:, 0], path[:, 1])
    good = ratings.rating[at] >= _GOOD
    if good.sum() * _STEP * GRID_MM < _LEAST_LENGTH_MM or good.mean() < _LEAST_SHARE:
        return None
    centres = np.stack([p[at], left[at]], axis=1)[good]
    half_axes_mm = np.array(window.half_axes_mm)[ratings.patch[at][good]]
    slice_hu = _core_hu(grid, spine.rows[rows][good], centres, half_axes_mm)
    return Vessel(spine.rows[rows][good], centres, half_axes_mm, slice_hu)


def _rate(
    grid: PatientGrid, rows: npt.NDArray[np.intp], p: npt.NDArray[np.intp], left: npt.NDArray[np.intp], window: Window
) -> _Ratings:
    """Rate every position as the centre of a patch, with the half axes that fit best."""
    margin = int(np.max(window.half_axes_mm) / GRID_MM) + 4
    p0, p1 = max(0, int(p.min()) - margin), min(grid.hu.shape[1], int(p.max()) + margin + 1)
    l0, l1 = max(0, int(left.min()) - margin), min(grid.hu.shape[2], int(left.max()) + margin + 1)
    part = ndimage.gaussian_filter(grid.hu[:, p0:p1, l0:l1], (1.0, 0.5, 0.5))[rows].astype(np.float64)
    inside = grid.inside[rows, p0:p1, l0:l1]
    k = np.arange(rows.size)[:, None, None]
    pp, ll = p - p0, left - l0
    held = _within(pp, ll, part.shape)
    pp, ll = np.clip(pp, 0, part.shape[1] - 1), np.clip(ll, 0, part.shape[2] - 1)

    best = _Ratings(
        np.full(p.shape, -1.0, dtype=np.float32), np.zeros(p.shape, dtype=np.float32), np.zeros(p.shape, dtype=np.intp)
    )
    angles = np.arange(_RIM_SAMPLES) * 2 * np.pi / _RIM_SAMPLES
    for patch, (half_left_mm, half_front_mm) in enumerate(window.half_axes_mm):
        disc = _oval(half_left_mm, half_front_mm)[None] / _oval(half_left_mm, half_front_mm).sum()
        mean = ndimage.correlate(part, disc, mode="nearest")[k, pp, ll]
        square = ndimage.correlate(part**2, disc, mode="nearest")[k, pp, ll]
        sd = np.sqrt(np.maximum(square - mean**2, 0.0))
        rim_p = np.round(pp[..., None] + (half_front_mm + _RIM_MM) / GRID_MM * np.sin(angles)).astype(np.intp)
        rim_l = np.round(ll[..., None] + (half_left_mm + _RIM_MM) / GRID_MM * np.cos(angles)).astype(np.intp)
        whole = _within(rim_p, rim_l, part.shape)
        rim_p, rim_l = np.clip(rim_p, 0, part.shape[1] - 1), np.clip(rim_l, 0, part.shape[2] - 1)
        edge_hu = np.maximum(_LEAST_EDGE_HU, _EDGE_SHARE * mean)[..., None]
        stands_out = (np.abs(part[k[..., None], rim_p, rim_l] - mean[..., None]) > edge_hu).mean(axis=-1)
        rating = stands_out - sd / (_UNEVEN_HU + _UNEVEN_SHARE * np.abs(mean))
        blood = (mean >= _BLOOD_HU[0]) & (mean <= _BLOOD_HU[1])
        seen = held & inside[k, pp, ll] & (whole & inside[k[..., None], rim_p, rim_l]).all(axis=-1)
        rating = np.where(blood & seen, rating, -1.0)
        better = rating > best.rating
        best.rating[better] = rating[better]
        best.mean_hu[better] = mean[better]
        best.patch[better] = patch
    return best


def _within(p: npt.NDArray[np.intp], left: npt.NDArray[np.intp], shape: tuple[int, ...]) -> BoolArray:
    return np.asarray((p >= 0) & (p < shape[1]) & (left >= 0) & (left < shape[2]))


def _oval(half_left_mm: float, half_front_mm: float) -> Points:
    """1 inside an oval around the middle, (P, L), 0 elsewhere."""
    p = np.arange(-int(half_front_mm / GRID_MM), int(half_front_mm / GRID_MM) + 1)[:, None] * GRID_MM
    left = np.arange(-int(half_left_mm / GRID_MM), int(half_left_mm / GRID_MM) + 1)[None, :] * GRID_MM
    oval: Points = ((p / half_front_mm) ** 2 + (left / half_left_mm) ** 2 <= 1.0).astype(np.float64)
    return oval


def _keep_off(
    ratings: _Ratings,
    rows: npt.NDArray[np.intp],
    p: npt.NDArray[np.intp],
    left: npt.NDArray[np.intp],
    window: Window,
    other: Vessel,
) -> None:
    """Remove positions from the ratings that overlap another vessel or lie left of it."""
    centre_p = np.interp(rows, other.rows, other.centres[:, 0])[:, None, None]
    centre_l = np.interp(rows, other.rows, other.centres[:, 1])[:, None, None]
    reach_mm = np.interp(rows, other.rows, other.half_axes_mm[:, 0])[:, None, None]
    distance_mm = np.hypot(p - centre_p, left - centre_l) * GRID_MM
    overlaps = distance_mm < reach_mm + 0.7 * np.array(window.half_axes_mm)[ratings.patch].min(axis=-1)
    ratings.rating[overlaps | (left >= centre_l)] = -1.0


def _best_course(ratings: _Ratings, moved_p: npt.NDArray[np.intp], moved_l: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Indices (slices, 2) within the window of the course with the best sum of ratings minus costs."""
    n, height, width = ratings.rating.shape
    total = ratings.rating[0].astype(np.float64)
    came_from = np.zeros((n, height, width, 2), dtype=np.intp)
    at_p, at_l = np.indices((height, width))
    for row in range(1, n):
        best = np.full((height, width), -np.inf)
        for dp in range(-_MAX_SHIFT, _MAX_SHIFT + 1):
            for dl in range(-_MAX_SHIFT, _MAX_SHIFT + 1):
                from_p, from_l = at_p + dp + int(moved_p[row - 1]), at_l + dl + int(moved_l[row - 1])
                held = (from_p >= 0) & (from_p < height) & (from_l >= 0) & (from_l < width)
                from_p, from_l = np.clip(from_p, 0, height - 1), np.clip(from_l, 0, width - 1)
                change = np.abs(ratings.mean_hu[row - 1][from_p, from_l] - ratings.mean_hu[row])
                value = total[from_p, from_l] - _SHIFT_COST * np.hypot(dp, dl) - _CHANGE_COST * np.minimum(change, 200.0)
                value = np.where(held, value, -np.inf)
                better = value > best
                best[better] = value[better]
                came_from[row][better] = np.stack([from_p, from_l], axis=-1)[better]
        total = best + ratings.rating[row]
    path = np.zeros((n, 2), dtype=np.intp)
    path[-1] = np.unravel_index(int(np.argmax(total)), total.shape)
    for row in range(n - 1, 0, -1):
        path[row - 1] = came_from[row][tuple(path[row])]
    return path


def _core_hu(grid: PatientGrid, rows: npt.NDArray[np.intp], centres: npt.NDArray[np.intp], half_axes_mm: Points) -> Points:
    """Median of the core in each slice."""
    medians = []
    for row, centre, half_mm in zip(rows, centres, half_axes_mm, strict=True):
        oval = _oval(*np.maximum(_CORE * half_mm, GRID_MM))
        places = centre + np.argwhere(oval) - np.array(oval.shape) // 2
        places = np.clip(places, 0, np.array(grid.hu.shape[1:]) - 1)
        medians.append(float(np.median(grid.hu[row, places[:, 0], places[:, 1]])))
    return np.array(medians)
