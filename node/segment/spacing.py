"""Distances between the bodies of a chain. If a body was missed, all levels beyond it would be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.spatial import cKDTree

from node.language.phrase import Phrase, phrase
from node.segment.instances import Body, IntArray

#: Plausible distance between neighbouring centres in mm, and the largest ratio to the median of the chain (a missed body in
#: between gives about 2).
STEP_MM = (18.0, 55.0)
MOST_STEP_RATIO = 1.5
#: If a distance exceeds both neighbouring ones by this factor, or the gap between two surfaces is larger than this, mm, a
#: crushed body may have been missed. Discs are at most about 15 mm high, less at their rims.
MOST_STEP_JUMP, MOST_GAP_MM = 1.25, 15.0


@dataclass(frozen=True, slots=True)
class DoubtfulStep:
    """A step from one body to the next one above that makes a count across it doubtful.

    Attributes:
        lower: index of the lower of the two bodies, counted from the lowest of the chain.
        too_far: a body may have been missed in between; otherwise the two may be parts of one.
        suspicion: it is only longer than its neighbours, which can also be due to a high disc.
        said: what is implausible.
    """

    lower: int
    too_far: bool
    suspicion: bool
    said: Phrase

    @property
    def certain_below(self) -> int:
        """How many bodies, from the lowest one, are not affected by the doubt."""
        return self.lower + 1 if self.too_far else self.lower

    @property
    def first_certain_above(self) -> int:
        """Index of the lowest body above the doubt that is not affected."""
        return self.lower + 1 if self.too_far else self.lower + 2


def doubtful_steps(instances: IntArray, upward: list[Body], spacing_mm: float, *, counted: int) -> tuple[DoubtfulStep, ...]:
    """Implausible distances between bodies, from the lowest upward.

    Args:
        instances: instance map.
        upward: bodies from the lowest upward; one more than is counted, if there is one, for comparison.
        spacing_mm: of the grid.
        counted: how many bodies, from the lowest one, must be plausible.
    """
    steps = [float(np.linalg.norm(a.centre - b.centre)) * spacing_mm for a, b in pairwise(upward)]
    listed = ", ".join(f"{s:.0f}" for s in reversed(steps))
    if not steps:
        return ()
    usual = float(np.median(steps))
    found = []
    # The step above the counted bodies is only for comparison: in the chest and at the edge of a scan other limits apply.
    for i, step in enumerate(steps[: counted - 1]):
        # At an end of the chain the median replaces the missing neighbour.
        beside = [steps[j] if 0 <= j < len(steps) else usual for j in (i - 1, i + 1)]
        too_near, too_far = step < STEP_MM[0], step > min(STEP_MM[1], MOST_STEP_RATIO * usual)
        if too_near or too_far:
            said = phrase("The distances between the vertebral bodies are not plausible: {distances} mm.", distances=listed)
            found.append(DoubtfulStep(i, too_far, False, said))
        elif step > MOST_STEP_JUMP * max(beside) or _gap_mm(instances, upward[i], upward[i + 1], spacing_mm) > MOST_GAP_MM:
            said = phrase(
                "A vertebra may have been missed between two bodies that are {apart:.0f} mm apart (distances: "
                "{distances} mm).",
                apart=step,
                distances=listed,
            )
            found.append(DoubtfulStep(i, True, True, said))
    return tuple(found)


def _gap_mm(instances: IntArray, upper: Body, lower: Body, spacing_mm: float) -> float:
    """Least distance between the surfaces of two bodies."""
    one, other = (np.argwhere(instances == body.number).astype(np.float64) for body in (upper, lower))
    distances = np.asarray(cKDTree(one).query(other)[0])
    return float(distances.min() - 1.0) * spacing_mm
