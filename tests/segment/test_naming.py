"""Names from drawn landmarks: a chain of bodies, a sacrum and ribs on the working grid, without any network."""

from __future__ import annotations

import numpy as np
import pytest

from node.model import Level
from node.segment.grid import IsoGrid
from node.segment.inference import Prediction
from node.segment.instances import Body
from node.segment.naming import Naming, name_bodies
from node.segment.network import Tissue

SPACING_MM = 3.0
SHAPE = (150, 90, 120)
#: Slices between the middles of two bodies (33 mm), and the middle of the lowest body.
STEP, LOWEST = 11, 32
MIDDLE = (45, 60)
LONG, SHORT = 60.0, 20.0


def named(
    thoracic: list[float],
    ribs: dict[int, float],
    *,
    sacrum: bool = True,
    sides: tuple[int, ...] = (-1, 1),
    half_width_mm: float = 180.0,
) -> Naming:
    """Names of a drawn spine.

    Args:
        thoracic: what the network takes each body for, from the lowest upward.
        ribs: length in mm beside the spine of the ribs of a body, by its index from the lowest.
        sacrum: whether there is one.
        sides: -1 right, 1 left.
        half_width_mm: of the scanned volume beside the spine.
    """
    probability = np.zeros((len(Tissue), *SHAPE), dtype=np.float32)
    instances = np.zeros(SHAPE, dtype=np.int32)
    bodies = []
    for i, share in enumerate(thoracic):
        z = LOWEST + i * STEP
        box = (slice(z - 4, z + 5), slice(MIDDLE[0] - 5, MIDDLE[0] + 6), slice(MIDDLE[1] - 7, MIDDLE[1] + 8))
        instances[box] = i + 1
        bodies.append(Body(i + 1, np.array([z, *MIDDLE], dtype=float), 40.0, share, 0.95))
    for i, length_mm in ribs.items():
        for side in sides:
            out_mm = np.arange(24.0, 24.0 + length_mm * 0.8, 1.0)
            z = LOWEST + i * STEP - 0.6 * (out_mm - 20.0) / SPACING_MM
            x = MIDDLE[1] + side * out_mm / SPACING_MM
            for dz in (0, 1):
                for dy in (4, 5):
                    at = (np.round(z).astype(int) + dz, np.full(len(z), MIDDLE[0] + dy), np.round(x).astype(int))
                    probability[(int(Tissue.RIB), *at)] = 1.0
    if sacrum:
        probability[int(Tissue.SACRUM), LOWEST - 24 : LOWEST - 6, MIDDLE[0] - 4 : MIDDLE[0] + 16, 45:76] = 1.0
    inside = np.zeros(SHAPE, dtype=bool)
    half = round(half_width_mm / SPACING_MM)
    inside[1:-1, 1:-1, max(MIDDLE[1] - half, 1) : MIDDLE[1] + half + 1] = True
    grid = IsoGrid((0.0, 0.0, 0.0), SPACING_MM, SHAPE)
    prediction = Prediction(grid, probability, np.zeros((3, *SHAPE), dtype=np.float32))
    return name_bodies(prediction, instances, bodies[::-1], inside)


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


def test_the_last_rib_alone_names_with_the_least_confidence() -> None:
    naming = named(LUMBAR + THORACIC, USUAL_RIBS, sacrum=False)
    assert levels(naming) == T12_TO_L5
    assert all(entry.confidence <= 0.6 for entry in naming.named)
    assert naming.named[0].evidence.startswith("counted from the last rib alone")


def test_one_rib_is_enough_where_the_other_side_has_none() -> None:
    assert levels(named(LUMBAR + THORACIC, USUAL_RIBS, sacrum=False, sides=(1,))) == T12_TO_L5


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
    """Without a sacrum the last rib is the last only if one at the next body would be in view."""
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
