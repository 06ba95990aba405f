"""Voxels are grouped to bodies by the centre that they point to; a body that points to its neighbour is still found."""

from __future__ import annotations

import numpy as np

from node.segment.grid import IsoGrid
from node.segment.inference import Prediction
from node.segment.instances import Body, IntArray, find_bodies, spine_chain
from node.segment.network import Tissue

SPACING_MM = 3.0
SHAPE = (80, 40, 40)
#: Lowest and highest slice of three bodies; the middle one is crushed.
BODIES = ((50, 58), (38, 41), (20, 28))
MIDDLE = 1


def found(
    *, points_to: int = MIDDLE, deep: slice = slice(12, 24), piece: tuple[slice, slice, slice] | None = None
) -> tuple[IntArray, list[float]]:
    """Instance map and heights, in voxels, of the chain, if the middle body points to the middle of body ``points_to``.

    ``deep``: rows of the middle body; ``piece``: something more that is taken for a body and points to the uppermost one.
    """
    probability = np.zeros((len(Tissue), *SHAPE), dtype=np.float32)
    offset_mm = np.zeros((3, *SHAPE), dtype=np.float32)
    middles = [np.array([(low + high) / 2, 17.5, 19.5]) for low, high in BODIES]
    regions = [(slice(low, high + 1), slice(12, 24), slice(12, 28)) for low, high in BODIES]
    regions[MIDDLE] = (regions[MIDDLE][0], deep, regions[MIDDLE][2])
    targets = [middles[points_to if i == MIDDLE else i] for i in range(len(BODIES))]
    if piece is not None:
        regions.append(piece)
        targets.append(middles[0])
    for region, target in zip(regions, targets, strict=True):
        probability[(int(Tissue.LUMBAR_BODY), *region)] = 1.0
        at = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in region), indexing="ij"))
        offset_mm[(slice(None), *region)] = (target[:, None, None, None] - at) * SPACING_MM
    instances, bodies = find_bodies(Prediction(IsoGrid((0.0, 0.0, 0.0), SPACING_MM, SHAPE), probability, offset_mm))
    return instances, [float(body.centre[0]) for body in spine_chain(bodies, SPACING_MM)]


def count(instances: IntArray) -> int:
    """How many bodies there are."""
    return len(np.unique(instances[instances > 0]))


def test_bodies_are_found_from_the_head_downward() -> None:
    instances, heights = found()
    assert heights == [54.0, 39.5, 24.0]
    assert count(instances) == 3


def test_a_crushed_body_that_points_to_its_neighbour_is_a_body_of_its_own() -> None:
    for neighbour in (0, 2):
        instances, heights = found(points_to=neighbour)
        assert heights == [54.0, 39.5, 24.0]
        assert count(instances) == 3
        # none of the three is a part of another
        assert all(count(instances[low : high + 1]) == 1 for low, high in BODIES)


def test_what_is_smaller_than_a_body_is_none() -> None:
    # 4 x 4 x 16 voxels are 6.9 cm3, 4 x 1 x 16 are 1.7 cm3
    assert count(found(points_to=0, deep=slice(16, 20))[0]) == 3
    assert count(found(points_to=0, deep=slice(16, 17))[0]) == 2


def test_a_piece_beside_or_behind_a_body_or_at_the_edge_is_none() -> None:
    beside = (slice(50, 59), slice(12, 24), slice(30, 34))
    behind = (slice(44, 54), slice(30, 38), slice(12, 28))
    at_the_edge = (slice(75, 80), slice(12, 24), slice(12, 28))
    for piece in (beside, behind, at_the_edge):
        instances, heights = found(piece=piece)
        assert heights == [54.0, 39.5, 24.0]
        assert count(instances) == 3


def test_a_crushed_body_behind_and_below_the_lowest_one_belongs_to_the_chain() -> None:
    """In a deep lordosis a crushed L5 lies more behind L4 than below it; what lies level with a body is off the spine."""

    def at(number: int, lower_mm: float, further_back_mm: float) -> Body:
        centre = np.array([60.0, 20.0, 20.0]) + np.array([-lower_mm, further_back_mm, 0.0]) / SPACING_MM
        return Body(number, centre, 20.0, 0.0, 0.95)

    bodies = [at(1, 0.0, 0.0), at(2, 30.0, 5.0)]
    assert len(spine_chain([*bodies, at(3, 40.0, 24.0)], SPACING_MM)) == 3
    assert len(spine_chain([*bodies, at(3, 35.0, 29.0)], SPACING_MM)) == 2
