"""The vertebral column: positions of the vertebrae, bodies, posterior elements, discs and canal.

The patient's own coordinates have their origin at the centre of the body of L3; x to the left, y to the back, z to the head.
A vertebra's frame has its origin at the centre of its body and z along its axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from node.model import FractureKind, Level, Vector
from node.phantom.anatomy import Anatomy, Layer, Part, filled
from node.phantom.parameters import PhantomParameters
from node.phantom.pathology import Fracture
from node.phantom.shapes import Disk, Ellipsoid, Frame, Matrix, Rod, Solid

#: Effective thickness of the cortical shell and the end plates (typical adult, rounded).
CORTEX_MM = 1.0
#: Depth of an end plate below its rim.
_CONCAVITY_MM = 1.0
DISC_HU = 85.0
_POSTERIOR_MARROW_HU = 230.0
_EPIDURAL_HU = -60.0
_CORD_HU = 38.0


@dataclass(frozen=True, slots=True)
class _Size:
    """One vertebra of a typical adult: extent of the body, height of the disc below, tilt, and wedge.

    Bodies follow Panjabi et al., Spine 1992;17(3):299-306 and 1991;16(8):888-901, discs and tilt are typical of a supine
    adult; all rounded. ``tilt_deg`` is positive if the upper end plate faces forward. ``wedge_deg`` is the angle between
    the end plates, positive if the front is lower (Eur Spine J 2010;19:768-773, table 1, mean of women and men, rounded;
    above T9 that of T9).
    """

    anatomy: Anatomy
    width_mm: float
    depth_mm: float
    height_mm: float
    disc_mm: float
    tilt_deg: float
    wedge_deg: float


_SIZES = (
    _Size(Anatomy.T7, 28.0, 26.0, 19.0, 4.0, 2.0, 3.8),
    _Size(Anatomy.T8, 29.5, 27.5, 19.8, 4.0, -3.0, 3.8),
    _Size(Anatomy.T9, 31.0, 28.5, 20.8, 4.5, -7.0, 3.8),
    _Size(Anatomy.T10, 32.5, 29.5, 22.0, 5.0, -10.0, 3.2),
    _Size(Anatomy.T11, 35.5, 30.5, 23.2, 5.5, -12.0, 5.0),
    _Size(Anatomy.T12, 39.5, 32.0, 25.5, 6.5, -13.0, 4.2),
    _Size(Anatomy.L1, 42.5, 33.0, 27.5, 8.0, -12.0, 3.4),
    _Size(Anatomy.L2, 44.0, 33.5, 28.0, 9.5, -8.0, 1.7),
    _Size(Anatomy.L3, 46.0, 34.0, 28.0, 10.5, -2.0, 0.1),
    _Size(Anatomy.L4, 48.5, 34.5, 28.0, 11.0, 7.0, -1.9),
    _Size(Anatomy.L5, 50.5, 35.0, 28.0, 10.5, 19.0, -6.2),
)
_L6 = _Size(Anatomy.L6, 51.0, 35.0, 27.5, 9.5, 28.0, -6.2)
_SACRUM_TILT_DEG = 38.0


@dataclass(frozen=True, slots=True, eq=False)
class Vertebra:
    """A vertebra in its position."""

    anatomy: Anatomy
    frame: Frame
    body: Disk
    disc_mm: float

    @property
    def is_lumbar(self) -> bool:
        """L1 to L6."""
        return self.anatomy >= Anatomy.L1

    @property
    def level(self) -> Level | None:
        """Its level, ``None`` above T12."""
        return Level(self.anatomy) if self.anatomy >= Anatomy.T12 else None

    @property
    def scale(self) -> float:
        """Size of the posterior elements relative to L3."""
        return self.body.depth_mm / 34.0


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """The vertebrae from the head downward, and the frame of the first sacral body."""

    vertebrae: tuple[Vertebra, ...]
    sacrum: Frame

    def vertebra(self, anatomy: Anatomy) -> Vertebra:
        """The vertebra with this name."""
        return next(v for v in self.vertebrae if v.anatomy == anatomy)

    def path(self, anatomies: Sequence[Anatomy], local_mm: Vector) -> list[Matrix]:
        """A point in the frame of each of these vertebrae, in patient coordinates."""
        return [self.vertebra(a).frame.point(local_mm) for a in anatomies]


def axes_of(tilt_deg: float, list_deg: float = 0.0) -> Matrix:
    """Axes of a frame that is tilted forward and then listed to the left, (3, 3), rows are unit vectors."""
    t, s = np.deg2rad(tilt_deg), np.deg2rad(list_deg)
    tilt = np.array([[1, 0, 0], [0, np.cos(t), np.sin(t)], [0, -np.sin(t), np.cos(t)]])
    lean = np.array([[np.cos(s), 0, np.sin(s)], [0, 1, 0], [-np.sin(s), 0, np.cos(s)]])
    axes: Matrix = tilt @ lean.T
    return axes


def between(start: Matrix, end: Matrix, aside: Vector = (1.0, 0.0, 0.0)) -> tuple[Frame, float]:
    """Frame midway between two points with z along them and x near ``aside``; and half their distance in mm."""
    along = end - start
    length = float(np.linalg.norm(along))
    z = along / length
    y = np.cross(z, np.asarray(aside, float))
    y /= np.linalg.norm(y)
    return Frame((start + end) / 2, np.stack([np.cross(y, z), y, z])), length / 2


def chain(points: Sequence[Matrix], radii_mm: Sequence[tuple[float, float]]) -> list[tuple[Solid, Frame]]:
    """Rods from point to point, each with the mean radii (x near the patient's x, and across it) of its ends."""
    rods: list[tuple[Solid, Frame]] = []
    for k in range(len(points) - 1):
        frame, half = between(points[k], points[k + 1])
        rx, ry = ((radii_mm[k][i] + radii_mm[k + 1][i]) / 2 for i in (0, 1))
        rods.append((Rod(half, rx, ry), frame))
    return rods


def build_column(parameters: PhantomParameters) -> Column:
    """Stack the vertebrae up and down from L3, whose centre is the origin."""
    spine = parameters.spine
    sizes = (*_SIZES, _L6) if spine.lumbar_vertebrae == 6 else _SIZES
    pathology = parameters.pathology
    count = len(sizes)
    tilts = [size.tilt_deg * spine.lordosis for size in sizes]
    # One S-shaped curve over the column.
    lists = [spine.scoliosis_deg * float(np.sin(2 * np.pi * k / (count - 1))) for k in range(count)]
    axes = [axes_of(t, s) for t, s in zip(tilts, lists, strict=True)]
    third = [size.anatomy for size in sizes].index(Anatomy.L3)
    levels = [Level(size.anatomy) if size.anatomy >= Anatomy.T12 else None for size in sizes]
    heights = [
        size.height_mm * (1 - _crushed(pathology.fracture_of(level))) for size, level in zip(sizes, levels, strict=True)
    ]
    discs = [size.disc_mm * pathology.disc_fraction_below(level) for size, level in zip(sizes, levels, strict=True)]
    centres = {third: np.zeros(3)}

    def step(upper: int, lower: int) -> Matrix:
        """From the centre of a vertebra to that of the one above."""
        gap = (axes[lower][2] + axes[upper][2]) / 2 * discs[upper]
        way: Matrix = axes[lower][2] * heights[lower] / 2 + gap + axes[upper][2] * heights[upper] / 2
        return way * spine.size

    for k in range(third - 1, -1, -1):
        centres[k] = centres[k + 1] + step(k, k + 1)
    for k in range(third + 1, count):
        centres[k] = centres[k - 1] - step(k - 1, k)

    vertebrae = []
    for k, size in enumerate(sizes):
        fracture = pathology.fracture_of(levels[k])
        body = Disk(
            size.width_mm * spine.size,
            size.depth_mm * spine.size,
            heights[k] * spine.size,
            waist=0.08,
            concavity_mm=(_CONCAVITY_MM + _sunken_mm(fracture, size.height_mm)) * spine.size,
            wedge=-float(np.tan(np.deg2rad(size.wedge_deg / 2))),
            front_loss=fracture.height_loss if fracture is not None and fracture.kind is FractureKind.WEDGE else 0.0,
            hollow=0.16 if size.anatomy <= Anatomy.L4 else 0.08,
        )
        vertebrae.append(Vertebra(size.anatomy, Frame(centres[k], axes[k]), body, discs[k] * spine.size))
    last = vertebrae[-1]
    sacral = axes_of(_SACRUM_TILT_DEG * spine.lordosis + (8 if spine.lumbar_vertebrae == 6 else 0))
    top = last.frame.origin_mm - axes[-1][2] * last.body.height_mm / 2 - (axes[-1][2] + sacral[2]) / 2 * last.disc_mm
    return Column(tuple(vertebrae), Frame(top - sacral[2] * 15 * spine.size, sacral))


def _crushed(fracture: Fracture | None) -> float:
    """Lost fraction of the whole height, for a crush fracture."""
    return fracture.height_loss if fracture is not None and fracture.kind is FractureKind.CRUSH else 0.0


def _sunken_mm(fracture: Fracture | None, height_mm: float) -> float:
    """How much deeper each end plate of a biconcave fracture is: the middle height loses its fraction."""
    if fracture is None or fracture.kind is not FractureKind.BICONCAVE:
        return 0.0
    return fracture.height_loss * (height_mm - 2 * _CONCAVITY_MM) / 2


def column_parts(column: Column, parameters: PhantomParameters) -> list[Part]:
    """Discs, canal, posterior elements and bodies, in the order of painting; bodies last, to keep their label complete."""
    parts = _disc_parts(column) + _canal_parts(column, parameters)
    for vertebra in column.vertebrae:
        parts += bone_parts(
            _posterior(vertebra), parameters.cortical_hu, _POSTERIOR_MARROW_HU, Anatomy(vertebra.anatomy + 100)
        )
    for vertebra in column.vertebrae:
        density = parameters.density_mg_cm3 if vertebra.level is None else parameters.density_of(vertebra.level)
        shell = Layer(parameters.cortical_hu, vertebra.anatomy)
        marrow = Layer(parameters.scanner.hu_of(density), vertebra.anatomy, CORTEX_MM)
        parts.append(Part(vertebra.body, vertebra.frame, (shell, marrow)))
    return parts


def bone_parts(solids: Sequence[tuple[Solid, Frame]], cortex_hu: float, marrow_hu: float, anatomy: Anatomy) -> list[Part]:
    """Solids joined to one bone: all shells first, then all marrow, so that no shell crosses the inside."""
    shells = [Part(solid, frame, (Layer(cortex_hu, anatomy),)) for solid, frame in solids]
    return shells + [Part(solid, frame, (Layer(marrow_hu, anatomy, 1.3),)) for solid, frame in solids]


def _disc_parts(column: Column) -> list[Part]:
    parts = []
    ends = [v.frame for v in column.vertebrae[1:]] + [column.sacrum]
    halves = [v.body.height_mm / 2 for v in column.vertebrae[1:]] + [15 * column.vertebrae[-1].scale]
    lost = [_lost_mm(vertebra.body) for vertebra in column.vertebrae] + [0.0]
    for upper, lower, half, room in zip(column.vertebrae, ends, halves, map(max, pairwise(lost)), strict=True):
        top = upper.frame.point((0, 0, -upper.body.height_mm / 2))
        bottom = lower.point((0, 0, half))
        z = upper.frame.axes[2] + lower.axes[2]
        z /= np.linalg.norm(z)
        x = upper.frame.axes[0] - z * float(upper.frame.axes[0] @ z)
        x /= np.linalg.norm(x)
        frame = Frame((top + bottom) / 2, np.stack([x, np.cross(z, x), z]))
        # Higher than the gap: the bodies, painted later, cut it to its wedge shape.
        disc = Disk(upper.body.width_mm, upper.body.depth_mm, upper.disc_mm + 6, waist=-0.05, hollow=0.05)
        parts.append(filled(disc, frame, DISC_HU, Anatomy(upper.anatomy + 140)))
        if room > 0:
            # The disc fills the loss of an end plate; inside the rim, so that it does not bulge out at the waist.
            sunk = replace(disc, width_mm=0.92 * disc.width_mm, depth_mm=0.92 * disc.depth_mm)
            sunk = replace(sunk, height_mm=disc.height_mm + 2 * room)
            parts.append(filled(sunk, frame, DISC_HU, Anatomy(upper.anatomy + 140)))
    return parts


def _lost_mm(body: Disk) -> float:
    """Largest depth of an end plate below its rim; 0 if the body is not fractured."""
    hollow = body.concavity_mm if body.concavity_mm > 2 * _CONCAVITY_MM else 0.0
    return max(hollow, body.front_loss * body.height_mm)


def _canal_parts(column: Column, parameters: PhantomParameters) -> list[Part]:
    """Epidural fat, dural sac, and the cord down to L1."""
    s = parameters.spine.size
    points, cord = [], []
    for vertebra in column.vertebrae:
        place = vertebra.frame.point((0.0, vertebra.body.depth_mm / 2 + 8.5 * s, 0.0))
        points.append(place)
        if vertebra.anatomy <= Anatomy.L1:
            cord.append(place)
    points.append(column.sacrum.point((0.0, 26.0 * s, 0.0)))
    parts = []
    for path, rx, ry, hu in (
        (points, 11.0 * s, 8.5 * s, _EPIDURAL_HU),
        (points, 8.0 * s, 7.0 * s, parameters.contrast.dural_sac_hu),
        (cord, 5.0 * s, 4.0 * s, _CORD_HU),
    ):
        parts += [filled(solid, frame, hu, Anatomy.CANAL) for solid, frame in chain(path, [(rx, ry)] * len(path))]
    return parts


def _posterior(vertebra: Vertebra) -> list[tuple[Solid, Frame]]:
    """Pedicles, laminae, articular, transverse and spinous processes of one vertebra (typical adult, rounded)."""
    s, half = vertebra.scale, vertebra.body.height_mm / 2
    back, waist = vertebra.body.depth_mm / 2, vertebra.body.width_mm / 2
    solids: list[tuple[Solid, Frame]] = []

    def rod(start: Vector, end: Vector, rx: float, ry: float, side: int, aside: Vector = (1.0, 0.0, 0.0)) -> None:
        ends = [np.array([p[0] * side, p[1], p[2]]) for p in (start, end)]
        frame, half_length = between(ends[0], ends[1], aside)
        solids.append((Rod(half_length, rx, ry), frame.inside(vertebra.frame)))

    for side in (-1, 1):
        if vertebra.is_lumbar:
            # Pedicles are 7 mm wide at L1 and 14 mm at L5.
            wide = (3.6 + 0.75 * (vertebra.anatomy - Anatomy.L1)) * s
            inner = 11.5 * s + wide
            rod((min(inner, 0.7 * waist), back - 5 * s, 0.2 * half), (inner, back + 10 * s, 0.25 * half), wide, 7 * s, side)
            rod((17 * s, back + 11 * s, 3 * s), (19 * s, back + 14 * s, half + 7 * s), 6.5 * s, 4 * s, side, (0.3, 1.0, 0.0))
            rod((15 * s, back + 13 * s, 4 * s), (12 * s, back + 20 * s, -half), 4.5 * s, 4.0 * s, side)
            rod(
                (11.5 * s, back + 20 * s, -half),
                (11 * s, back + 20 * s, -half - 13 * s),
                6 * s,
                4 * s,
                side,
                (0.6, 1.0, 0.0),
            )
            rod((14 * s, back + 17 * s, -2 * s), (2 * s, back + 25 * s, -7 * s), 3.2 * s, 8 * s, side, (0.0, 1.0, 0.0))
            rod((17 * s, back + 9 * s, 4 * s), (43 * s, back + 15 * s, 5 * s), 3.0 * s, 5.5 * s, side, (0.0, 1.0, 0.0))
        else:
            rod((9.5 * s, back - 4 * s, 0.35 * half), (10 * s, back + 9 * s, 0.4 * half), 3.2 * s, 5.5 * s, side)
            rod((11 * s, back + 11 * s, 3 * s), (12 * s, back + 13 * s, half + 4 * s), 4 * s, 3 * s, side)
            rod((11 * s, back + 13 * s, 2 * s), (10 * s, back + 17 * s, -half - 7 * s), 4 * s, 3.2 * s, side)
            rod((11 * s, back + 14 * s, 0.0), (2 * s, back + 20 * s, -5 * s), 3 * s, 8 * s, side, (0.0, 1.0, 0.0))
            reach = 32.0 if vertebra.anatomy <= Anatomy.T10 else 22.0
            rod((12 * s, back + 12 * s, 4 * s), (reach * s, back + 22 * s, 6 * s), 4 * s, 5 * s, side, (0.0, 1.0, 0.0))
    if vertebra.is_lumbar:
        # Spinous process: a blade, lower and thicker at its tip.
        for at, size in (
            ((0.0, back + 36 * s, -8 * s), (3.4, 17.0, 9.5)),
            ((0.0, back + 44 * s, -11 * s), (4.2, 9.0, 10.5)),
        ):
            blade = Ellipsoid((size[0] * s, size[1] * s, size[2] * s))
            solids.append((blade, Frame.at(at, axes_of(-8.0)).inside(vertebra.frame)))
    else:
        rod((0.0, back + 20 * s, -5 * s), (0.0, back + 42 * s, -24 * s), 3 * s, 6 * s, 1)
    return solids
