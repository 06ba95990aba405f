"""Cuts the mask of a whole vertebra down to its body.

The posterior wall of the body is found where the spinal canal begins: along lines from the middle of the body backward, at
several heights, the first voxel that is no longer bone. A straight line through these points (position against height)
follows the tilt of the vertebra; everything in front of it is body.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

#: Half height and half width of the bundle of lines in mm: within the canal's width, away from the pedicles.
HALF_HEIGHT_MM = 9.0
HALF_WIDTH_MM = 5.0
#: Radius of the ball that fits into a body but not into posterior elements.
OPENING_RADIUS_MM = 6.5
#: Depth of a body, front to back, mm: plausible range of the wall behind the middle of the body.
WALL_RANGE_MM = (6.0, 26.0)


def cut_bodies(vertebrae: npt.NDArray[np.uint8], spacing_mm: float) -> npt.NDArray[np.bool_]:
    """Voxels of the bodies of labelled vertebrae.

    Args:
        vertebrae: label of each vertebra, 0 elsewhere; LPS grid (superior, posterior, left), labels rising downward.
        spacing_mm: isotropic.

    Returns:
        Mask of the same shape. A vertebra without a recognisable body (a fragment at the edge) is empty.
    """
    labels = [int(label) for label in np.unique(vertebrae) if label]
    boxes = ndimage.find_objects(vertebrae)
    middles: dict[int, npt.NDArray[np.float64]] = {}
    cores: dict[int, npt.NDArray[np.bool_]] = {}
    for label in labels:
        box = boxes[label - 1]
        mask = np.pad(vertebrae[box] == label, 1)
        core = _largest(ndimage.distance_transform_edt(mask) * spacing_mm >= OPENING_RADIUS_MM)[1:-1, 1:-1, 1:-1]
        if core.any():
            cores[label] = core
            middles[label] = np.argwhere(core).mean(axis=0) + [s.start for s in box]
    out = np.zeros(vertebrae.shape, dtype=bool)
    for label, middle in middles.items():
        box = boxes[label - 1]
        mask = vertebrae[box] == label
        up = _direction_up(label, middles)
        index = np.argwhere(mask)
        relative = (index + [s.start for s in box] - middle) * spacing_mm
        lateral = np.array([0.0, 0.0, 1.0]) - up * up[2]
        lateral /= np.linalg.norm(lateral)
        back = np.cross(lateral, up)
        back *= np.sign(back[1])
        height, behind, aside = relative @ up, relative @ back, relative @ lateral
        slope, wall = _posterior_wall(height, behind, aside, spacing_mm)
        body = np.zeros_like(mask)
        inside = behind <= wall + 0.5 * spacing_mm + slope * height
        body[tuple(index[inside].T)] = True
        out[box] |= _largest(ndimage.binary_opening(body, iterations=max(1, round(1.5 / spacing_mm))))
    return out


def _direction_up(label: int, middles: dict[int, npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """Unit vector along the spine at a vertebra, from the middles of its neighbours; straight up if there are none."""
    above = middles.get(label - 1, middles[label])
    below = middles.get(label + 1, middles[label])
    direction = above - below
    length = float(np.linalg.norm(direction))
    return direction / length if length > 0 else np.array([1.0, 0.0, 0.0])


def _posterior_wall(
    height: npt.NDArray[np.float64],
    behind: npt.NDArray[np.float64],
    aside: npt.NDArray[np.float64],
    spacing_mm: float,
) -> tuple[float, float]:
    """Slope and position (mm behind the middle) of the posterior wall as a line over height."""
    points = []
    for level in np.arange(-HALF_HEIGHT_MM, HALF_HEIGHT_MM + 0.1, spacing_mm):
        for side in np.arange(-HALF_WIDTH_MM, HALF_WIDTH_MM + 0.1, spacing_mm):
            line = behind[(abs(height - level) <= 0.6 * spacing_mm) & (abs(aside - side) <= 0.6 * spacing_mm)]
            line = np.sort(line[line > 0])
            if line.size < 2:
                continue
            gaps = np.flatnonzero(np.diff(line) > 2.5 * spacing_mm)
            wall = line[gaps[0]] if gaps.size else line[-1]
            if WALL_RANGE_MM[0] <= wall <= WALL_RANGE_MM[1]:
                points.append((level, wall))
    if len(points) < 8:
        return 0.0, 15.0
    heights, walls = np.array(points).T
    keep = abs(walls - np.median(walls)) <= 4.0
    slope, wall = np.polyfit(heights[keep], walls[keep], 1) if keep.sum() >= 8 else (0.0, float(np.median(walls)))
    return float(np.clip(slope, -0.5, 0.5)), float(wall)


def _largest(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The largest connected part of a mask; empty if the mask is."""
    parts, count = ndimage.label(mask)
    if count <= 1:
        return mask
    return np.asarray(parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:])))
