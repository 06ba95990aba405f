"""Run the stages of a study in a separate process, so that a study that crashes does not take the worker with it.

The process stays alive between studies, so the network is loaded once. The limits of memory and time of a study are computed
from its headers. A process that exceeds them is killed, and the next study gets a new one. A study that cannot be computed
therefore uses up its own attempts and affects nothing else.

This module imports nothing heavy, so that the process starts early and loads its network while the worker loads the rest.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from node.common.errors import ConfigurationError
from node.common.quiet import keep_values_out_of_logs
from node.model import Bmd, Software, StudyResult
from node.settings.tree import ComputeSettings, SelectSettings, Settings
from node.study.stages import (
    MeasureOutcome,
    Predecessor,
    ReportOutcome,
    SegmentOutcome,
    SelectOutcome,
    Stages,
    StudyInput,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

_POLL_S = 0.2
_MB = 1024 * 1024
#: Memory of a process with its networks and without a study: measured 0.6 GB, plus a margin for what select reads.
_BASE_MB = 1500
#: Per voxel of the study: volume, label maps and distance maps take 12 bytes at their peak; doubled as a margin.
_BYTES_PER_VOXEL = 24
#: A study of 440 slices takes 30 s on two cores; a slow machine may take twenty times as long.
_BASE_TIME_S = 600.0
_TIME_S_PER_MILLION_VOXELS = 5.0


class ComputingError(Exception):
    """The process that computes a study died, or was killed because it exceeded its limit of memory or time."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one study."""

    memory_mb: int
    time_s: float


def limits_of(n_voxels: int, settings: ComputeSettings) -> Limits:
    """Return the limits of a study with this many voxels. Limits in the settings take precedence."""
    memory_mb = settings.memory_limit_mb or _BASE_MB + n_voxels * _BYTES_PER_VOXEL // _MB
    time_s = settings.time_limit_s or _BASE_TIME_S + n_voxels / 1e6 * _TIME_S_PER_MILLION_VOXELS
    return Limits(memory_mb, time_s)


def count_voxels(paths: Sequence[Path], select: SelectSettings) -> int:
    """Voxels of a study, as the headers say, and at most those of the largest series that the settings allow.

    A file that cannot be read, or that costs too much, counts nothing.
    """
    import pydicom

    from node.common.dicom_file import open_dicom
    from node.select import check_file

    total = 0
    for path in paths:
        try:
            check_file(path, select)
            with open_dicom(path) as file:
                ds = pydicom.dcmread(file, specific_tags=["Rows", "Columns", "NumberOfFrames"], stop_before_pixels=True)
            n_voxels = int(ds.get("Rows") or 0) * int(ds.get("Columns") or 0) * int(ds.get("NumberOfFrames") or 1)
            if n_voxels <= select.max_series_megavoxels * 1_000_000:
                total += n_voxels
        except Exception:  # noqa: BLE001, S112 - whatever is wrong with it: the select stage says so
            continue
    # one series at a time is in memory, however many the study has
    return min(total, select.max_series_megavoxels * 1_000_000)


class Computing:
    """A pool of processes that compute: one process per study at a time."""

    def __init__(self, settings: Settings) -> None:
        """Start the first process, which loads the segmenter meanwhile."""
        self._settings = settings
        self._lock = threading.Lock()
        self._closed = False
        self._idle = [_Process(settings)]
        self._busy: list[_Process] = []

    def wait_until_loaded(self) -> None:
        """Wait until the first process has loaded the segmenter. To be called once, before :meth:`pipeline`.

        Raises:
            ConfigurationError: the settings cannot be used.
            ComputingError: the process ended.
        """
        for process in self._idle:
            process.wait_until_loaded()

    @contextlib.contextmanager
    def pipeline(self) -> Iterator[Stages]:
        """Lend a pipeline for one study.

        Raises:
            ComputingError: the process ended. Every stage that is called may raise it, too.
        """
        with self._lock:
            if self._closed:
                raise ComputingError("the worker is stopping")
            # one that died between studies is no fault of the next study
            self._idle = [one for one in self._idle if one.is_alive]
            process = self._idle.pop() if self._idle else _Process(self._settings)
            self._busy.append(process)
        try:
            process.wait_until_loaded()
            yield _Remote(process, self._settings.compute)
        finally:
            with self._lock:
                self._busy.remove(process)
                if process.is_ready and not self._closed:
                    self._idle.append(process)
                else:
                    process.kill()

    def close(self) -> None:
        """Kill every process. A study that is running in one of them raises :class:`ComputingError`."""
        with self._lock:
            self._closed = True
            for process in [*self._idle, *self._busy]:
                process.kill()


class _Process:
    """One process with its pipeline."""

    def __init__(self, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_compute, args=(settings, theirs), name="bmd-node compute")
        self._process.start()
        theirs.close()
        self._limits_of_start = Limits(settings.compute.memory_limit_mb or _BASE_MB * 4, _BASE_TIME_S)
        self._is_loaded = False

    def wait_until_loaded(self) -> None:
        """Wait for the first answer: the segmenter is loaded, or the reason why it cannot be used."""
        if not self._is_loaded:
            self._answer("start", self._limits_of_start)
            self._is_loaded = True

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    @property
    def is_ready(self) -> bool:
        """Whether it can compute a study."""
        return self._is_loaded and self.is_alive

    def kill(self) -> None:
        self._process.kill()
        self._process.join(10)

    def call(self, name: str, limits: Limits, *arguments: object) -> object:
        try:
            self._connection.send((name, arguments))
        except OSError as error:
            raise self._ended(name) from error
        return self._answer(name, limits)

    def _answer(self, name: str, limits: Limits) -> object:
        give_up_s = time.monotonic() + limits.time_s
        while not self._connection.poll(_POLL_S):
            used_mb = _memory_mb(self._process.pid)
            if used_mb > limits.memory_mb:
                self.kill()
                raise ComputingError(
                    f"{name} used {used_mb} MB of memory, the limit is {limits.memory_mb} MB for this study"
                )
            if time.monotonic() > give_up_s:
                self.kill()
                raise ComputingError(f"{name} took longer than {limits.time_s:.0f} s, the limit for this study")
            if not self.is_alive and not self._connection.poll():
                raise self._ended(name)
        try:
            is_error, value = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._ended(name) from error
        if is_error:
            raise value
        return value

    def _ended(self, name: str) -> ComputingError:
        self._process.join(1)
        code = self._process.exitcode
        why = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
        hint = "; the system does this when memory runs out" if code == -signal.SIGKILL else ""
        return ComputingError(f"the compute process ended in {name} with {why}{hint}")


class _Remote:
    """The stages in another process, each within the limits of the study."""

    def __init__(self, process: _Process, settings: ComputeSettings) -> None:
        self._process = process
        self._settings = settings
        self._limits: Limits | None = None

    @property
    def software(self) -> Software:
        return self._call(Software, "software")

    def identity(self, result: StudyResult, segmented: SegmentOutcome) -> str:
        return self._call(str, "identity", result, segmented)

    def select(self, study: StudyInput) -> SelectOutcome:
        self._count(study)
        return self._call(SelectOutcome, "select", study)

    def segment(self, study: StudyInput, selected: SelectOutcome) -> SegmentOutcome:
        self._count(study)
        return self._call(SegmentOutcome, "segment", study, selected)

    def measure(self, study: StudyInput, segmented: SegmentOutcome) -> MeasureOutcome:
        self._count(study)
        return self._call(MeasureOutcome, "measure", study, segmented)

    def calibrate(self, segmented: SegmentOutcome, measured: MeasureOutcome) -> Bmd:
        return self._call(Bmd, "calibrate", segmented, measured)

    def report(
        self,
        study: StudyInput,
        result: StudyResult,
        segmented: SegmentOutcome,
        measured: MeasureOutcome,
        predecessor: Predecessor,
    ) -> ReportOutcome:
        self._count(study)
        return self._call(ReportOutcome, "report", study, result, segmented, measured, predecessor)

    def _count(self, study: StudyInput) -> None:
        """Compute the limits of the study from its headers, which are also read in the other process."""
        if self._limits is None:
            n_voxels = self._call(int, "count_voxels", study.paths)
            self._limits = limits_of(n_voxels, self._settings)

    def _call(self, kind: type[T], name: str, *arguments: object) -> T:
        value = self._process.call(name, self._limits or limits_of(0, self._settings), *arguments)
        if not isinstance(value, kind):
            raise ComputingError(f"{name} returned {type(value).__name__}")
        return value


def _compute(settings: Settings, connection: Connection) -> None:
    """Entry point of the process: answer one call after the other until the connection closes."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # only the worker ends this process
    logging.basicConfig(
        level=settings.log_level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    logging.getLogger("matplotlib").setLevel(logging.WARNING)
    keep_values_out_of_logs()
    _die_before_the_worker()
    _die_with_the_worker()
    from node.study.pipeline import Pipeline

    try:
        pipeline = Pipeline(settings)
        pipeline.load()
    except ConfigurationError as error:
        connection.send((True, error))
        return
    connection.send((False, None))
    own: dict[str, Callable[..., object]] = {
        "count_voxels": lambda paths: count_voxels(paths, settings.select),
        "software": lambda: pipeline.software,
    }
    while True:
        try:
            name, arguments = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = (False, (own.get(name) or getattr(pipeline, name))(*arguments))
        except Exception as error:  # raised again where the stage was called
            log.info("%s: %s", name, type(error).__name__, exc_info=True)
            answer = (True, error)
        try:
            connection.send(answer)
        except (BrokenPipeError, OSError):
            return
        except Exception:  # noqa: BLE001 - the error cannot be pickled; report its type
            connection.send((True, ComputingError(f"{name}: {type(answer[1]).__name__}")))


def _die_before_the_worker() -> None:
    """Have the system kill this process, not the worker, when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def _die_with_the_worker() -> None:
    """Exit when the worker is gone, so that no orphan keeps writing into the folder of the run."""
    worker = multiprocessing.parent_process()

    def watch() -> None:
        if worker is not None:
            worker.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _memory_mb(pid: int | None) -> int:
    """Return the resident memory of a process, or 0 if the system does not report it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmRSS:")), 0)
