"""Random patients with known findings, to evaluate the level findings."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from node.model import FractureKind, Level, Orientation
from node.phantom import (
    BONE_KERNEL,
    STANDARD_KERNEL,
    Cement,
    Degeneration,
    FieldOfView,
    Fracture,
    Lesion,
    Pathology,
    PhantomParameters,
    Screws,
    Spine,
)

#: Thresholds were set with seeds below this one; figures use this seed and above.
FIRST_UNSEEN_SEED = 1000
LUMBAR = (Level.L1, Level.L2, Level.L3, Level.L4)


class Kind(StrEnum):
    """What a patient has."""

    NOTHING = "nothing"
    FRACTURE = "fracture"
    DEGENERATION = "degeneration"
    CEMENT = "cement"
    ISLAND = "island"
    LYTIC = "lytic"
    SCREWS = "screws"
    CAGE = "cage"
    OUTLIER = "outlier"


@dataclass(frozen=True, slots=True)
class Case:
    """A patient: the phantom, and the levels of L1 to L4 that have what ``kind`` says."""

    kind: Kind
    parameters: PhantomParameters
    levels: tuple[Level, ...]


def case(kind: Kind, seed: int) -> Case:
    """A patient drawn at random; equal arguments give equal patients.

    Slices are 1 to 3 mm apart, noise has an SD of 8 to 35 HU, a third of the images has a bone kernel, a quarter are
    sagittal reformats; spines are of any usual size and curve, some are scoliotic.
    """
    rng = np.random.default_rng((seed, list(Kind).index(kind)))

    def between(low: float, high: float) -> float:
        return round(float(rng.uniform(low, high)), 3)

    density = between(50.0, 170.0)
    sagittal = rng.random() < 0.25 and kind is not Kind.SCREWS
    distance = float(rng.choice([2.0, 3.0] if sagittal else [1.0, 1.5, 2.0, 2.5, 3.0]))
    affected, pathology, screws, densities = _pathology(kind, rng)
    spread = {level: density + between(-8.0, 8.0) for level in Level}
    spread.update({level: density * factor for level, factor in densities.items()})
    parameters = PhantomParameters(
        density_mg_cm3=density,
        level_densities_mg_cm3=tuple(spread.items()),
        kernel=BONE_KERNEL if rng.random() < 0.33 else STANDARD_KERNEL,
        texture_sd_hu=between(0.0, 15.0),
        noise_sd_hu=between(8.0, 35.0),
        pixel_spacing_mm=between(0.6, 0.95),
        slice_distance_mm=distance,
        orientation=Orientation.SAGITTAL if sagittal else Orientation.AXIAL,
        field_of_view=FieldOfView((0.0, 20.0, -12.0), (150.0, 150.0, 270.0)),
        spine=Spine(
            size=between(0.88, 1.1),
            lordosis=between(0.6, 1.4),
            scoliosis_deg=between(-8.0, 8.0) if rng.random() < 0.3 else 0.0,
        ),
        pose_deg=(between(-6.0, 6.0), between(-4.0, 4.0), between(-4.0, 4.0)),
        pathology=pathology,
        screws=screws,
        seed=seed,
    )
    return Case(kind, parameters, affected)


def _pathology(
    kind: Kind, rng: np.random.Generator
) -> tuple[tuple[Level, ...], Pathology, Screws | None, dict[Level, float]]:
    level = LUMBAR[int(rng.integers(4))]
    if kind is Kind.FRACTURE:
        fracture = Fracture(level, list(FractureKind)[int(rng.integers(3))], round(float(rng.uniform(0.21, 0.6)), 3))
        return (level,), Pathology(fractures=(fracture,)), None, {}
    if kind is Kind.DEGENERATION:
        upper = LUMBAR[int(rng.integers(3))]
        change = Degeneration(
            upper, float(rng.uniform(0.15, 0.3)), float(rng.uniform(5, 9)), 550.0, float(rng.uniform(8, 14))
        )
        return (upper, Level(upper + 1)), Pathology(degeneration=(change,)), None, {}
    if kind is Kind.CEMENT:
        cement = Cement(level, float(rng.uniform(7, 11)), float(rng.uniform(1200, 2400)))
        return (level,), Pathology(cement=(cement,)), None, {}
    if kind in (Kind.ISLAND, Kind.LYTIC):
        hu = float(rng.uniform(450, 900)) if kind is Kind.ISLAND else float(rng.uniform(-60, 0))
        offset = tuple(float(v) for v in rng.uniform((-8, -5, -4), (8, 4, 4)))
        lesion = Lesion(level, float(rng.uniform(4.5, 8)), hu, (offset[0], offset[1], offset[2]))
        return (level,), Pathology(lesions=(lesion,)), None, {}
    if kind is Kind.SCREWS:
        implant = ((Level.L2, Level.L3), (Level.L3, Level.L4), (Level.L4, Level.L5))[int(rng.integers(3))]
        screws = Screws(implant, streaks=float(rng.uniform(0.3, 1.2)))
        return tuple(one for one in implant if one in LUMBAR), Pathology(), screws, {}
    if kind is Kind.CAGE:
        upper = LUMBAR[int(rng.integers(3))]
        return (upper, Level(upper + 1)), Pathology(cages=(upper,)), None, {}
    if kind is Kind.OUTLIER:
        return (level,), Pathology(), None, {level: float(rng.choice([0.4, 1.9]))}
    return (), Pathology(), None, {}
