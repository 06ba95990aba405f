"""Measure studies outside of the queue, each in a compute process with its limits of memory and time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from node.common.errors import PermanentError
from node.settings.tree import Settings
from node.study.pipeline import run_study
from node.study.stages import StudyInput
from node.worker.compute import Computing, ComputingError


@contextlib.contextmanager
def measuring(settings: Settings, workers: int) -> Iterator[Callable[[tuple[Path, ...], Path], None]]:
    """Lend a function that measures the files of a study into a folder; ``workers`` threads may call it at a time.

    The function raises a :class:`~node.common.errors.NodeError` if the study cannot be measured, also if its process was
    ended.

    Raises:
        ConfigurationError: the segmenter cannot be used.
    """
    # the processes share the cores; they read this when they start, before they load the network
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // workers)))
    quiet = settings if settings.log_level == "DEBUG" else settings.model_copy(update={"log_level": "WARNING"})
    computing = Computing(quiet)

    def measure(paths: tuple[Path, ...], folder: Path) -> None:
        try:
            with computing.pipeline() as pipeline:
                run_study(pipeline, StudyInput(paths, folder))
        except ComputingError as error:
            raise PermanentError(str(error)) from error

    try:
        yield measure
    finally:
        computing.close()
