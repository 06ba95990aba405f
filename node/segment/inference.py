"""Runs the network over a whole volume, patch by patch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from node.segment.grid import AIR_HU, FloatArray, IsoGrid
from node.segment.network import OFFSET_UNIT_MM, PATCH_VOXELS, SpineNet, Tissue

#: Distance between patches along the patient in voxels: half a patch, so that every body is complete in one of them.
STRIDE_VOXELS = 40
#: Half the distance between the two patches side by side, in voxels.
SIDE_VOXELS = 14
#: Voxels above this belong to the patient or the table, not to air.
BODY_HU = -500.0
#: A patch with fewer bright voxels than this (about 3 cm3) contains no bone and is skipped.
BONE_HU = 180.0
LEAST_BONE_VOXELS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """Output of the network for every voxel of a grid.

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
    """The part of a volume with the patient: the box around the largest connected region above BODY_HU.

    Args:
        hu: float32 of ``grid.shape``.
        grid: its grid.

    Returns:
        The part and its grid; the input if there is only air.
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
    """Predictions of overlapping patches along the spine, averaged with weights that decrease towards the edge of a patch.

    The patches follow the middle of the bone from the feet to the head, two side by side at every height: together they
    reach 160 mm to both sides, which contains the spine, the sacrum and the heads of the ribs even if the middle is off by
    80 mm. Everything else is background.

    Args:
        network: in evaluation mode.
        hu: float32 of ``grid.shape``.
        grid: its grid; spacing as the network was trained for.
        progress: called with the number of the patch.
    """
    classes = len(Tissue)

    def probabilities_and_offsets(patch: Tensor) -> Tensor:
        out: Tensor = network(patch)[0]
        out[:classes] = out[:classes].softmax(dim=0)
        return out

    shape = hu.shape
    padded = padded_to_patch(hu, PATCH_VOXELS)
    starts = _patch_starts(padded)
    result, unseen = average_patches(probabilities_and_offsets, network.outputs, padded, starts, PATCH_VOXELS, progress)
    result[int(Tissue.BACKGROUND)][unseen] = 1.0
    result = result[:, : shape[0], : shape[1], : shape[2]]
    return Prediction(grid, result[:classes], result[classes:] * np.float32(OFFSET_UNIT_MM))


def padded_to_patch(hu: FloatArray, patch_voxels: int) -> FloatArray:
    """The volume with air added at its far ends, so that at least one patch fits into it."""
    padded = np.full([max(patch_voxels, s) for s in hu.shape], AIR_HU, dtype=np.float32)
    padded[: hu.shape[0], : hu.shape[1], : hu.shape[2]] = hu
    return padded


def average_patches(
    run: Callable[[Tensor], Tensor],
    outputs: int,
    hu: FloatArray,
    starts: list[tuple[int, int, int]],
    patch_voxels: int,
    progress: Callable[[str], None],
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Outputs of a network for patches, averaged with weights that decrease towards the edge of a patch.

    Args:
        run: from a patch (1, 1, n, n, n) to what is averaged, (outputs, n, n, n).
        outputs: channels that ``run`` gives.
        hu: at least one patch along every axis.
        starts: first voxels (axis 0, 1, 2) of the patches.
        patch_voxels: edge of a patch, n.
        progress: called with the number of the patch.

    Returns:
        float32, (outputs, *hu.shape), and a mask of voxels that no patch reached: these are 0.
    """
    n = patch_voxels
    ramp = np.minimum(np.arange(1, n + 1), np.arange(n, 0, -1)).astype(np.float32) / (n / 2)
    weight = torch.from_numpy(ramp[:, None, None] * ramp[None, :, None] * ramp[None, None, :])
    total = torch.zeros((outputs, *hu.shape))
    weights = torch.zeros(hu.shape)
    with torch.inference_mode():
        for done, (z, y, x) in enumerate(starts):
            box = (slice(z, z + n), slice(y, y + n), slice(x, x + n))
            total[(slice(None), *box)] += run(torch.from_numpy(np.ascontiguousarray(hu[box]))[None, None]) * weight
            weights[box] += weight
            progress(f"segment: patch {done + 1} of {len(starts)}")
        unseen = weights == 0
        weights[unseen] = 1.0
        total /= weights
    return total.numpy(), unseen.numpy()


def _patch_starts(hu: FloatArray) -> list[tuple[int, int, int]]:
    """First voxels (axis 0, 1, 2) of the patches; none where there is no bone."""
    n = PATCH_VOXELS
    last = hu.shape[0] - n
    count = 1 + -(-last // STRIDE_VOXELS)
    starts: list[tuple[int, int, int]] = []
    for i in range(count):
        z = round(i * last / max(count - 1, 1))
        bone = np.argwhere(hu[z : z + n] > BONE_HU)
        if len(bone) < LEAST_BONE_VOXELS:
            continue
        _, middle_y, middle_x = np.median(bone, axis=0)
        y = int(np.clip(round(middle_y) - n // 2, 0, hu.shape[1] - n))
        for side in (-SIDE_VOXELS, SIDE_VOXELS):
            x = int(np.clip(round(middle_x) + side - n // 2, 0, hu.shape[2] - n))
            if (z, y, x) not in starts:
                starts.append((z, y, x))
    return starts
