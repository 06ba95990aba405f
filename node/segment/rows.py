"""Assigns the ribs of both sides to the bodies of a chain, as one row.

One rib alone may seem to belong to the neighbour: steep ribs drift from body to body, and by half a body at the end of the
chest. A whole row is clear. Its order is kept, no body in it stays without ribs, and the place where the ribs meet their
bodies drifts slowly and alike on both sides. The row with the least cost is found by dynamic programming, upward from its
lowest rib. How much the next best row, which ends at another body, costs more tells how certain the row is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple

#: Where a rib meets its body: height above the middle as a share of the distance between bodies; for the last rib, the one
#: before it and the others (medians of 180 ribs of twelve real CTs: 0.10, 0.23 and 0.33).
PLACES = (0.13, 0.24, 0.33)
#: SD of that height between people and ribs; its change from one body to the next; its difference between the sides.
PLACE_SD, DRIFT_SD, SIDES_SD = 0.45, 0.15, 0.3
#: A rib further than this above or below its usual place isn't considered for a body.
MOST_OFF = 1.0
#: Beyond this many SD a cost grows linearly, so that one odd rib does not move the others.
LINEAR_FROM = 2.0
#: Costs of a body in the row without a rib on one side; of one without any rib, in addition; of a rib that is left over.
ONE_MISSING, BOTH_MISSING, LEFT_OVER = 1.0, 5.0, 10.0
#: A rib that meets the spine further than this above the usual place at the uppermost body belongs to a body out of view.
MOST_ABOVE_TOP = 0.25
#: The lowest rib of a row is one of so many that point lowest; rows that cost so much more than others are given up.
MOST_BELOW, HOPELESS = 3, 25.0
#: The place where a rib is expected follows the ribs up to this many bodies away, as if there were so many more at the usual
#: place.
NEIGHBOURS, USUAL_RIBS = 3, 2


@dataclass(frozen=True, slots=True)
class Placed:
    """A rib of a row.

    Attributes:
        left: whether it is on the patient's left.
        number: its number among the ribs of its side.
        body: index of its body, from the head.
        off: how far above its usual place it meets the body, as a share of the distance between bodies.
    """

    left: bool
    number: int
    body: int
    off: float


@dataclass(frozen=True, slots=True)
class Row:
    """Ribs and their bodies.

    Attributes:
        ribs: of both sides.
        margin: how much more the best row costs that ends at another body. Below about 1 the row is not certain.
    """

    ribs: tuple[Placed, ...]
    margin: float

    def usual_place(self, body: int) -> float:
        """Where a rib usually meets a body; a body below the row counts as its lowest."""
        lowest = max((rib.body for rib in self.ribs), default=body)
        return usual_place(lowest - body)

    def drift(self, body: int, without: Placed | None = None) -> float:
        """How far above its usual place a rib is expected at a body: the mean of the ribs near it in the row."""
        ends = [rib.body for rib in self.ribs]
        at = min(max(body, min(ends)), max(ends)) if ends else body
        near = [rib.off for rib in self.ribs if abs(rib.body - at) <= NEIGHBOURS and rib != without]
        return sum(near) / (len(near) + USUAL_RIBS)


class _State(NamedTuple):
    """How far a row has come: the last rib and its body, on both sides (-1: none yet), and the last body with any rib."""

    right_rib: int
    right_body: int
    left_rib: int
    left_body: int


class _Choice(NamedTuple):
    """The cheapest way to a state."""

    cost: float
    right: tuple[tuple[int, int], ...]
    left: tuple[tuple[int, int], ...]


def usual_place(above_lowest: int) -> float:
    """Where a rib meets its body, by the number of bodies above the one with the last ribs."""
    return PLACES[min(max(above_lowest, 0), len(PLACES) - 1)]


def assigned_row(right: Sequence[float], left: Sequence[float], bodies: int) -> Row:
    """The likeliest row.

    Args:
        right: where the ribs of the right side meet the spine, as a position among the bodies: 0 is the middle of the
            uppermost body, 1 of the next one below; not only whole numbers.
        left: the same for the left side.
        bodies: how many there are.
    """
    meets = [*right, *left]
    order = [sorted(range(len(side)), key=side.__getitem__, reverse=True) for side in (right, left)]
    sides = (tuple(right[number] for number in order[0]), tuple(left[number] for number in order[1]))
    rows = []
    last = round(max(meets, default=-MOST_BELOW))
    for lowest in range(max(last - MOST_BELOW, 0), min(last + 2, bodies)):
        choice = _row_from(lowest, sides)
        if choice is not None:
            rows.append((choice.cost, lowest, choice))
    if not rows:
        return Row((), 0.0)
    cost, lowest, best = min(rows)
    # If there is no other, the alternative is that every rib is left over.
    others = [other for other, at, _ in rows if at != lowest] + [LEFT_OVER * len(meets)]
    placed = [
        Placed(side == 1, order[side][rib], body, body - sides[side][rib] - usual_place(lowest - body))
        for side, pairs in enumerate((best.right, best.left))
        for body, rib in pairs
    ]
    return Row(tuple(placed), min(others) - cost)


def _row_from(lowest: int, sides: tuple[tuple[float, ...], tuple[float, ...]]) -> _Choice | None:
    """The cheapest row whose lowest ribs are at a body; ``None`` if none fits there."""
    states = {_State(-1, -1, -1, -1): _Choice(0.0, (), ())}
    for body in range(lowest, -1, -1):
        grown: dict[_State, _Choice] = {}
        for state, choice in states.items():
            for right in _candidates(sides[0], state.right_rib, body, lowest):
                for left in _candidates(sides[1], state.left_rib, body, lowest):
                    if body == lowest and right is None and left is None:
                        continue
                    cost = choice.cost + _cost_of(state, right, left, body, lowest, sides)
                    then = _State(
                        *(state[:2] if right is None else (right, body)), *(state[2:] if left is None else (left, body))
                    )
                    if then not in grown or cost < grown[then].cost:
                        grown[then] = _Choice(
                            cost,
                            choice.right if right is None else (*choice.right, (body, right)),
                            choice.left if left is None else (*choice.left, (body, left)),
                        )
        # What can no longer be reached counts already, or a short row would seem cheap until its end.
        bound = {state: choice.cost + _passed(state, sides, body, lowest) for state, choice in grown.items()}
        cheapest = min(bound.values(), default=0.0)
        states = {state: choice for state, choice in grown.items() if bound[state] <= cheapest + HOPELESS}
    finished = [
        choice._replace(
            cost=choice.cost
            + _left_over(sides[0], state.right_rib, len(sides[0]), lowest)
            + _left_over(sides[1], state.left_rib, len(sides[1]), lowest)
        )
        for state, choice in states.items()
    ]
    return min(finished, key=lambda choice: choice.cost, default=None)


def _candidates(side: tuple[float, ...], last: int, body: int, lowest: int) -> Iterator[int | None]:
    """Ribs above the last one that may belong to a body, and none."""
    yield None
    place = usual_place(lowest - body)
    for rib in range(last + 1, len(side)):
        above = body - side[rib] - place
        if abs(above) <= MOST_OFF and (body > 0 or above <= MOST_ABOVE_TOP):
            yield rib


def _cost_of(
    state: _State,
    right: int | None,
    left: int | None,
    body: int,
    lowest: int,
    sides: tuple[tuple[float, ...], tuple[float, ...]],
) -> float:
    cost = 0.0
    for side, rib, last_rib, last_body in (
        (sides[0], right, state.right_rib, state.right_body),
        (sides[1], left, state.left_rib, state.left_body),
    ):
        if rib is None:
            continue
        off = body - side[rib] - usual_place(lowest - body)
        cost += _grown(off / PLACE_SD) + _left_over(side, last_rib, rib, lowest)
        if last_body >= 0:
            last_off = last_body - side[last_rib] - usual_place(lowest - last_body)
            steps = last_body - body
            cost += _grown((off - last_off) / (DRIFT_SD * sqrt(steps))) + ONE_MISSING * (steps - 1)
    if right is not None and left is not None:
        cost += _grown((sides[0][right] - sides[1][left]) / SIDES_SD)
    if right is not None or left is not None:
        reached = [b for b in (state.right_body, state.left_body) if b >= 0]
        if reached:
            cost += BOTH_MISSING * (min(reached) - body - 1)
    return cost


def _passed(state: _State, sides: tuple[tuple[float, ...], tuple[float, ...]], body: int, lowest: int) -> float:
    """Cost of the ribs that are too low for every body above this one."""
    cost = 0.0
    for side, last in ((sides[0], state.right_rib), (sides[1], state.left_rib)):
        low = sum(body - 1 - position - usual_place(lowest - body + 1) < -MOST_OFF for position in side)
        cost += _left_over(side, last, max(low, last + 1), lowest)
    return cost


def _left_over(side: tuple[float, ...], last: int, rib: int, lowest: int) -> float:
    """Cost of the ribs between two that are part of the row, or between the last of the row and the end of the list.

    Ribs above the uppermost body cost nothing."""
    return LEFT_OVER * sum(-side[i] - usual_place(lowest) <= MOST_ABOVE_TOP for i in range(last + 1, rib))


def _grown(deviation: float) -> float:
    """Square of a deviation in SD, linear beyond :data:`LINEAR_FROM`."""
    size = abs(deviation)
    return size**2 if size <= LINEAR_FROM else LINEAR_FROM * (2 * size - LINEAR_FROM)
