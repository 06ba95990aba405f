"""The second network: outlines one vertebral body at 1 mm that the first network found at 3 mm.

Its input is a crop of fixed size: the attenuation around a body, and the first network's probabilities of this body and of
its neighbours. Its output is the probability that a voxel is this body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from node.model import Affine, HuArray
from node.segment.grid import AIR_HU, FloatArray, IsoGrid, resample_to_grid, sample_linear
from node.segment.inference import Prediction
from node.segment.instances import BODY_PROBABILITY, Body, IntArray
from node.segment.network import Block, Tissue, depth_to_space, twice, windows

#: Edge of a voxel of the crop, and its voxels along (superior, posterior, left): a tall man's L5 fits, tilted by 40 degrees.
CROP_SPACING_MM = 1.0
CROP_VOXELS = (64, 72, 80)
#: From this probability on a voxel belongs to the body.
INSIDE = 0.5


class RefineNet(nn.Module):
    """(n, 3, 64, 72, 80) to (n, 1, 64, 72, 80).

    In: HU; probability of the first network that a voxel is this body; that it is another body, disc or sacrum.
    Out: logit that it is this body.
    """

    def __init__(self, channels: tuple[int, int, int] = (24, 48, 96)) -> None:
        super().__init__()
        c1, c2, c3 = channels
        self.stem = nn.Conv3d(4, c1, 4, stride=2, padding=1)
        self.down1 = nn.Sequential(Block(c1, c1), Block(c1, c1))
        self.down2 = nn.Sequential(nn.Conv3d(c1, c2, 2, stride=2), Block(c2, c2), Block(c2, c2))
        self.down3 = nn.Sequential(nn.Conv3d(c2, c3, 2, stride=2), Block(c3, c3), Block(c3, c3))
        self.up2 = Block(c3 + c2, c2)
        self.up1 = nn.Sequential(Block(c2 + c1, c1), Block(c1, c1))
        self.head = nn.Conv3d(c1, 8, 1)

    def forward(self, crop: Tensor) -> Tensor:
        """See the class."""
        x1 = self.down1(self.stem(torch.cat([windows(crop[:, :1]), 2.0 * crop[:, 1:] - 1.0], dim=1)))
        x2 = self.down2(x1)
        x3 = self.down3(x2)
        x2 = self.up2(torch.cat([twice(x3), x2], dim=1))
        x1 = self.up1(torch.cat([twice(x2), x1], dim=1))
        return depth_to_space(self.head(x1), 1)


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """One body at 1 mm.

    Attributes:
        probability: float32 of ``grid.shape``, that a voxel is this body.
        grid: the crop.
        agreement: Dice of the two networks' masks of this body, 0 to 1.
    """

    probability: FloatArray
    grid: IsoGrid
    agreement: float


def crop_grid(centre_lps_mm: npt.NDArray[np.float64]) -> IsoGrid:
    """The crop around a point in LPS mm."""
    half = (np.array(CROP_VOXELS[::-1], dtype=np.float64) - 1) / 2 * CROP_SPACING_MM
    first = centre_lps_mm - half
    return IsoGrid((float(first[0]), float(first[1]), float(first[2])), CROP_SPACING_MM, CROP_VOXELS)


def refine_body(
    network: RefineNet, hu: HuArray, affine_lps_mm: Affine, prediction: Prediction, instances: IntArray, body: Body
) -> Refined:
    """Outline one body.

    Args:
        network: in evaluation mode.
        hu: the source volume, HU.
        affine_lps_mm: its index-to-LPS matrix, mm.
        prediction: of the first network.
        instances: instance map on the prediction's grid.
        body: the body to outline.
    """
    coarse = prediction.grid
    grid = crop_grid(coarse.to_lps_mm(body.centre[None])[0])
    crop = _hu_on_grid(hu, affine_lps_mm, grid)
    both = prediction.of(Tissue.UPPER_BODY, Tissue.LUMBAR_BODY)
    own = np.where((instances == body.number) | ((instances == 0) & (both < BODY_PROBABILITY)), both, np.float32(0.0))
    others = np.clip(both - own + prediction.of(Tissue.DISC, Tissue.SACRUM), 0.0, 1.0)
    matrix = np.linalg.inv(coarse.affine_lps_mm()) @ grid.affine_lps_mm()
    seen = sample_linear(np.stack([own, others]), matrix, grid.shape)
    shown = torch.from_numpy(np.concatenate([crop[None], seen]))[None]
    with torch.inference_mode():
        # A body and its mirror image are equally likely: the mean of both views has a smaller error than either.
        logits = network(torch.cat([shown, shown.flip(-1)]))[:, 0]
        probability: FloatArray = ((logits[0] + logits[1].flip(-1)) / 2).sigmoid().numpy()
    fine, rough = probability >= INSIDE, seen[0] >= BODY_PROBABILITY
    agreement = 2.0 * float((fine & rough).sum()) / max(float(fine.sum() + rough.sum()), 1.0)
    return Refined(probability, grid, agreement)


def _hu_on_grid(hu: HuArray, affine_lps_mm: Affine, grid: IsoGrid) -> FloatArray:
    """HU on a small grid, from the part of the source around it alone."""
    to_source = np.linalg.inv(affine_lps_mm) @ grid.affine_lps_mm()
    low, high = source_box(to_source, grid.shape, hu.shape)
    if (low >= high).any():
        return np.full(grid.shape, AIR_HU, dtype=np.float32)
    shifted = affine_lps_mm.copy()
    shifted[:3, 3] += affine_lps_mm[:3, :3] @ low
    part = hu[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    return resample_to_grid(np.ascontiguousarray(part), shifted, grid)


def source_box(
    source_from_grid: npt.NDArray[np.floating], grid_shape: tuple[int, int, int], source_shape: tuple[int, ...]
) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.int_]]:
    """First and last-but-one source index along every axis of the box that holds a grid, with a margin of two voxels."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in grid_shape], indexing="ij"), dtype=np.float64).reshape(3, -1)
    at = source_from_grid[:3, :3] @ corners + source_from_grid[:3, 3:]
    low = np.clip(np.floor(at.min(axis=1)).astype(int) - 2, 0, np.array(source_shape))
    high = np.clip(np.ceil(at.max(axis=1)).astype(int) + 3, 0, np.array(source_shape))
    return low, high
