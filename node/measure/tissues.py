"""Muscle next to the spine, the content of the spinal canal, and the kidneys, on the grid along the patient's axes.

Search windows are placed relative to the bodies, for adults. They are assumptions, checked on real CT. Each function returns
a mask, empty if the tissue was not found; the reading is the median of the image in the mask.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.measure.patient_grid import GRID_MM, FloatImage, PatientGrid, Points, Spine
from node.measure.region import BoolArray
from node.model import Level

#: Muscle without and with contrast, HU; fat in a muscle is below.
_MUSCLE_HU = (15.0, 110.0)
#: Distance that is kept from other tissue, mm.
_CLEAR_MM = 3.0
_LEAST_MUSCLE_MM3 = 2000.0
#: The middle of the canal behind the back of the body, mm, and beside its middle; and the disc that is read.
_CANAL_BEHIND_MM = (4.0, 16.0)
_CANAL_ASIDE_MM = 8.0
_CANAL_RADIUS_MM = 4.0
#: One mm away from the usual position costs as much as this unevenness, HU.
_CANAL_USUAL_MM = 9.0
_CANAL_COST_HU_PER_MM = 1.5
#: The walls of the canal, bone and ligament, are about this far from its middle and differ by this much.
_CANAL_WALL_MM = 12.0
_CANAL_WALL_HU = 50.0
_CANAL_HU = (-60.0, 2000.0)
_LEAST_CANAL_MM = 20.0
#: Limits between renal parenchyma and its surroundings, HU: without contrast the fat around it; with contrast its
#: brightness above muscle, tried from the lowest up. A renal pelvis in a late phase is even brighter. A piece without
#: contrast that is not darker than muscle may be muscle.
_PLAIN_KIDNEY_HU = (8.0, 70.0)
_ABOVE_MUSCLE_HU = (25.0, 45.0, 70.0)
_BRIGHTEST_KIDNEY_HU = 400.0
_BELOW_MUSCLE_HU = 8.0
#: The parenchyma is at least about 15 mm thick; anything thinner is bowel wall, muscle or a vessel. Without contrast more is
#: eroded, to separate the piece from muscle and bowel.
_KIDNEY_CORE_MM = 4.0
_PLAIN_KIDNEY_CORE_MM = 6.0
#: Distance from the middle of the body, and behind its front, mm.
_KIDNEY_ASIDE_MM = (28.0, 120.0)
_KIDNEY_BEHIND_MM = (-35.0, 55.0)
#: Middle of a kidney, in the same coordinates.
_KIDNEY_MIDDLE_MM = (64.0, 18.0)
_KIDNEY_AWAY_MM = 34.0
_KIDNEY_VOLUME_MM3 = (8_000.0, 220_000.0)
#: Largest width and depth of a core, mm. Without contrast it must fill this share of its box, which connected bowel and
#: muscle do not; with contrast only the cortex may be bright, a thin cup.
_KIDNEY_WIDTH_MM = 80.0
_PLAIN_KIDNEY_FILLS = 0.22
#: Share of a kidney's surface that borders on fat or on something darker.
_KIDNEY_FREE = 0.7


def offsets_mm(grid: PatientGrid, spine: Spine) -> tuple[BoolArray, Points, Points, Points]:
    """The slices of the spine, and in them the distance of every voxel from the spine in mm.

    Returns:
        The slices, bool of axis 0; to the left of the middle, (slices, 1, L); behind the front and behind the back of the
        body, (slices, P, 1).
    """
    slices = np.zeros(grid.hu.shape[0], dtype=np.bool_)
    slices[spine.rows] = True
    p = np.arange(grid.hu.shape[1])[None, :, None]
    left = np.arange(grid.hu.shape[2])[None, None, :]
    aside = (left - spine.middle[:, None, None]) * GRID_MM
    behind_front = (p - spine.front[:, None, None]) * GRID_MM
    behind_back = (p - spine.back[:, None, None]) * GRID_MM
    return slices, aside, behind_front, behind_back


def muscle_mask(grid: PatientGrid, spine: Spine) -> BoolArray:
    """Psoas beside the bodies, and the erector muscles behind them, on both sides."""
    slices, aside, front, back = offsets_mm(grid, spine)
    half_mm = spine.half_width * GRID_MM
    psoas = (np.abs(aside) > half_mm + 3.0) & (np.abs(aside) < half_mm + 26.0) & (front > 8.0) & (back < 6.0)
    erector = (np.abs(aside) > 12.0) & (np.abs(aside) < 50.0) & (back > 24.0) & (back < 62.0)
    smooth = _smooth(grid.hu[slices])
    tissue = (smooth > _MUSCLE_HU[0]) & (smooth < _MUSCLE_HU[1]) & grid.inside[slices] & (grid.labels[slices] == 0)
    return _in_grid(grid, slices, _clear(tissue, _CLEAR_MM) & (psoas | erector), _LEAST_MUSCLE_MM3)


def canal_mask(grid: PatientGrid, spine: Spine) -> BoolArray:
    """A circle in the spinal canal in every slice of a body: the most even position near the usual one."""
    slices, aside, _, back = offsets_mm(grid, spine)
    smooth = ndimage.gaussian_filter(grid.hu[slices], (1.0, 0.4, 0.4)).astype(np.float64)
    disc = _ball(_CANAL_RADIUS_MM, 2)[None]
    weights = disc / disc.sum()
    mean = ndimage.correlate(smooth, weights, mode="nearest")
    sd = np.sqrt(np.maximum(ndimage.correlate(smooth**2, weights, mode="nearest") - mean**2, 0.0))
    held = ndimage.binary_erosion(grid.inside[slices], disc > 0)
    window = held & (np.abs(aside) <= _CANAL_ASIDE_MM) & (back >= _CANAL_BEHIND_MM[0]) & (back <= _CANAL_BEHIND_MM[1])
    window &= (mean > _CANAL_HU[0]) & (mean < _CANAL_HU[1]) & (spine.level > 0)[:, None, None]
    away_mm = np.hypot(np.broadcast_to(aside, sd.shape), back - _CANAL_USUAL_MM)
    cost = np.where(window, sd + _CANAL_COST_HU_PER_MM * away_mm, np.inf).reshape(sd.shape[0], -1)
    places = np.zeros(sd.shape, dtype=np.bool_)
    found = np.flatnonzero(np.isfinite(cost).any(axis=1))
    p, left = np.unravel_index(cost[found].argmin(axis=1), sd.shape[1:])
    walled = _walled(smooth, mean, found, p, left)
    if walled.sum() * GRID_MM >= _LEAST_CANAL_MM:
        places[found[walled], p[walled], left[walled]] = True
    return _in_grid(grid, slices, ndimage.binary_dilation(places, disc > 0), 0.0)


def _walled(
    smooth: Points, mean: Points, rows: npt.NDArray[np.intp], p: npt.NDArray[np.intp], left: npt.NDArray[np.intp]
) -> BoolArray:
    """Whether at least half of a circle around each position differs from its inside: walls of the canal, or fat."""
    angles = np.arange(24) * 2 * np.pi / 24
    reach = _CANAL_WALL_MM / GRID_MM
    at_p = np.clip(np.round(p[:, None] + reach * np.sin(angles)).astype(np.intp), 0, smooth.shape[1] - 1)
    at_left = np.clip(np.round(left[:, None] + reach * np.cos(angles)).astype(np.intp), 0, smooth.shape[2] - 1)
    inside = mean[rows, p, left][:, None]
    return np.asarray((np.abs(smooth[rows[:, None], at_p, at_left] - inside) > _CANAL_WALL_HU).mean(axis=1) >= 0.5)


def kidney_mask(grid: PatientGrid, spine: Spine, muscle_hu: float) -> BoolArray:
    """Parenchyma of the kidneys next to L1 to L3, without its outer millimetres.

    A kidney is a thick, isolated piece next to the spine: with contrast brighter than its surroundings, otherwise soft
    tissue in fat. A kidney that cannot be separated from liver, spleen, muscle or bowel is left out.
    """
    slices, aside, front, _ = offsets_mm(grid, spine)
    high = ((spine.level == 0) | (spine.level <= Level.L3))[:, None, None]
    window = high & (front > _KIDNEY_BEHIND_MM[0]) & (front < _KIDNEY_BEHIND_MM[1]) & grid.inside[slices]
    smooth = _smooth(grid.hu[slices])
    tries = [(muscle_hu + above, _BRIGHTEST_KIDNEY_HU, _KIDNEY_CORE_MM, 0.0) for above in _ABOVE_MUSCLE_HU]
    tries.append((*_PLAIN_KIDNEY_HU, _PLAIN_KIDNEY_CORE_MM, _PLAIN_KIDNEY_FILLS))
    kept = np.zeros(smooth.shape, dtype=np.bool_)
    for low, high_hu, core_mm, least_fill in tries:
        plain = low == _PLAIN_KIDNEY_HU[0]
        if plain and kept.any():
            break
        tissue = (smooth > low) & (smooth < high_hu)
        core = _clear(tissue, core_mm) & window
        for side in (-1.0, 1.0):
            beside = (side * aside > _KIDNEY_ASIDE_MM[0]) & (side * aside < _KIDNEY_ASIDE_MM[1])
            if not (kept & beside).any():
                kidney = _kidney_of(core & beside, tissue, core_mm, least_fill, side * aside, front)
                if not plain or (kidney.any() and np.median(smooth[kidney]) < muscle_hu - _BELOW_MUSCLE_HU):
                    kept |= kidney
    return _in_grid(grid, slices, kept, 0.0)


def _kidney_of(
    core: BoolArray, tissue: BoolArray, core_mm: float, least_fill: float, aside: Points, front: Points
) -> BoolArray:
    """The largest piece of a core with the size, position and free surface of a kidney; empty if there is none."""
    parts, _ = ndimage.label(core)
    volumes_mm3 = np.bincount(parts.ravel()) * GRID_MM**3
    boxes = ndimage.find_objects(parts)
    for part in np.argsort(-volumes_mm3):
        if part == 0 or not _KIDNEY_VOLUME_MM3[0] <= volumes_mm3[part] <= _KIDNEY_VOLUME_MM3[1]:
            continue
        extents_mm = [(side.stop - side.start) * GRID_MM for side in boxes[part - 1]]
        fills = volumes_mm3[part] / np.prod(extents_mm)
        if max(extents_mm[1:]) > _KIDNEY_WIDTH_MM or fills < least_fill:
            continue
        mask = parts == part
        where = np.argwhere(mask)
        middle_aside = float(aside[where[:, 0], 0, where[:, 2]].mean())
        middle_front = float(front[where[:, 0], where[:, 1], 0].mean())
        away_mm = np.hypot(middle_aside - _KIDNEY_MIDDLE_MM[0], middle_front - _KIDNEY_MIDDLE_MM[1])
        if away_mm <= _KIDNEY_AWAY_MM and _free_share(mask, tissue, core_mm) >= _KIDNEY_FREE:
            return np.asarray(mask)
    return np.zeros_like(core)


def median_in(grid: PatientGrid, mask: BoolArray) -> float | None:
    """Median of the image in a mask, HU; ``None`` if the mask is empty."""
    return float(np.median(grid.hu[mask])) if mask.any() else None


def _free_share(core: BoolArray, tissue: BoolArray, core_mm: float) -> float:
    """Share of the shell around a piece that is not this tissue."""
    around = ndimage.find_objects(core.astype(np.uint8))[0]
    box = tuple(slice(max(0, part.start - 8), part.stop + 8) for part in around)
    away_mm = ndimage.distance_transform_edt(~core[box]) * GRID_MM
    shell = (away_mm > core_mm + 1.0) & (away_mm <= core_mm + 4.0)
    return float((~tissue[box][shell]).mean()) if shell.any() else 0.0


def _smooth(hu: FloatImage) -> FloatImage:
    return ndimage.gaussian_filter(hu, 1.0)


def _clear(mask: BoolArray, distance_mm: float) -> BoolArray:
    """Voxels at least this far inside a mask; the image border counts as its border."""
    return ndimage.binary_erosion(mask, _ball(distance_mm, 3) > 0)


def _ball(radius_mm: float, axes: int) -> Points:
    reach = int(radius_mm / GRID_MM)
    ticks = np.meshgrid(*[np.arange(-reach, reach + 1) * GRID_MM] * axes, indexing="ij")
    ball: Points = (sum(t**2 for t in ticks) <= radius_mm**2).astype(np.float64)
    return ball


def _in_grid(grid: PatientGrid, slices: BoolArray, mask: BoolArray, least_mm3: float) -> BoolArray:
    whole = np.zeros(grid.hu.shape, dtype=np.bool_)
    if mask.sum() * GRID_MM**3 >= least_mm3:
        whole[slices] = mask
    return whole
