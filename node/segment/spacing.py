"""Distances between the bodies of a chain: where one has been missed, the names of all beyond it would be wrong."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.spatial import cKDTree

from node.language.phrase import Phrase, phrase
from node.segment.instances import Body, IntArray

#: Plausible distance of neighbouring centres in mm, and the largest ratio of one to the median of its chain (a missed body
#: in between gives about 2).
STEP_MM = (18.0, 55.0)
MOST_STEP_RATIO = 1.5
#: A distance that exceeds both of its neighbours by this factor, or so much room between the surfaces of two neighbours in
#: mm, may hold a collapsed body that was missed. Discs are at most about 15 mm high, less at their rims.
MOST_STEP_JUMP, MOST_GAP_MM = 1.25, 15.0


def spacing_doubt(instances: IntArray, chain: list[Body], spacing_mm: float, *, counted: int) -> Phrase | None:
    """What is implausible about the distances between bodies; ``None`` if nothing is.

    Args:
        instances: instance map.
        chain: bodies from the head downward; one more than is counted, if there is one, to compare with.
        spacing_mm: of the grid.
        counted: how many bodies from below must be plausible.
    """
    steps = [float(np.linalg.norm(a.centre - b.centre)) * spacing_mm for a, b in pairwise(chain)]
    if not steps:
        return None
    listed = ", ".join(f"{s:.0f}" for s in steps)
    # The step above the counted bodies only serves to compare: in the chest and at a scan's edge others hold.
    own = steps[len(chain) - counted :]
    if own and (min(own) < STEP_MM[0] or max(own) > min(STEP_MM[1], MOST_STEP_RATIO * float(np.median(steps)))):
        return phrase("Distances between bodies are not plausible: {distances} mm.", distances=listed)
    for i in range(len(chain) - counted, len(steps)):
        # At an end of the chain the median stands for the neighbour that is not there.
        beside = [steps[j] if 0 <= j < len(steps) else float(np.median(steps)) for j in (i - 1, i + 1)]
        gap_mm = _gap_mm(instances, chain[i], chain[i + 1], spacing_mm)
        if steps[i] > MOST_STEP_JUMP * max(beside) or gap_mm > MOST_GAP_MM:
            return phrase(
                "Between two bodies {apart:.0f} mm apart one may have been missed (distances: {distances} mm).",
                apart=steps[i],
                distances=listed,
            )
    return None


def _gap_mm(instances: IntArray, upper: Body, lower: Body, spacing_mm: float) -> float:
    """Least distance between the surfaces of two bodies."""
    one, other = (np.argwhere(instances == body.number).astype(np.float64) for body in (upper, lower))
    distances = np.asarray(cKDTree(one).query(other)[0])
    return float(distances.min() - 1.0) * spacing_mm
