"""Simulates a scanner: slice thickness, kernel, noise, field of view; for synthetic and real volumes."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from training.synth import IGNORED


def scanned(hu: Tensor, rng: np.random.Generator, *, gently: bool) -> Tensor:
    """A patch (d, h, w) in HU as from another scanner.

    Args:
        hu: float32, HU.
        rng: random generator; the noise comes from torch.
        gently: for real CTs, which have noise and blur of their own.
    """
    if rng.random() < (0.25 if gently else 0.45):
        hu = _thick_slices(hu, int(rng.choice([0, 0, 0, 2, 2, 1])), int(rng.choice([2, 2, 3])) if not gently else 2)
    if rng.random() < 0.3:
        hu = _blurred(hu, float(rng.uniform(0.3, 0.9)))
    elif rng.random() < 0.3:
        hu = hu + float(rng.uniform(0.2, 1.2)) * (hu - _blurred(hu, 0.8))
    if rng.random() < 0.5:
        # Beam hardening, other kVp, other density: bone is scaled, soft tissue shifted.
        hu = torch.where(hu > 100, 100 + (hu - 100) * float(rng.uniform(0.65, 1.4)), hu) + float(rng.normal(0, 8))
    noise = float(rng.exponential(12.0 if gently else 22.0))
    if noise > 1:
        white = torch.randn(hu.shape, device=hu.device)
        grain = float(rng.uniform(0, 0.9))
        coloured = white if grain < 0.3 else _blurred(white, grain) * (1 + 2.2 * grain)
        hu = hu + coloured * min(noise, 90.0)
    return hu.clamp(-1024, 3071)


def _thick_slices(hu: Tensor, axis: int, factor: int) -> Tensor:
    """Average over ``factor`` voxels along an axis and interpolate back, like a CT with thick slices."""
    kernel, size = [1, 1, 1], list(hu.shape)
    kernel[axis] = factor
    pooled = functional.avg_pool3d(hu[None, None], kernel, kernel, ceil_mode=True, count_include_pad=False)
    return functional.interpolate(pooled, size=size, mode="trilinear", align_corners=False)[0, 0]


def _blurred(hu: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of three taps along every axis."""
    side = float(np.exp(-0.5 / sigma**2))
    taps = torch.tensor([side, 1.0, side], device=hu.device) / (1 + 2 * side)
    out = hu[None, None]
    for axis in range(3):
        shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
        shape[2 + axis], padding[axis] = 3, 1
        out = functional.conv3d(out, taps.view(shape), padding=padding)
    return out[0, 0]


def cropped_view(hu: Tensor, classes: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A patch in which the scan ends: outside a box or a circle there is air, without classes."""
    if rng.random() > 0.35:
        return hu, classes
    hu, classes = hu.clone(), classes.clone()
    keep = torch.ones(hu.shape, dtype=torch.bool, device=hu.device)
    if rng.random() < 0.6:
        for axis in rng.choice(3, size=int(rng.integers(1, 4)), replace=False):
            n = hu.shape[int(axis)]
            low, high = int(rng.uniform(0, 0.35) * n), n - int(rng.uniform(0, 0.35) * n)
            outside = [slice(None)] * 3
            outside[int(axis)] = slice(0, low)
            keep[tuple(outside)] = False
            outside[int(axis)] = slice(high, n)
            keep[tuple(outside)] = False
    else:
        y, x = (
            torch.arange(n, dtype=torch.float32, device=hu.device) - float(rng.uniform(0.35, 0.65)) * n for n in hu.shape[1:]
        )
        radius = float(rng.uniform(0.25, 0.7)) * hu.shape[1]
        keep[:] = (y[:, None] ** 2 + x[None, :] ** 2 < radius**2)[None]
    hu[~keep] = -1024.0
    classes[(~keep) & (classes != IGNORED)] = 0
    return hu, classes
