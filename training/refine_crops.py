"""Crops around one vertebral body for the second network: phantoms, painted masks, painted persons, real CTs with masks.

A :class:`Block` is a cube of 1 mm voxels around a body; :func:`crop` turns, scales and bends it, fractures some, simulates a
scanner, and blurs the truth into a possible output of the first network.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional
from scipy import ndimage
from torch import Tensor

from node.model import Orientation
from node.phantom import FieldOfView, make_phantom
from node.segment.body_cut import cut_bodies
from node.segment.grid import grid_around, resample_to_grid
from node.segment.refine import CROP_VOXELS
from training.anatomy import L1, MAP_SPACING_MM, Anatomy, Paint, between_bodies
from training.fractures import BodyShape, fracture_points, shape_of
from training.phantoms import training_parameters
from training.synth import add_streaks, painted, random_turn, screwed, smooth_noise
from training.variants import varied
from training.worn import WORN_PEOPLE, WornDisc, painted_person, sclerotic, with_border_moved, worn_points

#: Edge of a block in voxels of 1 mm: a crop fits in any rotation.
BLOCK = 120
#: Share of the crops whose body is fractured; of the others, next to a degenerated disc; and of those in which the first
#: network assigns parts of the body to its neighbours.
FRACTURED, WORN, CONFUSED = 0.4, 0.4, 0.35


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A cube around a body: HU (``None`` if it is painted every time), its mask, other bodies and discs.

    Attributes:
        name: its source.
        hu: int16 or None.
        body: bool, the body.
        others: bool, other bodies, discs, sacrum.
        vertebrae: bool, all labelled bone, for painting.
    """

    name: str
    hu: npt.NDArray[np.int16] | None
    body: npt.NDArray[np.bool_]
    others: npt.NDArray[np.bool_]
    vertebrae: npt.NDArray[np.bool_]


def blocks(name: str, hu: npt.NDArray[np.int16] | None, vertebrae: npt.NDArray[np.uint8]) -> list[Block]:
    bodies = np.where(cut_bodies(vertebrae, 1.0), vertebrae, 0).astype(np.uint8)
    discs = between_bodies(bodies, np.zeros(bodies.shape, dtype=bool), 15.0, 1.0) & (vertebrae == 0)
    return [_block(f"{name}:{label}", hu, bodies, discs, vertebrae > 0, label) for label in _whole(bodies)]


def _whole(bodies: npt.NDArray[np.uint8], least_voxels: int = 6000) -> list[int]:
    """Labels of the bodies that are not cut by the edge of the volume."""
    edge = np.ones(bodies.shape, dtype=bool)
    edge[2:-2, 2:-2, 2:-2] = False
    cut = set(np.unique(bodies[edge]).tolist())
    return [int(v) for v in np.unique(bodies) if v and v not in cut and (bodies == v).sum() > least_voxels]


def _block(
    name: str,
    hu: npt.NDArray[np.int16] | None,
    bodies: npt.NDArray[np.uint8],
    discs: npt.NDArray[np.bool_],
    bone: npt.NDArray[np.bool_],
    label: int,
) -> Block:
    centre = np.round(np.argwhere(bodies == label).mean(axis=0)).astype(int)
    start = centre - BLOCK // 2

    def part(array: npt.NDArray[np.generic], fill: float) -> npt.NDArray[np.generic]:
        out = np.full((BLOCK,) * 3, fill, dtype=array.dtype)
        low, high = np.maximum(start, 0), np.minimum(start + BLOCK, array.shape)
        out[tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))] = array[
            tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        ]
        return out

    other = ((bodies > 0) & (bodies != label)) | discs
    return Block(
        name,
        None if hu is None else np.asarray(part(hu, -1024), dtype=np.int16),
        np.asarray(part(bodies == label, 0), dtype=bool),
        np.asarray(part(other, 0), dtype=bool),
        np.asarray(part(bone, 0), dtype=bool),
    )


def phantom_blocks(seed: int) -> list[Block]:
    """The bodies of the phantom of ``random_parameters(seed)`` at 1 mm, without noise, two thirds with pathology."""
    parameters = dataclasses.replace(
        training_parameters(seed, 0.67),
        pixel_spacing_mm=1.0,
        slice_distance_mm=1.0,
        slice_thickness_mm=None,
        orientation=Orientation.AXIAL,
        reverse_slices=False,
        slice_rotation_deg=(0.0, 0.0, 0.0),
        noise_sd_hu=1.0,
        field_of_view=FieldOfView((0.0, 20.0, -5.0), (150.0, 150.0, 270.0)),
    )
    phantom = make_phantom(parameters)
    grid = grid_around(phantom.affine_lps_mm, phantom.hu.shape, 1.0)
    hu = resample_to_grid(phantom.hu, phantom.affine_lps_mm, grid).astype(np.int16)
    matrix = np.linalg.inv(phantom.affine_lps_mm) @ grid.affine_lps_mm()
    bodies = ndimage.affine_transform(
        phantom.truth.labels, matrix[:3, :3], matrix[:3, 3], output_shape=grid.shape, order=0, cval=0
    )
    discs = between_bodies(bodies, np.zeros(bodies.shape, dtype=bool), 15.0, 1.0)
    return [_block(f"phantom {seed}:{label}", hu, bodies, discs, bodies > 0, label) for label in _whole(bodies)]


def anatomy_blocks(anatomy: Anatomy, rng: np.random.Generator) -> list[Block]:
    """The lower bodies of a whole painted person, with the surrounding organs, vessels and bowel, resampled to 1 mm."""
    person, hu = painted_person(varied(anatomy, rng), rng, rng.spawn(1)[0], WORN_PEOPLE)
    if rng.random() < 0.15:
        hu = screwed(hu, person, rng)
        add_streaks(hu, rng)
    bodies = np.where(person.bodies >= 17, person.bodies, 0).astype(np.uint8)
    rest = np.isin(person.paint, (Paint.DISC, Paint.SACRUM))
    channels = torch.stack([hu + 1024.0, torch.from_numpy(person.bodies > 0).float(), torch.from_numpy(rest).float()])
    size = torch.tensor(hu.shape, dtype=torch.float32)
    found = []
    for label in _whole(bodies, 700):
        own = torch.from_numpy(bodies == label).float()[None]
        centre = torch.from_numpy(np.argwhere(bodies == label).mean(axis=0).astype(np.float32))
        axis = (torch.arange(BLOCK, dtype=torch.float32) - (BLOCK - 1) / 2) / MAP_SPACING_MM
        points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1) + centre
        where = (points * 2 / (size - 1) - 1).flip(-1)[None]
        image, all_bodies, other, body = functional.grid_sample(
            torch.cat([channels, own])[None], where, mode="bilinear", align_corners=True
        )[0].numpy()
        mask = body >= 0.5
        others = (other >= 0.5) | ((all_bodies - body) >= 0.5)
        hu_block = np.clip(image - 1024.0, -1024, 3071).astype(np.int16)
        found.append(Block(f"{person.name}:{label}", hu_block, mask, others & ~mask, mask))
    return found


def paint(block: Block, rng: np.random.Generator) -> Block:
    """Paint a block of a label map with HU: vessels in front, muscle at the sides, fat between, sometimes a screw."""
    shape = block.body.shape
    body = ndimage.distance_transform_edt(~(block.body | block.others))
    tissue = np.full(shape, int(Paint.FAT), dtype=np.uint8)
    blobs = smooth_noise(shape, float(rng.uniform(10, 25)), rng).numpy()
    tissue[blobs > rng.uniform(-0.8, 0.6)] = Paint.MUSCLE
    centre = np.argwhere(block.body).mean(axis=0)
    z, y, x = np.indices(shape, dtype=np.float32)
    front = np.argwhere(block.body)[:, 1].min()
    for value, side in ((Paint.ARTERY, rng.uniform(0, 14)), (Paint.VEIN, rng.uniform(-20, -4))):
        radius, gap, slant = rng.uniform(7, 13), rng.uniform(-1, 5), rng.uniform(-0.3, 0.3)
        tube = np.hypot(x - centre[2] - side - slant * (z - centre[0]), y - front + radius + gap) < radius
        tissue[tube] = value
    canal = np.hypot(x - centre[2], y - np.argwhere(block.body)[:, 1].max() - 9) < 10
    tissue[canal] = Paint.CANAL
    # A rim of fat or muscle directly around the bone, so that its surface has all kinds of neighbours.
    tissue[(body < rng.uniform(0, 3)) & (tissue != Paint.ARTERY)] = rng.choice([Paint.FAT, Paint.MUSCLE])
    tissue[block.vertebrae] = Paint.POSTERIOR
    discs = block.others & ~block.vertebrae
    tissue[discs] = Paint.DISC
    tissue[block.body | (block.others & block.vertebrae)] = Paint.LUMBAR_BODY
    bone = tissue >= Paint.UPPER_BODY
    bone &= tissue != Paint.DISC
    depth = ndimage.distance_transform_edt(bone)
    shell = bone & (depth <= rng.uniform(0.9, 2.1))
    # The shell has holes and thin spots, especially in osteoporosis.
    thin = smooth_noise(shape, float(rng.uniform(4, 12)), rng).numpy() > rng.uniform(0.3, 3.0)
    anatomy = Anatomy(block.name, tissue, np.where(block.body, L1, 0).astype(np.uint8), shell & ~thin)
    hu = painted(torch.from_numpy(anatomy.paint), torch.from_numpy(anatomy.shell), torch.from_numpy(anatomy.bodies), rng)
    if rng.random() < 0.12:
        for side in (-1, 1):
            line = np.hypot(x - centre[2] - side * (6 + 0.25 * np.maximum(y - centre[1], 0)), z - centre[0] - 2)
            hu[torch.from_numpy((line < rng.uniform(2.5, 3.5)) & (y > centre[1] - rng.uniform(0, 12)))] = 3000.0
        add_streaks(hu, rng)
    hu = functional.avg_pool3d(hu[None, None], 3, 1, 1, count_include_pad=False)[0, 0] if rng.random() < 0.3 else hu
    return dataclasses.replace(block, hu=hu.clamp(-1024, 3071).numpy().astype(np.int16))


@dataclass(frozen=True, slots=True, eq=False)
class LoadedBlock:
    """A block with HU on the device of the training.

    Attributes:
        hu: int16.
        masks: (2, ...) bool, the body and the others.
        centre: of the body, voxels (z, y, x).
        shape: of the body.
    """

    hu: Tensor
    masks: Tensor
    centre: Tensor
    shape: BodyShape

    @classmethod
    def of(cls, block: Block, device: torch.device) -> LoadedBlock:
        """The block's arrays as tensors."""
        if block.hu is None:
            raise ValueError(f"{block.name} has no HU: paint it first.")
        centre = torch.from_numpy(np.argwhere(block.body).mean(axis=0).astype(np.float32))
        masks = torch.from_numpy(np.stack([block.body, block.others]))
        return cls(torch.from_numpy(block.hu).to(device), masks.to(device), centre.to(device), shape_of(block.body))


def crop(block: LoadedBlock, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A crop of the network's size: its three channels (3, ...), and the truth in [0, 1] (1, ...)."""
    grid, seen_grid, worn = _sampling_grids(block, rng)
    hu = functional.grid_sample(block.hu.float()[None, None] + 1024.0, grid, mode="bilinear", align_corners=True)
    masks = block.masks.float()[None]
    truth = functional.grid_sample(masks[:, :1], grid, mode="bilinear", align_corners=True)[0]
    both = functional.grid_sample(masks, seen_grid, mode="bilinear", align_corners=True)[0]
    image = hu[0, 0] - 1024.0
    if worn is not None:
        disc, points = worn
        image = sclerotic(image, both, points, block.shape, disc, rng)
        both = with_border_moved(both, points, block.shape, disc, rng)
    image = _scanned(image, rng)
    return torch.stack([image, *_as_first_network(both, rng)]), truth


def _sampling_grids(block: LoadedBlock, rng: np.random.Generator) -> tuple[Tensor, Tensor, tuple[WornDisc, Tensor] | None]:
    """Positions of the crop's voxels in the block, in units of ``grid_sample``: the true ones, and those for the first
    network.

    Also a degenerated disc, if there is one, and the positions of the voxels next to it in mm from the body's centre.
    """
    device = block.hu.device
    axes = [torch.arange(n, dtype=torch.float32, device=device) - (n - 1) / 2 for n in CROP_VOXELS]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    rotation = random_turn(rng, (25.0, 12.0, 12.0))
    scale = rng.uniform(0.8, 1.2) * rng.uniform(0.9, 1.1, 3) * np.array([1.0, 1.0, rng.choice([-1.0, 1.0])])
    points = points @ torch.from_numpy((rotation * scale).astype(np.float32)).to(device)
    elastic = torch.stack([smooth_noise(CROP_VOXELS, float(rng.uniform(18, 40)), rng, device) for _ in range(3)], dim=-1)
    points = points + elastic * float(rng.uniform(0, 2.5))
    points = points + torch.from_numpy(rng.uniform(-4, 4, 3).astype(np.float32)).to(device)
    seen, worn = points, None
    if rng.random() < FRACTURED:
        points, seen = fracture_points(points, block.shape, rng)
    elif rng.random() < WORN:
        whole = points
        points, disc = worn_points(points, block.shape, rng)
        seen, worn = points, (disc, whole)
    scale_to_unit, shift = 2 / (BLOCK - 1), block.centre * 2 / (BLOCK - 1) - 1
    grid, seen_grid = ((where * scale_to_unit + shift).flip(-1)[None] for where in (points, seen))
    return grid, seen_grid, worn


def _scanned(hu: Tensor, rng: np.random.Generator) -> Tensor:
    """Simulate a scanner: blur or sharpening, thick slices along some axis, noise, another scale of bone."""
    if rng.random() < 0.6:
        hu = _blur(hu, float(rng.uniform(0.4, 1.1)))
    if rng.random() < 0.25:
        hu = hu + float(rng.uniform(0.2, 1.2)) * (hu - _blur(hu, 1.0))
    if rng.random() < 0.4:
        hu = torch.where(hu > 100, 100 + (hu - 100) * float(rng.uniform(0.7, 1.3)), hu) + float(rng.normal(0, 8))
    noise = min(float(rng.exponential(22.0)), 80.0)
    white = torch.randn(hu.shape, device=hu.device)
    grain = float(rng.uniform(0, 1.2))
    hu = hu + (white if grain < 0.35 else _blur(white, grain) * (1 + 3.5 * grain)) * noise
    thick = int(rng.choice([1, 2, 3, 4, 5], p=[0.35, 0.2, 0.2, 0.1, 0.15]))
    if thick > 1:
        axis = int(rng.choice([0, 0, 0, 2, 1]))
        kernel = [1, 1, 1]
        kernel[axis] = thick
        start = int(rng.integers(thick))
        moved = torch.roll(hu, start, dims=axis)
        pooled = functional.avg_pool3d(moved[None, None], kernel, kernel, ceil_mode=True, count_include_pad=False)
        size = list(hu.shape)
        size[axis] = pooled.shape[2 + axis] * thick
        wide = functional.interpolate(pooled, size=size, mode="trilinear", align_corners=False)[0, 0]
        hu = torch.roll(wide.narrow(axis, 0, hu.shape[axis]), -start, dims=axis)
    return hu.clamp(-1024, 3071)


def _blur(hu: Tensor, sigma: float) -> Tensor:
    taps = torch.exp(-0.5 * (torch.arange(-2.0, 3.0, device=hu.device) / sigma) ** 2)
    taps = taps / taps.sum()
    out = hu[None, None]
    for axis in range(3):
        shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
        shape[2 + axis], padding[axis] = 5, 2
        out = functional.conv3d(functional.pad(out, [0] * 6), taps.view(shape), padding=padding)
    return out[0, 0]


def _as_first_network(both: Tensor, rng: np.random.Generator) -> Tensor:
    """This body and the others (2, ...) as a network on 3 mm voxels would see them: displaced, too wide or narrow, soft."""
    size, device = list(both.shape[1:]), both.device
    small = functional.avg_pool3d(both[None], 3, 3, ceil_mode=True, count_include_pad=False)
    shape = tuple(small.shape[2:])
    axes = [torch.linspace(-1, 1, n, device=device) for n in shape]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flip(-1)
    half = torch.tensor([CROP_VOXELS[2], CROP_VOXELS[1], CROP_VOXELS[0]], dtype=torch.float32, device=device) / 2
    wobble = torch.stack([smooth_noise(shape, float(rng.uniform(3, 7)), rng, device) for _ in range(3)], dim=-1)
    shift = torch.from_numpy(rng.normal(0, 0.8, 3).astype(np.float32)).to(device)
    points = points + (wobble * float(rng.uniform(0, 1.6)) + shift) / half
    moved = functional.grid_sample(small, points[None], mode="bilinear", padding_mode="border", align_corners=True)[0]
    soft = torch.stack([_blur(m, float(rng.uniform(0.4, 0.9))) for m in moved])
    level = torch.stack([smooth_noise(shape, float(rng.uniform(3, 8)), rng, device) for _ in range(2)]) * 0.5
    logits = (soft - 0.5) * float(rng.uniform(5, 14)) + float(rng.normal(0.5, 1.0)) + level * float(rng.uniform(0, 2.5))
    logits = torch.where(soft > 0.01, logits, -8.0)
    if rng.random() < CONFUSED:
        logits = _confused(logits, both[0], rng)
    return functional.interpolate(logits.sigmoid()[None], size=size, mode="trilinear", align_corners=True)[0]


def _confused(logits: Tensor, body: Tensor, rng: np.random.Generator) -> Tensor:
    """Logits (2, ...) with spots near the surface where this body is taken for another, or its surroundings for it."""
    surface = torch.nonzero((body > 0.2) & (body < 0.8)).float()
    if len(surface) == 0:
        return logits
    axes = [
        torch.linspace(0, size - 1, n, device=body.device) for size, n in zip(CROP_VOXELS, logits.shape[1:], strict=True)
    ]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    for _ in range(int(rng.integers(1, 4))):
        away = torch.from_numpy(rng.normal(0, 3, 3).astype(np.float32)).to(body.device)
        centre = surface[int(rng.integers(len(surface)))] + away
        radius = torch.from_numpy(rng.uniform(4.0, 11.0, 3).astype(np.float32)).to(body.device)
        blob = torch.exp(-(((points - centre) / radius) ** 2).sum(dim=-1))
        own, others = rng.choice([-1.0, 1.0]) * rng.uniform(4.0, 12.0), rng.uniform(0.0, 8.0)
        logits = logits + torch.stack([blob * float(own), -blob * float(np.sign(own) * others)])
    return logits
