"""Counts rib pairs from the top: a third witness beside the sacrum and the last ribs.

Twelve pairs from the first ribs downward say that the last ones belong to T12; eleven or thirteen say that the names below
may be wrong by one. The first ribs are recognised by their shape (short; the next ones are longer) and by what is above: a
flank in view without ribs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from node.segment.instances import Body
from node.segment.ribs import LONG_MM, Flanks, flank_in_view

BoolArray = npt.NDArray[np.bool_]

USUAL_PAIRS = 12
#: First ribs measure 63 to 111 mm from end to end in four real CTs, second ones 118 to 139 mm. If the two sides differ, what
#: touches the longer one may belong to it.
LONGEST_FIRST_MM, LONGER_SIDE_MM = 115.0, 135.0
#: The longest of the next two pairs is at least this many times longer (1.6 to 2.6 in these CTs).
LEAST_GROWTH = 1.25
#: Fewer or more pairs than these are no anatomy, but a count that went wrong.
PLAUSIBLE_PAIRS = range(11, 14)
#: Distances between the bodies of the chest grow slowly from top to bottom: a step further from the mean of its neighbours
#: than this ratio may hide a body, or be one half of it.
STEP_RATIO = (0.65, 1.4)
#: So many bodies between the first and the last ribs may be without ribs of their own: where ribs touch, two look like one.
MOST_WITHOUT = 3


@dataclass(frozen=True, slots=True)
class RibPairs:
    """Rib pairs from the first to the last.

    Attributes:
        count: how many.
        certain: the first ribs look like first ones, and the flank above them is in view and has none.
    """

    count: int
    certain: bool


def rib_pairs(
    chain: list[Body], flanks: list[Flanks], last: int | None, inside: BoolArray, spacing_mm: float
) -> RibPairs | None:
    """Rib pairs of a chain; ``None`` if the first ribs are not recognised, or the count is not plausible.

    Args:
        chain: bodies from the head downward.
        flanks: of each body.
        last: index of the lowest body with ribs.
        inside: which voxels are inside the scanned volume.
        spacing_mm: of the grid.
    """
    first = next((i for i, beside in enumerate(flanks) if any(rib.length_mm >= LONG_MM for rib in beside.ribs)), None)
    if first is None or last is None or last - first + 1 not in PLAUSIBLE_PAIRS:
        return None
    if sum(not beside.ribs for beside in flanks[first:last]) > MOST_WITHOUT or not _even(
        chain[first : last + 1], spacing_mm
    ):
        return None
    looks_first, lengths = _looks_first(flanks[first : first + 3])
    neck = first > 0 and flanks[first - 1].in_view
    above = 2 * chain[0].centre - chain[1].centre
    in_view = neck or (first == 0 and flank_in_view(inside, above, spacing_mm))
    clear = in_view and not any(beside.ribs for beside in flanks[:first])
    if looks_first:
        return RibPairs(last - first + 1, certain=clear)
    if neck and clear and lengths and max(lengths) <= LONGEST_FIRST_MM:
        return RibPairs(last - first + 1, certain=False)
    return None


def _looks_first(upper: list[Flanks]) -> tuple[bool, list[float]]:
    """Whether the uppermost of three pairs looks like the first, and the lengths of its ribs that the scan does not cut."""
    lengths = [rib.whole_mm for rib in upper[0].ribs if rib.whole_mm is not None and not rib.cut]
    following = [rib.whole_mm for beside in upper[1:] for rib in beside.ribs if rib.whole_mm is not None]
    if not lengths or not following:
        return False, lengths
    short = min(lengths) <= LONGEST_FIRST_MM and max(lengths) <= LONGER_SIDE_MM
    return short and max(following) >= LEAST_GROWTH * max(lengths), lengths


def _even(bodies: list[Body], spacing_mm: float) -> bool:
    """Whether the distances between bodies change so slowly that none was missed or counted twice."""
    steps = [float(np.linalg.norm(a.centre - b.centre)) * spacing_mm for a, b in pairwise(bodies)]
    for i in range(1, len(steps) - 1):
        ratio = 2 * steps[i] / (steps[i - 1] + steps[i + 1])
        if not STEP_RATIO[0] <= ratio <= STEP_RATIO[1]:
            return False
    return True
