"""Everything around the skeleton: outline, fat, muscle, organs, vessels, bowel, and the table. Typical adult, rounded."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from node.model import Vector
from node.phantom.anatomy import Anatomy, Layer, Part, filled
from node.phantom.parameters import PatientPosition, PhantomParameters
from node.phantom.shapes import Couch, Ellipsoid, Frame, Matrix, Trunk
from node.phantom.vertebrae import Column, axes_of, chain

AIR_HU = -1000.0
FAT_HU = -105.0
_GAS_HU = -950.0
_LUNG_HU = -850.0
_MUSCLE_HU = 56.0
_SKIN_HU = 10.0
_WALL_MM = 13.0
_SAG_UNDER_A_PLATE_MM = 9.0
_LUMBAR = (Anatomy.L1, Anatomy.L2, Anatomy.L3, Anatomy.L4, Anatomy.L5)
_THORACIC = (Anatomy.T7, Anatomy.T8, Anatomy.T9, Anatomy.T10, Anatomy.T11, Anatomy.T12)


def rib_depth_mm(parameters: PhantomParameters) -> float:
    """Depth of the ribs below the skin: the middle of the muscular wall."""
    return parameters.spine.fat_mm + 0.6 * _WALL_MM


def outline(column: Column, parameters: PhantomParameters) -> Trunk:
    """Skin of the trunk; the back follows the spinous processes, the front is nearly flat."""
    s, girth, fat = parameters.spine.size, parameters.spine.girth, parameters.spine.fat_mm
    knots: list[tuple[float, float, float, float]] = []
    for vertebra in reversed(column.vertebrae):
        _, y, z = vertebra.frame.point((0.0, vertebra.body.depth_mm / 2 + 50 * vertebra.scale, 0.0))
        knots.append((float(z), 0.0, 0.0, float(y) + 6 * s + fat))
    hip = float(column.sacrum.origin_mm[2])
    back = float(column.sacrum.point((0.0, 45 * s, 0.0))[1]) + fat
    knots = [(hip - 110 * s, 0.0, 0.0, back + 28 * s), (hip - 40 * s, 0.0, 0.0, back + 14 * s), *knots]
    z = np.array([k[0] for k in knots])
    width = np.interp(z, np.array([-220, -130, -60, 0, 80, 160, 230]) * s, np.array([172, 164, 150, 142, 146, 148, 146]) * s)
    front = np.interp(z, np.array([-220, -120, -40, 60, 160, 230]) * s, np.array([-92, -96, -100, -104, -104, -98]) * s)
    return Trunk(
        tuple(map(float, z)),
        tuple(map(float, width * girth + fat - 18)),
        tuple(map(float, front * girth - fat + 18)),
        tuple(k[3] for k in knots),
    )


def trunk_parts(trunk: Trunk, column: Column, parameters: PhantomParameters) -> list[Part]:
    """Skin, fat, the muscular wall, the filling of the abdomen, and the muscles along the spine."""
    fat = parameters.spine.fat_mm
    layers = (
        Layer(_SKIN_HU, Anatomy.FAT),
        Layer(FAT_HU, Anatomy.FAT, 2.0),
        Layer(_MUSCLE_HU, Anatomy.MUSCLE, fat),
        Layer(FAT_HU + 8, Anatomy.FAT, fat + _WALL_MM),
    )
    muscles = _muscle_parts(column, parameters)
    return [Part(trunk, Frame.at((0.0, 0.0, 0.0)), layers), *_below_skin(muscles, fat + 1.0)]


def _below_skin(parts: Sequence[Part], depth_mm: float) -> list[Part]:
    """The parts, limited to this depth below the skin of the trunk."""
    return [dataclasses.replace(part, least_depth_mm=depth_mm) for part in parts]


def _muscle_parts(column: Column, parameters: PhantomParameters) -> list[Part]:
    s = parameters.spine.size
    sacrum = column.sacrum
    parts: list[Part] = []

    def add(path: Sequence[Matrix], radii: Sequence[tuple[float, float]], hu: float, anatomy: Anatomy) -> None:
        scaled = [(rx * s, ry * s) for rx, ry in radii]
        parts.extend(filled(solid, frame, hu, anatomy) for solid, frame in chain(path, scaled))

    for side in (-1, 1):
        path, radii = [], []
        for vertebra in column.vertebrae:
            back = vertebra.body.depth_mm / 2
            lumbar = vertebra.is_lumbar
            path.append(vertebra.frame.point((side * (34 if lumbar else 26) * s, back + (31 if lumbar else 30) * s, -4 * s)))
            radii.append((30.0, 21.0) if lumbar else (23.0, 15.0))
        path.append(sacrum.point((side * 26 * s, 42 * s, 0.0)))
        radii.append((22.0, 14.0))
        add(path, radii, _MUSCLE_HU - 6, Anatomy.PARASPINAL_MUSCLE)

        offsets = {Anatomy.L1: 4.0, Anatomy.L2: 8.0, Anatomy.L3: 12.0, Anatomy.L4: 15.0, Anatomy.L5: 17.0}
        path = []
        for anatomy, offset in offsets.items():
            vertebra = column.vertebra(anatomy)
            path.append(vertebra.frame.point((side * (vertebra.body.width_mm / 2 + offset * s), 3 * s, 0.0)))
        path += [
            sacrum.origin_mm + np.array([side * x, y, z]) * s
            for x, y, z in ((60, -38, -10), (76, -66, -70), (92, -58, -150))
        ]
        psoas = [(7, 9), (11, 13), (16, 18), (19, 22), (21, 23), (21, 20), (18, 17), (16, 16)]
        add(path, psoas, _MUSCLE_HU + 2, Anatomy.PSOAS)

        path = [
            column.vertebra(a).frame.point((side * x * s, 22 * s, 0.0))
            for a, x in zip(_LUMBAR[:4], (48, 58, 66, 72), strict=True)
        ]
        add(path, [(13, 7), (18, 9), (20, 10), (18, 10)], _MUSCLE_HU, Anatomy.QUADRATUS_LUMBORUM)
        # Iliacus inside the wing, gluteal muscles outside.
        for (x, y, z), half in (
            ((66, -14, -20), (26, 44, 44)),
            ((112, 30, -40), (36, 50, 70)),
            ((70, 66, -80), (52, 30, 60)),
        ):
            place = Frame(sacrum.origin_mm + np.array([side * x, y, z]) * s, axes_of(0.0, -side * 14.0))
            solid = Ellipsoid((half[0] * s, half[1] * s, half[2] * s))
            parts.append(filled(solid, place, _MUSCLE_HU, Anatomy.MUSCLE))
    return parts


def organ_parts(trunk: Trunk, column: Column, parameters: PhantomParameters) -> list[Part]:
    """Lungs, heart, bowel, stomach, liver, spleen, kidneys, bladder and great vessels, in the order of painting."""
    s, girth, contrast = parameters.spine.size, parameters.spine.girth, parameters.contrast
    place = {v.anatomy: v.frame.origin_mm for v in column.vertebrae}
    parts: list[Part] = []

    def blob(
        near: Anatomy, at: Vector, half: Vector, hu: float, anatomy: Anatomy, tilt_deg: float = 0.0, list_deg: float = 0.0
    ) -> None:
        wide = np.array([s * girth, s * girth, s])
        centre = place[near] + np.array(at) * wide
        size = np.array(half) * wide
        frame = Frame(centre, axes_of(tilt_deg, list_deg))
        parts.append(filled(Ellipsoid((float(size[0]), float(size[1]), float(size[2]))), frame, hu, anatomy))

    for side in (-1, 1):
        blob(Anatomy.T7, (side * 70, -6, 20), (64, 92, 142), _LUNG_HU, Anatomy.LUNG)
    blob(Anatomy.T7, (18, -72, 10), (52, 44, 62), 45.0, Anatomy.HEART)
    # The abdomen bulges into the chest below the left half of the diaphragm; on the right the liver does.
    blob(Anatomy.T11, (56, -24, -6), (60, 66, 56), FAT_HU + 8, Anatomy.FAT)
    parts += _bowel_parts(trunk, column, parameters)
    blob(Anatomy.T12, (48, -66, 6), (42, 34, 46), 25.0, Anatomy.STOMACH, list_deg=20)
    blob(Anatomy.T12, (52, -84, 14), (26, 12, 26), _GAS_HU, Anatomy.STOMACH, list_deg=20)
    blob(Anatomy.T11, (-64, -46, -8), (66, 72, 74), contrast.liver_hu, Anatomy.LIVER)
    blob(Anatomy.T11, (-10, -78, 4), (60, 34, 36), contrast.liver_hu, Anatomy.LIVER)
    blob(Anatomy.T11, (98, -2, -8), (26, 44, 46), contrast.spleen_hu, Anatomy.SPLEEN, tilt_deg=-15)
    for side, near, up in ((1, Anatomy.L1, 2), (-1, Anatomy.L2, 8)):
        blob(near, (side * 62, 12, up), (29, 25, 54), contrast.kidney_hu, Anatomy.KIDNEY, list_deg=-side * 10)
        blob(near, (side * 50, 4, up), (15, 12, 26), FAT_HU, Anatomy.FAT, list_deg=-side * 10)
    base = column.sacrum.origin_mm
    parts.append(
        filled(Ellipsoid((38 * s, 34 * s, 32 * s)), Frame.at(base + np.array([0, -40, -100]) * s), 8.0, Anatomy.BLADDER)
    )
    parts = _below_skin(parts, parameters.spine.fat_mm + 0.8 * _WALL_MM)
    return parts + _vessel_parts(column, parameters)


def _vessel_parts(column: Column, parameters: PhantomParameters) -> list[Part]:
    s, contrast = parameters.spine.size, parameters.contrast
    base = column.sacrum.origin_mm
    fork: dict[str, Matrix] = {}
    parts: list[Part] = []
    for name, x, gap, radii, hu, anatomy, upto in (
        ("artery", 9.0, 11.5, (10.0, 10.0), contrast.aorta_hu, Anatomy.AORTA, Anatomy.T7),
        ("vein", -20.0, 10.0, (12.5, 9.5), contrast.vena_cava_hu, Anatomy.VENA_CAVA, Anatomy.T9),
    ):
        path = []
        for vertebra in column.vertebrae:
            if upto <= vertebra.anatomy <= Anatomy.L4:
                # The aorta lies beside the thoracic column and comes to its front at the diaphragm.
                aside = x + (12.0 if name == "artery" and not vertebra.is_lumbar else 0.0)
                path.append(vertebra.frame.point((aside * s, -vertebra.body.depth_mm / 2 - gap * s, 0.0)))
        fork[name] = path[-1]
        parts += [filled(solid, f, hu, anatomy) for solid, f in chain(path, [(radii[0] * s, radii[1] * s)] * len(path))]
    for side in (-1, 1):
        ways = [base + np.array([side * x, y, z]) * s for x, y, z in ((34, -42, 10), (62, -70, -60), (78, -78, -140))]
        for name, shift, hu in (("artery", 0.0, contrast.aorta_hu), ("vein", 12.0, contrast.vena_cava_hu)):
            path = [fork[name], *(way + np.array([0.0, shift * s, 0.0]) for way in ways)]
            radii_mm = [(7 * s, 7 * s)] * len(path)
            parts += [filled(solid, f, hu, Anatomy.ILIAC_VESSELS) for solid, f in chain(path, radii_mm)]
    return parts + _plaques(column, s)


def _plaques(column: Column, s: float) -> list[Part]:
    """Calcified plaques in the wall of the aorta, near the bodies, as in patients."""
    parts = []
    for anatomy, angle in ((Anatomy.L2, 0.5), (Anatomy.L3, 2.4), (Anatomy.L4, 1.2)):
        vertebra = column.vertebra(anatomy)
        x, y = 9.0 + 9.5 * np.cos(angle), -11.5 + 9.5 * np.sin(angle)
        place = vertebra.frame.point((x * s, -vertebra.body.depth_mm / 2 + y * s, 2.0))
        parts.append(filled(Ellipsoid((2.5, 2.5, 5.0)), Frame.at(place), 550.0, Anatomy.AORTA))
    return parts


def _bowel_parts(trunk: Trunk, column: Column, parameters: PhantomParameters) -> list[Part]:
    """Colon with gas and stool, and loops of small bowel at random, some with gas and some with oral contrast agent."""
    rng = np.random.default_rng((parameters.seed, 1))
    s, girth = parameters.spine.size, parameters.spine.girth
    parts: list[Part] = []
    height = {v.anatomy: float(v.frame.origin_mm[2]) for v in column.vertebrae}

    def at(x: float, depth: float, z: float) -> Matrix:
        """Point at x mm from the middle and ``depth`` (0 front to 1 back) between the front wall and the spine."""
        front = float(np.interp(z, trunk.z_mm, trunk.front_mm)) + parameters.spine.fat_mm + _WALL_MM + 16 * s
        return np.array([x * s * girth, front + depth * (-28 * s - front), z])

    def gut(path: list[Matrix], radius: float, content_hu: float, gas: bool) -> None:
        rods = chain(path, [(radius, radius)] * len(path))
        parts.extend(filled(solid, frame, 42.0, Anatomy.BOWEL) for solid, frame in rods)
        parts.extend(Part(solid, frame, (Layer(content_hu, Anatomy.BOWEL, 2.0),)) for solid, frame in rods)
        if gas:  # it rises to the front of a supine patient
            up = np.array([0.0, -0.35 * radius, 0.0])
            inner = chain([p + up for p in path], [(0.6 * radius, 0.45 * radius)] * len(path))
            parts.extend(filled(solid, frame, _GAS_HU, Anatomy.BOWEL) for solid, frame in inner)

    for _ in range(100):
        z = float(rng.uniform(height[Anatomy.L5] - 60 * s, height[Anatomy.L1] - 5 * s))
        start = at(float(rng.uniform(-85, 85)), float(rng.uniform(0.0, 0.95)), z)
        turn = rng.normal(size=(2, 3)) * np.array([24.0, 10.0, 10.0]) * s
        kind = rng.uniform()
        content = parameters.contrast.bowel_hu if kind < 0.22 else float(rng.uniform(15, 40))
        gut([start, start + turn[0], start + turn[0] + turn[1]], float(rng.uniform(9, 13)) * s, content, kind > 0.8)
    for path_of, radius in (
        ([(-96, 0.9, -110), (-98, 0.9, -60), (-98, 0.85, -10), (-92, 0.6, 30)], 24.0),
        ([(-92, 0.6, 30), (-50, 0.1, 18), (0, 0.0, 8), (50, 0.1, 20), (94, 0.7, 48)], 20.0),
        ([(94, 0.8, 48), (102, 1.0, 0), (102, 1.0, -60), (92, 0.8, -110), (40, 0.8, -150), (0, 1.1, -170)], 17.0),
    ):
        for k in range(len(path_of) - 1):
            ends = [at(x, depth, z * s) for x, depth, z in path_of[k : k + 2]]
            steps = [ends[0] + (ends[1] - ends[0]) * t for t in np.linspace(0, 1, 4)]
            wide = [(radius * s * f, radius * s * f) for f in rng.uniform(0.85, 1.1, 4)]
            pieces = chain(steps, wide)
            parts += [filled(solid, frame, 45.0, Anatomy.BOWEL) for solid, frame in pieces]
            for solid, frame in pieces:
                parts.append(Part(solid, frame, (Layer(float(rng.uniform(-30, 50)), Anatomy.BOWEL, 2.0),)))
            for _ in range(5):
                spot = ends[0] + (ends[1] - ends[0]) * rng.uniform() + rng.uniform(-0.5, 0.3, 3) * radius * s
                half = rng.uniform(3, 0.42 * radius, 3) * s
                parts.append(
                    filled(
                        Ellipsoid((float(half[0]), float(half[1]), float(half[2]))), Frame.at(spot), _GAS_HU, Anatomy.BOWEL
                    )
                )
    return parts


def lowest_mm(trunk: Trunk, parameters: PhantomParameters) -> float:
    """Distance from the centre of L3 to the end of the patient, towards the table."""
    return -min(trunk.front_mm) if is_prone(parameters) else max(trunk.back_mm)


def table_axes(parameters: PhantomParameters) -> Matrix:
    """Axes of the table, y downward: it does not rotate with the patient."""
    return np.diag([-1.0, -1.0, 1.0]) if is_prone(parameters) else np.eye(3)


def is_prone(parameters: PhantomParameters) -> bool:
    """Whether the patient is prone."""
    return parameters.patient_position in (PatientPosition.HEAD_FIRST_PRONE, PatientPosition.FEET_FIRST_PRONE)


def table_parts(trunk: Trunk, parameters: PhantomParameters, between_mm: float = 0.0) -> list[Part]:
    """The table below the patient, a hard shell around foam; with ``between_mm`` of space for an object on it."""
    axes = table_axes(parameters)
    below_mm = lowest_mm(trunk, parameters) + 2.0
    if between_mm:
        # the table is hollow: a plate rests on its sides, and foam fills the hollow
        below_mm += between_mm + _SAG_UNDER_A_PLATE_MM
    frame = Frame.at(axes @ np.array([0.0, below_mm, 0.0]), axes)
    layers = (Layer(140.0, Anatomy.TABLE), Layer(-930.0, Anatomy.TABLE, 2.5))
    return [Part(Couch(half_width_mm=215.0, thickness_mm=60.0, sag_mm=32.0), frame, layers)]
