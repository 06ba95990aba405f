"""A missed body is recognised by the distance between its neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from node.segment.instances import Body
from node.segment.spacing import doubtful_steps

SPACING_MM = 3.0


def doubt(middles_mm: list[float], half_height_mm: float = 11.0, counted: int | None = None) -> str | None:
    """What is said of boxes whose middles lie at these heights, from the head downward."""
    instances = np.zeros((120, 20, 20), dtype=np.int32)
    bodies = []
    for number, middle in enumerate(middles_mm, 1):
        low, high = round((middle - half_height_mm) / SPACING_MM), round((middle + half_height_mm) / SPACING_MM)
        instances[low : high + 1, 5:15, 5:15] = number
        bodies.append(Body(number, np.array([middle / SPACING_MM, 10.0, 10.0]), 40.0, 0.0, 0.95))
    steps = doubtful_steps(instances, bodies[::-1], SPACING_MM, counted=counted or len(bodies))
    return str(steps[0].said) if steps else None


def test_usual_distances_raise_no_doubt() -> None:
    assert doubt([300.0, 272.0, 242.0, 210.0, 176.0, 140.0]) is None
    assert doubt([300.0]) is None


def test_a_collapsed_body_that_was_found_raises_no_doubt() -> None:
    assert doubt([300.0, 268.0, 242.0, 216.0, 182.0], half_height_mm=9.0) is None


@pytest.mark.parametrize("missed_mm", [66.0, 47.0])
def test_a_missed_body_is_suspected(missed_mm: float) -> None:
    said = doubt([340.0, 307.0, 307.0 - missed_mm, 274.0 - missed_mm, 241.0 - missed_mm])
    assert said is not None
    assert "missed" in said or "not plausible" in said


def test_room_between_surfaces_is_suspected_even_at_even_distances() -> None:
    said = doubt([300.0, 260.0, 220.0, 180.0], half_height_mm=8.0)
    assert said is not None
    assert "missed" in said


def test_a_distance_above_the_counted_bodies_does_not_matter() -> None:
    assert doubt([340.0, 280.0, 248.0, 216.0, 184.0], counted=4) is None


def test_the_doubt_tells_where_it_is() -> None:
    instances = np.zeros((150, 20, 20), dtype=np.int32)
    bodies = []
    for number, middle in enumerate([140.0, 173.0, 206.0, 272.0, 305.0, 317.0], 1):
        low = round((middle - 10.0) / SPACING_MM)
        instances[low : low + 7, 5:15, 5:15] = number
        bodies.append(Body(number, np.array([middle / SPACING_MM, 10.0, 10.0]), 40.0, 0.0, 0.95))
    missed, split = doubtful_steps(instances, bodies, SPACING_MM, counted=len(bodies))
    assert (missed.lower, missed.too_far, missed.certain_below, missed.first_certain_above) == (2, True, 3, 3)
    assert (split.lower, split.too_far, split.certain_below, split.first_certain_above) == (4, False, 4, 6)
