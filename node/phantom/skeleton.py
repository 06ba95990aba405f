"""Ribs, sacrum, pelvis and pedicle screws. Dimensions are those of a typical adult, rounded, unless a source is named."""

from __future__ import annotations

import numpy as np

from node.model import Vector
from node.phantom.anatomy import Anatomy, Layer, Part
from node.phantom.parameters import PhantomParameters
from node.phantom.shapes import Disk, Ellipsoid, Frame, Matrix, Plate, Rod, Solid, Trunk
from node.phantom.vertebrae import Column, Vertebra, axes_of, between, bone_parts, chain

_RIB_CORTEX_HU = 650.0
_RIB_MARROW_HU = 180.0
_PELVIS_MARROW_HU = 150.0
_SACRUM_MARROW_HU = 110.0
#: Extent of each rib around the trunk, from the spine, in degrees; the last two are floating.
_RIB_REACH_DEG = {7: 158.0, 8: 152.0, 9: 148.0, 10: 138.0, 11: 98.0, 12: 40.0}
#: Distance by which a rib descends on its way to the side.
_RIB_DROP_MM = {7: 85.0, 8: 85.0, 9: 80.0, 10: 75.0, 11: 70.0, 12: 55.0}


def rib_parts(column: Column, trunk: Trunk, wall_mm: float) -> list[Part]:
    """Ribs 7 to 12 of both sides.

    Args:
        column: the vertebrae.
        trunk: outline of the body.
        wall_mm: depth of the ribs below it.
    """
    parts: list[Part] = []
    for number, reach_deg in _RIB_REACH_DEG.items():
        vertebra = column.vertebra(Anatomy(Anatomy.T7 + number - 7))
        for side in (-1, 1):
            path = _rib_path(vertebra, number, side, reach_deg, trunk, wall_mm)
            s = vertebra.scale
            # Ribs are flat: higher than thick, thin at their ends.
            radii = [(3.6 * s, 5.8 * s)] * (len(path) - 1) + [(2.6 * s, 4.0 * s)]
            solids: list[tuple[Solid, Frame]] = []
            for k in range(len(path) - 1):
                frame, half = between(path[k], path[k + 1], _outward(path[k], path[k + 1]))
                solids.append((Rod(half, *radii[k + 1]), frame))
            parts += bone_parts(solids, _RIB_CORTEX_HU, _RIB_MARROW_HU, Anatomy(60 + number))
    return parts


def _outward(start: Matrix, end: Matrix) -> Vector:
    """Horizontal direction across a piece of rib: its thin direction."""
    along = end - start
    across = np.cross(along, (0.0, 0.0, 1.0))
    across /= np.linalg.norm(across)
    return (float(across[0]), float(across[1]), float(across[2]))


def _rib_path(vertebra: Vertebra, number: int, side: int, reach_deg: float, trunk: Trunk, wall_mm: float) -> list[Matrix]:
    s, body = vertebra.scale, vertebra.body
    back = body.depth_mm / 2
    head = vertebra.frame.point((side * 0.45 * body.width_mm, back - 4 * s, body.height_mm / 2 - 4 * s))
    neck = vertebra.frame.point((side * 24 * s, back + 14 * s, 5 * s))
    path = [head, neck]
    centre = vertebra.frame.origin_mm
    for angle_deg in np.arange(24.0, reach_deg + 1.0, 8.0):
        angle = np.deg2rad(angle_deg)
        z = float(neck[2]) - 4 * s - _RIB_DROP_MM[number] * s * float(np.sin(np.deg2rad(min(angle_deg, 110.0) - 24.0)))
        half_width, front, far = (
            float(np.interp(z, trunk.z_mm, v)) for v in (trunk.half_width_mm, trunk.front_mm, trunk.back_mm)
        )
        middle, half_depth = (front + far) / 2, (far - front) / 2
        x = side * (half_width - wall_mm) * float(np.sin(angle))
        y = middle + (half_depth - wall_mm) * float(np.cos(angle))
        path.append(np.array([x + (centre[0] if angle_deg < 30 else 0.0), y, z]))
    return path


def sacrum_parts(column: Column, parameters: PhantomParameters) -> list[Part]:
    """S1 to S5 fused, with the alae and the median crest."""
    s = parameters.spine.size
    solids: list[tuple[Solid, Frame]] = []
    frame = column.sacrum
    tilt_deg = float(np.rad2deg(np.arctan2(-frame.axes[2][1], frame.axes[2][2])))
    # Width, depth, height of each sacral body, and the tilt from the one above (the sacrum is hollow at the front).
    sizes = ((50, 30, 30, 0), (42, 23, 26, 8), (35, 18, 23, 14), (31, 14, 20, 20), (26, 11, 17, 22))
    for k, (width, depth, height, bend_deg) in enumerate(sizes):
        if k:
            below = frame.point((0.0, 0.0, -sizes[k - 1][2] * s / 2))
            tilt_deg -= bend_deg
            axes = axes_of(tilt_deg)
            frame = Frame(below - axes[2] * height * s / 2, axes)
        body = Disk(width * s, depth * s, (height + 1.0) * s, waist=0.05, hollow=0.0)
        solids.append((body, frame))
        for side in (-1, 1):
            ala = Frame.at((side * width * 0.72 * s, depth * 0.15 * s, 0.0), axes_of(0.0, side * 12.0))
            solids.append((Ellipsoid((width * 0.5 * s, depth * 0.52 * s, height * 0.6 * s)), ala.inside(frame)))
            start = frame.point((side * width * 0.5 * s, (depth * 0.5 + 2) * s, 0.0))
            crest = frame.point((0.0, (depth * 0.5 + 21 - 2.5 * k) * s, 0.0))
            arch, half = between(start, crest, (0.0, 1.0, 0.0))
            solids.append((Rod(half, 3.5 * s, height * 0.5 * s), arch))
    return bone_parts(solids, parameters.cortical_hu * 0.8, _SACRUM_MARROW_HU, Anatomy.SACRUM)


def pelvis_parts(column: Column, parameters: PhantomParameters) -> list[Part]:
    """Iliac wings with their crests at the height of L4/L5, acetabula, pubic bones, ischia, and the femoral heads."""
    s = parameters.spine.size
    base = column.sacrum.origin_mm
    parts: list[Part] = []

    def at(side: int, x: float, y: float, z: float) -> Matrix:
        return base + np.array([side * x, y, z]) * s

    for side in (-1, 1):
        solids: list[tuple[Solid, Frame]] = []
        # The wing's plane runs from the back and middle to the front and side, and leans outward at the top.
        forward = np.array([side * 0.50, -0.86, -0.10])
        forward /= np.linalg.norm(forward)
        upward = np.array([side * 0.34, 0.10, 0.93])
        upward -= forward * float(forward @ upward)
        upward /= np.linalg.norm(upward)
        normal = np.cross(forward, upward)
        inward = np.sign(normal[0]) * -side
        wing = Plate(78 * s, 66 * s, 10 * s, float(inward) / (190 * s))
        solids.append((wing, Frame(at(side, 85, -2, -14), np.stack([forward, upward, normal]))))
        solids.append((Ellipsoid((10 * s, 24 * s, 30 * s)), Frame(at(side, 60, 26, -12), axes_of(20.0, side * 14.0))))
        solids.append((Ellipsoid((24 * s, 27 * s, 34 * s)), Frame.at(at(side, 80, -14, -88))))
        solids += chain([at(side, 72, -22, -92), at(side, 40, -52, -104), at(side, 6, -56, -122)], [(8 * s, 8 * s)] * 3)
        solids += chain([at(side, 74, 2, -100), at(side, 62, 12, -140)], [(15 * s, 13 * s)] * 2)
        solids += chain([at(side, 60, 6, -146), at(side, 10, -52, -132)], [(6 * s, 7 * s)] * 2)
        parts += bone_parts(solids, parameters.cortical_hu, _PELVIS_MARROW_HU, Anatomy.ILIUM)
        femur: list[tuple[Solid, Frame]] = [(Ellipsoid((24 * s, 24 * s, 24 * s)), Frame.at(at(side, 88, -20, -100)))]
        femur += chain([at(side, 90, -20, -102), at(side, 135, -10, -135)], [(13 * s, 15 * s)] * 2)
        femur += chain([at(side, 138, -10, -132), at(side, 130, -10, -300)], [(18 * s, 18 * s)] * 2)
        parts += bone_parts(femur, 700.0, 200.0, Anatomy.FEMUR)
    return parts


def screw_parts(column: Column, parameters: PhantomParameters) -> list[Part]:
    """Pedicle screws and rods. They keep the label of the structure that they are in."""
    screws = parameters.screws
    if screws is None:
        return []
    parts: list[Part] = []
    heads: dict[int, list[Matrix]] = {-1: [], 1: []}
    metal = (Layer(screws.metal_hu, None),)
    for vertebra in column.vertebrae:
        if vertebra.level not in screws.levels:
            continue
        s, back = vertebra.scale, vertebra.body.depth_mm / 2
        pedicle = (11.5 + 3.6 + 0.75 * max(0, vertebra.anatomy - Anatomy.L1)) * s
        for side in (-1, 1):
            tip = vertebra.frame.point((side * 8 * s, -back + 8 * s, 1 * s))
            head = vertebra.frame.point((side * (pedicle + 6 * s), back + 28 * s, 4 * s))
            frame, half = between(tip, head)
            # Screws of 6.5 mm diameter; the head that holds the rod is twice as wide.
            parts.append(Part(Rod(half, 3.25, 3.25), frame, metal))
            parts.append(Part(Ellipsoid((7.0, 7.0, 7.0)), Frame.at(head), metal))
            heads[side].append(head)
    if screws.rods:
        for path in heads.values():
            parts += [Part(solid, frame, metal) for solid, frame in chain(path, [(2.75, 2.75)] * len(path))]
    return parts
