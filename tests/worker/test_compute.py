"""The processes that compute are replaced when they die."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from node import __version__
from node.settings.tree import Settings
from node.worker.compute import Computing


@pytest.mark.slow
def test_a_process_that_dies_between_two_studies_is_no_fault_of_the_next(tmp_path: Path) -> None:
    """The system kills the largest process when memory runs out, also one that is idle."""
    computing = Computing(Settings(state_dir=tmp_path))
    try:
        computing.wait_until_loaded()
        [process] = multiprocessing.active_children()
        process.kill()
        process.join(60)
        with computing.pipeline() as pipeline:
            assert pipeline.software.version == __version__
    finally:
        computing.close()
    assert not multiprocessing.active_children()
