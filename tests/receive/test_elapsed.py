"""The clock of the machine may be set; waiting goes on as if it had not been."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from node.receive.elapsed import Elapsed


@dataclass
class Clocks:
    """The clock of the machine, and the one that nobody sets."""

    wall: float = 1_000_000.0
    monotonic: float = 50.0

    def pass_s(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


@pytest.mark.parametrize("set_by_s", [0.0, -7200.0, 7200.0])
def test_a_clock_that_is_set_changes_no_waiting(set_by_s: float) -> None:
    clocks = Clocks()
    elapsed = Elapsed(lambda: clocks.monotonic)
    image = clocks.wall
    clocks.pass_s(1)
    assert elapsed.since("study", image, clocks.wall) == pytest.approx(1)
    clocks.wall += set_by_s
    clocks.pass_s(10)
    assert elapsed.since("study", image, clocks.wall) == pytest.approx(11)
    # an image that comes after the clock was set, between two looks
    image = clocks.wall
    clocks.pass_s(2)
    assert elapsed.since("study", image, clocks.wall) == pytest.approx(2)


@pytest.mark.parametrize("set_by_s", [-7200.0, 7200.0])
def test_a_clock_that_is_set_right_after_an_image_costs_at_most_one_look(set_by_s: float) -> None:
    clocks = Clocks()
    elapsed = Elapsed(lambda: clocks.monotonic)
    elapsed.since("study", clocks.wall, clocks.wall)
    clocks.pass_s(1)
    image = clocks.wall
    clocks.wall += set_by_s
    clocks.pass_s(1)
    assert 0 <= elapsed.since("study", image, clocks.wall) <= 2
    clocks.pass_s(5)
    assert 5 <= elapsed.since("study", image, clocks.wall) <= 7


def test_a_process_that_has_just_started_believes_the_clock() -> None:
    clocks = Clocks()
    image = clocks.wall
    clocks.pass_s(90)
    assert Elapsed(lambda: clocks.monotonic).since("study", image, clocks.wall) == pytest.approx(90)
    clocks.wall -= 7200
    assert Elapsed(lambda: clocks.monotonic).since("study", image, clocks.wall) == 0, "never less than nothing"


def test_what_is_no_longer_waited_for_is_forgotten() -> None:
    clocks = Clocks()
    elapsed = Elapsed(lambda: clocks.monotonic)
    elapsed.since("old", clocks.wall, clocks.wall)
    elapsed.forget_all_but(set())
    clocks.pass_s(3)
    assert elapsed.since("old", clocks.wall - 100, clocks.wall) == pytest.approx(100)
