"""Degenerated ("worn") discs: narrowed, with sclerotic bone at both end plates.

:func:`painted_person` adds them to painted people; :func:`worn_points` and :func:`sclerotic` to crops of the second network,
also real ones; :func:`with_border_moved` imitates the first network's outlines next to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from training.anatomy import MAP_SPACING_MM, T12, Anatomy
from training.fractures import BodyShape
from training.synth import painted, smooth_noise
from training.variants import pressed

#: Share of people with worn discs, in training and in evaluation.
WORN_PEOPLE, WORN_PEOPLE_EVALUATED = 0.4, 0.2
#: Sclerotic bone: its attenuation in HU, and how deep it reaches in mm.
_DENSE_HU, _DEPTH_MM = (250.0, 800.0), (2.0, 9.0)
#: Share of worn discs that keep their height, and of those without sclerosis.
_AS_HIGH, _NOT_DENSE = 0.2, 0.25


def painted_person(
    anatomy: Anatomy, rng: np.random.Generator, chance: np.random.Generator, share: float
) -> tuple[Anatomy, Tensor]:
    """The person with HU; some with one to three worn discs.

    Args:
        anatomy: the person.
        rng: random generator for everything except worn discs.
        chance: random generator for the worn discs, so that everything else is the same with and without them.
        share: of people with worn discs, 0 to 1.
    """
    worn = chance.choice(np.arange(T12, 25), size=int(chance.integers(1, 4)), replace=False).tolist()
    if chance.random() >= share:
        worn = []
    for upper in worn:
        if chance.random() >= _AS_HIGH:
            anatomy = _narrowed(anatomy, upper, chance)
    hu = painted(torch.from_numpy(anatomy.paint), torch.from_numpy(anatomy.shell), torch.from_numpy(anatomy.bodies), rng)
    for upper in worn:
        if chance.random() >= _NOT_DENSE:
            dense = float(chance.uniform(*_DENSE_HU))
            _densify(hu, anatomy.bodies == upper, dense, chance, upward=False)
            _densify(hu, anatomy.bodies == upper + 1, dense, chance, upward=True)
    return anatomy, hu


def _narrowed(anatomy: Anatomy, upper: int, rng: np.random.Generator) -> Anatomy:
    """A person whose disc below a body has lost two fifths of its height or more; everything above moves down."""
    above, below = (np.argwhere(anatomy.bodies == label) for label in (upper, upper + 1))
    if min(len(above), len(below)) < 300:
        return anatomy
    step = above.mean(axis=0) - below.mean(axis=0)
    middle = (above.mean(axis=0) + below.mean(axis=0)) / 2
    core = np.abs(np.arange(anatomy.bodies.shape[2]) - middle[2]) < 4
    column = anatomy.bodies[:, round(middle[1]) - 3 : round(middle[1]) + 4, core]
    gap = (column == upper).argmax(axis=0) - (column.shape[0] - (column == upper + 1)[::-1].argmax(axis=0))
    height = float(np.median(gap))
    if not 1.5 <= height <= 12.0:
        return anatomy
    y = np.arange(anatomy.paint.shape[1])
    # The disc is perpendicular to the line from body to body.
    level = middle[0] - step[1] / step[0] * (y - middle[1])
    return pressed(anatomy, level[None, :], height, height * float(rng.uniform(0.4, 0.9)))


def _densify(hu: Tensor, body: npt.NDArray[np.bool_], dense: float, rng: np.random.Generator, *, upward: bool) -> None:
    """Sclerosis beneath one end plate of a painted body, deeper on one side."""
    if not body.any():
        return
    [box] = ndimage.find_objects(body.astype(np.uint8))
    inside = body[box][::-1] if upward else body[box]
    depth = np.cumsum(inside, axis=0) * MAP_SPACING_MM
    depth = depth[::-1] if upward else depth
    rows, columns = (np.linspace(-1, 1, n) for n in inside.shape[1:])
    reach = rng.uniform(*_DEPTH_MM) * (
        1 + rng.uniform(-0.7, 0.7) * rows[:, None] + rng.uniform(-0.7, 0.7) * columns[None, :]
    )
    wave = smooth_noise(depth.shape, 4.0, rng)
    layer = torch.from_numpy(body[box] & (depth <= reach + rng.uniform(0, 1.5) * wave.numpy()))
    part = hu[box]
    hu[box] = torch.where(layer, torch.maximum(part, dense + 40.0 * wave), part)


@dataclass(frozen=True, slots=True)
class WornDisc:
    """The worn disc of a crop: ``side`` 1 above the body or -1 below it, ``gap_mm`` its remaining height."""

    side: float
    gap_mm: float


def worn_points(points: Tensor, shape: BodyShape, rng: np.random.Generator) -> tuple[Tensor, WornDisc]:
    """Positions of the voxels of a body next to a worn disc, in the body next to an intact one.

    Args:
        points: (..., 3), mm from the body's centre along (z, y, x).
        shape: of the body.
        rng: random generator.
    """
    side, whole = float(rng.choice([-1.0, 1.0])), float(rng.uniform(5.0, 10.0))
    loss = 0.0 if rng.random() < _AS_HIGH else whole * float(rng.uniform(0.3, 0.85))
    beyond = side * shape.height(points) - shape.half_height
    moved = loss * torch.clamp(beyond / (whole - loss), 0.0, 1.0) * shape.over(points)
    return torch.stack([points[..., 0] + side * moved, points[..., 1], points[..., 2]], dim=-1), WornDisc(side, whole - loss)


def sclerotic(
    image: Tensor, masks: Tensor, points: Tensor, shape: BodyShape, disc: WornDisc, rng: np.random.Generator
) -> Tensor:
    """The crop with sclerotic bone on both sides of its worn disc, for most discs.

    Args:
        image: HU, (d, h, w).
        masks: the body, and other bodies and discs, (2, d, h, w) in [0, 1].
        points: (d, h, w, 3), mm from the body's centre, before :func:`worn_points`.
        shape: of the body.
        disc: from :func:`worn_points`.
        rng: random generator.
    """
    if rng.random() < _NOT_DENSE:
        return image
    place = image.device
    size = (image.shape[0], image.shape[1], image.shape[2])
    wave = smooth_noise(size, float(rng.uniform(4, 9)), rng, place)
    beyond = disc.side * shape.height(points) - shape.half_height
    slope = float(rng.uniform(-0.7, 0.7)) * points[..., 1] / shape.half_depth
    slope = slope + float(rng.uniform(-0.7, 0.7)) * points[..., 2] / shape.half_width
    rough = float(rng.uniform(0, 1.5)) * wave
    own, other = (float(rng.uniform(*_DEPTH_MM)) * (1 + slope) + rough for _ in range(2))
    in_own = masks[0] * torch.clamp(beyond + own, 0.0, 1.0)
    # The disc is among the others: its height is known roughly, so only bone becomes denser.
    far = beyond - disc.gap_mm
    in_other = masks[1] * torch.clamp(far + 1.0, 0.0, 1.0) * torch.clamp(other - far, 0.0, 1.0) * (image > 60.0)
    weight = torch.clamp(in_own + in_other * shape.over(points), 0.0, 1.0)
    dense = float(rng.uniform(*_DENSE_HU)) + 40.0 * wave
    return image + weight * torch.clamp(dense - image, min=0.0)


def with_border_moved(masks: Tensor, points: Tensor, shape: BodyShape, disc: WornDisc, rng: np.random.Generator) -> Tensor:
    """Masks, as in :func:`sclerotic`, whose border next to the worn disc is some mm inside the dense bone, or outside.

    This is how the first network outlines it, whose voxels are as large as the remaining disc.
    """
    moved_mm = float(np.clip(rng.normal(2.0, 2.5), -3.0, 7.0))
    beyond = disc.side * shape.height(points) - shape.half_height
    over = shape.over(points)
    lost = masks[0] * over * torch.clamp(beyond + moved_mm, 0.0, 1.0)
    won = masks[1] * over * torch.clamp(beyond + 2.0, 0.0, 1.0) * torch.clamp(-moved_mm - beyond, 0.0, 1.0)
    own = masks[0] - lost + won
    return torch.stack([own, masks[1] + lost - won])
