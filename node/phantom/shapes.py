"""Implicit solids: each gives, for points in its own frame, a signed distance in mm (negative inside).

Away from the surface the distances are approximate (within some 20 %); near it they are accurate enough for partial volume.
Points come as three float32 arrays that broadcast against each other, so that a solid aligned with the grid is
cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from node.model import Vector

Points = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """A position and an orientation: local = ``axes`` @ (point - ``origin_mm``); the rows of ``axes`` are unit vectors."""

    origin_mm: Matrix
    axes: Matrix

    @classmethod
    def at(cls, origin_mm: npt.ArrayLike, axes: npt.ArrayLike | None = None) -> Frame:
        """Frame at a point, along x, y, z unless ``axes`` is given."""
        return cls(np.asarray(origin_mm, float), np.eye(3) if axes is None else np.asarray(axes, float))

    def point(self, local_mm: npt.ArrayLike) -> Matrix:
        """A local point in outer coordinates, (3,)."""
        place: Matrix = self.origin_mm + self.axes.T @ np.asarray(local_mm, float)
        return place

    def inside(self, outer: Frame) -> Frame:
        """This frame, defined inside ``outer``, in the coordinates of ``outer`` itself."""
        return Frame(outer.point(self.origin_mm), self.axes @ outer.axes)


class Solid(Protocol):
    """A shape in its own frame."""

    @property
    def half_mm(self) -> Vector:
        """Half extent of a box around the origin that holds the shape."""

    def distance(self, x: Points, y: Points, z: Points) -> Points:
        """Signed distance in mm of points given in the shape's frame, float32."""


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """Ellipsoid with the given semi-axes."""

    half_mm: Vector

    def distance(self, x: Points, y: Points, z: Points) -> Points:
        """Signed distance; see :class:`Solid`."""
        a, b, c = (np.float32(value) for value in self.half_mm)
        radius = np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
        slope = np.sqrt((x / a**2) ** 2 + (y / b**2) ** 2 + (z / c**2) ** 2)
        distance: Points = radius * (radius - 1) / np.maximum(slope, np.float32(1e-6))
        return distance


@dataclass(frozen=True, slots=True)
class Rod:
    """Rod along z with an elliptic section and round ends; ``taper`` makes the upper end thicker by this fraction."""

    half_length_mm: float
    radius_x_mm: float
    radius_y_mm: float
    taper: float = 0.0

    @property
    def half_mm(self) -> Vector:
        """Half extent of the box."""
        widest = 1 + abs(self.taper)
        ends = min(self.radius_x_mm, self.radius_y_mm) * widest
        return (self.radius_x_mm * widest, self.radius_y_mm * widest, self.half_length_mm + ends)

    def distance(self, x: Points, y: Points, z: Points) -> Points:
        """Signed distance; see :class:`Solid`."""
        scale: Points = np.float32(1.0) + np.clip(z / np.float32(self.half_length_mm), -1, 1) * np.float32(self.taper)
        radius_mm = np.float32(min(self.radius_x_mm, self.radius_y_mm))
        beyond = np.maximum(np.abs(z) - np.float32(self.half_length_mm), 0) / radius_mm
        along = np.sqrt((x / np.float32(self.radius_x_mm)) ** 2 + (y / np.float32(self.radius_y_mm)) ** 2 + beyond**2)
        distance: Points = (along - scale) * radius_mm
        return distance


@dataclass(frozen=True, slots=True)
class Plate:
    """Elliptic plate in the x-y plane, bent like a bowl: its middle surface is z = ``bend_per_mm`` x (x² + y²) / 2."""

    half_x_mm: float
    half_y_mm: float
    thickness_mm: float
    bend_per_mm: float

    @property
    def half_mm(self) -> Vector:
        """Half extent of the box."""
        rise = abs(self.bend_per_mm) * (self.half_x_mm**2 + self.half_y_mm**2) / 2
        return (self.half_x_mm, self.half_y_mm, self.thickness_mm + rise)

    def distance(self, x: Points, y: Points, z: Points) -> Points:
        """Signed distance; see :class:`Solid`."""
        radius = np.sqrt((x / np.float32(self.half_x_mm)) ** 2 + (y / np.float32(self.half_y_mm)) ** 2)
        edge = (radius - 1) * np.float32(min(self.half_x_mm, self.half_y_mm))
        # The rim (crest) is twice as thick as the middle.
        half_thickness = np.float32(self.thickness_mm / 2) * (np.float32(0.6) + np.float32(0.6) * np.minimum(radius, 1) ** 4)
        across = np.abs(z - np.float32(self.bend_per_mm / 2) * (x**2 + y**2)) - half_thickness
        return round_corner(edge, across, 2.0)


@dataclass(frozen=True, slots=True)
class Disk:
    """A vertebral body or a disc between two: x to the left, y to the back, z to the head.

    Attributes:
        width_mm, depth_mm, height_mm: extent along x, y and z; the height is that of the rim.
        waist: fraction by which the section is narrower at mid height; negative bulges.
        concavity_mm: depth of each end plate below its rim; negative bulges.
        wedge: slope of each end plate; positive makes the front higher.
        front_loss: fraction of the height that is missing at the front of the upper end plate (wedge fracture).
        hollow: how kidney-shaped the section is: depth of the hollow in the back wall as fraction of the depth.
    """

    width_mm: float
    depth_mm: float
    height_mm: float
    waist: float = 0.0
    concavity_mm: float = 0.0
    wedge: float = 0.0
    front_loss: float = 0.0
    hollow: float = 0.0

    @property
    def half_mm(self) -> Vector:
        """Half extent of the box."""
        wider = 1 + max(0.0, -self.waist)
        taller = max(0.0, -self.concavity_mm) + abs(self.wedge) * self.depth_mm * (0.5 + self.hollow)
        return (
            self.width_mm / 2 * wider,
            self.depth_mm * (0.5 + self.hollow) * wider,
            self.height_mm / 2 + taller,
        )

    def distance(self, x: Points, y: Points, z: Points) -> Points:
        """Signed distance; see :class:`Solid`."""
        f = np.float32
        across = x / f(self.width_mm / 2)
        # Bending the section about the canal hollows the back wall and, less, rounds the front; the shift keeps it centred.
        bent = y / f(self.depth_mm / 2)
        if self.hollow:
            bent = bent - f(2 * self.hollow) * (across**2 - f(0.4)) * (f(1) + f(0.6) * np.clip(bent, -1, 1))
        # Exponent 2.5: between an ellipse and a rectangle, as sections of lumbar bodies are.
        radius = (across**2 * np.sqrt(np.abs(across)) + bent**2 * np.sqrt(np.abs(bent))) ** f(0.4)
        level = np.clip(z / f(self.height_mm / 2), -1, 1)
        narrow = f(1) - f(self.waist) * (f(1) - level**2)
        # Distance along the ray from the axis; near the axis, where the ray has no direction, half the depth is used.
        reach = np.sqrt(x**2 + (bent * f(self.depth_mm / 2)) ** 2)
        side = (radius - narrow) * (reach + f(0.025 * self.depth_mm)) / (radius + f(0.05))
        dip = f(self.concavity_mm) * np.maximum(f(1) - radius**2, 0)
        upper = lower = f(self.height_mm / 2) - dip - f(self.wedge) * y
        if self.front_loss:
            upper = upper - f(self.front_loss * self.height_mm) * np.clip(f(0.5) - y / f(self.depth_mm), 0, 1)
        end = np.maximum(z - upper, -z - lower)
        return round_corner(side, end, 2.0)


def round_corner(first: Points, second: Points, rounding_mm: float) -> Points:
    """Signed distance of the intersection of two solids, with its edge rounded."""
    r = np.float32(rounding_mm)
    a, b = first + r, second + r
    outside = np.sqrt(np.maximum(a, 0) ** 2 + np.maximum(b, 0) ** 2)
    distance: Points = outside + np.minimum(np.maximum(a, b), 0) - r
    return distance


@dataclass(frozen=True, slots=True)
class Trunk:
    """Body with an elliptic section that changes along z, given at knots and interpolated.

    Attributes:
        z_mm: heights of the knots, rising; the shape continues unchanged beyond the ends.
        half_width_mm, front_mm, back_mm: half width, and y of the front and of the back, per knot.
    """

    z_mm: tuple[float, ...]
    half_width_mm: tuple[float, ...]
    front_mm: tuple[float, ...]
    back_mm: tuple[float, ...]

    @property
    def half_mm(self) -> Vector:
        """Half extent of the box."""
        return (max(self.half_width_mm), max(*self.back_mm, -min(self.front_mm)), 2000.0)

    def distance(self, x: Points, y: Points, z: Points) -> Points:
        """Signed distance; see :class:`Solid`."""
        # A table with steps of a quarter mm is much faster than interpolation if z is a whole volume.
        ticks = np.arange(self.z_mm[0], self.z_mm[-1] + 0.25, 0.25)
        step = np.clip((z - np.float32(self.z_mm[0])) * np.float32(4), 0, len(ticks) - 1).astype(np.int32)
        half_width, front, back = (
            np.interp(ticks, self.z_mm, values).astype(np.float32)[step]
            for values in (self.half_width_mm, self.front_mm, self.back_mm)
        )
        half_depth = (back - front) / 2
        u, v = x / half_width, (y - (front + back) / 2) / half_depth
        radius = np.sqrt(u**2 + v**2)
        slope = np.sqrt((u / half_width) ** 2 + (v / half_depth) ** 2)
        distance: Points = radius * (radius - 1) / np.maximum(slope, np.float32(1e-6))
        return distance


@dataclass(frozen=True, slots=True)
class Block:
    """Box along the axes with slightly rounded edges."""

    half_mm: Vector

    def distance(self, x: Points, y: Points, z: Points) -> Points:
        """Signed distance; see :class:`Solid`."""
        a, b, c = (np.float32(value) for value in self.half_mm)
        return round_corner(round_corner(np.abs(x) - a, np.abs(y) - b, 2.0), np.abs(z) - c, 2.0)


@dataclass(frozen=True, slots=True)
class Couch:
    """Table top, hollow like a trough: its top at y = 0 in the middle, ``sag_mm`` higher (smaller y) at the sides."""

    half_width_mm: float
    thickness_mm: float
    sag_mm: float

    @property
    def half_mm(self) -> Vector:
        """Half extent of the box."""
        return (self.half_width_mm, max(self.thickness_mm, self.sag_mm), 2000.0)

    def distance(self, x: Points, y: Points, z: Points) -> Points:
        """Signed distance; see :class:`Solid`."""
        across = (x / np.float32(self.half_width_mm)) ** 2
        above = np.float32(-self.sag_mm) * across - y
        below = y - np.float32(self.thickness_mm) + np.float32(self.thickness_mm + 0.7 * self.sag_mm) * across
        distance: Points = np.maximum(np.maximum(above, below), np.abs(z) - np.float32(2000.0))
        return distance
