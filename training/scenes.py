"""CTs as the first network sees them, with what is known about their levels: small enough to keep many.

A scene holds the working grid alone (3 mm), so labels can be tried again and again without making the CT anew.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from node.model import Level
from node.segment.grid import IsoGrid, grid_around, inside_source, resample_to_grid
from node.segment.inference import crop_to_patient
from node.segment.network import SPACING_MM
from training.ct import Ct
from training.evaluate import synthetic_ct
from training.scoring import NAMED
from training.synthetic import SyntheticCt, whole_levels

#: Half the height of a body, and where a cut above L1 leaves it whole, mm.
_HALF_MM, _ABOVE_MM = 16.0, 24.0


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A CT on the working grid.

    Attributes:
        name: for tables.
        hu: int16 of ``grid.shape``, HU.
        grid: its grid.
        inside: which voxels are inside the scanned volume.
        centres_mm: LPS positions of the true bodies by label (L1 = 20 ...); of x and y NaN where only heights are known.
        whole: labels of L1 to L5 that are completely in view.
        usual: five lumbar vertebrae, the last rib at T12.
        sacrum, last_rib: the landmark is in view, and the bodies beside it are whole.
    """

    name: str
    hu: npt.NDArray[np.int16]
    grid: IsoGrid
    inside: npt.NDArray[np.bool_]
    centres_mm: dict[int, tuple[float, float, float]]
    whole: frozenset[int]
    usual: bool = True
    sacrum: bool = False
    last_rib: bool = False

    @property
    def can_be_counted(self) -> bool:
        """As :attr:`training.synthetic.SyntheticCt.can_be_counted`."""
        return self.usual and (self.sacrum or self.last_rib)


def scene_of(ct: Ct, masks: npt.NDArray[np.uint8] | None, heights: dict[int, float] | None) -> Scene:
    """A CT whose bodies are known by masks on its own grid, or by their heights (LPS z in mm), as a scene."""
    shape = (ct.hu.shape[0], ct.hu.shape[1], ct.hu.shape[2])
    whole_grid = grid_around(ct.affine_lps_mm, shape, SPACING_MM)
    hu, grid = crop_to_patient(resample_to_grid(ct.hu, ct.affine_lps_mm, whole_grid), whole_grid)
    inside = inside_source(np.linalg.inv(ct.affine_lps_mm) @ grid.affine_lps_mm(), grid.shape, shape)
    centres: dict[int, tuple[float, float, float]] = {}
    if masks is not None:
        for label in np.unique(masks[masks > 0]):
            x, y, z = np.argwhere(masks == label).mean(axis=0) @ ct.affine_lps_mm[:3, :3].T + ct.affine_lps_mm[:3, 3]
            centres[int(label)] = (float(x), float(y), float(z))
        whole = whole_levels(masks)
    else:
        centres = {label: (np.nan, np.nan, z) for label, z in (heights or {}).items()}
        whole = set(centres)
    named = frozenset(label for label in whole if label in NAMED)
    return Scene(ct.name, np.round(hu).astype(np.int16), grid, inside, centres, named)


def synthetic_scene(truth: SyntheticCt) -> Scene:
    """A synthetic CT as a scene."""
    scene = scene_of(truth.ct, truth.labels, None)
    return replace(scene, usual=truth.usual, sacrum=truth.sacrum, last_rib=truth.last_rib)


def synthetic_scenes(data: Path, cache: Path, numbers: list[int]) -> Iterator[tuple[int, Scene]]:
    """The scenes of synthetic CTs by number, made once and kept in ``cache`` (about 3 MB each)."""
    cache.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        kept = cache / f"scene-{number:04}.pickle"
        if not kept.exists():
            made = synthetic_scene(synthetic_ct(data, cache, number))
            kept.with_suffix(".part").write_bytes(pickle.dumps(made))
            kept.with_suffix(".part").rename(kept)
        scene: Scene = pickle.loads(kept.read_bytes())  # noqa: S301 - our own file
        yield number, scene


def cut(scene: Scene, low_mm: float, high_mm: float) -> Scene:
    """The part of a scene between two heights (LPS z in mm); no landmark counts as in view."""
    z0, step = scene.grid.origin_lps_mm[2], scene.grid.spacing_mm
    low = max(round((max(low_mm, z0) - z0) / step), 0)
    high = min(round((high_mm - z0) / step) + 1, scene.hu.shape[0])
    grid = IsoGrid(
        (*scene.grid.origin_lps_mm[:2], z0 + low * step), step, (high - low, scene.grid.shape[1], scene.grid.shape[2])
    )
    whole = frozenset(v for v in scene.whole if low_mm + _HALF_MM <= scene.centres_mm[v][2] <= high_mm - _HALF_MM)
    hu, inside = scene.hu[low:high].copy(), scene.inside[low:high].copy()
    return replace(scene, hu=hu, grid=grid, inside=inside, whole=whole, sacrum=False, last_rib=False)


def one_landmark(data: Path, cache: Path, first: int, count: int) -> Iterator[Scene]:
    """Unusual anatomy of which both landmarks are in view, cut so that one is left, from the synthetic CTs of a number on.

    Four or six lumbar vertebrae, or a last rib that is not the twelfth: by turns without the sacrum (the lowest body is
    cut, too) and without the ribs (L1 is the uppermost whole body).
    """
    found, number = 0, first
    while found < count:
        for _, scene in synthetic_scenes(data, cache, [number]):
            if not scene.usual and scene.sacrum and scene.last_rib:
                lowest = min(at[2] for at in scene.centres_mm.values())
                top = scene.grid.origin_lps_mm[2] + scene.grid.shape[0] * scene.grid.spacing_mm
                yield replace(cut(scene, lowest, top), name=f"{scene.name}, no sacrum", last_rib=True)
                first_mm = scene.centres_mm[int(Level.L1)][2]
                yield replace(cut(scene, -np.inf, first_mm + _ABOVE_MM), name=f"{scene.name}, no rib", sacrum=True)
                found += 2
        number += 1
