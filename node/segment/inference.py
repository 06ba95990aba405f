"""Runs the network over a whole volume, patch by patch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from node.segment.grid import AIR_HU, FloatArray, IsoGrid
from node.segment.network import OFFSET_UNIT_MM, PATCH_VOXELS, SpineNet, Tissue

#: Distance between neighbouring patches in voxels: two thirds of a patch, so that every voxel is seen away from an edge.
STRIDE_VOXELS = 54
#: Above this the voxel belongs to the patient or the table, not to air.
BODY_HU = -500.0
#: A patch with less bright tissue than this many voxels (about 3 cm3 above 100 HU) holds no bone and is not computed.
BONE_HU = 100.0
LEAST_BONE_VOXELS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What the network says of every voxel of a grid.

    Attributes:
        grid: the grid.
        probability: float32, (classes, superior, posterior, left); classes as :class:`node.segment.network.Tissue`.
        offset_mm: float32, (3, superior, posterior, left): from the voxel to its body's centre along the grid's axes.
    """

    grid: IsoGrid
    probability: FloatArray
    offset_mm: FloatArray

    def of(self, *tissues: Tissue) -> FloatArray:
        """Summed probability of some classes, (superior, posterior, left)."""
        total: FloatArray = self.probability[[int(t) for t in tissues]].sum(axis=0, dtype=np.float32)
        return total


def crop_to_patient(hu: FloatArray, grid: IsoGrid) -> tuple[FloatArray, IsoGrid]:
    """The part of a volume that holds the patient: the box around the largest connected region above BODY_HU.

    Args:
        hu: float32 of ``grid.shape``.
        grid: its grid.

    Returns:
        The part and its grid; the input where there is nothing but air.
    """
    regions, count = ndimage.label(ndimage.binary_opening(hu > BODY_HU, iterations=2))
    if count == 0:
        return hu, grid
    largest = 1 + int(np.argmax(np.bincount(regions.ravel())[1:]))
    box = ndimage.find_objects(regions)[largest - 1]
    low = [max(s.start - 2, 0) for s in box]
    high = [min(s.stop + 2, n) for s, n in zip(box, hu.shape, strict=True)]
    origin = grid.to_lps_mm(np.array([low], dtype=np.float64))[0]
    part = np.ascontiguousarray(hu[low[0] : high[0], low[1] : high[1], low[2] : high[2]])
    return part, IsoGrid(
        (float(origin[0]), float(origin[1]), float(origin[2])),
        grid.spacing_mm,
        (part.shape[0], part.shape[1], part.shape[2]),
    )


def predict(network: SpineNet, hu: FloatArray, grid: IsoGrid, progress: Callable[[str], None]) -> Prediction:
    """Predictions of overlapping patches, averaged with weights that fall off toward the patch's edge.

    Args:
        network: in evaluation mode.
        hu: float32 of ``grid.shape``.
        grid: its grid; spacing as the network was trained for.
        progress: told now and then how far it is.
    """
    n = PATCH_VOXELS
    shape = hu.shape
    padded_shape = [max(n, s) for s in shape]
    padded = np.full(padded_shape, AIR_HU, dtype=np.float32)
    padded[: shape[0], : shape[1], : shape[2]] = hu
    ramp = np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)).astype(np.float32) / (n / 2)
    weight = torch.from_numpy(ramp[:, None, None] * ramp[None, :, None] * ramp[None, None, :])
    total = torch.zeros((network.outputs, *padded_shape))
    weights = torch.zeros(padded_shape)
    starts = [
        (z, y, x) for z in _starts(padded_shape[0]) for y in _starts(padded_shape[1]) for x in _starts(padded_shape[2])
    ]
    with torch.inference_mode():
        for done, (z, y, x) in enumerate(starts):
            box = (slice(z, z + n), slice(y, y + n), slice(x, x + n))
            weights[box] += weight
            patch = padded[box]
            if int((patch > BONE_HU).sum()) < LEAST_BONE_VOXELS:
                total[(int(Tissue.BACKGROUND), *box)] += weight
                continue
            out = network(torch.from_numpy(np.ascontiguousarray(patch))[None, None])[0]
            out[: len(Tissue)] = out[: len(Tissue)].softmax(dim=0)
            total[(slice(None), *box)] += out * weight
            progress(f"segment: patch {done + 1} of {len(starts)}")
        total /= weights
    result = total[:, : shape[0], : shape[1], : shape[2]].numpy()
    return Prediction(grid, result[: len(Tissue)], result[len(Tissue) :] * np.float32(OFFSET_UNIT_MM))


def _starts(size: int) -> list[int]:
    """First voxels of patches that cover an axis evenly."""
    last = size - PATCH_VOXELS
    count = 1 + -(-last // STRIDE_VOXELS)
    return [round(i * last / max(count - 1, 1)) for i in range(count)]
