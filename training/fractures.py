"""Compression fractures for crops of the second network: a warp that moves height from a body to its discs.

It warps image and mask alike, so that wedges and concave end plates, which no real CT here has, get the texture of real CTs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class BodyShape:
    """A body, in mm from its centre along (z, y, x): its middle plane, half its height and the ellipse of its outline."""

    slope_y: float
    slope_x: float
    offset: float
    half_height: float
    half_depth: float
    half_width: float

    def middle(self, points: Tensor) -> Tensor:
        """Height of the middle plane at points (..., 3) in mm from the body's centre along (z, y, x)."""
        return self.offset + self.slope_y * points[..., 1] + self.slope_x * points[..., 2]

    def height(self, points: Tensor) -> Tensor:
        """Height of points over the middle plane, mm."""
        return points[..., 0] - self.middle(points)

    def over(self, points: Tensor) -> Tensor:
        """1 above and below the body, falling to 0 beside it, so that posterior elements and vessels keep their shape."""
        radius = torch.hypot(points[..., 1] / self.half_depth, points[..., 2] / self.half_width)
        return torch.clamp((1.7 - radius) / 0.7, 0.0, 1.0)


def fracture_points(points: Tensor, shape: BodyShape, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Positions of a fractured body's voxels in the intact one: for the truth, and as a coarse network sees it.

    A network on 3 mm voxels partly fills the concavity of an end plate, so the second points have less of the fracture.

    Args:
        points: (..., 3), mm from the body's centre along (z, y, x).
        shape: of the body.
        rng: random generator.
    """
    y, x = points[..., 1] / shape.half_depth, points[..., 2] / shape.half_width
    radius = torch.hypot(y, x)
    kind = rng.choice(["wedge", "biconcave", "crush"], p=[0.35, 0.45, 0.2])
    if kind == "wedge":
        share = torch.clamp((float(rng.uniform(0.7, 1.1)) - y) / 2.0, 0.0, 1.0)
    elif kind == "biconcave":
        reach = float(rng.uniform(0.75, 1.0))
        share = torch.clamp(1.0 - (radius / reach) ** float(rng.choice([2.0, 4.0])), 0.0, 1.0)
        if rng.random() < 0.3:
            share = torch.clamp(1.0 - torch.abs(y - float(rng.uniform(-0.3, 0.1))) / reach, 0.0, 1.0) ** 0.7
    else:
        share = torch.ones_like(y)
    loss = float(rng.uniform(0.12, 0.6)) * share * shape.over(points)
    side = str(rng.choice(["both", "upper", "lower"], p=[0.5, 0.35, 0.15]))
    seen = loss * float(np.clip(rng.normal(0.5, 0.35), 0.0, 1.0))
    return _pressed(points, shape, loss, side), _pressed(points, shape, seen, side)


def _pressed(points: Tensor, shape: BodyShape, loss: Tensor, side: str) -> Tensor:
    """Points whose height in the body is stretched back to the intact height; beyond its end plates they are unchanged."""
    height = shape.height(points)
    if side == "both":
        moved = height.sign() * _from_anchor(height.abs(), shape.half_height, loss)
    else:
        sign = 1.0 if side == "upper" else -1.0
        up = sign * height + shape.half_height
        moved = sign * (
            torch.where(up > 0, _from_anchor(up.clamp(min=0), 2 * shape.half_height, loss), up) - shape.half_height
        )
    return torch.stack([moved + shape.middle(points), points[..., 1], points[..., 2]], dim=-1)


def _from_anchor(height: Tensor, whole: float, loss: Tensor) -> Tensor:
    """Original heights above the fixed part, in a body of ``whole`` mm that has lost the fraction ``loss``."""
    left = whole * (1 - loss)
    fall = whole - left
    # Steep enough to end near the next disc, flat enough that points keep their order.
    taper = torch.clamp(1.4 * fall, min=8.0)
    beyond = height + fall * torch.clamp(1 - (height - left) / taper, 0.0, 1.0)
    return torch.where(height < left, height / (1 - loss), beyond)


def shape_of(body: npt.NDArray[np.bool_]) -> BodyShape:
    """The shape of a body's mask: 1 mm voxels, axes (z, y, x) with y to the back."""
    at = np.argwhere(body)
    centre = at.mean(axis=0)
    columns = body.any(axis=0)
    low = body.argmax(axis=0)[columns]
    high = body.shape[0] - 1 - body[::-1].argmax(axis=0)[columns]
    where = np.argwhere(columns) - centre[1:]
    # Columns at the rim are short: they would only reduce the height.
    tall = (high - low) >= np.percentile(high - low, 40)
    plane = np.column_stack([where[tall], np.ones(int(tall.sum()))])
    slope_y, slope_x, offset = np.linalg.lstsq(plane, (low[tall] + high[tall]) / 2 - centre[0], rcond=None)[0]
    half_height = (float(np.median((high - low)[tall])) + 1) / 2
    half_depth, half_width = (float(np.ptp(np.percentile(where[:, axis], (2, 98)))) / 2 for axis in (0, 1))
    return BodyShape(float(slope_y), float(slope_x), float(offset), half_height, half_depth, half_width)
