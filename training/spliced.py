"""Real CTs with four or six lumbar vertebrae: a lumbar body is cut out, or stands there twice.

What lies above is moved along the patient by the height of the body, and sideways so that the spine stays in line. The cuts
run through the middle of the discs, across the patient: a real transitional vertebra looks different, but everything above
and below is a patient. Made on the working grid, for names alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.model import Level
from node.segment.grid import AIR_HU, IsoGrid
from training.scenes import Scene, cut

#: Real CTs with the sacrum and the last ribs in view.
BASES = ("juno_wb", "alexion_sagittal", "totalsegmentator_abdomen")
#: What is kept above L1 and below L5, mm: the last ribs and the sacrum. Without the sacrum, L5 is cut.
ABOVE_MM, BELOW_MM = 130.0, 110.0
_LEVELS = (Level.L2, Level.L3, Level.L4)
_MOST_NOISE_HU = 25.0

Centres = dict[int, tuple[float, float, float]]


def spliced_scenes(bases: list[tuple[Scene, Centres]], count: int) -> Iterator[Scene]:
    """``count`` scenes with four and ``count`` with six lumbar vertebrae, each also without the sacrum and without ribs.

    ``centres_mm`` holds the bodies as counted from the last rib downward: L1 to L4, or L1 to L6.

    Args:
        bases: real CTs with the centres (LPS mm) of their bodies L1 to L5.
        count: of each kind.
    """
    for number in range(count):
        base, centres = bases[number % len(bases)]
        level = _LEVELS[number // len(bases) % len(_LEVELS)]
        rng = np.random.default_rng([17, number])
        for lumbar in (4, 6):
            made = _noisy(_spliced(base, centres, level, lumbar == 6), rng)
            lowest, first = min(made.centres_mm), max(made.centres_mm)
            named = f"{base.name} {number}, {lumbar} lumbar"
            at = {level: centre[2] for level, centre in made.centres_mm.items()}
            low_mm, high_mm = at[first] - BELOW_MM, at[lowest] + ABOVE_MM
            yield replace(cut(made, low_mm, high_mm), name=named, sacrum=True, last_rib=True)
            yield replace(cut(made, at[first], high_mm), name=f"{named}, no sacrum", last_rib=True)
            yield replace(cut(made, low_mm, at[lowest] + 24.0), name=f"{named}, no rib", sacrum=True)


def _spliced(scene: Scene, centres: Centres, level: Level, twice: bool) -> Scene:
    """The scene without a body, or with it twice."""
    points = {v: np.array(at) for v, at in centres.items()}
    upper = (points[int(level) - 1] + points[int(level)]) / 2
    lower = (points[int(level)] + points[int(level) + 1]) / 2
    step = scene.grid.spacing_mm
    index = np.round((np.stack([upper, lower]) - scene.grid.origin_lps_mm)[:, ::-1] / step).astype(int)
    (top, top_y, top_x), (bottom, bottom_y, bottom_x) = index
    height, aside = int(top - bottom), (int(bottom_y - top_y), int(bottom_x - top_x))
    hu, inside = scene.hu, scene.inside
    if twice:
        # the second body stands on the first one
        parts = [(slice(None, top), (0, 0)), (slice(bottom, None), (-aside[0], -aside[1]))]
    else:
        parts = [(slice(None, bottom), (0, 0)), (slice(top, None), aside)]
    new_hu = np.concatenate([_moved(hu[part], by, AIR_HU) for part, by in parts])
    new_inside = np.concatenate([_moved(inside[part], by, False) for part, by in parts])
    new: Centres = {}
    up = np.array([*aside[::-1], -height], dtype=float) * step * (-1 if twice else 1)
    for v, at in points.items():
        if v < int(level):
            new[v] = _point(at + up)
        elif v == int(level):
            if twice:
                new[v], new[v + 1] = _point(at + up), _point(at)
        else:
            new[v + 1 if twice else v - 1] = _point(at)
    grid = IsoGrid(scene.grid.origin_lps_mm, step, (new_hu.shape[0], new_hu.shape[1], new_hu.shape[2]))
    whole = frozenset(v for v in new if v <= int(Level.L5))
    return Scene(scene.name, new_hu.astype(np.int16), grid, new_inside.astype(bool), new, whole, usual=False)


def _point(at: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    return float(at[0]), float(at[1]), float(at[2])


def _moved(part: npt.NDArray[np.generic], by: tuple[int, int], fill: float) -> npt.NDArray[np.float32]:
    return np.asarray(ndimage.shift(part.astype(np.float32), (0, *by), order=0, cval=float(fill)))


def _noisy(scene: Scene, rng: np.random.Generator) -> Scene:
    grain = ndimage.gaussian_filter(rng.standard_normal(scene.hu.shape, dtype=np.float32), 0.6)
    noise = float(rng.uniform(0.0, _MOST_NOISE_HU)) / float(grain.std())
    return replace(scene, hu=np.clip(np.round(scene.hu + grain * noise), -1024, 3071).astype(np.int16))
