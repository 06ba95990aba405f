"""Which vertebral bodies have ribs: every rib next to the spine is followed to its body.

The head of a rib is hidden between the body and the transverse process, where the network rarely finds it. It does find the
shaft, from two or three centimetres beside the midline outward and downward. So the inner part of the shaft is extended as a
straight line to the side of the vertebral body, in a frame that leans with the spine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.segment.inference import Prediction
from node.segment.instances import Body
from node.segment.network import Tissue

BoolArray = npt.NDArray[np.bool_]
PositionArray = npt.NDArray[np.float64]

RIB_PROBABILITY = 0.5
#: Ribs are used only this far beside the middle of the spine: further out neighbours touch in thick slices.
REACH_MM = 85.0
#: Anything further than this in front of the middle of the bodies is bowel or the front of the chest.
FRONT_MM = 12.0
#: The inner part of a shaft, whose direction is followed, and its largest slope (height per distance outward).
INNER_MM = 36.0
SLOPE_RANGE = (-1.5, 0.5)
#: Half the width of a vertebra where the rib's head meets it.
HEAD_MM = 20.0
#: Number of iterations that look up the lean of the spine where the rib meets it.
LEANING_ROUNDS = 3
#: Largest plausible lean of the spine (distance backward or sideways per distance upward); it is limited to this.
MOST_LEANING = 1.0
#: A shorter piece is not a rib. One shorter than LONG_MM may be a rudimentary rib or a transverse process.
SHORT_MM, LONG_MM = 12.0, 30.0
#: The shorter rib of T12 measures 39 to 102 mm from end to end in the real CTs at hand (seven people), that of T11, if
#: the scan does not cut it, 133 to 187 mm (four people).
LONGEST_TWELFTH_MM, ELEVENTH_MM = 110.0, 140.0
#: A rib that ends nearer than this to the edge of the scan is cut off.
EDGE_MM = 6.0
#: A shaft that begins further from the midline than this is not followed: it could belong to another body.
MOST_START_MM = 62.0
#: The 11th and 12th rib meet the middle of their body, the others its upper edge: height of that point above the body's
#: middle, as a share of the distance between bodies, for the lowest rib of a side and for the others (medians in nine real
#: CTs: 0.16 of 17 and 0.29 of 100 ribs; of 546 lowest ribs of synthetic people 0.2).
LOWEST_PLACE, USUAL_PLACE = 0.18, 0.3
#: Distance from that point, as such a share, beyond which the rib belongs to no body of the chain; and from which on it may
#: equally be the neighbour's.
MOST_MISFIT, UNSURE_MISFIT = 0.7, 0.4
#: The lowest ribs of both sides are a pair if they meet the spine within this share of the distance between bodies.
MOST_PAIR_APART = 0.8
#: A rib that meets the uppermost body of the chain further above its point than this belongs to a body out of view.
MOST_ABOVE_TOP = 0.25
#: A body's flank: where a rib would be seen, in mm beside its middle; below and above its middle.
FLANK_ASIDE_MM, FLANK_BELOW_MM, FLANK_ABOVE_MM = (28.0, 50.0), 24.0, 3.0
SEEN_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Rib:
    """A rib on one side.

    Attributes:
        left: whether it is on the patient's left.
        length_mm: length of its visible part next to the spine.
        misfit: how far from the usual point it meets its body, as a share of the distance between bodies.
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
        # A piece that points below the chain is an edge of the pelvis or an arm, and would look like the lowest rib.
        least_mm = heights_mm[-1] - MOST_MISFIT * _step_mm(heights_mm)
        shafts = [shaft for shaft in _shafts(prediction, centres, inside) if shaft.meets_mm >= least_mm]
        sides = [[shaft for shaft in shafts if shaft.left is left] for left in (False, True)]
        lowest_mm = _lowest_pair_mm(sides[0], sides[1], heights_mm)
        for side in sides:
            for body, rib in _assigned(side, heights_mm, lowest_mm):
                ribs[body].append(rib)
    return [Flanks(tuple(own), _flank_in_view(inside, c, spacing)) for own, c in zip(ribs, centres, strict=True)]


@dataclass(frozen=True, slots=True)
class _Shaft:
    """A piece of rib, and the height, in mm on the grid, of the body that its inner part points to.

    ``region`` is the number of its region, ``whole_mm`` the length of that region, ``cut`` whether it ends at the edge of
    the scan.
    """

    left: bool
    length_mm: float
    meets_mm: float
    region: int
    whole_mm: float
    cut: bool


def _shafts(prediction: Prediction, centres: PositionArray, inside: BoolArray) -> list[_Shaft]:
    spacing = prediction.grid.spacing_mm
    rib = prediction.probability[Tissue.RIB] > RIB_PROBABILITY
    regions, _ = ndimage.label(rib, np.ones((3, 3, 3)))
    extents = ndimage.find_objects(regions)
    inner = ndimage.binary_erosion(inside, iterations=max(round(EDGE_MM / spacing), 1))
    cut = set(np.unique(regions[rib & ~inner]).tolist())
    index = np.argwhere(rib)
    aside_mm, behind_mm = _beside(index, centres, spacing)
    near = index[(abs(aside_mm) <= REACH_MM) & (behind_mm >= -FRONT_MM)]
    kept = np.zeros(prediction.grid.shape, dtype=bool)
    kept[tuple(near.T)] = True
    parts, _ = ndimage.label(kept, np.ones((3, 3, 3)))
    shafts = []
    for number, box in enumerate(ndimage.find_objects(parts), 1):
        voxels = np.argwhere(parts[box] == number) + [s.start for s in box]
        aside_mm, _ = _beside(voxels, centres, spacing)
        left = bool(np.median(aside_mm) > 0)
        out_mm = aside_mm if left else -aside_mm
        start_mm = float(np.percentile(out_mm, 2))
        length_mm = float(np.linalg.norm(np.ptp(voxels, axis=0))) * spacing
        if length_mm < SHORT_MM or not 0 < start_mm <= MOST_START_MM:
            continue
        inner = out_mm <= start_mm + INNER_MM
        meets_mm = _meets_mm(voxels[inner], out_mm[inner], centres, spacing)
        region = int(regions[tuple(voxels[0])])
        whole_mm = float(np.linalg.norm([s.stop - s.start - 1 for s in extents[region - 1]])) * spacing
        shafts.append(_Shaft(left, length_mm, meets_mm, region, whole_mm, region in cut))
    return shafts


def _meets_mm(inner: npt.NDArray[np.int_], out_mm: PositionArray, centres: PositionArray, spacing_mm: float) -> float:
    """Height of the middle of the body at whose side the line through the inner part of a shaft ends.

    Args:
        inner: its voxels.
        out_mm: their distance from the middle of the spine, to their side.
        centres: of the bodies.
        spacing_mm: of the grid.
    """
    aside_mm, behind_mm = _beside(inner, centres, spacing_mm)
    start_mm = float(np.percentile(out_mm, 2))
    meets_mm = float(inner[:, 0].mean()) * spacing_mm
    for _ in range(LEANING_ROUNDS):
        # If the spine leans, voxels next to or behind a body are lower or higher in the scanner than its middle. So the
        # height is taken where a plane through the voxel, perpendicular to the spine, crosses it.
        backward, leftward = _leaning(meets_mm / spacing_mm, centres)
        lower_mm = (backward * behind_mm + leftward * aside_mm) / (1.0 + backward**2 + leftward**2)
        along_mm = inner[:, 0] * spacing_mm + lower_mm
        slope = 0.0
        if np.ptp(out_mm) > 2 * spacing_mm:
            slope = float(np.clip(np.polyfit(out_mm, along_mm, 1)[0], *SLOPE_RANGE))
        first = float(along_mm[out_mm <= start_mm + 2 * spacing_mm].mean())
        meets_mm = first + slope * (HEAD_MM - start_mm)
    return meets_mm


def _leaning(height: float, centres: PositionArray) -> tuple[float, float]:
    """Slope backward and to the left of the curve through the bodies' centres, at a height (in voxels)."""
    z, y, x = centres[np.argsort(centres[:, 0])].T
    step = float(np.median(np.diff(z)))
    low, high = (float(np.clip(height + side * step, z[0], z[-1])) for side in (-1.0, 1.0))
    if high <= low:
        low, high = (float(z[0]), float(z[1])) if height < z[0] else (float(z[-2]), float(z[-1]))
    backward, leftward = (float(np.interp(high, z, a) - np.interp(low, z, a)) / (high - low) for a in (y, x))
    return float(np.clip(backward, -MOST_LEANING, MOST_LEANING)), float(np.clip(leftward, -MOST_LEANING, MOST_LEANING))


def _beside(index: npt.NDArray[np.int_], centres: PositionArray, spacing_mm: float) -> tuple[PositionArray, PositionArray]:
    """Distance to the left of and behind the curve through the bodies' centres, at the height of each voxel, in mm."""
    z, y, x = centres[np.argsort(centres[:, 0])].T
    left = index[:, 2] - np.interp(index[:, 0], z, x)
    behind = index[:, 1] - np.interp(index[:, 0], z, y)
    return left * spacing_mm, behind * spacing_mm


def _step_mm(heights_mm: PositionArray) -> float:
    """Usual distance between neighbouring bodies, whose heights are given from the head downward."""
    return float(np.median(-np.diff(heights_mm)))


def _lowest_pair_mm(right: list[_Shaft], left: list[_Shaft], heights_mm: PositionArray) -> float | None:
    """Height at which the lowest ribs of both sides meet the spine; ``None`` if they are not a pair.

    Ribs come in pairs. If the lowest ones of the two sides point to neighbouring bodies, their mean decides.
    """
    step = _step_mm(heights_mm)
    lowest = [min((s.meets_mm for s in side if s.length_mm >= LONG_MM), default=None) for side in (right, left)]
    if lowest[0] is None or lowest[1] is None or abs(lowest[0] - lowest[1]) > MOST_PAIR_APART * step:
        return None
    return (lowest[0] + lowest[1]) / 2


def _assigned(shafts: list[_Shaft], heights_mm: PositionArray, lowest_mm: float | None) -> list[tuple[int, Rib]]:
    """Bodies (index from the head) with their ribs of one side; if two pieces point to one body, the longer one is the rib.

    Args:
        shafts: of one side.
        heights_mm: of the bodies, from the head downward.
        lowest_mm: where the lowest rib meets the spine, if both sides agree.
    """
    step = _step_mm(heights_mm)
    found: dict[int, Rib] = {}
    lowest = True
    for shaft in sorted(shafts, key=lambda s: s.meets_mm):
        long = shaft.length_mm >= LONG_MM
        meets_mm = lowest_mm if lowest and long and lowest_mm is not None else shaft.meets_mm
        above = (meets_mm - heights_mm) / step - (LOWEST_PLACE if lowest else USUAL_PLACE)
        body = int(np.argmin(abs(above)))
        if abs(above[body]) > MOST_MISFIT or (body == 0 and above[body] > MOST_ABOVE_TOP):
            continue
        alone = sum(other.region == shaft.region for other in shafts) == 1
        rib = Rib(shaft.left, shaft.length_mm, float(abs(above[body])), shaft.whole_mm if alone else None, shaft.cut)
        if body not in found or found[body].length_mm < rib.length_mm:
            found[body] = rib
        lowest = lowest and not long
    return list(found.items())


def _flank_in_view(inside: BoolArray, centre: PositionArray, spacing_mm: float) -> bool:
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
