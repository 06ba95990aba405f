"""Which vertebra a labelled rib belongs to, where the labels end before the rib's head.

TotalSegmentator ends a rib 36 to 46 mm from the centre of its body and 3 to 11 mm from its vertebra (measured on the twelve
lowest ribs of LIDC-0001), so that nothing of it lies where :mod:`node.segment.naming` looks for the head of a rib.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.model import LabelArray, Level
from node.segment.instances import Body

#: A rib whose end lies further than this from every vertebra is a piece of one, and belongs to none.
MOST_GAP_MM = 15.0
#: Least volume of a rib in cm3 (the twelfth of LIDC-0001 have 1.8 and 2.5); beside a lumbar vertebra less casts doubt.
LEAST_THORACIC_CM3, LEAST_LUMBAR_CM3 = 1.0, 0.3
#: The head is drawn as a rod from the end of the rib to this distance from the body's centre.
HEAD_MM = 24.0
HEAD_RADIUS_MM = 5.0


def rib_heads(ribs: LabelArray, vertebrae: LabelArray, bodies: list[Body], spacing_mm: float) -> npt.NDArray[np.bool_]:
    """Rods between the ends of ribs and the bodies of the vertebrae that they end at.

    Args:
        ribs: uint8, a number per rib as far as they are told apart, 0 elsewhere; (superior, posterior, left).
        vertebrae: uint8, numbers of VerSe, on the same grid.
        bodies: bodies on the same grid, their numbers those of the vertebrae.
        spacing_mm: of the grid.

    Returns:
        Mask on the same grid.
    """
    out = np.zeros(ribs.shape, dtype=bool)
    if not vertebrae.any() or not ribs.any():
        return out
    gap, nearest = ndimage.distance_transform_edt(vertebrae == 0, sampling=spacing_mm, return_indices=True)
    centres = {body.number: body.centre for body in bodies}
    for number, box in enumerate(ndimage.find_objects(ribs), start=1):
        parts, count = ndimage.label(ribs[box] == number, np.ones((3, 3, 3))) if box else (np.zeros(0), 0)
        for part in range(1, count + 1):
            index = np.argwhere(parts == part) + [s.start for s in box]
            gaps = gap[tuple(index.T)]
            end = index[int(gaps.argmin())]
            owner = int(vertebrae[tuple(nearest[:, end[0], end[1], end[2]])])
            least = LEAST_THORACIC_CM3 if owner < Level.L1 else LEAST_LUMBAR_CM3
            if gaps.min() <= MOST_GAP_MM and len(index) * spacing_mm**3 / 1000.0 >= least and owner in centres:
                _draw_rod(out, end.astype(np.float64), centres[owner], spacing_mm)
    return out


def _draw_rod(
    out: npt.NDArray[np.bool_], end: npt.NDArray[np.float64], centre: npt.NDArray[np.float64], spacing_mm: float
) -> None:
    """Sets what lies near the line from the end of a rib toward a centre; both are indices on the grid."""
    length = float(np.linalg.norm(centre - end)) * spacing_mm
    target = end + (centre - end) * max(0.0, 1.0 - HEAD_MM / max(length, 1e-6))
    reach = HEAD_RADIUS_MM / spacing_mm
    low = np.maximum(np.floor(np.minimum(end, target) - reach).astype(int), 0)
    high = np.minimum(np.ceil(np.maximum(end, target) + reach).astype(int) + 1, out.shape)
    index = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), axis=-1)
    along = target - end
    share = np.clip(((index - end) @ along) / max(float(along @ along), 1e-6), 0.0, 1.0)
    away = np.linalg.norm(index - (end + share[..., None] * along), axis=-1)
    out[low[0] : high[0], low[1] : high[1], low[2] : high[2]] |= away <= reach
