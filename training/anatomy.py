"""Tissue maps of people, from which CTs are painted; :mod:`training.label_maps` reads them.

Every map is on an isotropic LPS grid (superior, posterior, left) of :data:`MAP_SPACING_MM`. Maps with only vertebrae are
completed with the surroundings of the SPL atlas, warped along the spine so that the vertebrae coincide.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.segment.body_cut import cut_bodies

MAP_SPACING_MM = 2.0
L5, L1, T12 = 24, 20, 19


class Paint(IntEnum):
    """Tissues that are painted with their own HU."""

    OUTSIDE = 0
    FAT = 1
    MUSCLE = 2
    LIVER = 3
    SPLEEN = 4
    KIDNEY = 5
    URINARY = 6
    ARTERY = 7
    VEIN = 8
    BOWEL = 9
    STOMACH = 10
    SOFT_ORGAN = 11
    LUNG = 12
    HEART = 13
    AIRWAY = 14
    CANAL = 15
    UPPER_BODY = 20
    LUMBAR_BODY = 21
    POSTERIOR = 22
    DISC = 23
    SACRUM = 24
    RIB = 25
    HIP = 26
    OTHER_BONE = 27


BONES = (Paint.UPPER_BODY, Paint.LUMBAR_BODY, Paint.POSTERIOR, Paint.SACRUM, Paint.RIB, Paint.HIP, Paint.OTHER_BONE)


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """One person as a tissue map.

    Attributes:
        name: its source.
        paint: uint8, values of :class:`Paint`.
        bodies: uint8, label of the vertebral body (VerSe: T12 = 19, L1 = 20 ...), 0 elsewhere.
        shell: bool, the outer layer of bone (cortex).
    """

    name: str
    paint: npt.NDArray[np.uint8]
    bodies: npt.NDArray[np.uint8]
    shell: npt.NDArray[np.bool_]


def grafted(
    vertebrae: npt.NDArray[np.int16], paint: npt.NDArray[np.uint8], host: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Vertebrae of one person in the surroundings of another; the host is warped so that body centres coincide."""
    guest_centres = _body_centres(vertebrae.astype(np.uint8))
    host_centres = _body_centres(host)
    common = [label for label in range(16, 25) if label in guest_centres and label in host_centres]
    guest = np.array([guest_centres[label] for label in common])
    target = np.array([host_centres[label] for label in common])
    shape = host.shape
    # The new volume: the host's extent, shifted so that L5 of the guest is at L5 of the host.
    shift = np.round(target[-1] - guest[-1]).astype(int)
    moved = np.zeros(shape, dtype=np.uint8)
    source, destination = _overlap(vertebrae.shape, shape, shift)
    moved[destination] = vertebrae[source]
    guest = guest + shift
    order = np.argsort(guest[:, 0])
    z = np.arange(shape[0], dtype=np.float64)
    stretch = (target[0, 0] - target[-1, 0]) / (guest[0, 0] - guest[-1, 0])
    host_z = np.interp(z, guest[order, 0], target[order, 0])
    below, above = z < guest[order[0], 0], z > guest[order[-1], 0]
    host_z[below] = target[order[0], 0] + (z[below] - guest[order[0], 0])
    host_z[above] = target[order[-1], 0] + (z[above] - guest[order[-1], 0]) * stretch
    offsets = [np.interp(z, guest[order, 0], (target - guest)[order, axis]) for axis in (1, 2)]
    y, x = np.arange(shape[1]), np.arange(shape[2])
    take_z = np.clip(np.round(host_z).astype(int), 0, shape[0] - 1)
    new_paint = np.zeros(shape, dtype=np.uint8)
    new_host = np.zeros(shape, dtype=np.uint8)
    for k in range(shape[0]):
        rows = np.clip(np.round(y + offsets[0][k]).astype(int), 0, shape[1] - 1)
        columns = np.clip(np.round(x + offsets[1][k]).astype(int), 0, shape[2] - 1)
        new_paint[k] = paint[take_z[k]][np.ix_(rows, columns)]
        new_host[k] = host[take_z[k]][np.ix_(rows, columns)]
    keep_host = (new_host > 0) & ~np.isin(new_host, common)
    labels = np.where(keep_host & (moved == 0), new_host, moved).astype(np.uint8)
    # Parts of the host's vertebrae outside the guest's become soft tissue like that around the spine.
    new_paint[np.isin(new_host, common) & (labels == 0)] = Paint.MUSCLE
    new_paint[np.isin(new_paint, (Paint.SACRUM,)) & (labels > 0)] = Paint.FAT
    top = np.flatnonzero((labels > 0).any(axis=(1, 2)))[-1]
    return new_paint[: top + 1], labels[: top + 1]


def _overlap(
    source_shape: tuple[int, ...], target_shape: tuple[int, ...], shift: npt.NDArray[np.int_]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of a source and a target that coincide when the source is moved by ``shift`` voxels."""
    source, target = [], []
    for n, m, s in zip(source_shape, target_shape, shift, strict=True):
        low, high = max(0, int(s)), min(m, n + int(s))
        target.append(slice(low, high))
        source.append(slice(low - int(s), high - int(s)))
    return tuple(source), tuple(target)


def _body_centres(vertebrae: npt.NDArray[np.uint8]) -> dict[int, npt.NDArray[np.float64]]:
    bodies = np.where(cut_bodies(vertebrae, MAP_SPACING_MM), vertebrae, 0)
    return {int(v): np.argwhere(bodies == v).mean(axis=0) for v in np.unique(bodies) if v}


def total_vertebrae(labels: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """Vertebrae of a TotalSegmentator mask (27 = L5 ... 50 = C1) in the numbering of VerSe (24 = L5 ... 1 = C1)."""
    inside = (labels >= 27) & (labels <= 50)
    return np.where(inside, 51 - labels, 0).astype(np.uint8)


def finished(name: str, paint: npt.NDArray[np.uint8], vertebrae: npt.NDArray[np.uint8]) -> Anatomy:
    """Add what every map needs: bodies, discs, body wall, cortical shell."""
    paint = paint.copy()
    bodies = np.where(cut_bodies(vertebrae, MAP_SPACING_MM), vertebrae, 0).astype(np.uint8)
    inside = _body_hull(paint > 0)
    paint[inside & (paint == 0)] = Paint.FAT
    paint[between_bodies(bodies, paint == Paint.SACRUM) & (vertebrae == 0) & (paint != Paint.SACRUM)] = Paint.DISC
    paint[(vertebrae > 0) & (bodies == 0)] = Paint.POSTERIOR
    paint[(bodies > 0) & (bodies < L1)] = Paint.UPPER_BODY
    paint[bodies >= L1] = Paint.LUMBAR_BODY
    bone = np.isin(paint, BONES)
    # Bones that touch (facet joints, sacroiliac joint) keep a cortex between them: the shell is computed per tissue.
    same = ndimage.minimum_filter(paint, size=3) == ndimage.maximum_filter(paint, size=3)
    box = (slice(None), *_box_with_margin((paint > 0).any(axis=0), 12))
    return Anatomy(name, *(np.ascontiguousarray(a[box]) for a in (paint, bodies, bone & ~same)))


def _box_with_margin(mask: npt.NDArray[np.bool_], margin: int) -> tuple[slice, ...]:
    """Slices around all set voxels, with a margin in voxels."""
    places = np.argwhere(mask)
    low = np.maximum(places.min(axis=0) - margin, 0)
    high = np.minimum(places.max(axis=0) + margin + 1, mask.shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def between_bodies(
    bodies: npt.NDArray[np.uint8], sacrum: npt.NDArray[np.bool_], most_mm: float = 18.0, spacing_mm: float = MAP_SPACING_MM
) -> npt.NDArray[np.bool_]:
    """Disc spaces: voxels above one body and below the next (or between L5 and the sacrum), within ``most_mm``."""
    out = np.zeros(bodies.shape, dtype=bool)
    reach = int(most_mm / spacing_mm)
    for label in np.unique(bodies):
        if label == 0:
            continue
        below = sacrum if label == L5 else bodies == label + 1
        if not below.any():
            continue
        upper = bodies == label
        rows = np.flatnonzero((upper | below).any(axis=(1, 2)))
        box = slice(max(rows[0] - reach, 0), rows[-1] + reach)
        u, b = upper[box], below[box]
        # Along each column: bone of the upper body above within reach, bone of the lower one below within reach.
        has_above = _seen_along(u, reach, from_below=True)
        has_below = _seen_along(b, reach, from_below=False)
        out[box] |= has_above & has_below & ~u & ~b
    return out


def _seen_along(mask: npt.NDArray[np.bool_], reach: int, *, from_below: bool) -> npt.NDArray[np.bool_]:
    """Voxels from which ``mask`` is met within ``reach`` voxels going up (``from_below``) or down."""
    out = mask.copy()
    current = mask
    for _ in range(reach):
        moved = np.zeros_like(mask)
        if from_below:
            moved[:-1] = current[1:]
        else:
            moved[1:] = current[:-1]
        current = moved
        out |= current
    return out


def _body_hull(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Filled outline of everything labelled, slice by slice."""
    out = np.zeros_like(mask)
    disc = ndimage.generate_binary_structure(2, 1)
    for k, plane in enumerate(mask):
        if plane.any():
            padded = np.pad(plane, 24)
            closed = ndimage.binary_erosion(
                ndimage.binary_fill_holes(ndimage.binary_dilation(padded, disc, iterations=15)), disc, iterations=15
            )
            out[k] = closed[24:-24, 24:-24]
    return out
