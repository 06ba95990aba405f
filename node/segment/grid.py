"""The working grid of the segmenter: isotropic, axes along the patient's LPS axes.

Arrays on it have axis 0 from the feet to the head, axis 1 from the front to the back, axis 2 from the patient's right to the
left, whatever the orientation of the source, so that the network always sees a patient in one pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional
from scipy import ndimage

from node.model import Affine, HuArray, LabelArray, Vector

FloatArray = npt.NDArray[np.float32]

#: HU of air; everything outside the source volume counts as air.
AIR_HU = -1024.0
#: Upper end of the HU range of the network; metal above it gives no further information.
MAX_HU = 3071.0


@dataclass(frozen=True, slots=True)
class IsoGrid:
    """An isotropic grid along the LPS axes.

    Attributes:
        origin_lps_mm: centre of voxel (0, 0, 0), as (left, posterior, superior) coordinates in mm.
        spacing_mm: distance of voxel centres along every axis.
        shape: voxels along (superior, posterior, left).
    """

    origin_lps_mm: Vector
    spacing_mm: float
    shape: tuple[int, int, int]

    def to_lps_mm(self, index: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """LPS positions in mm, (n, 3), of array indices (n, 3) given in the order of the axes."""
        positions: npt.NDArray[np.float64] = index[:, ::-1] * self.spacing_mm + np.asarray(self.origin_lps_mm)
        return positions

    def affine_lps_mm(self) -> Affine:
        """4 x 4 matrix from array index (axis 0, 1, 2, 1) to LPS mm, as ``Volume.affine_lps_mm``."""
        affine = np.eye(4)
        affine[:3, :3] = np.eye(3)[:, ::-1] * self.spacing_mm
        affine[:3, 3] = self.origin_lps_mm
        return affine


def grid_around(affine_lps_mm: Affine, shape: tuple[int, ...], spacing_mm: float) -> IsoGrid:
    """The smallest grid of this spacing that contains every voxel centre of a source of this shape and affine."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1)
    positions = affine_lps_mm[:3, :3] @ corners + affine_lps_mm[:3, 3:]
    low, high = positions.min(axis=1), positions.max(axis=1)
    counts = np.floor((high - low) / spacing_mm).astype(int) + 1
    return IsoGrid(
        (float(low[0]), float(low[1]), float(low[2])), spacing_mm, (int(counts[2]), int(counts[1]), int(counts[0]))
    )


def resample_to_grid(hu: HuArray, affine_lps_mm: Affine, grid: IsoGrid) -> FloatArray:
    """HU of a source volume on a grid: averaged over the grid's voxels first, so that noise does not alias, then
    interpolated linearly.

    Args:
        hu: (slices, rows, columns), HU.
        affine_lps_mm: its index-to-LPS matrix, mm.
        grid: where to sample.

    Returns:
        float32 of ``grid.shape``; :data:`AIR_HU` outside the source, clipped to [AIR_HU, MAX_HU].
    """
    spacing = np.linalg.norm(affine_lps_mm[:3, :3], axis=0)
    factors = [max(1, min(int(grid.spacing_mm / s + 0.1), n)) for s, n in zip(spacing, hu.shape, strict=True)]
    reduced = _averaged(hu, factors)
    # Voxel i of the averaged volume covers source voxels f*i .. f*i+f-1, so its centre lies at f*i + (f-1)/2.
    to_source = np.eye(4)
    for axis, factor in enumerate(factors):
        to_source[axis, axis] = factor
        to_source[axis, 3] = (factor - 1) / 2
    index_from_grid = np.linalg.inv(affine_lps_mm @ to_source) @ grid.affine_lps_mm()
    # Shifted by AIR_HU, so that the zeros with which sampling pads are air.
    sampled = sample_linear(reduced - AIR_HU, index_from_grid, grid.shape)
    return sampled + np.float32(AIR_HU)


def _averaged(hu: HuArray, factors: list[int]) -> FloatArray:
    """``hu`` clipped and averaged over blocks, slab by slab. An incomplete block at the end is dropped."""
    counts = [n // f for n, f in zip(hu.shape, factors, strict=True)]
    out = np.empty(counts, dtype=np.float32)
    f0, f1, f2 = factors
    for k in range(counts[0]):
        slab = hu[k * f0 : (k + 1) * f0, : counts[1] * f1, : counts[2] * f2].astype(np.float32)
        np.clip(slab, AIR_HU, MAX_HU, out=slab)
        out[k] = slab.mean(axis=0).reshape(counts[1], f1, counts[2], f2).mean(axis=(1, 3))
    return out


def sample_linear(
    array: npt.NDArray[np.generic], index_from_target: Affine, target_shape: tuple[int, int, int]
) -> FloatArray:
    """Trilinear samples of ``array`` (3 axes, or channels first and 3 axes), 0 outside of it.

    Args:
        array: values; converted to float32.
        index_from_target: 4 x 4 matrix from target index (axis 0, 1, 2, 1) to the index in ``array``.
        target_shape: shape of the result, without channels.
    """
    source = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    channels = source if source.ndim == 4 else source[None]
    out = torch.empty((channels.shape[0], *target_shape), dtype=torch.float32)
    scale = torch.tensor([2.0 / max(n - 1, 1) for n in channels.shape[1:]], dtype=torch.float32)
    matrix = torch.from_numpy(index_from_target.astype(np.float32))
    rows = torch.arange(target_shape[1], dtype=torch.float32)
    columns = torch.arange(target_shape[2], dtype=torch.float32)
    plane = rows[:, None, None] * matrix[:3, 1] + columns[None, :, None] * matrix[:3, 2] + matrix[:3, 3]
    slab = max(1, 2_000_000 // max(1, target_shape[1] * target_shape[2]))
    for start in range(0, target_shape[0], slab):
        stop = min(start + slab, target_shape[0])
        depth = torch.arange(start, stop, dtype=torch.float32)
        index = plane[None] + depth[:, None, None, None] * matrix[:3, 0]
        # grid_sample wants (x, y, z) in [-1, 1], the last axis of the array first.
        where = (index * scale - 1.0).flip(-1)
        # An axis of one voxel cannot be interpolated along; -1 .. 1 would put it at the very edge.
        out[:, start:stop] = functional.grid_sample(
            channels[None], where[None], mode="bilinear", padding_mode="zeros", align_corners=True
        )[0]
    result: FloatArray = out.numpy()
    return result if source.ndim == 4 else result[0]


def sample_nearest(labels: LabelArray, index_from_target: Affine, target_shape: tuple[int, int, int]) -> LabelArray:
    """Labels at the nearest voxel, 0 more than half a voxel outside; arguments as in :func:`sample_linear`."""
    # Mode "constant" would lose the outermost plane of voxels to rounding, so that a body cut there would look complete.
    sampled: LabelArray = ndimage.affine_transform(
        labels,
        index_from_target[:3, :3],
        index_from_target[:3, 3],
        output_shape=target_shape,
        order=0,
        mode="grid-constant",
        cval=0,
    )
    return sampled


def inside_source(
    source_from_grid: Affine, grid_shape: tuple[int, int, int], source_shape: tuple[int, ...]
) -> npt.NDArray[np.bool_]:
    """Which voxels of a grid have their centre inside the source volume (half a source voxel beyond its outer centres)."""
    axes = [np.arange(n, dtype=np.float64) for n in grid_shape]
    inside = np.ones(grid_shape, dtype=bool)
    for row, size in enumerate(source_shape):
        along = [source_from_grid[row, column] * axis for column, axis in enumerate(axes)]
        at = along[0][:, None, None] + along[1][None, :, None] + along[2][None, None, :] + source_from_grid[row, 3]
        inside &= (at >= -0.5) & (at <= size - 0.5)
    return inside
