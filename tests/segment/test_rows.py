"""Ribs as a row: each rib at its body although it drifts, a rib is missing, or a piece is no rib."""

from __future__ import annotations

import pytest

from node.segment.rows import PLACES, Row, assigned_row, usual_place


def bodies_of(row: Row) -> tuple[dict[int, int], dict[int, int]]:
    """Body by the number of the rib, right and left."""
    right, left = ({rib.number: rib.body for rib in row.ribs if rib.left is side} for side in (False, True))
    return right, left


def usual_ribs(lowest: int, first: int = 0) -> list[float]:
    """Where the ribs of the bodies ``first`` to ``lowest`` usually meet the spine."""
    return [body - usual_place(lowest - body) for body in range(first, lowest + 1)]


def test_ribs_at_their_usual_places() -> None:
    row = assigned_row(usual_ribs(6), usual_ribs(6), 10)
    assert bodies_of(row) == ({i: i for i in range(7)},) * 2
    assert row.margin > 5
    assert all(abs(rib.off) < 1e-9 for rib in row.ribs)


def test_steep_ribs_that_drift_by_more_than_half_a_body() -> None:
    """Positions as measured in ../shared/data/ct/steep_ribs (ACRIN-FLT-Breast), whose last ribs spring from body 10."""
    right = [0.57, 2.57, 3.59, 4.78, 5.89, 6.91, 8.07, 9.33, 10.51]
    left = [2.42, 3.56, 4.74, 5.78, 6.99, 8.14, 9.45, 10.70]
    row = assigned_row(right, left, 16)
    assert bodies_of(row) == (dict(enumerate([1, 3, 4, 5, 6, 7, 8, 9, 10])), dict(enumerate([3, 4, 5, 6, 7, 8, 9, 10])))
    assert row.margin > 1


def test_the_lowest_ribs_alone_belong_to_the_nearest_body() -> None:
    row = assigned_row([4.9], [4.8], 11)
    assert bodies_of(row) == ({0: 5}, {0: 5})
    assert row.margin > 2


def test_a_rib_between_two_bodies_is_not_certain() -> None:
    assert assigned_row([5.4], [], 11).margin < 1


def test_sides_that_point_to_neighbours_are_a_pair() -> None:
    row = assigned_row([*usual_ribs(5, 2), 5.75], [*usual_ribs(5, 2), 6.25], 11)
    right, left = bodies_of(row)
    assert right[4] == left[4] == 6


@pytest.mark.parametrize("lost", [2, 3, 4])
def test_a_rib_that_was_not_found_leaves_its_body_free(lost: int) -> None:
    right = [position for body, position in enumerate(usual_ribs(6)) if body != lost]
    bodies = [body for body in range(7) if body != lost]
    assert bodies_of(assigned_row(right, usual_ribs(6), 10))[0] == dict(enumerate(bodies))
    assert bodies_of(assigned_row(right, right, 10)) == (dict(enumerate(bodies)),) * 2


def test_ribs_of_bodies_out_of_view_belong_to_none() -> None:
    above = [-1.3, -0.9, *usual_ribs(4)]
    assert bodies_of(assigned_row(above, above, 8)) == (dict(enumerate(range(5), 2)),) * 2


def test_no_rib_is_no_row() -> None:
    row = assigned_row([], [], 5)
    assert row.ribs == ()
    assert row.usual_place(3) == PLACES[0]
    assert row.drift(3) == 0.0
