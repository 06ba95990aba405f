"""A phantom from its parameters: the image, its place, and the truth."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from node.model import Affine, HuArray
from node.phantom.anatomy import Part
from node.phantom.parameters import PhantomParameters
from node.phantom.pathology import pathology_parts
from node.phantom.render import grid_of, render
from node.phantom.shapes import Frame
from node.phantom.skeleton import pelvis_parts, rib_parts, sacrum_parts, screw_parts
from node.phantom.torso import organ_parts, outline, rib_depth_mm, table_parts, trunk_parts
from node.phantom.truth import PhantomTruth, body_labels, level_truths
from node.phantom.vertebrae import build_column, column_parts


@dataclass(frozen=True, slots=True, eq=False)
class Phantom:
    """A digital CT of a digital patient.

    Attributes:
        parameters: what it was made from.
        hu: int16, (slices, rows, columns).
        affine_lps_mm: 4 x 4; maps the array index (slice, row, column, 1) to the position of the voxel's centre in mm.
        truth: what is true of it.
    """

    parameters: PhantomParameters
    hu: HuArray
    affine_lps_mm: Affine
    truth: PhantomTruth


def make_phantom(parameters: PhantomParameters) -> Phantom:
    """Make the phantom that the parameters describe; equal parameters give equal arrays."""
    column = build_column(parameters)
    trunk = outline(column, parameters)
    patient_parts = [
        *trunk_parts(trunk, column, parameters),
        *organ_parts(trunk, column, parameters),
        *rib_parts(column, trunk, rib_depth_mm(parameters)),
        *sacrum_parts(column, parameters),
        *pelvis_parts(column, parameters),
        *column_parts(column, parameters),
        *pathology_parts(column, parameters.pathology),
        *screw_parts(column, parameters),
    ]
    turn = Rotation.from_rotvec(parameters.pose_deg, degrees=True).as_matrix()
    patient = Frame(np.array(parameters.l3_position_lps_mm), turn.T)
    room = Frame.at(parameters.l3_position_lps_mm)
    parts = [_moved(part, room) for part in table_parts(trunk, parameters)]
    parts += [_moved(part, patient) for part in patient_parts]
    grid = grid_of(parameters)
    hu, anatomy = render(parts, grid, parameters)
    levels = level_truths(column.vertebrae, patient, grid, parameters)
    truth = PhantomTruth(levels, parameters.scanner, body_labels(anatomy), anatomy)
    return Phantom(parameters, hu, grid.affine_lps_mm, truth)


def _moved(part: Part, outer: Frame) -> Part:
    return dataclasses.replace(part, frame=part.frame.inside(outer))
