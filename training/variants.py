"""Anatomical variants: four or six lumbar vertebrae, no ribs at T12, ribs at L1, wedge fractures, fused discs.

A body with ribs is painted and labelled as thoracic, one without as lumbar, whatever its number: this is what the network
should recognise. Counting is done in ``node.segment.naming``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.anatomy import L1, MAP_SPACING_MM, T12, Anatomy, Paint

#: The head of a vertebra's rib lies within this distance of the middle of its body.
RIB_HEAD_MM = 55.0
#: The slab that is removed or doubled contains this body (VerSe numbering), whose discs are nearly horizontal.
L3 = 22


def varied(anatomy: Anatomy, rng: np.random.Generator) -> Anatomy:
    """The person, or (in about half of the cases) a variant."""
    chance = rng.random()
    if chance < 0.06:
        anatomy = _without_l3(anatomy)
    elif chance < 0.12:
        anatomy = _with_l3_twice(anatomy)
    elif chance < 0.20:
        anatomy = _without_ribs_of_t12(anatomy)
    elif chance < 0.26:
        anatomy = _with_ribs_at_l1(anatomy)
    if rng.random() < 0.35:
        anatomy = _fractured(anatomy, rng)
    if rng.random() < 0.12:
        anatomy = _fused(anatomy, rng)
    return anatomy


def _centre(anatomy: Anatomy, label: int) -> npt.NDArray[np.float64] | None:
    index = np.argwhere(anatomy.bodies == label)
    return index.mean(axis=0) if len(index) > 100 else None


def _slab(anatomy: Anatomy) -> tuple[int, int, tuple[int, int]] | None:
    """First and last slice of L3 with half of its discs; from its lower to its upper disc in rows and columns."""
    centres = [_centre(anatomy, label) for label in (L3 - 1, L3, L3 + 1)]
    above, own, below = centres
    if above is None or own is None or below is None:
        return None
    upper, lower = (above + own) / 2, (own + below) / 2
    return round(lower[0]), round(upper[0]), (round(upper[1] - lower[1]), round(upper[2] - lower[2]))


def _without_l3(anatomy: Anatomy) -> Anatomy:
    slab = _slab(anatomy)
    if slab is None:
        return anatomy
    low, high, (rows, columns) = slab

    def cut(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return np.concatenate([array[:low], np.roll(array[high:], (-rows, -columns), axis=(1, 2))])

    return Anatomy(f"{anatomy.name} less L3", cut(anatomy.paint), cut(anatomy.bodies), cut(anatomy.shell))


def _with_l3_twice(anatomy: Anatomy) -> Anatomy:
    slab = _slab(anatomy)
    if slab is None:
        return anatomy
    low, high, (rows, columns) = slab

    def doubled(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        return np.concatenate([array[:high], np.roll(array[low:], (rows, columns), axis=(1, 2))])

    # The lower of the two keeps L3's number, and the numbers below increase by one.
    lower = np.where(anatomy.bodies >= L3, anatomy.bodies + 1, anatomy.bodies)[:high]
    bodies = np.concatenate([lower, np.roll(anatomy.bodies[low:], (rows, columns), axis=(1, 2))]).astype(np.uint8)
    return Anatomy(f"{anatomy.name} two L3", doubled(anatomy.paint), bodies, doubled(anatomy.shell))


def ribs_of(anatomy: Anatomy, body: int) -> npt.NDArray[np.bool_]:
    """The ribs whose nearest body is the one with this label."""
    parts, _ = ndimage.label(anatomy.paint == Paint.RIB, np.ones((3, 3, 3)))
    centres = {int(label): _centre(anatomy, int(label)) for label in np.unique(anatomy.bodies) if label}
    known = {label: centre for label, centre in centres.items() if centre is not None}
    out = np.zeros(anatomy.paint.shape, dtype=bool)
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        index = np.argwhere(parts[box] == number) + [s.start for s in box]
        distance, label = min((float(np.linalg.norm(index - c, axis=1).min()), label) for label, c in known.items())
        if label == body and distance * MAP_SPACING_MM < RIB_HEAD_MM:
            out[box] |= parts[box] == number
    return out


def _without_ribs_of_t12(anatomy: Anatomy) -> Anatomy:
    ribs = ribs_of(anatomy, T12)
    paint = anatomy.paint.copy()
    paint[ribs] = Paint.MUSCLE
    paint[anatomy.bodies == T12] = Paint.LUMBAR_BODY
    return replace(anatomy, name=f"{anatomy.name} no rib at T12", paint=paint, shell=anatomy.shell & ~ribs)


def _with_ribs_at_l1(anatomy: Anatomy) -> Anatomy:
    upper, lower = _centre(anatomy, T12), _centre(anatomy, L1)
    ribs = ribs_of(anatomy, T12)
    if upper is None or lower is None or not ribs.any():
        return anatomy
    index = np.argwhere(ribs)
    moved = index + np.round(lower - upper).astype(int)
    inside = ((moved >= 0) & (moved < ribs.shape)).all(axis=1)
    source, target = tuple(index[inside].T), tuple(moved[inside].T)
    paint, shell = anatomy.paint.copy(), anatomy.shell.copy()
    soft = paint[target] < Paint.UPPER_BODY
    target, source = tuple(t[soft] for t in target), tuple(s[soft] for s in source)
    paint[target] = Paint.RIB
    shell[target] = anatomy.shell[source]
    paint[anatomy.bodies == L1] = Paint.UPPER_BODY
    return replace(anatomy, name=f"{anatomy.name} ribs at L1", paint=paint, shell=shell)


def _fractured(anatomy: Anatomy, rng: np.random.Generator) -> Anatomy:
    """A variant in which one or two bodies, anywhere from T11 to L5, have lost height."""
    return _crushed(anatomy, rng.choice(np.arange(T12 - 1, 25), size=int(rng.integers(1, 3)), replace=False), rng)


def with_crushed_neighbours(anatomy: Anatomy, rng: np.random.Generator) -> Anatomy:
    """A variant in which two or three adjacent bodies have lost height: discs between them are the hardest to see."""
    first = int(rng.integers(T12 - 1, 24))
    return _crushed(anatomy, np.arange(first, first + int(rng.integers(2, 4))), rng)


def _crushed(anatomy: Anatomy, labels: npt.NDArray[np.int_], rng: np.random.Generator) -> Anatomy:
    """Bodies with these labels lose anterior, middle or whole height; everything above moves down."""
    for label in labels:
        index = np.argwhere(anatomy.bodies == label)
        if len(index) < 300:
            continue
        centre = index.mean(axis=0)
        height = float(np.ptp(index[:, 0])) * 0.8
        front, back = np.percentile(index[:, 1], [2, 98])
        # a crushed body is the hardest to see, so half of the fractures are crush fractures
        wedge, crush = (rng.uniform(0.2, 0.6), 0.0) if rng.random() < 0.5 else (0.1, rng.uniform(0.2, 0.65))
        y = np.arange(anatomy.paint.shape[1])[None, :]
        lost = height * (crush + wedge * np.clip((back - y) / (back - front), 0.0, 1.3))
        anatomy = pressed(anatomy, centre[0], height, lost)
    return anatomy


def pressed(
    anatomy: Anatomy, middle: float | npt.NDArray[np.float64], height: float, lost: float | npt.NDArray[np.float64]
) -> Anatomy:
    """A person in whom a structure has lost part of its height; everything above moves down, everything below moves up.

    Args:
        anatomy: the person.
        middle: slice of its middle, one number or (1, rows).
        height: its height in slices.
        lost: number of lost slices, one number or (1, rows).
    """
    z = np.arange(anatomy.paint.shape[0])[:, None]
    # Position of a voxel in the original person: further from the middle by half of the loss.
    reach = np.clip((z - middle) / np.maximum(height - lost, 0.2 * height), -0.5, 0.5)
    rows = np.clip(np.round(z + lost * reach).astype(int), 0, anatomy.paint.shape[0] - 1)
    rows = np.broadcast_to(rows, anatomy.paint.shape[:2])
    columns = np.broadcast_to(np.arange(anatomy.paint.shape[1])[None, :], rows.shape)
    return replace(
        anatomy,
        paint=anatomy.paint[rows, columns],
        bodies=anatomy.bodies[rows, columns],
        shell=anatomy.shell[rows, columns],
    )


def _fused(anatomy: Anatomy, rng: np.random.Generator) -> Anatomy:
    """A disc space bridged by bone: cortex all around, as from osteophytes and fusions."""
    centres = [(label, _centre(anatomy, label)) for label in range(T12, 25)]
    places = [c for _, c in centres if c is not None]
    if len(places) < 2:
        return anatomy
    k = int(rng.integers(len(places) - 1))
    middle = (places[k] + places[k + 1]) / 2
    index = np.argwhere(anatomy.paint == Paint.DISC)
    near = index[np.linalg.norm((index - middle) * MAP_SPACING_MM, axis=1) < 32.0]
    if len(near) == 0:
        return anatomy
    side = near @ rng.normal(size=3)
    near = near[side > np.quantile(side, rng.uniform(0.3, 0.9))]
    paint, shell = anatomy.paint.copy(), anatomy.shell.copy()
    paint[tuple(near.T)] = Paint.POSTERIOR
    shell[tuple(near.T)] = rng.random(len(near)) < 0.6
    return replace(anatomy, paint=paint, shell=shell)
