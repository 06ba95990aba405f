"""The phantoms of the accuracy table: a balanced, nearly orthogonal subset of all combinations of their factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.model import Level, Orientation
from node.phantom import KERNELS, NARROW_SPINE, PhantomParameters, Scanner, Screws, Spine

#: Every factor with its levels. Each level occurs in the same number of phantoms; one in four has screws.
DENSITIES_MG_CM3 = (40.0, 60.0, 80.0, 100.0, 120.0, 140.0, 160.0, 200.0)
KVP = (120.0, 140.0)
SLICE_DISTANCES_MM = (0.6, 1.0, 1.5, 2.0, 3.0, 5.0)
KERNEL_NAMES = ("standard", "bone")
NOISE_SD_HU = (0.0, 15.0, 30.0)
TEXTURE_SD_HU = (0.0, 15.0)
SCREWS = (False, False, False, True)
SCREWED = (Level.L3, Level.L4, Level.L5)

#: The densities of the levels differ, so that a wrong label shows as an error.
_STEPS_MG_CM3 = {Level.T12: -9.0, Level.L1: -6.0, Level.L2: -2.0, Level.L3: 2.0, Level.L4: 6.0, Level.L5: 9.0}
_SEED = 20260102
#: Orders tried for every factor; the one that depends least on the factors before it is kept.
_TRIES = 400

#: 120 kVp uses the shipped equation, 140 kVp an invented one in a site file.
SCANNERS = {120.0: Scanner(), 140.0: Scanner(kvp=140.0, slope_mg_cm3_per_hu=0.85, intercept_mg_cm3=-4.0)}
SITE_EQUATIONS = """
[[equation]]
id = "made-up-140"
manufacturer = ["Philips"]
model = ["Brilliance 64"]
kvp = 140
slope = 0.85
intercept = -4.0
material = "not stated"
source = "made up for the accuracy table"
status = "active"
"""


@dataclass(frozen=True, slots=True)
class Case:
    """One phantom: one level of every factor, and a number that seeds its shape and noise."""

    number: int
    density_mg_cm3: float
    kvp: float
    slice_distance_mm: float
    kernel: str
    noise_sd_hu: float
    texture_sd_hu: float
    orientation: Orientation
    screws: bool

    def parameters(self) -> PhantomParameters:
        """The phantom."""
        rng = np.random.default_rng((_SEED, self.number))
        return PhantomParameters(
            density_mg_cm3=self.density_mg_cm3,
            level_densities_mg_cm3=tuple((level, self.density_mg_cm3 + step) for level, step in _STEPS_MG_CM3.items()),
            scanner=SCANNERS[self.kvp],
            kernel=KERNELS[self.kernel],
            noise_sd_hu=self.noise_sd_hu,
            texture_sd_hu=self.texture_sd_hu,
            slice_distance_mm=self.slice_distance_mm,
            orientation=self.orientation,
            field_of_view=NARROW_SPINE,
            spine=Spine(
                size=float(rng.uniform(0.92, 1.08)),
                lordosis=float(rng.uniform(0.7, 1.3)),
                scoliosis_deg=float(rng.uniform(-5.0, 5.0)),
                fat_mm=float(rng.uniform(8.0, 35.0)),
            ),
            screws=Screws(SCREWED) if self.screws else None,
            seed=self.number,
        )


def design(count: int) -> tuple[Case, ...]:
    """``count`` phantoms, always the same for the same count. With 96, every level of every factor occurs equally often."""
    rng = np.random.default_rng(_SEED)
    columns: list[npt.NDArray[np.int64]] = []
    factors: tuple[Sequence[object], ...] = (
        DENSITIES_MG_CM3,
        SLICE_DISTANCES_MM,
        NOISE_SD_HU,
        tuple(Orientation),
        KVP,
        KERNEL_NAMES,
        TEXTURE_SD_HU,
        SCREWS,
    )
    for levels in factors:
        filled = np.arange(count) % len(levels)
        tries = [rng.permutation(filled) for _ in range(_TRIES if columns else 1)]
        columns.append(min(tries, key=lambda column: sum(_dependence(column, other) for other in columns)))
    picked = [[levels[k] for k in column] for levels, column in zip(factors, columns, strict=True)]
    return tuple(
        Case(number, density, kvp, distance, kernel, noise, texture, orientation, screws)  # type: ignore[arg-type]
        for number, (density, distance, noise, orientation, kvp, kernel, texture, screws) in enumerate(
            zip(*picked, strict=True)
        )
    )


def _dependence(one: npt.NDArray[np.int64], other: npt.NDArray[np.int64]) -> float:
    """Chi-squared of the table of two factors: 0 where every pair of levels is as frequent as it should be."""
    table = np.zeros((one.max() + 1, other.max() + 1))
    np.add.at(table, (one, other), 1)
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / len(one)
    return float(((table - expected) ** 2 / expected).sum())
