"""Draws whole trunks as the first network would see them, and counts how often the naming states their anatomy right.

``python -m training.people --count 100``. People have 11, 12 or 13 rib pairs and 4, 5 or 6 lumbar vertebrae. Bodies, ribs
and sacrum are drawn on the working grid and go straight into :func:`node.segment.naming.name_bodies`: neither image nor
network is involved. Sizes, curvature, the slope of the ribs and its drift vary, and single ribs are missing.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.model import Level
from node.segment.anatomy import Anatomy
from node.segment.grid import IsoGrid
from node.segment.inference import Prediction
from node.segment.instances import Body
from node.segment.naming import name_bodies
from node.segment.network import SPACING_MM, Tissue
from node.segment.reach import Naming

#: Voxels of the grid: head to foot, front to back, right to left.
SHAPE = (230, 90, 110)
MIDDLE = (45, 55)
#: Height of the lowest body's middle, and space above the uppermost one, in voxels.
LOWEST, ABOVE = 40, 20
#: Distance between the middles of neighbouring bodies in mm: at T1, at the last thoracic body, at the lowest lumbar one.
STEPS_MM = (19.0, 27.0, 34.0)
#: Length of the ribs of twelve pairs from end to end, in mm: medians of three real CTs.
LENGTHS_MM = (88.0, 128.0, 163.0, 190.0, 208.0, 218.0, 224.0, 219.0, 209.0, 195.0, 150.0, 85.0)
#: Where ribs are seen first, in mm beside the middle and behind it, and where they turn forward.
START_MM, BEHIND_MM, TURN_MM = 24.0, 12.0, 70.0


@dataclass(frozen=True, slots=True)
class Person:
    """How somebody is built and scanned.

    Attributes:
        pairs: of ribs.
        lumbar: vertebrae without ribs above the sacrum.
        size: 1 is the average person.
        kyphosis_mm: how far the chest bends backward.
        slope: of the ribs, height per way outward; it grows by ``steeper`` from the first to the last.
        drift: how far below its usual place the last rib meets its body, as a share of the step; the others less.
        lost: share of ribs that the network does not see.
        half_width_mm: of the scanned volume.
        neck: bodies without ribs above the first ones.
        seed: of what else varies.
    """

    pairs: int
    lumbar: int
    size: float = 1.0
    kyphosis_mm: float = 20.0
    slope: float = 0.5
    steeper: float = 0.2
    drift: float = 0.0
    lost: float = 0.0
    half_width_mm: float = 165.0
    neck: int = 1
    seed: int = 0


def random_person(seed: int) -> Person:
    """One of the people of the evaluation."""
    rng = np.random.default_rng([20_170_523, seed])
    return Person(
        pairs=int(rng.choice([11, 12, 12, 13])),
        lumbar=int(rng.choice([4, 5, 5, 6])),
        size=float(rng.uniform(0.88, 1.12)),
        kyphosis_mm=float(rng.uniform(0.0, 45.0)),
        slope=float(rng.uniform(0.3, 0.8)),
        steeper=float(rng.uniform(0.0, 0.4)),
        drift=float(rng.choice([0.0, 0.0, 0.3, 0.5])),
        lost=float(rng.choice([0.0, 0.0, 0.05])),
        neck=int(rng.integers(0, 3)),
        seed=seed,
    )


def drawn_person(person: Person) -> tuple[Prediction, npt.NDArray[np.int32], list[Body], npt.NDArray[np.bool_]]:
    """A person as :func:`name_bodies` takes it; the bodies are numbered from the lowest upward, from 1."""
    rng = np.random.default_rng(person.seed)
    probability = np.zeros((len(Tissue), *SHAPE), dtype=np.float32)
    instances = np.zeros(SHAPE, dtype=np.int32)
    count = person.lumbar + person.pairs + person.neck
    heights = LOWEST + np.concatenate([[0.0], np.cumsum(_steps_mm(person, rng)[:-1])]) / SPACING_MM
    bodies = []
    for i in range(count):
        share = (heights[i] - LOWEST) / (heights[-1] - LOWEST)
        z, y, x = heights[i], MIDDLE[0] + person.kyphosis_mm / SPACING_MM * np.sin(np.pi * share), float(MIDDLE[1])
        half = person.size * np.interp(share, [0.0, 0.35, 1.0], [4.3, 3.6, 2.4])
        box = tuple(
            slice(round(a - b), round(a + b) + 1) for a, b in zip((z, y, x), (half, 1.5 * half, 2 * half), strict=True)
        )
        instances[box] = i + 1
        thoracic = float(np.clip(float(i >= person.lumbar) + rng.normal(0.0, 0.04), 0.0, 1.0))
        volume_cm3 = float((instances == i + 1).sum()) * SPACING_MM**3 / 1000.0
        bodies.append(Body(i + 1, np.array([z, y, x]), volume_cm3, thoracic, 0.95))
    for pair in range(person.pairs):
        _draw_ribs(probability, person, pair, bodies, rng)
    low = round(heights[0] - 6.5 * person.size)
    y0 = round(bodies[0].centre[1])
    probability[int(Tissue.SACRUM), low - 20 : low, y0 - 4 : y0 + 16, MIDDLE[1] - 15 : MIDDLE[1] + 16] = 1.0
    inside = np.zeros(SHAPE, dtype=bool)
    half_width = round(person.half_width_mm / SPACING_MM)
    top = min(round(heights[-1]) + ABOVE, SHAPE[0] - 1)
    inside[1:top, 1:-1, max(MIDDLE[1] - half_width, 1) : min(MIDDLE[1] + half_width, SHAPE[2] - 1)] = True
    probability[:, ~inside] = 0.0
    grid = IsoGrid((0.0, 0.0, 0.0), SPACING_MM, SHAPE)
    return Prediction(grid, probability, np.zeros((3, *SHAPE), dtype=np.float32)), instances, bodies[::-1], inside


def _steps_mm(person: Person, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Distances from each body to the next one above, from the lowest."""
    chest, below = person.pairs + person.neck, person.lumbar
    usual = np.concatenate([np.linspace(STEPS_MM[2], 30.0, below), np.linspace(STEPS_MM[1], STEPS_MM[0], chest)])
    return person.size * usual * rng.normal(1.0, 0.02, len(usual))


def _draw_ribs(
    probability: npt.NDArray[np.float32], person: Person, pair: int, bodies: list[Body], rng: np.random.Generator
) -> None:
    """Both ribs of a pair, counted from the first ribs."""
    body = person.lumbar + person.pairs - 1 - pair
    centre = bodies[body].centre
    step = np.linalg.norm(bodies[min(body + 1, len(bodies) - 1)].centre - bodies[max(body - 1, 0)].centre) / 2
    share = pair / (person.pairs - 1)
    length_mm = person.size * float(np.interp(share * 11, range(12), LENGTHS_MM))
    place = float(np.interp(person.pairs - 1 - pair, [0, 1, 2], [0.13, 0.24, 0.33])) - person.drift * share**2
    for side in (-1, 1):
        if rng.random() < person.lost:
            continue
        slope = person.slope + person.steeper * share + rng.normal(0.0, 0.03)
        along = np.arange(0.0, length_mm * rng.normal(1.0, 0.05), 1.0)
        turn = min(TURN_MM, 0.5 * length_mm)
        out_mm = START_MM + np.minimum(along, turn)
        forward_mm = np.maximum(along - turn, 0.0)
        z = (
            centre[0]
            + (place + rng.normal(0.0, 0.04)) * step
            - slope * (START_MM - 20.0 + np.minimum(along, turn)) / SPACING_MM
        )
        z -= 0.3 * forward_mm / SPACING_MM
        y = centre[1] + (BEHIND_MM - forward_mm) / SPACING_MM
        x = centre[2] + side * out_mm / SPACING_MM
        at = np.round(np.stack([z, y, x])).astype(int)
        for dz, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            moved = at + np.array([[dz], [dy], [0]])
            kept = ((moved >= 0) & (moved < np.array(SHAPE)[:, None])).all(axis=0)
            probability[(int(Tissue.RIB), *moved[:, kept])] = 1.0


def verdict(person: Person, naming: Naming) -> str:
    """``right``, ``wrong name``, ``withheld`` (without the anatomy), or ``not stated``, for one person."""
    true = Anatomy(person.pairs, person.lumbar)
    if naming.named:
        # By the site's convention T12 bears the last of twelve pairs; nobody else may have names.
        wrong = [e for e in naming.named if e.body.number != person.lumbar + int(Level.T12) + 1 - int(e.level)]
        if wrong or person.pairs != 12:
            return "wrong name"
        return "right" if true.usual or str(true.said) in _said(naming) else "not stated"
    return "right" if not true.usual and str(true.said) in _said(naming) else "withheld"


def _said(naming: Naming) -> str:
    return " ".join(str(reason.detail) for reason in naming.reasons)


def main() -> None:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--first", type=int, default=0, help="number of the first person")
    options = parser.parse_args()
    verdicts: Counter[str] = Counter()
    for seed in range(options.first, options.first + options.count):
        person = random_person(seed)
        naming = name_bodies(*drawn_person(person))
        found = verdict(person, naming)
        verdicts[found] += 1
        if found != "right":
            print(found, person, [e.level.name for e in naming.named], _said(naming), flush=True)
    print(dict(verdicts))


if __name__ == "__main__":
    main()
