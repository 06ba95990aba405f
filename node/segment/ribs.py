"""Which vertebral bodies have ribs: every rib next to the spine is followed to its body.

:mod:`node.segment.shafts` finds where each rib meets the spine, :mod:`node.segment.rows` to which bodies the ribs belong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from node.segment.inference import Prediction
from node.segment.instances import Body
from node.segment.rows import MOST_ABOVE_TOP, assigned_row
from node.segment.shafts import Shaft, find_shafts

BoolArray = npt.NDArray[np.bool_]
PositionArray = npt.NDArray[np.float64]

#: A piece shorter than this may be a rudimentary rib or a transverse process.
LONG_MM = 30.0
#: The shorter rib of T12 measures 39 to 102 mm from end to end in the real CTs at hand (seven people), that of T11, if
#: the scan does not cut it, 133 to 187 mm (four people).
LONGEST_TWELFTH_MM, ELEVENTH_MM = 110.0, 140.0
#: Distance from the expected place, as a share of the distance between bodies, beyond which a piece belongs to no body of
#: the chain; and from which on it may equally be the neighbour's.
MOST_MISFIT, UNSURE_MISFIT = 0.7, 0.4
#: A row of ribs is certain if the next best row, which ends at another body, costs this much more.
LEAST_ROW_MARGIN = 1.0
#: A body's flank: where a rib would be seen, in mm beside its middle; below and above its middle.
FLANK_ASIDE_MM, FLANK_BELOW_MM, FLANK_ABOVE_MM = (28.0, 50.0), 24.0, 3.0
SEEN_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Rib:
    """A rib on one side.

    Attributes:
        left: whether it is on the patient's left.
        length_mm: length of its visible part next to the spine.
        misfit: how far from the point expected from its neighbours it meets its body, as a share of the distance between
            bodies.
        whole_mm: length of its whole visible part, end to end; ``None`` if it touches another rib.
        cut: the edge of the scan may have cut it.
    """

    left: bool
    length_mm: float
    misfit: float
    whole_mm: float | None
    cut: bool

    @property
    def certain(self) -> bool:
        """Whether it is long enough for a rib and clearly belongs to this body."""
        return self.length_mm >= LONG_MM and self.misfit <= UNSURE_MISFIT


@dataclass(frozen=True, slots=True)
class Flanks:
    """What is visible next to a body.

    Attributes:
        ribs: the body's ribs, at most one on each side.
        in_view: whether a rib would be visible on at least one side.
    """

    ribs: tuple[Rib, ...]
    in_view: bool

    @property
    def may_be_eleventh(self) -> bool:
        """Whether there are two certain ribs, each as long as an eleventh, or cut off and longer than a twelfth."""
        sure = [rib for rib in self.ribs if rib.certain]
        return len(sure) == 2 and all(
            rib.whole_mm is not None and rib.whole_mm >= (LONGEST_TWELFTH_MM if rib.cut else ELEVENTH_MM) for rib in sure
        )

    @property
    def bears_rib(self) -> bool:
        """Whether at least one rib is certain."""
        return any(rib.certain for rib in self.ribs)


def find_flanks(prediction: Prediction, chain: list[Body], inside: BoolArray) -> list[Flanks]:
    """Ribs of every body of a chain, in the same order.

    Args:
        prediction: the network's output.
        chain: bodies from the head downward.
        inside: which voxels of the prediction's grid are inside the scanned volume.
    """
    spacing = prediction.grid.spacing_mm
    centres = np.array([body.centre for body in chain]).reshape(-1, 3)
    ribs: list[list[Rib]] = [[] for _ in chain]
    if len(chain) > 1:
        heights_mm = centres[:, 0] * spacing
        shafts = find_shafts(prediction, centres, inside)
        for body, rib in _assigned(shafts, heights_mm):
            ribs[body].append(rib)
    return [Flanks(tuple(own), flank_in_view(inside, c, spacing)) for own, c in zip(ribs, centres, strict=True)]


def _assigned(shafts: list[Shaft], heights_mm: PositionArray) -> list[tuple[int, Rib]]:
    """Bodies (index from the head) with their ribs.

    Args:
        shafts: of both sides.
        heights_mm: of the bodies, from the head downward.
    """
    # A piece that points below the chain is an edge of the pelvis or an arm, and would look like the lowest rib.
    lowest = len(heights_mm) - 1 + MOST_MISFIT
    met = [(shaft, position_of(shaft.meets_mm, heights_mm)) for shaft in shafts]
    sides = [[one for one in met if one[0].left is left and one[1] <= lowest] for left in (False, True)]
    long = [[one for one in side if one[0].length_mm >= LONG_MM] for side in sides]
    right, left = ([position for _, position in side] for side in long)
    row = assigned_row(right, left, len(heights_mm))
    found: dict[tuple[int, bool], Rib] = {}
    used = []
    for placed in row.ribs:
        shaft, _ = long[placed.left][placed.number]
        misfit = abs(placed.off - row.drift(placed.body, without=placed))
        if row.margin < LEAST_ROW_MARGIN:
            misfit = max(misfit, UNSURE_MISFIT + 0.01)
        found[placed.body, placed.left] = _rib(shaft, misfit, sides[placed.left])
        used.append(shaft)
    # What is short, or has no place in the row, belongs to the nearest body; of two such pieces the longer one is the rib.
    others = [one for side in sides for one in side if not any(one[0] is shaft for shaft in used)]
    for shaft, position in sorted(others, key=lambda one: -one[0].length_mm):
        above = np.array([body - position - row.usual_place(body) - row.drift(body) for body in range(len(heights_mm))])
        body = int(np.argmin(abs(above)))
        if abs(above[body]) <= MOST_MISFIT and not (body == 0 and above[body] > MOST_ABOVE_TOP):
            found.setdefault((body, shaft.left), _rib(shaft, float(abs(above[body])), sides[shaft.left]))
    return [(body, rib) for (body, _), rib in found.items()]


def _rib(shaft: Shaft, misfit: float, side: list[tuple[Shaft, float]]) -> Rib:
    alone = sum(other.region == shaft.region for other, _ in side) == 1
    return Rib(shaft.left, shaft.length_mm, misfit, shaft.whole_mm if alone else None, shaft.cut)


def position_of(height_mm: float, heights_mm: PositionArray) -> float:
    """Position of a height among bodies (0 at the uppermost, 1 at the next one), continued beyond the ends of the chain."""
    if height_mm > heights_mm[0]:
        return float((heights_mm[0] - height_mm) / (heights_mm[0] - heights_mm[1]))
    if height_mm < heights_mm[-1]:
        return float(len(heights_mm) - 1 + (heights_mm[-1] - height_mm) / (heights_mm[-2] - heights_mm[-1]))
    return float(np.interp(-height_mm, -heights_mm, np.arange(len(heights_mm))))


def flank_in_view(inside: BoolArray, centre: PositionArray, spacing_mm: float) -> bool:
    """Whether the flank of at least one side lies inside the scanned volume."""
    z, y, x = np.round(centre).astype(int)
    low, high = max(z - round(FLANK_BELOW_MM / spacing_mm), 0), z + round(FLANK_ABOVE_MM / spacing_mm) + 1
    if z - FLANK_BELOW_MM / spacing_mm < 0:
        return False
    near, far = (round(mm / spacing_mm) for mm in FLANK_ASIDE_MM)
    back = y + round(15.0 / spacing_mm)
    for columns in ((x - far, x - near + 1), (x + near, x + far + 1)):
        if columns[0] < 0 or columns[1] > inside.shape[2] or back > inside.shape[1]:
            continue
        if inside[low:high, y:back, columns[0] : columns[1]].mean() >= SEEN_SHARE:
            return True
    return False
