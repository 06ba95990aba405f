"""Body masks on the CT's own grid, from probabilities on a finer or coarser one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.model import Affine, LabelArray, Level
from node.segment.grid import FloatArray, IsoGrid, sample_linear
from node.segment.refine import INSIDE, source_box


class Outline(Protocol):
    """The outline of one body.

    Attributes:
        probability: float32 of ``grid.shape``, that a voxel is this body.
        grid: a grid around the body.
    """

    @property
    def probability(self) -> FloatArray: ...

    @property
    def grid(self) -> IsoGrid: ...


@dataclass(frozen=True, slots=True, eq=False)
class BodyOutline:
    """A plain :class:`Outline`."""

    probability: FloatArray
    grid: IsoGrid


def full_resolution_labels(
    outlines: tuple[tuple[Level, Outline], ...], shape: tuple[int, int, int], affine_lps_mm: Affine
) -> LabelArray:
    """Labels on the source grid, where the interpolated probability of a body reaches INSIDE; in one piece, without holes.

    Probabilities are interpolated, not labels, so that surfaces can lie between voxels. If two bodies overlap, the more
    likely one gets the voxel.

    Args:
        outlines: the bodies to outline, with their levels.
        shape: of the source volume.
        affine_lps_mm: its index-to-LPS matrix, mm.

    Returns:
        uint8 of ``shape``; ``int(level)`` inside a body.
    """
    labels = np.zeros(shape, dtype=np.uint8)
    claimed = np.zeros(shape, dtype=np.float16)
    for level, body in outlines:
        crop_from_source = np.linalg.inv(body.grid.affine_lps_mm()) @ affine_lps_mm
        low, high = source_box(np.linalg.inv(crop_from_source), body.grid.shape, shape)
        if (low >= high).any():
            continue
        from_part = np.eye(4)
        from_part[:3, 3] = low
        size = (int(high[0] - low[0]), int(high[1] - low[1]), int(high[2] - low[2]))
        probability = sample_linear(body.probability, crop_from_source @ from_part, size)
        part = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
        own = one_piece(probability >= INSIDE) & (np.maximum(probability, INSIDE) > claimed[part])
        labels[part][own] = int(level)
        claimed[part][own] = np.maximum(probability, INSIDE)[own].astype(np.float16)
    return labels


def one_piece(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The largest connected part, its holes filled; empty if the mask is."""
    parts, count = ndimage.label(mask)
    if count > 1:
        mask = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(mask))
