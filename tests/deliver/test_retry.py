"""How long to wait before the next attempt."""

from __future__ import annotations

import pytest

from node.deliver import retry_delay_s
from node.settings.tree import DeliverSettings

SETTINGS = DeliverSettings(retry_first_s=5, retry_max_s=600)


def test_the_wait_doubles_up_to_the_longest() -> None:
    waits = [retry_delay_s(attempt, SETTINGS) for attempt in range(1, 11)]
    assert waits == [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert retry_delay_s(1_000_000, SETTINGS) == 600


def test_the_first_wait_is_never_above_the_longest() -> None:
    assert retry_delay_s(1, DeliverSettings(retry_first_s=50, retry_max_s=20)) == 20


def test_attempts_count_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        retry_delay_s(0, SETTINGS)
