"""How long to wait before the next attempt."""

from __future__ import annotations

import pytest

from node.common.retry import retry_delay_s


def test_the_wait_doubles_up_to_the_longest() -> None:
    waits = [retry_delay_s(attempt, 5, 600) for attempt in range(1, 11)]
    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert retry_delay_s(1_000_000, 5, 600) == 600


def test_the_first_wait_is_never_above_the_longest() -> None:
    assert retry_delay_s(1, 50, 20) == 20


def test_failures_count_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        retry_delay_s(0, 5, 600)
