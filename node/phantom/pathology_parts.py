"""Degeneration, lesions, cement and cages as parts to paint. Fractures change the bodies: :mod:`node.phantom.vertebrae`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from node.phantom.anatomy import Layer, Part
from node.phantom.pathology import Degeneration, Pathology
from node.phantom.shapes import Disk, Ellipsoid, Frame, Rod
from node.phantom.vertebrae import Column, Vertebra

#: Before it is clipped to the scanner's range.
_TITANIUM_HU = 6000.0


def pathology_parts(column: Column, pathology: Pathology) -> list[Part]:
    """Parts that are painted over the bodies. They keep the label of the structure that they are in."""
    vertebrae = {vertebra.level: vertebra for vertebra in column.vertebrae if vertebra.level is not None}
    below = {upper.level: lower for upper, lower in zip(column.vertebrae, column.vertebrae[1:], strict=False)}
    parts: list[Part] = []
    for change in pathology.degeneration:
        parts += _changed_end_plate(vertebrae[change.level], change, upward=False)
        if change.level in below:
            parts += _changed_end_plate(below[change.level], change, upward=True)
    for lesion in pathology.lesions:
        radius = lesion.radius_mm
        centre = vertebrae[lesion.level].frame.point(lesion.offset_mm)
        parts.append(_keeping_label(Ellipsoid((radius, radius, radius)), Frame.at(centre), lesion.hu))
    for cement in pathology.cement:
        vertebra, r = vertebrae[cement.level], cement.radius_mm
        for x, y, z in ((-0.6, -0.4, 0.1), (0.6, -0.1, -0.15)):
            frame = Frame(vertebra.frame.point((x * r, y * r, z * r)), vertebra.frame.axes)
            parts.append(_keeping_label(Ellipsoid((r, 0.9 * r, 0.7 * r)), frame, cement.hu))
    for level in pathology.cages:
        vertebra = vertebrae[level]
        half = vertebra.body.height_mm / 2 + vertebra.disc_mm / 2
        frame = Frame(vertebra.frame.point((0.0, -2.0, -half)), vertebra.frame.axes)
        cage = Disk(30.0, 14.0, vertebra.disc_mm + 3.0)
        parts.append(Part(cage, frame, (Layer(_TITANIUM_HU, None), Layer(250.0, None, 2.5))))
    return parts


def _keeping_label(solid: Ellipsoid | Disk | Rod, frame: Frame, hu: float) -> Part:
    return Part(solid, frame, (Layer(hu, None),))


def _changed_end_plate(vertebra: Vertebra, change: Degeneration, *, upward: bool) -> Sequence[Part]:
    """Sclerosis beneath one end plate, and osteophytes at its rim."""
    body, side = vertebra.body, 1.0 if upward else -1.0
    parts: list[Part] = []
    if change.sclerosis_mm > 0:
        layer = Disk(0.88 * body.width_mm, 0.88 * body.depth_mm, change.sclerosis_mm, hollow=body.hollow)
        centre = (0.0, 0.0, side * (body.height_mm / 2 - 1.0 - change.sclerosis_mm / 2))
        parts.append(_keeping_label(layer, Frame(vertebra.frame.point(centre), vertebra.frame.axes), change.sclerosis_hu))
    if change.osteophyte_mm > 0:
        for angle_deg in (-160.0, -135.0, -110.0, -90.0, -70.0, -45.0, -20.0):
            out = np.array([np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg)), 0.0])
            rim = out * np.array([body.width_mm / 2, body.depth_mm / 2, 0.0]) * 0.95
            rim[2] = side * (body.height_mm / 2 - 2.5)
            tip = rim + out * change.osteophyte_mm
            along = (tip - rim) / np.linalg.norm(tip - rim)
            across = np.cross(along, (0.0, 0.0, 1.0))
            local = Frame((rim + tip) / 2, np.stack([across, np.cross(along, across), along]))
            beak = Rod(change.osteophyte_mm / 2, 4.0, 2.5)
            parts.append(_keeping_label(beak, local.inside(vertebra.frame), 450.0))
    return parts
