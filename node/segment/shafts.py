"""Pieces of ribs next to the spine, and the height at which each meets it.

The head of a rib is hidden between the body and the transverse process, where the network rarely finds it. It does find the
shaft, from two or three centimetres beside the midline outward and downward. So the inner part of the shaft is extended as a
straight line to the side of the vertebral body, in a frame that leans with the spine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.segment.inference import Prediction
from node.segment.network import Tissue

BoolArray = npt.NDArray[np.bool_]
PositionArray = npt.NDArray[np.float64]

RIB_PROBABILITY = 0.5
#: Ribs are used only this far beside the middle of the spine: further out neighbours touch in thick slices.
REACH_MM = 85.0
#: Anything further than this in front of the middle of the bodies is bowel or the front of the chest.
FRONT_MM = 12.0
#: The inner part of a shaft, whose direction is followed, and its largest slope (height per distance outward).
INNER_MM = 36.0
SLOPE_RANGE = (-1.5, 0.5)
#: Half the width of a vertebra where the rib's head meets it.
HEAD_MM = 20.0
#: Number of iterations that look up the lean of the spine where the rib meets it.
LEANING_ROUNDS = 3
#: Largest plausible lean of the spine (distance backward or sideways per distance upward); it is limited to this.
MOST_LEANING = 1.0
#: A shorter piece is not a rib.
SHORT_MM = 12.0
#: A rib that ends nearer than this to the edge of the scan is cut off.
EDGE_MM = 6.0
#: A shaft that begins further from the midline than this is not followed: it could belong to another body.
MOST_START_MM = 62.0


@dataclass(frozen=True, slots=True)
class Shaft:
    """A piece of rib, and the height, in mm on the grid, of the body that its inner part points to.

    ``region`` is the number of its region, ``whole_mm`` the length of that region, ``cut`` whether it ends at the edge of
    the scan.
    """

    left: bool
    length_mm: float
    meets_mm: float
    region: int
    whole_mm: float
    cut: bool


def find_shafts(prediction: Prediction, centres: PositionArray, inside: BoolArray) -> list[Shaft]:
    spacing = prediction.grid.spacing_mm
    rib = prediction.probability[Tissue.RIB] > RIB_PROBABILITY
    regions, _ = ndimage.label(rib, np.ones((3, 3, 3)))
    extents = ndimage.find_objects(regions)
    inner = ndimage.binary_erosion(inside, iterations=max(round(EDGE_MM / spacing), 1))
    cut = set(np.unique(regions[rib & ~inner]).tolist())
    index = np.argwhere(rib)
    aside_mm, behind_mm = _beside(index, centres, spacing)
    near = index[(abs(aside_mm) <= REACH_MM) & (behind_mm >= -FRONT_MM)]
    kept = np.zeros(prediction.grid.shape, dtype=bool)
    kept[tuple(near.T)] = True
    parts, _ = ndimage.label(kept, np.ones((3, 3, 3)))
    shafts = []
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        voxels = np.argwhere(parts[box] == number) + [s.start for s in box]
        aside_mm, _ = _beside(voxels, centres, spacing)
        left = bool(np.median(aside_mm) > 0)
        out_mm = aside_mm if left else -aside_mm
        start_mm = float(np.percentile(out_mm, 2))
        length_mm = float(np.linalg.norm(np.ptp(voxels, axis=0))) * spacing
        if length_mm < SHORT_MM or not 0 < start_mm <= MOST_START_MM:
            continue
        inner = out_mm <= start_mm + INNER_MM
        meets_mm = _meets_mm(voxels[inner], out_mm[inner], centres, spacing)
        region = int(regions[tuple(voxels[0])])
        whole_mm = float(np.linalg.norm([s.stop - s.start - 1 for s in extents[region - 1]])) * spacing
        shafts.append(Shaft(left, length_mm, meets_mm, region, whole_mm, region in cut))
    return shafts


def _meets_mm(inner: npt.NDArray[np.int_], out_mm: PositionArray, centres: PositionArray, spacing_mm: float) -> float:
    """Height of the middle of the body at whose side the line through the inner part of a shaft ends.

    Args:
        inner: its voxels.
        out_mm: their distance from the middle of the spine, to their side.
        centres: of the bodies.
        spacing_mm: of the grid.
    """
    aside_mm, behind_mm = _beside(inner, centres, spacing_mm)
    start_mm = float(np.percentile(out_mm, 2))
    meets_mm = float(inner[:, 0].mean()) * spacing_mm
    for _ in range(LEANING_ROUNDS):
        # If the spine leans, voxels next to or behind a body are lower or higher in the scanner than its middle. So the
        # height is taken where a plane through the voxel, perpendicular to the spine, crosses it.
        backward, leftward = _leaning(meets_mm / spacing_mm, centres)
        lower_mm = (backward * behind_mm + leftward * aside_mm) / (1.0 + backward**2 + leftward**2)
        along_mm = inner[:, 0] * spacing_mm + lower_mm
        slope = 0.0
        if np.ptp(out_mm) > 2 * spacing_mm:
            slope = float(np.clip(np.polyfit(out_mm, along_mm, 1)[0], *SLOPE_RANGE))
        first = float(along_mm[out_mm <= start_mm + 2 * spacing_mm].mean())
        meets_mm = first + slope * (HEAD_MM - start_mm)
    return meets_mm


def _leaning(height: float, centres: PositionArray) -> tuple[float, float]:
    """Slope backward and to the left of the curve through the bodies' centres, at a height (in voxels)."""
    z, y, x = centres[np.argsort(centres[:, 0])].T
    step = float(np.median(np.diff(z)))
    low, high = (float(np.clip(height + side * step, z[0], z[-1])) for side in (-1.0, 1.0))
    if high <= low:
        low, high = (float(z[0]), float(z[1])) if height < z[0] else (float(z[-2]), float(z[-1]))
    backward, leftward = (float(np.interp(high, z, a) - np.interp(low, z, a)) / (high - low) for a in (y, x))
    return float(np.clip(backward, -MOST_LEANING, MOST_LEANING)), float(np.clip(leftward, -MOST_LEANING, MOST_LEANING))


def _beside(index: npt.NDArray[np.int_], centres: PositionArray, spacing_mm: float) -> tuple[PositionArray, PositionArray]:
    """Distance to the left of and behind the curve through the bodies' centres, at the height of each voxel, in mm."""
    z, y, x = centres[np.argsort(centres[:, 0])].T
    left = index[:, 2] - np.interp(index[:, 0], z, x)
    behind = index[:, 1] - np.interp(index[:, 0], z, y)
    return left * spacing_mm, behind * spacing_mm
