"""Calibration phantoms on the table: a flat plate with parallel rods, beneath the patient or beneath a body of water.

The contents of the rods are nominal (:mod:`node.model.calibration_phantoms`). The shape of the plate, its material (water)
and the body above it are assumptions without a source.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from node.model import Vector
from node.model.calibration_phantoms import CalibrationPhantom
from node.phantom.anatomy import Anatomy, Layer, Part, filled
from node.phantom.shapes import Block, Frame, Rod

#: Margin of the plate around its rods, in width and thickness.
_RIM_MM = 7.0
_PLATE_THICKNESS_PER_DIAMETER = 1.75
#: Mat between the plate and the body on it.
_MAT_MM = 3.0
#: Semi-axes of the body of water.
_BODY_MM = (150.0, 105.0)
_BODY_LENGTH_MM = 1000.0
_FLAW_RADIUS_MM = 2.5


@dataclass(frozen=True, slots=True)
class Flaw:
    """A channel of ``hu`` along the middle of a rod, 5 mm wide: a wire, or air."""

    rod: int
    hu: float


@dataclass(frozen=True, slots=True)
class CalibrationSetup:
    """How a calibration phantom is scanned.

    Attributes:
        phantom: its rods.
        patient: whether the digital patient is on it; otherwise a body of water.
        turned: the row runs from the patient's left to the right, as if the phantom was turned over or put in feet first.
        roll_deg: rotation of the phantom in the plane of the slices.
        yaw_deg: rotation of its rods out of the direction of the table.
        aside_mm: its distance to the left of the middle.
        length_mm: of plate and rods, centred on L3.
        plate_hu: attenuation of the plate.
        flaw: a foreign object in a rod.
    """

    phantom: CalibrationPhantom
    patient: bool = True
    turned: bool = False
    roll_deg: float = 0.0
    yaw_deg: float = 0.0
    aside_mm: float = 0.0
    length_mm: float = 400.0
    plate_hu: float = 0.0
    flaw: Flaw | None = None


@dataclass(frozen=True, slots=True)
class RodTruth:
    """One rod: its density in mg/cm3, its HU, and the middle of its axis."""

    density_mg_cm3: float
    hu: float
    centre_lps_mm: Vector


def plate_half_mm(setup: CalibrationSetup) -> Vector:
    """Half width, half thickness and half length of the plate."""
    phantom = setup.phantom
    width = phantom.places_mm[-1] - phantom.places_mm[0] + phantom.rod_diameter_mm + 2 * _RIM_MM
    return (width / 2, phantom.rod_diameter_mm * _PLATE_THICKNESS_PER_DIAMETER / 2, setup.length_mm / 2)


def plate_depth_mm(setup: CalibrationSetup) -> float:
    """Space that the plate and its mat need between table and patient."""
    half_width, half_thickness, _ = plate_half_mm(setup)
    return 2 * half_thickness + _MAT_MM + 2 * half_width * abs(float(np.sin(np.deg2rad(setup.roll_deg))))


def plate_frame(setup: CalibrationSetup, top_mm: float) -> Frame:
    """Frame of the plate, whose upper side (with the mat) is at y = ``top_mm``: x along the row, z along the rods."""
    turn = Rotation.from_euler("zy", [setup.roll_deg, setup.yaw_deg], degrees=True).as_matrix()
    axes = (np.diag([-1.0, -1.0, 1.0]) if setup.turned else np.eye(3)) @ turn.T
    return Frame.at((setup.aside_mm, top_mm + plate_depth_mm(setup) / 2 + _MAT_MM / 2, 0.0), axes)


def plate_parts(setup: CalibrationSetup, frame: Frame, slope: float, intercept_mg_cm3: float) -> list[Part]:
    """The plate with its rods, in the order of painting."""
    parts = [filled(Block(plate_half_mm(setup)), frame, setup.plate_hu, Anatomy.CALIBRATION_PHANTOM)]
    radius, half = setup.phantom.rod_diameter_mm / 2, setup.length_mm / 2
    for k, hu in enumerate(setup.phantom.rod_hu(slope, intercept_mg_cm3)):
        rod = Frame.at((_row_mm(setup, k), 0.0, 0.0)).inside(frame)
        parts.append(filled(Rod(half - radius, radius, radius), rod, hu, Anatomy.ROD))
        if setup.flaw is not None and setup.flaw.rod == k:
            channel = Rod(half, _FLAW_RADIUS_MM, _FLAW_RADIUS_MM)
            parts.append(Part(channel, rod, (Layer(setup.flaw.hu, Anatomy.ROD),)))
    return parts


def water_body_parts(top_mm: float) -> list[Part]:
    """A long body of water that ends at y = ``top_mm``."""
    body = Rod(_BODY_LENGTH_MM, *_BODY_MM)
    return [filled(body, Frame.at((0.0, top_mm - _BODY_MM[1], 0.0)), 0.0, Anatomy.MUSCLE)]


def rod_truths(setup: CalibrationSetup, frame: Frame, slope: float, intercept_mg_cm3: float) -> tuple[RodTruth, ...]:
    """Truth of every rod, in the order of the table."""
    truths = []
    for k, (rod, hu) in enumerate(zip(setup.phantom.rods, setup.phantom.rod_hu(slope, intercept_mg_cm3), strict=True)):
        x, y, z = (round(float(v), 3) for v in frame.point((_row_mm(setup, k), 0.0, 0.0)))
        truths.append(RodTruth(rod.density_mg_cm3, hu, (x, y, z)))
    return tuple(truths)


def _row_mm(setup: CalibrationSetup, k: int) -> float:
    """Position of a rod along the row, from the middle of the row."""
    places = setup.phantom.places_mm
    return places[k] - (places[0] + places[-1]) / 2
