"""Paints CTs from tissue maps and deforms them into other people: random density, contrast, gas, metal, pose, scoliosis.

The effects of a scanner (noise, kernel, slice thickness, field of view) are in :mod:`training.scanner`, because real CTs are
varied in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional
from torch import Tensor

from node.segment.network import SPACING_MM, Tissue
from training.anatomy import L1, MAP_SPACING_MM, Anatomy, Paint

IGNORED = 255
#: Within this distance of the middle of a curved spine everything tilts with it.
TILTED_MM = 45.0

#: Tissue class of every paint.
_CLASS = {
    Paint.UPPER_BODY: Tissue.UPPER_BODY,
    Paint.LUMBAR_BODY: Tissue.LUMBAR_BODY,
    Paint.POSTERIOR: Tissue.POSTERIOR_ELEMENTS,
    Paint.DISC: Tissue.DISC,
    Paint.SACRUM: Tissue.SACRUM,
    Paint.RIB: Tissue.RIB,
    Paint.HIP: Tissue.HIP,
}


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A volume to train on, on the grid of the network (superior, posterior, left; 3 mm).

    Attributes:
        hu: float16.
        classes: uint8, :class:`Tissue` or :data:`IGNORED`.
        bodies: uint8, label of the vertebral body, 0 elsewhere.
        centres: voxel position of the centre of each body label, (26, 3) float32; NaN where there is none.
    """

    name: str
    hu: npt.NDArray[np.float16]
    classes: npt.NDArray[np.uint8]
    bodies: npt.NDArray[np.uint8]
    centres: npt.NDArray[np.float32]


def synthesise(anatomy: Anatomy, hu: Tensor, rng: np.random.Generator) -> Sample:
    """A new patient from an anatomy and its painted HU."""
    paint = torch.from_numpy(anatomy.paint)
    if rng.random() < 0.2:
        hu = screwed(hu, anatomy, rng)
        add_streaks(hu, rng)
    grid, shape = _pose(anatomy, rng)
    # Averaging over the larger voxels of the network's grid, before sampling.
    hu = functional.avg_pool3d(hu[None, None], 3, stride=1, padding=1, count_include_pad=False)
    warped = functional.grid_sample(hu + 1024.0, grid, mode="bilinear", align_corners=True)[0, 0] - 1024.0
    lookup = torch.zeros(64, dtype=torch.float32)
    for value, tissue in _CLASS.items():
        lookup[value] = int(tissue)
    both = torch.stack([lookup[paint.long()], torch.from_numpy(anatomy.bodies).float()])
    labels = functional.grid_sample(both[None], grid, mode="nearest", align_corners=True)[0].to(torch.uint8)
    bodies = labels[1].numpy()
    return Sample(
        f"synthetic:{anatomy.name}",
        warped.numpy().reshape(shape).astype(np.float16),
        labels[0].numpy(),
        bodies,
        centres_of(bodies),
    )


def centres_of(bodies: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Mean voxel position of every label, (26, 3); NaN for labels with fewer than 40 voxels."""
    out = np.full((26, 3), np.nan, dtype=np.float32)
    index = np.argwhere(bodies)
    values = bodies[tuple(index.T)]
    for label in np.unique(values):
        own = index[values == label]
        if len(own) >= 40:
            out[label] = own.mean(axis=0)
    return out


def smooth_noise(
    shape: tuple[int, ...], scale: float, rng: np.random.Generator, device: torch.device | None = None
) -> Tensor:
    """Noise of mean 0 and SD about 1 that varies over ``scale`` voxels."""
    coarse = [max(2, int(n / scale) + 2) for n in shape]
    values = torch.from_numpy(rng.standard_normal(coarse).astype(np.float32)).to(device)
    # Linear interpolation reduces the SD by about 45 % in three dimensions.
    return functional.interpolate(values[None, None], size=list(shape), mode="trilinear", align_corners=True)[0, 0] * 1.7


def painted(paint: Tensor, shell: Tensor, bodies: Tensor, rng: np.random.Generator) -> Tensor:
    """HU of every voxel of a tissue map."""
    shape = tuple(paint.shape)
    u = rng.uniform
    fat = u(-120, -80)
    contrast = rng.choice(["none", "arterial", "portal", "late"], p=[0.4, 0.2, 0.3, 0.1])
    artery = {"none": u(25, 50), "arterial": u(180, 450), "portal": u(110, 200), "late": u(80, 130)}[contrast]
    vein = {"none": u(25, 50), "arterial": u(50, 120), "portal": u(110, 210), "late": u(80, 130)}[contrast]
    organ = 0.0 if contrast == "none" else u(10, 60)
    kidney = {"none": u(25, 40), "arterial": u(90, 220), "portal": u(130, 230), "late": u(110, 190)}[contrast]
    trabecular = u(20, 280)
    table = {
        Paint.OUTSIDE: -1000.0,
        Paint.FAT: fat,
        Paint.MUSCLE: u(20, 75),
        Paint.LIVER: u(20, 70) + organ,
        Paint.SPLEEN: u(35, 60) + organ,
        Paint.KIDNEY: kidney,
        Paint.URINARY: u(300, 1200) if contrast == "late" else u(-5, 30),
        Paint.ARTERY: artery,
        Paint.VEIN: vein,
        Paint.BOWEL: u(100, 700) if rng.random() < 0.25 else u(-20, 70),
        Paint.STOMACH: u(100, 500) if rng.random() < 0.25 else u(-20, 60),
        Paint.SOFT_ORGAN: u(10, 60) + organ,
        Paint.LUNG: u(-900, -750),
        Paint.HEART: (artery + vein) / 2,
        Paint.AIRWAY: -980.0,
        Paint.CANAL: u(5, 40),
        Paint.UPPER_BODY: trabecular * u(0.95, 1.2),
        Paint.LUMBAR_BODY: trabecular,
        Paint.POSTERIOR: trabecular * u(0.7, 1.2) + u(50, 200),
        Paint.DISC: u(50, 120),
        Paint.SACRUM: trabecular * u(0.3, 0.95),
        Paint.RIB: trabecular * u(0.6, 1.1) + u(0, 120),
        Paint.HIP: trabecular * u(0.5, 1.1) + u(0, 60),
        Paint.OTHER_BONE: trabecular + u(0, 100),
    }
    lookup = torch.zeros(64)
    for value, mean in table.items():
        lookup[value] = mean
    flat = paint.long()
    hu = lookup[flat]
    # Skin and subcutaneous fat around the labelled body, of a random thickness.
    inside = (paint > 0).float()[None, None]
    coarse = functional.max_pool3d(inside, 4, 4, ceil_mode=True)
    reach = int(rng.integers(0, 7))
    if reach:
        wide = functional.max_pool3d(coarse, (1, 2 * reach + 1, 2 * reach + 1), 1, (0, reach, reach))
        thick = functional.interpolate(functional.avg_pool3d(wide, 3, 1, 1), size=list(shape), mode="trilinear")[0, 0] > 0.5
        hu = torch.where(thick & (paint == Paint.OUTSIDE), torch.tensor(fat, dtype=torch.float32), hu)
    cortex = torch.zeros(64)
    dense = u(250, 900)
    for value, factor in ((Paint.UPPER_BODY, 0.75), (Paint.LUMBAR_BODY, 0.75), (Paint.SACRUM, 0.8)):
        cortex[value] = dense * factor * u(0.6, 1.1)
    for value in (Paint.POSTERIOR, Paint.RIB, Paint.HIP, Paint.OTHER_BONE):
        cortex[value] = dense * u(0.9, 1.5)
    hu = torch.where(shell, torch.maximum(hu + 50.0, cortex[flat]), hu)
    # Every vertebra has its own density; one may be sclerotic, cemented or lytic.
    per_body = torch.from_numpy(rng.normal(1.0, 0.08, 26).astype(np.float32))
    if rng.random() < 0.2:
        per_body[int(rng.integers(16, 25))] = float(u(0.3, 3.0))
    body = (bodies > 0) & ~shell
    hu = torch.where(body, hu * per_body[bodies.long().clamp(max=25)], hu)
    bone = paint >= Paint.UPPER_BODY
    coarse_texture, fine_texture = smooth_noise(shape, u(8, 20), rng), smooth_noise(shape, u(2.5, 5), rng)
    in_bone = coarse_texture * u(5, 35) + fine_texture * u(5, 40)
    hu += torch.where(bone, in_bone, coarse_texture * u(0, 10) + fine_texture * u(0, 8))
    # Muscle with fat between its fibres.
    if rng.random() < 0.5:
        hu = torch.where((paint == Paint.MUSCLE) & (fine_texture + 0.5 * coarse_texture > u(0.6, 2.0)), fat + 30.0, hu)
    # Gas and contents of bowel; fat holds unlabelled bowel and vessels too.
    gut = (paint == Paint.BOWEL) | (paint == Paint.STOMACH)
    hu = torch.where(gut & (coarse_texture > u(0.2, 2.0)), torch.tensor(-950.0), hu)
    loops = smooth_noise(shape, u(10, 20), rng)
    low, width = u(0.2, 1.0), u(0.1, 0.8)
    hu = torch.where((paint == Paint.FAT) & (loops > low) & (loops < low + width), float(u(20, 60)), hu)
    if rng.random() < 0.35:
        filling = float(u(150, 900)) if rng.random() < 0.5 else -950.0
        hu = torch.where((paint == Paint.FAT) & (loops > low + width + 0.3), filling, hu)
    # Calcified arteries.
    if rng.random() < 0.4:
        hu = torch.where((paint == Paint.ARTERY) & (fine_texture > u(0.8, 2.0)), float(u(300, 1100)), hu)
    # Gas or calcium in discs (vacuum phenomenon).
    if rng.random() < 0.2:
        hu = torch.where((paint == Paint.DISC) & (coarse_texture > 1.0), float(u(-600, 300)), hu)
    _add_surroundings(hu, paint, rng)
    if rng.random() < 0.08:
        level = int(rng.integers(L1, 25))
        hu = torch.where((bodies == level) & ~shell & (coarse_texture > 0.3), float(u(700, 2000)), hu)
    return hu


def _add_surroundings(hu: Tensor, paint: Tensor, rng: np.random.Generator) -> None:
    """Add arms beside the body, tubes with a bright wall (legs, ports, drains), and a table."""
    depth, height, width = hu.shape
    z, y, x = (torch.arange(n, dtype=torch.float32) for n in hu.shape)
    rows = torch.nonzero((paint > 0).any(0).any(1)).ravel()
    back = float(rows[-1]) if len(rows) else height * 0.8
    if rng.random() < 0.6:
        bow = float(rng.uniform(0, 0.002)) * (x - width / 2) ** 2
        surface = back + float(rng.uniform(4, 16)) - bow
        thick = float(rng.uniform(1, 3))
        distance = (y[:, None] - surface[None, :]).abs()
        plate = (distance < thick) & (hu[depth // 2] < -500)
        hu[:, plate] = float(rng.uniform(-200, 300))
    for _ in range(int(rng.integers(0, 3))):
        centre = (rng.uniform(0.2, 0.9) * height, rng.choice([rng.uniform(0, 0.15), rng.uniform(0.85, 1.0)]) * width)
        slope = rng.uniform(-0.3, 0.3, 2)
        distance = torch.sqrt(
            (y[None, :, None] - centre[0] - slope[0] * (z[:, None, None] - depth / 2)) ** 2
            + (x[None, None, :] - centre[1] - slope[1] * (z[:, None, None] - depth / 2)) ** 2
        )
        flesh, bone = float(rng.uniform(12, 30)), float(rng.uniform(4, 7))
        free = hu < -500
        hu[free & (distance < flesh)] = float(rng.uniform(-100, 60))
        hu[free & (distance < bone)] = float(rng.uniform(0, 200))
        hu[free & (distance < bone) & (distance > bone - rng.uniform(1, 3))] = float(rng.uniform(600, 1500))


#: Front (-1) or rear (1) and side of a cage's corners, around it.
_AROUND = ((-1, -1), (1, -1), (1, 1), (-1, 1))


def screwed(hu: Tensor, anatomy: Anatomy, rng: np.random.Generator) -> Tensor:
    """The patient with pedicle screws in two to four neighbouring vertebrae, rods, and in half of them cages in between."""
    hu = hu.clone()
    count = int(rng.integers(2, 5))
    first = int(rng.integers(L1, 26 - count))
    heads: dict[int, list[npt.NDArray[np.float64]]] = {-1: [], 1: []}
    metal = float(rng.uniform(1800, 3071))
    for label in range(first, first + count):
        index = np.argwhere(anatomy.bodies == label)
        if len(index) < 100:
            continue
        centre = index.mean(axis=0)
        for side in (-1, 1):
            tip = centre + np.array([rng.uniform(-2, 4), rng.uniform(-5, 2), side * rng.uniform(1, 5)])
            head = centre + np.array([rng.uniform(0, 6), 23.0, side * rng.uniform(10, 14)])
            _draw(hu, tip, head, 1.5, metal)
            heads[side].append(head)
    for points in heads.values():
        for a, b in pairwise(points):
            _draw(hu, a, b, 1.4, metal)
    # A separate generator, so that the patients are otherwise unchanged.
    chance = rng.spawn(1)[0]
    for upper, lower in pairwise(range(first, first + count)):
        if chance.random() < 0.5:
            _cage(hu, anatomy, upper, lower, metal, chance)
    return hu


def _cage(hu: Tensor, anatomy: Anatomy, upper: int, lower: int, metal: float, rng: np.random.Generator) -> None:
    """Two rails from front to back in the disc space, joined at their ends; both bodies reach between them."""
    above, below = (np.argwhere(anatomy.bodies == label) for label in (upper, lower))
    if min(len(above), len(below)) < 100:
        return
    middle, step = (above.mean(axis=0) + below.mean(axis=0)) / 2, above.mean(axis=0) - below.mean(axis=0)
    reach, aside = rng.uniform(4.5, 6.5), rng.uniform(3.0, 5.0)
    # along the disc, perpendicular to the line from body to body
    tilt = float(step[1] / step[0])
    corners = [middle + np.array([-tilt * front * reach, front * reach, side * aside]) for front, side in _AROUND]
    for a, b in pairwise([*corners, corners[0]]):
        _draw(hu, a, b, float(rng.uniform(1.0, 1.6)), metal)


def add_streaks(hu: Tensor, rng: np.random.Generator) -> None:
    """Dark and bright rays around metal, slice by slice, as from photon starvation and beam hardening."""
    metal = hu > 1700
    strength = float(rng.uniform(0, 350))
    y, x = (torch.arange(n, dtype=torch.float32) for n in hu.shape[1:])
    for k in torch.nonzero(metal.any(2).any(1)).ravel().tolist():
        places = torch.nonzero(metal[k])
        for side in (places[:, 1] < places[:, 1].float().median(), places[:, 1] >= places[:, 1].float().median()):
            if not bool(side.any()):
                continue
            row, column = places[side].float().mean(0)
            angle = torch.atan2(y[:, None] - row, x[None, :] - column)
            distance = torch.hypot(y[:, None] - row, x[None, :] - column)
            rays = torch.sin(angle * float(rng.integers(2, 9)) + float(rng.uniform(0, 6.3)))
            hu[k] += torch.where(metal[k], 0.0, rays * strength * torch.exp(-distance / float(rng.uniform(6, 20))))


def _draw(hu: Tensor, a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], radius: float, value: float) -> None:
    """A rod of metal between two points, all in voxels."""
    low = np.maximum(np.floor(np.minimum(a, b) - radius - 1), 0).astype(int)
    high = np.minimum(np.ceil(np.maximum(a, b) + radius + 2), hu.shape).astype(int)
    if (low >= high).any():
        return
    points = np.stack(np.meshgrid(*[np.arange(p, q) for p, q in zip(low, high, strict=True)], indexing="ij"), axis=-1) - a
    along = b - a
    t = np.clip(points @ along / (along @ along), 0, 1)
    distance = np.linalg.norm(points - t[..., None] * along, axis=-1)
    box = tuple(slice(p, q) for p, q in zip(low, high, strict=True))
    hu[box][torch.from_numpy(distance <= radius)] = value


def _pose(anatomy: Anatomy, rng: np.random.Generator) -> tuple[Tensor, tuple[int, int, int]]:
    """Sampling grid (for ``grid_sample``) of a randomly turned, scaled and bent patient on the network's voxels."""
    scale = rng.uniform(0.85, 1.2) * rng.uniform(0.93, 1.07, 3)
    shape_mm = np.array(anatomy.paint.shape) * MAP_SPACING_MM * scale
    margin = rng.uniform(0, 40, 3) * np.array([0.0, 1.0, 1.0])
    shape = tuple(int(n) for n in np.maximum((shape_mm + margin) / SPACING_MM, 40))
    spine = np.argwhere(anatomy.bodies).mean(axis=0) - (np.array(anatomy.paint.shape) - 1) / 2
    _, behind_mm, left_mm = spine * scale * MAP_SPACING_MM
    sampling = bent_grid(
        (shape[0], shape[1], shape[2]), rng, turn_deg=14.0, bend_mm=16.0, spine_mm=(float(behind_mm), float(left_mm))
    )
    # Millimetres from the middle of the new volume to voxels of the map.
    index = sampling / torch.tensor(scale * MAP_SPACING_MM, dtype=torch.float32)
    size = torch.tensor(anatomy.paint.shape, dtype=torch.float32)
    normal = index * 2 / (size - 1)
    return normal.flip(-1)[None].contiguous(), (shape[0], shape[1], shape[2])


def random_turn(rng: np.random.Generator, most_deg: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """A rotation, 3 x 3, in the planes of axes 0 and 1, 0 and 2, 1 and 2, by at most this many degrees."""
    most = np.array(most_deg)
    rotation = np.eye(3)
    for (i, j), angle in zip(
        ((0, 1), (0, 2), (1, 2)), np.deg2rad(np.clip(rng.normal(0, most / 2), -most, most)), strict=True
    ):
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        rotation = rotation @ turn
    return rotation


def bent_grid(
    shape: tuple[int, int, int],
    rng: np.random.Generator,
    turn_deg: float,
    bend_mm: float,
    device: torch.device | None = None,
    *,
    spine_mm: tuple[float, float] | None = None,
) -> Tensor:
    """Positions in mm from the middle, (*shape, 3), turned by up to ``turn_deg``, bent sideways (scoliosis) and deformed.

    Args:
        shape: of the grid.
        rng: random generator.
        turn_deg, bend_mm: see above; the largest usual values.
        device: of the result.
        spine_mm: position of the spine, behind the middle and to the left of it. Vertebrae tilt with its curve, as in
            patients; if it is not known, the curve shears them.
    """
    axes = [(torch.arange(n, dtype=torch.float32, device=device) - (n - 1) / 2) * SPACING_MM for n in shape]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    rotation = random_turn(rng, (turn_deg, turn_deg, turn_deg))
    points = points @ torch.from_numpy(rotation.astype(np.float32)).to(device)
    elastic = torch.stack([smooth_noise(shape, rng.uniform(12, 24), rng, device) for _ in range(3)], dim=-1)
    points = points + elastic * float(rng.uniform(0, 4))
    z = axes[0]
    tilt = torch.zeros(shape, device=device)
    for axis, share in ((2, 1.0), (1, 0.6)):
        frequency, phase = float(2 * np.pi / rng.uniform(200, 500)), float(rng.uniform(0, 6.3))
        size = float(share * rng.normal(0, bend_mm / 2))
        points[..., axis] += (torch.sin(z * frequency + phase) * size)[:, None, None]
        if spine_mm is not None:
            steepness = (torch.cos(z * frequency + phase) * size * frequency)[:, None, None]
            # Beyond the heads of the ribs everything moves along, or the curve would fold.
            tilt -= steepness * TILTED_MM * torch.tanh((points[..., axis] - spine_mm[axis - 1]) / TILTED_MM)
    points[..., 0] += tilt
    # Vertebrae of different heights.
    stretch = torch.sin(z * float(2 * np.pi / rng.uniform(60, 200)) + float(rng.uniform(0, 6.3)))
    points[..., 0] += (stretch * float(rng.normal(0, 1.5)))[:, None, None]
    return points
