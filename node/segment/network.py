"""The embedded network: a small 3D U-Net that classifies bone and points from every body voxel to the centre of its body.

It works on half the input resolution inside (space to depth at the entrance, depth to space at the exit), which makes it
fast enough for two cores. GroupNorm is computed over one patch, so a patch must have the same size in training and in
prediction: whole volumes are always cut into patches of :data:`PATCH_VOXELS`.
"""

from __future__ import annotations

from enum import IntEnum

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

#: Edge of a voxel of the working grid in mm, and of a patch in voxels (240 mm: a vertebra with its ribs, or the sacrum with
#: the pelvis, fits with context). The weights belong to these two values.
SPACING_MM = 3.0
PATCH_VOXELS = 80
#: Offsets leave the network in units of this many mm, so that they are of the order of one.
OFFSET_UNIT_MM = 20.0


class Tissue(IntEnum):
    """Classes of the network."""

    BACKGROUND = 0
    UPPER_BODY = 1  # cervical and thoracic vertebral bodies: those with ribs
    LUMBAR_BODY = 2
    POSTERIOR_ELEMENTS = 3
    DISC = 4
    SACRUM = 5
    RIB = 6
    HIP = 7


#: Offset channels: from a voxel to the centre of its vertebral body along axis 0, 1, 2 of the grid.
OFFSET_CHANNELS = 3


def windows(hu: Tensor) -> Tensor:
    """Two views of HU as network input: soft tissue (-150 to 350) and bone (0 to 1500); shape (n, 2, ...).

    Air and lung are clipped at the lower bound: normalisation must not depend on the amount of air in a patch.
    """
    soft = hu.clamp(-150.0, 350.0) / 150.0
    bone = hu.clamp(0.0, 1500.0) / 400.0
    return torch.cat([soft, bone], dim=1)


class Block(nn.Sequential):
    """Convolution 3x3x3, group normalisation (groups of 8 channels), ReLU."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(
            nn.Conv3d(channels_in, channels_out, 3, padding=1, bias=False),
            nn.GroupNorm(channels_out // 8, channels_out),
            nn.ReLU(inplace=True),
        )


class SpineNet(nn.Module):
    """(n, 1, 80, 80, 80) HU to (n, 8 + 3, 80, 80, 80): class logits, then offsets in :data:`OFFSET_UNIT_MM`."""

    def __init__(self, channels: tuple[int, int, int, int] = (32, 64, 96, 128)) -> None:
        super().__init__()
        c1, c2, c3, c4 = channels
        self.outputs = len(Tissue) + OFFSET_CHANNELS
        self.stem = nn.Conv3d(2, c1, 4, stride=2, padding=1)
        self.down1 = nn.Sequential(Block(c1, c1), Block(c1, c1))
        self.down2 = nn.Sequential(nn.Conv3d(c1, c2, 2, stride=2), Block(c2, c2), Block(c2, c2))
        self.down3 = nn.Sequential(nn.Conv3d(c2, c3, 2, stride=2), Block(c3, c3), Block(c3, c3))
        self.down4 = nn.Sequential(nn.Conv3d(c3, c4, 2, stride=2), Block(c4, c4), Block(c4, c4))
        self.up3 = Block(c4 + c3, c3)
        self.up2 = Block(c3 + c2, c2)
        self.up1 = nn.Sequential(Block(c2 + c1, c1), Block(c1, c1))
        self.head = nn.Conv3d(c1, self.outputs * 8, 1)
        # Most voxels are background: starting there saves the first hundred steps.
        bias = torch.zeros(self.outputs * 8)
        bias[:8] = 3.0
        self.head.bias = nn.Parameter(bias)

    def forward(self, hu: Tensor) -> Tensor:
        """See the class."""
        x1 = self.down1(self.stem(windows(hu)))
        x2 = self.down2(x1)
        x3 = self.down3(x2)
        x4 = self.down4(x3)
        x3 = self.up3(torch.cat([twice(x4), x3], dim=1))
        x2 = self.up2(torch.cat([twice(x3), x2], dim=1))
        x1 = self.up1(torch.cat([twice(x2), x1], dim=1))
        return depth_to_space(self.head(x1), self.outputs)


def twice(x: Tensor) -> Tensor:
    """Repeat every voxel twice along every axis."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def depth_to_space(x: Tensor, channels: int) -> Tensor:
    """(n, 8 c, d, h, w) to (n, c, 2 d, 2 h, 2 w)."""
    n, _, d, h, w = x.shape
    split = x.view(n, channels, 2, 2, 2, d, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return split.reshape(n, channels, 2 * d, 2 * h, 2 * w)
