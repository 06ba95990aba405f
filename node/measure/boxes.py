"""Boxes of a volume, and the positions of their voxels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from node.measure.region import FloatArray
from node.model import Affine, Vector

Box = tuple[slice, ...]


def spacing_mm_of(affine_lps_mm: Affine) -> Vector:
    """Distance between voxel centres along axis 0, 1 and 2."""
    a, b, c = np.linalg.norm(affine_lps_mm[:3, :3], axis=0)
    return (float(a), float(b), float(c))


def places_mm(index: npt.NDArray[np.number], affine_lps_mm: Affine) -> FloatArray:
    """Positions in LPS mm of array indices, both (n, 3)."""
    return np.asarray(index @ affine_lps_mm[:3, :3].T + affine_lps_mm[:3, 3], dtype=np.float64)


def affine_of(box: Box, affine_lps_mm: Affine) -> Affine:
    """The index-to-LPS matrix of a box, from that of its volume."""
    shifted: Affine = affine_lps_mm.copy()
    shifted[:3, 3] += affine_lps_mm[:3, :3] @ np.array([part.start for part in box], dtype=np.float64)
    return shifted


def widened(box: Box, voxels: Sequence[int]) -> Box:
    """A box enlarged by this many voxels on both sides of each axis, within the volume."""
    return tuple(slice(max(0, part.start - n), part.stop + n) for part, n in zip(box, voxels, strict=True))


def on_border(box: Box, shape: Sequence[int]) -> bool:
    """Whether a box reaches the border of a volume."""
    return any(part.start == 0 or part.stop == length for part, length in zip(box, shape, strict=True))
