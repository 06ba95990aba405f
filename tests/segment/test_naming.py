"""Level labelling from drawn landmarks: a chain of bodies, a sacrum and ribs on the working grid, without a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from node.model import Level
from node.segment.grid import IsoGrid
from node.segment.inference import Prediction
from node.segment.instances import Body
from node.segment.naming import name_bodies
from node.segment.network import Tissue
from node.segment.reach import Naming
from node.segment.ribs import find_flanks

SPACING_MM = 3.0
SHAPE = (150, 90, 120)
#: Slices between the middles of two bodies (33 mm), and the middle of the lowest body.
STEP, LOWEST = 11, 32
MIDDLE = (45, 60)
LONG, SHORT = 60.0, 20.0


def drawn(
    thoracic: list[float],
    ribs: dict[int, float],
    *,
    sacrum: bool = True,
    sides: tuple[int, ...] = (-1, 1),
    half_width_mm: float = 180.0,
    lost: int | None = None,
    small: int | None = None,
    leaning: float = 0.0,
    wider: tuple[int, int] = (0, 0),
    remainder: int | None = None,
    shorter_left: bool = False,
    starts: tuple[float, int] = (24.0, 4),
) -> tuple[Prediction, npt.NDArray[np.int32], list[Body], npt.NDArray[np.bool_]]:
    """A drawn spine, as :func:`name_bodies` takes it.

    Args:
        thoracic: the network's rating of each body, from the lowest upward.
        ribs: length in mm beside the spine of the ribs of a body, by its index from the lowest.
        sacrum: whether there is one.
        sides: -1 right, 1 left.
        half_width_mm: of the scanned volume beside the spine.
        lost: a body (index from the lowest, as drawn) that the network does not see.
        small: a body that is drawn with a third of the others' volume, narrower than they are.
        leaning: way backward per way upward of the spine.
        remainder: a body of which the upper edge of the scan leaves a fifth.
        wider: a body above which the step to the next is longer, and by how many slices.
        shorter_left: the ribs of the left side have half the length.
        starts: of what is seen of the ribs, in mm beside the middle and in voxels behind it.
    """
    probability = np.zeros((len(Tissue), *SHAPE), dtype=np.float32)
    instances = np.zeros(SHAPE, dtype=np.int32)
    bodies = []
    for i, share in enumerate(thoracic):
        z = LOWEST + i * STEP + (wider[1] if i > wider[0] else 0)
        if i == lost:
            continue
        y = MIDDLE[0] + round(leaning * (z - LOWEST))
        half = 4 if i == small else 7
        box = (slice(z - 4, z + 5), slice(y - 5, y + 6), slice(MIDDLE[1] - half, MIDDLE[1] + half + 1))
        instances[box] = i + 1
        volume_cm3 = 13.0 if i == small else 8.0 if i == remainder else 40.0
        bodies.append(Body(i + 1, np.array([z, y, MIDDLE[1]], dtype=float), volume_cm3, share, 0.95))
    for i, length_mm in ribs.items():
        for side in sides:
            out_mm = np.arange(starts[0], starts[0] + length_mm * (0.4 if shorter_left and side == 1 else 0.8), 1.0)
            # what lies behind the body's middle lies on the body's level, which leans with the spine
            head = LOWEST + i * STEP + (wider[1] if i > wider[0] else 0) - leaning * (starts[1] + 1)
            z = head - 0.6 * (out_mm - 20.0) / SPACING_MM
            x = MIDDLE[1] + side * out_mm / SPACING_MM
            for dz in (0, 1):
                for dy in (starts[1], starts[1] + 1):
                    at = (
                        np.round(z).astype(int) + dz,
                        np.full(len(z), MIDDLE[0] + round(leaning * i * STEP) + dy),
                        np.round(x).astype(int),
                    )
                    seen = abs(at[2] - MIDDLE[1]) <= half_width_mm / SPACING_MM
                    probability[(int(Tissue.RIB), *(index[seen] for index in at))] = 1.0
    if sacrum:
        probability[int(Tissue.SACRUM), LOWEST - 24 : LOWEST - 6, MIDDLE[0] - 4 : MIDDLE[0] + 16, 45:76] = 1.0
    inside = np.zeros(SHAPE, dtype=bool)
    half = round(half_width_mm / SPACING_MM)
    top = -1 if remainder is None else LOWEST + remainder * STEP - 1
    instances[top if remainder is not None else SHAPE[0] :] = 0
    inside[1:top, 1:-1, max(MIDDLE[1] - half, 1) : MIDDLE[1] + half + 1] = True
    grid = IsoGrid((0.0, 0.0, 0.0), SPACING_MM, SHAPE)
    prediction = Prediction(grid, probability, np.zeros((3, *SHAPE), dtype=np.float32))
    return prediction, instances, bodies[::-1], inside


def named(thoracic: list[float], ribs: dict[int, float], **how: Any) -> Naming:
    """Names of a drawn spine (see :func:`drawn`)."""
    return name_bodies(*drawn(thoracic, ribs, **how))


LUMBAR, THORACIC = [0.0] * 5, [1.0, 1.0]
USUAL_RIBS = {5: LONG, 6: LONG}


T12_TO_L5 = [Level.T12, Level.L1, Level.L2, Level.L3, Level.L4, Level.L5]


def levels(naming: Naming) -> list[Level]:
    return [entry.level for entry in naming.named]


def test_sacrum_and_last_rib_agree() -> None:
    naming = named(LUMBAR + THORACIC, USUAL_RIBS)
    assert levels(naming) == T12_TO_L5
    assert {entry.evidence for entry in naming.named} == {"counted from sacrum, last rib agrees"}
    assert all(entry.confidence > 0.9 for entry in naming.named)
    assert [entry.body.number for entry in naming.named] == [6, 5, 4, 3, 2, 1]


def test_a_rib_outweighs_the_look_of_the_body_that_bears_it() -> None:
    assert levels(named([*LUMBAR, 0.3, 1.0], USUAL_RIBS)) == T12_TO_L5


def test_the_sacrum_alone_names_with_less_confidence() -> None:
    naming = named(LUMBAR, {})
    assert levels(naming) == T12_TO_L5[1:]
    assert all(entry.confidence <= 0.75 for entry in naming.named)
    assert naming.named[0].evidence == "counted from sacrum; no rib in view to check the count"


def test_what_looks_like_ribs_beside_the_pelvis_is_not_the_last_pair() -> None:
    naming = named(LUMBAR + THORACIC, USUAL_RIBS | {-2: 45.0})
    assert {entry.evidence for entry in naming.named} == {"counted from sacrum, last rib agrees"}


def test_the_last_rib_alone_names_with_the_least_confidence() -> None:
    naming = named(LUMBAR + THORACIC, USUAL_RIBS, sacrum=False)
    assert levels(naming) == T12_TO_L5
    assert all(entry.confidence <= 0.6 for entry in naming.named)
    assert naming.named[0].evidence.startswith("counted from the last rib alone")


def test_one_rib_is_enough_where_the_other_side_has_none() -> None:
    assert levels(named(LUMBAR + THORACIC, USUAL_RIBS, sacrum=False, sides=(1,))) == T12_TO_L5


def test_last_ribs_as_long_as_eleventh_ones_are_no_landmark_alone() -> None:
    longer = {5: 170.0, 6: LONG}
    naming = named(LUMBAR + THORACIC, longer, sacrum=False)
    assert naming.named == ()
    assert "to be the eleventh pair" in said(naming)
    # what is seen of ribs that the scan's edge cuts is longer than those of T12 are
    assert named(LUMBAR + THORACIC, longer, sacrum=False, half_width_mm=130.0).named == ()
    assert levels(named(LUMBAR + THORACIC, {5: 120.0, 6: LONG}, sacrum=False)) == T12_TO_L5
    # one of the two is short, or the sacrum agrees
    assert levels(named(LUMBAR + THORACIC, longer, sacrum=False, shorter_left=True)) == T12_TO_L5
    assert levels(named(LUMBAR + THORACIC, longer)) == T12_TO_L5


def test_a_short_last_rib_counts_beside_a_body_that_looks_thoracic() -> None:
    ribs = {5: SHORT, 6: LONG}
    assert levels(named(LUMBAR + THORACIC, ribs, sacrum=False)) == T12_TO_L5
    assert named([*LUMBAR, 0.6, 1.0], ribs, sacrum=False).named == ()


DOUBTFUL = {
    "ribs at L1": (LUMBAR + THORACIC, {4: LONG, **USUAL_RIBS}, True),
    "four lumbar vertebrae": ([0.0] * 4 + [1.0, 1.0, 1.0], {4: LONG, 5: LONG, 6: LONG}, True),
    "six lumbar vertebrae": ([0.0] * 6 + [1.0], {6: LONG}, True),
    "no rib at T12": ([*LUMBAR, 0.6, 1.0], {6: LONG}, True),
    "no landmark": (LUMBAR, {}, False),
    "no sacrum, a stump below the last rib": (LUMBAR + THORACIC, {4: SHORT, **USUAL_RIBS}, False),
    "no sacrum, L1 looks thoracic": ([0.0] * 4 + [0.6, 1.0, 1.0], USUAL_RIBS, False),
    "no sacrum, T12 looks lumbar": ([*LUMBAR, 0.1, 1.0], USUAL_RIBS, False),
    "no sacrum, nothing at T11": (LUMBAR + THORACIC, {5: LONG}, False),
    "no sacrum, one lumbar body": ([0.0, 1.0, 1.0], {1: LONG, 2: LONG}, False),
    "no sacrum, six bodies below the last rib": ([0.0] * 6 + [1.0, 1.0], {6: LONG, 7: LONG}, False),
}


@pytest.mark.parametrize("case", DOUBTFUL)
def test_doubt_names_nothing(case: str) -> None:
    thoracic, ribs, sacrum = DOUBTFUL[case]
    naming = named(thoracic, ribs, sacrum=sacrum)
    assert naming.named == ()
    assert [reason.code for reason in naming.reasons] == ["level_not_certain"]


def test_a_rib_that_could_not_be_seen_is_no_evidence() -> None:
    """Without a sacrum, a rib counts as the last only if one at the next body would be in view."""
    assert named(LUMBAR + THORACIC, USUAL_RIBS, sacrum=False, half_width_mm=42.0).named == ()
    assert levels(named(LUMBAR + THORACIC, {}, half_width_mm=42.0)) == T12_TO_L5


def test_in_a_narrow_view_an_indistinct_t12_is_still_likelier_than_a_sixth_lumbar_body() -> None:
    indistinct, lumbar = [*LUMBAR, 0.3], [0.0] * 6
    assert levels(named(indistinct, {}, half_width_mm=42.0)) == T12_TO_L5
    assert named(indistinct, {}).named == ()
    assert named(lumbar, {}, half_width_mm=42.0).named == ()


def test_only_ribs_and_thoracic_bodies_are_no_lumbar_spine() -> None:
    naming = named([1.0, 1.0, 1.0], {0: LONG, 1: LONG, 2: LONG}, sacrum=False)
    assert [reason.code for reason in naming.reasons] == ["no_lumbar_spine"]


def said(naming: Naming) -> str:
    return " ".join(str(reason.detail) for reason in naming.reasons)


@pytest.mark.parametrize("lost", [1, 2, 3, 4])
def test_a_body_that_was_missed_between_two_landmarks_hides_the_names_above_it(lost: int) -> None:
    """A patient with four lumbar vertebrae and one wide disc would look the same: only the sacrum's side is certain."""
    naming = named(LUMBAR + THORACIC, USUAL_RIBS, lost=lost)
    assert levels(naming) == T12_TO_L5[6 - lost :]
    assert [entry.body.number for entry in naming.named] == list(range(lost, 0, -1))
    assert f"No level above {T12_TO_L5[6 - lost].name} is labelled" in said(naming)
    assert all(entry.confidence <= 0.75 for entry in naming.named)


def test_a_body_that_was_missed_hides_the_names_beyond_it_where_one_landmark_is_in_view() -> None:
    from_sacrum = named(LUMBAR, {}, lost=2)
    assert levels(from_sacrum) == [Level.L4, Level.L5]
    assert "No level above L4 is labelled" in said(from_sacrum)
    from_rib = named(LUMBAR + THORACIC, USUAL_RIBS, sacrum=False, lost=2)
    assert levels(from_rib) == [Level.T12, Level.L1, Level.L2]
    assert "No level below L2 is labelled" in said(from_rib)


def test_a_stump_far_below_the_last_rib_is_a_transverse_process() -> None:
    assert levels(named(LUMBAR + THORACIC, {2: SHORT, **USUAL_RIBS}, sacrum=False)) == T12_TO_L5
    assert named([0.0, 0.0, 0.2, 0.0, 0.0, *THORACIC], {2: SHORT, **USUAL_RIBS}, sacrum=False).named == ()


def test_two_landmarks_that_agree_outweigh_one_high_disc() -> None:
    high = named(LUMBAR + THORACIC, USUAL_RIBS, wider=(0, 4))
    assert levels(high) == T12_TO_L5
    alone = named(LUMBAR, {}, wider=(0, 4))
    assert levels(alone) == [Level.L5]


def test_the_form_of_what_the_edge_leaves_of_a_body_says_nothing() -> None:
    naming = named([0.0, 0.0, 0.0, 0.0, 0.7], {}, remainder=4)
    assert levels(naming) == [Level.L2, Level.L3, Level.L4, Level.L5]
    assert said(naming) == "L1 is cut by the edge of the scanned volume."
    assert named([0.0, 0.0, 0.0, 0.0, 0.7], {}).named == ()


def test_six_lumbar_bodies_one_of_them_missed_are_not_five() -> None:
    naming = named([0.0] * 6 + [1.0, 1.0], {6: LONG, 7: LONG}, lost=2)
    assert naming.named == ()


def test_an_implausible_body_hides_the_names_beyond_it_where_one_landmark_is_in_view() -> None:
    both = named(LUMBAR + THORACIC, USUAL_RIBS, small=2)
    # a body and its neighbours do not fit together: any of them may be the wrong one
    assert levels(both) == [Level.T12, Level.L1, Level.L5]
    alone = named(LUMBAR, {}, small=2)
    assert levels(alone) == [Level.L5]
    assert "L3 has an implausible volume" in said(alone)
    assert "No level above L5 is labelled" in said(alone)


@pytest.mark.parametrize(
    ("leaning", "starts"),
    # further forward the angles of the ribs would leave the drawn volume
    [(-0.55, (24.0, 4)), (0.55, (24.0, 4)), (-0.55, (45.0, 11)), (0.4, (45.0, 11))],
)
def test_ribs_are_followed_to_the_bodies_of_a_spine_that_leans(leaning: float, starts: tuple[float, int]) -> None:
    """In the scanner a rib's head lies a fourth of a body higher or lower here than beside an upright spine, and its angle
    half a body, which the direction of what follows doesn't tell."""
    misfits = []
    for tilt in (0.0, leaning):
        prediction, instances, chain, inside = drawn(LUMBAR + THORACIC, USUAL_RIBS, leaning=tilt, starts=starts)
        flanks = find_flanks(prediction, chain, inside)
        assert [len(beside.ribs) for beside in flanks] == [2, 2, 0, 0, 0, 0, 0]
        misfits.append([rib.misfit for beside in flanks for rib in beside.ribs])
        assert levels(name_bodies(prediction, instances, chain, inside)) == T12_TO_L5
    assert misfits[1] == pytest.approx(misfits[0], abs=0.1)
