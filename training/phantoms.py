"""Digital phantoms (``node.phantom``) as training samples, so that the demo and tests on phantoms work too."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import ndimage

from node.model import FractureKind, Level, Orientation
from node.phantom import Degeneration, Fracture, Pathology, PhantomParameters, make_phantom, random_parameters
from node.phantom.anatomy import Anatomy
from node.phantom.pathology import NO_PATHOLOGY
from node.segment.grid import grid_around, resample_to_grid
from node.segment.network import SPACING_MM, Tissue
from training.anatomy import L1
from training.synth import Sample, centres_of

#: Voxel of the phantoms in mm: half the network's. Noise and thick slices come from :mod:`training.scanner`.
PHANTOM_SPACING_MM = 1.5
#: Phantoms of lower seeds are never used in training.
FIRST_TRAINING_SEED = 1000
LAST_BODY = int(Anatomy.L6)
#: Share of phantoms of the first network with more pathology than ``random_parameters`` gives.
PATHOLOGY_SHARE = 0.4
#: Share of the other training phantoms with degenerated discs.
WORN_SHARE = 0.5


def parameters_with_pathology(seed: int, share: float) -> PhantomParameters:
    """``random_parameters(seed)``; for a share of the seeds (0 to 1) with fractures, degenerated discs and cages."""
    parameters = random_parameters(seed)
    rng = np.random.default_rng([seed, 1])
    return dataclasses.replace(parameters, pathology=_pathology(rng)) if rng.random() < share else parameters


def training_parameters(seed: int, share: float) -> PhantomParameters:
    """``parameters_with_pathology``; :data:`WORN_SHARE` of the others have degenerated discs, with or without sclerosis."""
    parameters = parameters_with_pathology(seed, share)
    rng = np.random.default_rng([seed, 2])
    if parameters.pathology != NO_PATHOLOGY or rng.random() >= WORN_SHARE:
        return parameters
    levels = rng.choice([Level.L1, Level.L2, Level.L3, Level.L4], size=int(rng.integers(1, 4)), replace=False)
    degeneration = tuple(
        Degeneration(
            Level(int(level)),
            float(rng.uniform(0.15, 0.7)),
            float(rng.uniform(0, 10)),
            float(rng.uniform(300, 800)),
            float(rng.uniform(0, 14)),
        )
        for level in levels
    )
    return dataclasses.replace(parameters, pathology=Pathology(degeneration=degeneration))


def phantom_sample(seed: int) -> Sample:
    """The phantom of a seed on the network's grid, many of them with fractures, degenerated discs and cages."""
    parameters = training_parameters(seed, PATHOLOGY_SHARE)
    view = dataclasses.replace(
        parameters.field_of_view, extent_mm=(parameters.field_of_view.extent_mm[0], 300.0, 420.0), centre_mm=(0.0, 0.0, 10.0)
    )
    phantom = make_phantom(
        dataclasses.replace(
            parameters,
            pixel_spacing_mm=PHANTOM_SPACING_MM,
            slice_distance_mm=PHANTOM_SPACING_MM,
            slice_thickness_mm=None,
            orientation=Orientation.AXIAL,
            reverse_slices=False,
            slice_rotation_deg=(0.0, 0.0, 0.0),
            noise_sd_hu=1.0,
            field_of_view=view,
        )
    )
    grid = grid_around(phantom.affine_lps_mm, phantom.hu.shape, SPACING_MM)
    hu = resample_to_grid(phantom.hu, phantom.affine_lps_mm, grid)
    matrix = np.linalg.inv(phantom.affine_lps_mm) @ grid.affine_lps_mm()
    anatomy = ndimage.affine_transform(
        phantom.truth.anatomy, matrix[:3, :3], matrix[:3, 3], output_shape=grid.shape, order=0, cval=0
    )
    lookup = np.zeros(256, dtype=np.uint8)
    for value in Anatomy:
        lookup[value] = _class_of(value)
    bodies = np.where((anatomy >= Anatomy.T7) & (anatomy <= LAST_BODY), anatomy, 0).astype(np.uint8)
    return Sample(f"phantom:{seed}", hu.astype(np.float16), lookup[anatomy], bodies, centres_of(bodies))


def _pathology(rng: np.random.Generator) -> Pathology:
    """Fractures of every kind, degenerated discs with osteophytes, cages: the hardest cases for outlines."""
    levels = (Level.L1, Level.L2, Level.L3, Level.L4)
    fractures = tuple(
        Fracture(level, list(FractureKind)[int(rng.integers(3))], float(rng.uniform(0.12, 0.6)))
        for level in levels
        if rng.random() < 0.35
    )
    worn = [level for level in levels if rng.random() < 0.2]
    degeneration = tuple(
        Degeneration(level, float(rng.uniform(0.15, 0.5)), float(rng.uniform(0, 9)), 550.0, float(rng.uniform(0, 14)))
        for level in worn
    )
    cages = tuple(level for level in levels if level not in worn and rng.random() < 0.06)
    return Pathology(fractures=fractures, degeneration=degeneration, cages=cages)


def _class_of(value: Anatomy) -> Tissue:
    if Anatomy.T7 <= value < L1:
        return Tissue.UPPER_BODY
    if L1 <= value <= LAST_BODY:
        return Tissue.LUMBAR_BODY
    if value.name.startswith("POSTERIOR"):
        return Tissue.POSTERIOR_ELEMENTS
    if value.name.startswith("DISC"):
        return Tissue.DISC
    if value.name.startswith("RIB"):
        return Tissue.RIB
    return {Anatomy.SACRUM: Tissue.SACRUM, Anatomy.ILIUM: Tissue.HIP}.get(value, Tissue.BACKGROUND)
