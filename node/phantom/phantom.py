"""Makes a phantom from its parameters: the image, its position and the truth."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from node.model import Affine, HuArray
from node.phantom.anatomy import Part
from node.phantom.calibration import RodTruth, plate_depth_mm, plate_frame, plate_parts, rod_truths, water_body_parts
from node.phantom.parameters import PhantomParameters
from node.phantom.pathology_parts import pathology_parts
from node.phantom.render import grid_of, render
from node.phantom.shapes import Frame, Trunk
from node.phantom.skeleton import pelvis_parts, rib_parts, sacrum_parts, screw_parts
from node.phantom.torso import lowest_mm, organ_parts, outline, rib_depth_mm, table_axes, table_parts, trunk_parts
from node.phantom.truth import PhantomTruth, body_labels, level_truths
from node.phantom.vertebrae import Column, build_column, column_parts


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A digital CT of a digital patient.

    Attributes:
        parameters: what it was made from.
        hu: int16, (slices, rows, columns).
        affine_lps_mm: 4 x 4; maps the array index (slice, row, column, 1) to the position of the voxel's centre in mm.
        truth: the true values.
    """

    parameters: PhantomParameters
    hu: HuArray
    affine_lps_mm: Affine
    truth: PhantomTruth


def make_phantom(parameters: PhantomParameters) -> Phantom:
    """Make the phantom that the parameters describe; equal parameters give equal arrays."""
    setup, scanner = parameters.calibration, parameters.scanner
    column = build_column(parameters)
    trunk = outline(column, parameters)
    turn = Rotation.from_rotvec(parameters.pose_deg, degrees=True).as_matrix()
    patient = Frame(np.array(parameters.l3_position_lps_mm), turn.T)
    room = Frame.at(parameters.l3_position_lps_mm)
    equation = (scanner.slope_mg_cm3_per_hu, scanner.intercept_mg_cm3)
    rods: tuple[RodTruth, ...] = ()
    top_mm = lowest_mm(trunk, parameters)
    room_parts = table_parts(trunk, parameters, 0.0 if setup is None else plate_depth_mm(setup))
    if setup is not None:
        # defined for a supine patient, and turned with the table for a prone one
        frame = plate_frame(setup, top_mm).inside(Frame.at((0.0, 0.0, 0.0), table_axes(parameters)))
        room_parts += plate_parts(setup, frame, *equation)
        rods = rod_truths(setup, frame.inside(room), *equation)
        if not setup.patient:
            room_parts += water_body_parts(top_mm)
    parts = [_moved(part, room) for part in room_parts]
    if setup is None or setup.patient:
        parts += [_moved(part, patient) for part in _patient_parts(column, trunk, parameters)]
    grid = grid_of(parameters)
    hu, anatomy = render(parts, grid, parameters)
    there = setup is None or setup.patient
    levels = level_truths(column.vertebrae, patient, grid, parameters) if there else ()
    truth = PhantomTruth(levels, scanner, body_labels(anatomy), anatomy, rods)
    return Phantom(parameters, hu, grid.affine_lps_mm, truth)


def _patient_parts(column: Column, trunk: Trunk, parameters: PhantomParameters) -> list[Part]:
    return [
        *trunk_parts(trunk, column, parameters),
        *organ_parts(trunk, column, parameters),
        *rib_parts(column, trunk, rib_depth_mm(parameters)),
        *sacrum_parts(column, parameters),
        *pelvis_parts(column, parameters),
        *column_parts(column, parameters),
        *pathology_parts(column, parameters.pathology),
        *screw_parts(column, parameters),
    ]


def _moved(part: Part, outer: Frame) -> Part:
    return dataclasses.replace(part, frame=part.frame.inside(outer))
