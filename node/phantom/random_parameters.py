"""Random parameters over wide ranges, for training and evaluation."""

from __future__ import annotations

import numpy as np

from node.model import FractureKind, Level, Orientation, Vector
from node.phantom.parameters import (
    ARTERIAL,
    MYELOGRAPHY,
    PORTAL_VENOUS,
    UNENHANCED,
    FieldOfView,
    Kernel,
    PatientPosition,
    PhantomParameters,
    Screws,
    Spine,
)
from node.phantom.pathology import Fracture, Pathology


def random_parameters(seed: int) -> PhantomParameters:
    """Random parameters; equal seeds give equal parameters.

    Densities fall randomly from L1 to L5 around a patient's mean of 40 to 220 mg/cm3; slices are 0.6 to 5 mm apart; most
    images are axial, some are rotated by a few degrees; the field of view ranges from the spine alone to the whole trunk,
    and may cut off part of the lumbar spine.
    """
    rng = np.random.default_rng(seed)

    def between(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 3)

    def turn(largest_deg: float) -> Vector:
        return (between(-largest_deg, largest_deg), between(-largest_deg, largest_deg), between(-largest_deg, largest_deg))

    def chance(probability: float) -> bool:
        return bool(rng.uniform() < probability)

    density = between(40.0, 220.0)
    size = between(0.84, 1.14)
    distance = float(rng.choice([0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 5.0]))
    orientation = Orientation(str(rng.choice(["axial", "sagittal", "coronal"], p=[0.7, 0.2, 0.1])))
    width = between(110.0, 450.0)
    fractures = tuple(
        Fracture(level, FractureKind.WEDGE, between(0.15, 0.45)) for level in Level if level <= Level.L4 and chance(0.04)
    )
    implant = tuple(level for level in (Level.L2, Level.L3, Level.L4, Level.L5) if chance(0.7))
    return PhantomParameters(
        density_mg_cm3=density,
        level_densities_mg_cm3=tuple((level, max(20.0, density + between(-15.0, 15.0))) for level in Level),
        kernel=Kernel(name="random", fwhm_mm=between(0.7, 2.2), edge=between(0.2, 1.2) if chance(0.35) else 0.0),
        cortical_hu=between(350.0, 650.0),
        texture_sd_hu=between(0.0, 18.0),
        noise_sd_hu=between(4.0, 60.0),
        pixel_spacing_mm=between(0.45, 1.1) if width < 260 else between(0.65, 1.1),
        slice_distance_mm=distance,
        slice_thickness_mm=round(distance * float(rng.choice([1.0, 1.0, 1.25, 2.0])), 3),
        orientation=orientation,
        reverse_slices=chance(0.5),
        slice_rotation_deg=turn(15.0) if chance(0.15) else (0.0, 0.0, 0.0),
        patient_position=PatientPosition.HEAD_FIRST_PRONE if chance(0.08) else PatientPosition.HEAD_FIRST_SUPINE,
        field_of_view=FieldOfView(
            (between(-12.0, 12.0), between(-10.0, 25.0), between(-60.0, 60.0)),
            (width, min(width, between(120.0, 340.0)), between(160.0, 420.0)),
        ),
        spine=Spine(
            size=size,
            lordosis=between(0.5, 1.5),
            scoliosis_deg=between(-14.0, 14.0) if chance(0.3) else between(-3.0, 3.0),
            lumbar_vertebrae=6 if chance(0.06) else 5,
            fat_mm=between(6.0, 45.0),
            girth=between(0.88, 1.3),
        ),
        pose_deg=turn(8.0),
        l3_position_lps_mm=(between(-30.0, 30.0), between(-150.0, 60.0), between(-900.0, 900.0)),
        contrast=(UNENHANCED, ARTERIAL, PORTAL_VENOUS, MYELOGRAPHY)[int(rng.choice(4, p=[0.5, 0.15, 0.3, 0.05]))],
        pathology=Pathology(fractures=fractures),
        screws=Screws(implant, rods=chance(0.8)) if chance(0.12) and implant else None,
        seed=seed,
    )
