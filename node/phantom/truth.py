"""The truth of a phantom: densities, positions and labels."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.model import LabelArray, Level, Vector
from node.phantom.calibration import RodTruth
from node.phantom.parameters import PhantomParameters, Scanner
from node.phantom.render import Grid
from node.phantom.shapes import Frame, Points
from node.phantom.vertebrae import Vertebra


@dataclass(frozen=True, slots=True)
class LevelTruth:
    """One vertebral body.

    Attributes:
        density_mg_cm3: trabecular density.
        hu: trabecular attenuation, without noise.
        centroid_lps_mm: centre of mass of the whole body, even if it is cut off by the image.
        body_volume_mm3: volume of the whole body.
        visible_fraction: share of the body inside the image.
    """

    level: Level
    density_mg_cm3: float
    hu: float
    centroid_lps_mm: Vector
    body_volume_mm3: float
    visible_fraction: float


@dataclass(frozen=True, slots=True, eq=False)
class PhantomTruth:
    """The truth of a phantom.

    Attributes:
        levels: T12 to L5 (or L6), from the head downward, whether in the image or not; empty without a patient.
        scanner: the scanner with the equation that turned densities into HU.
        labels: uint8, (slices, rows, columns): value of ``Level`` where the voxel's centre is in a body of T12 to L6,
            including screws in it.
        anatomy: uint8, same grid: value of ``Anatomy`` at the voxel's centre.
        rods: those of a calibration phantom, in the order of its table.
    """

    levels: tuple[LevelTruth, ...]
    scanner: Scanner
    labels: LabelArray
    anatomy: LabelArray
    rods: tuple[RodTruth, ...] = ()

    def level(self, level: Level) -> LevelTruth:
        """Truth of one level.

        Raises:
            KeyError: the phantom has no such level.
        """
        return {truth.level: truth for truth in self.levels}[level]

    def as_json(self, parameters: PhantomParameters) -> str:
        """Everything except the label maps, and the parameters, as JSON."""
        levels = [{**dataclasses.asdict(truth), "level": truth.level.name} for truth in self.levels]
        content = {
            "levels": levels,
            "rods": [dataclasses.asdict(rod) for rod in self.rods],
            "scanner": dataclasses.asdict(self.scanner),
            "parameters": dataclasses.asdict(parameters),
        }
        return json.dumps(content, indent=2) + "\n"


def body_labels(anatomy: LabelArray) -> LabelArray:
    """Label map of the vertebral bodies T12 to L6 alone."""
    labels: LabelArray = np.where((anatomy >= Level.T12) & (anatomy <= Level.L6), anatomy, np.uint8(0))
    return labels


def level_truths(
    vertebrae: Sequence[Vertebra], patient: Frame, grid: Grid, parameters: PhantomParameters
) -> tuple[LevelTruth, ...]:
    """Truth of every vertebra from T12 down.

    Args:
        vertebrae: in the coordinates of the patient.
        patient: frame of the patient in LPS mm.
        grid: the image.
    """
    truths = []
    to_index = np.linalg.inv(grid.affine_lps_mm)
    for vertebra in vertebrae:
        level = vertebra.level
        if level is None:
            continue
        inside_mm = _points_inside(vertebra)
        frame = vertebra.frame.inside(patient)
        places = frame.origin_mm + inside_mm @ frame.axes
        x, y, z = places.mean(axis=0)
        index = places @ to_index[:3, :3].T + to_index[:3, 3]
        seen = np.all((index >= -0.5) & (index <= np.array(grid.shape) - 0.5), axis=1)
        density = parameters.density_of(level)
        truths.append(
            LevelTruth(
                level,
                density,
                parameters.scanner.hu_of(density),
                (round(float(x), 3), round(float(y), 3), round(float(z), 3)),
                float(len(inside_mm)),
                round(float(seen.mean()), 4),
            )
        )
    return tuple(truths)


def _points_inside(vertebra: Vertebra) -> npt.NDArray[np.float64]:
    """Points 1 mm apart inside a body, (n, 3), in its own frame: each represents 1 mm3."""
    ticks: list[Points] = [np.arange(-np.ceil(h) - 0.5, np.ceil(h) + 1, dtype=np.float32) for h in vertebra.body.half_mm]
    x, y, z = (t.reshape(s) for t, s in zip(ticks, ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), strict=True))
    index = np.argwhere(vertebra.body.distance(x, y, z) < 0)
    points: npt.NDArray[np.float64] = index + np.array([float(t[0]) for t in ticks])
    return points
