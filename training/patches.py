"""Patches for the first network, cut at random for every step from a changing set of volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional
from torch import Tensor

from node.segment.network import OFFSET_UNIT_MM, SPACING_MM, Tissue
from training.anatomy import Anatomy
from training.phantoms import FIRST_TRAINING_SEED, phantom_sample
from training.scanner import cropped_view, scanned
from training.synth import Sample, bent_grid, synthesise
from training.variants import varied, with_crushed_neighbours
from training.worn import WORN_PEOPLE, painted_person

#: Share of phantoms among the synthetic volumes.
PHANTOM_SHARE = 0.2
#: Share of painted people with crushed neighbouring bodies, in addition to those from ``varied``.
CRUSHED_SHARE = 0.15
#: Labels of bodies are below this number.
LABELS = 26

#: HU (n, n, n), classes (int64), offsets to the body's centre (3, n, n, n) in units of OFFSET_UNIT_MM, where they are known.
Patch = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class LoadedSample:
    """A :class:`Sample` on the device of the training; ``spine`` contains the labels whose centre is known."""

    hu: Tensor
    classes: Tensor
    bodies: Tensor
    centres: Tensor
    where: npt.NDArray[np.float32]
    spine: npt.NDArray[np.int_]

    @classmethod
    def of(cls, sample: Sample, device: torch.device) -> LoadedSample:
        """The sample's arrays as tensors."""
        hu, classes, bodies, centres = (
            torch.from_numpy(np.ascontiguousarray(a)).to(device)
            for a in (sample.hu, sample.classes, sample.bodies, sample.centres)
        )
        return cls(hu, classes, bodies, centres, sample.centres, np.flatnonzero(np.isfinite(sample.centres[:, 0])))


def new_sample(anatomies: Sequence[Anatomy], rng: np.random.Generator) -> Sample:
    """A new synthetic person."""
    if rng.random() < PHANTOM_SHARE:
        return phantom_sample(int(rng.integers(FIRST_TRAINING_SEED, 1_000_000)))
    person = varied(anatomies[int(rng.integers(len(anatomies)))], rng)
    if rng.random() < CRUSHED_SHARE:
        person = with_crushed_neighbours(person, rng)
    return synthesise(*painted_person(person, rng, rng.spawn(1)[0], WORN_PEOPLE), rng)


def patch(sample: LoadedSample, n: int, rng: np.random.Generator, *, is_real: bool) -> Patch:
    """A random patch of ``n`` voxels along every axis."""
    device = sample.hu.device
    if rng.random() < 0.8 and sample.spine.size:
        middle = sample.where[int(rng.choice(sample.spine))] + rng.uniform(-22, 22, 3)
    else:
        middle = rng.uniform(0, 1, 3) * np.array(sample.hu.shape)
    start = np.round(middle - n / 2).astype(int)
    if is_real:
        hu, classes, bodies, centres = _turned(sample, start, n, rng)
    else:
        hu = _cut(sample.hu, start, n, -1024.0).float()
        classes, bodies = _cut(sample.classes, start, n, 0), _cut(sample.bodies, start, n, 0)
        centres = sample.centres - torch.from_numpy(start.astype(np.float32)).to(device)
    hu = scanned(hu, rng, gently=is_real)
    hu, classes = cropped_view(hu, classes, rng)
    centres = centres[bodies.long()]
    inside = torch.isfinite(centres[..., 0]) & ((classes == Tissue.UPPER_BODY) | (classes == Tissue.LUMBAR_BODY))
    offsets = (centres - _points(n, device)) * (SPACING_MM / OFFSET_UNIT_MM)
    return hu, classes.long(), offsets.nan_to_num(0.0).permute(3, 0, 1, 2), inside


def _points(n: int, device: torch.device) -> Tensor:
    """Index of every voxel of a patch, (n, n, n, 3)."""
    axis = torch.arange(n, dtype=torch.float32, device=device)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)


def _cut(array: Tensor, start: npt.NDArray[np.int_], n: int, fill: float) -> Tensor:
    """A patch, filled where it exceeds the volume."""
    out = torch.full((n, n, n), fill, dtype=array.dtype, device=array.device)
    low = np.maximum(start, 0)
    high = np.minimum(start + n, array.shape)
    if (low < high).all():
        target = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        out[target] = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return out


def _turned(
    sample: LoadedSample, start: npt.NDArray[np.int_], n: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A patch of a real CT, turned, scaled, bent, sometimes mirrored: HU, classes, bodies, body centres in it."""
    device = sample.hu.device
    points = bent_grid((n, n, n), rng, turn_deg=10.0, bend_mm=4.0, device=device) / SPACING_MM
    scale = rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3) * np.array([1.0, 1.0, -1.0 if rng.random() < 0.3 else 1.0])
    middle = torch.from_numpy((start + n / 2).astype(np.float32)).to(device)
    index = points * torch.from_numpy(scale.astype(np.float32)).to(device) + middle
    size = torch.tensor(sample.hu.shape, dtype=torch.float32, device=device)
    where = (index * 2 / (size - 1) - 1).flip(-1)[None]
    hu = functional.grid_sample(sample.hu.float()[None, None] + 1024.0, where, mode="bilinear", align_corners=True)
    both = torch.stack([sample.classes, sample.bodies]).float()[None]
    classes, bodies = functional.grid_sample(both, where, mode="nearest", align_corners=True)[0].round().to(torch.uint8)
    # Centres of the bodies in the patch's own frame; a body cut by the edge of the patch gives no offset.
    inner = torch.zeros((n, n, n), dtype=torch.bool, device=device)
    inner[1:-1, 1:-1, 1:-1] = True
    cut = torch.bincount(bodies[~inner].long(), minlength=LABELS) > 0
    whole = torch.where(cut[bodies.long()], 0, bodies)
    label, own = whole.flatten().long(), _points(n, device).reshape(-1, 3)
    count = torch.bincount(label, minlength=LABELS)
    sums = torch.stack([torch.bincount(label, weights=own[:, axis], minlength=LABELS) for axis in range(3)], dim=-1)
    # 0 / 0 is NaN: no such body.
    centres = sums / count[:, None]
    centres[0] = float("nan")
    return hu[0, 0] - 1024.0, classes, whole, centres.float()
