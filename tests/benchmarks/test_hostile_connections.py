"""A scanner is heard while others attack; the longer trial is ``python -m benchmarks.endurance.hostile_connections``."""

from __future__ import annotations

from benchmarks.endurance.hostile_connections import run


def test_a_scanner_is_heard_among_a_thousand_hostile_connections_a_minute() -> None:
    outcome = run(minutes=0.25, per_minute=1000)
    assert outcome.n_hostile.total() >= 200
    assert len(outcome.echo_s) >= 20
    assert outcome.share_in_time >= 0.99
    assert outcome.peak_memory_mb < 400


def test_associations_that_do_nothing_lock_nobody_out() -> None:
    outcome = run(minutes=0.15, per_minute=1000, kinds=("an association and nothing",))
    assert outcome.share_in_time >= 0.99
