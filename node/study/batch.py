"""``bmd-node process`` on many studies: several at a time, resumable, with tables of all.

A study is done when ``batch.json`` is in its folder; it is written last and names what the study was measured from. So a run
that was killed at any moment goes on where it stopped, and a study whose files or settings have changed is measured again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from node import __version__
from node.common.errors import ConfigurationError, NodeError
from node.common.files import whole_file
from node.model.rounding import text
from node.report import StudyRow, WrittenHeader, levels_csv, studies_csv
from node.select import StudyFiles
from node.study.objects import RESULT_FILE
from node.study.process import ProcessOutcome, copy_results, remove_results
from node.study.result_folder import read_header, read_result

_DONE_FILE = "batch.json"
_TABLES = (("studies.csv", studies_csv), ("levels.csv", levels_csv))
_TEMPORARY = ".measuring-"
#: The tables are written at most this often, because they are written as a whole.
_TABLES_EVERY_S = 20.0

#: Measures the files of a study and writes all result files into a folder; raises a :class:`NodeError` if it cannot.
Measure = Callable[[tuple[Path, ...], Path], None]


@dataclass(frozen=True, slots=True)
class Watch:
    """What follows the progress of a batch.

    Attributes:
        said: gets a sentence.
        done: gets the number of studies that are done.
        is_stopped: set from outside; no new study is begun.
    """

    said: Callable[[str], None]
    done: Callable[[int], None]
    is_stopped: threading.Event


@dataclass(frozen=True, slots=True)
class _Job:
    name: str
    study: StudyFiles
    digest: str


def run_batch(
    studies: Sequence[StudyFiles], out: Path, measure: Measure, settings_digest: str, workers: int, watch: Watch
) -> ProcessOutcome:
    """Measure the studies. One that fails stops nothing, and is tried again by the next run.

    Args:
        studies: to measure.
        out: gets a folder for each, named by its Study Instance UID, and the tables.
        measure: is called by ``workers`` threads.
        settings_digest: of the settings that a result depends on; other settings measure again.
        workers: studies at a time.
        watch: is called by one thread.

    Raises:
        ConfigurationError: another process measures into the same folder.
    """
    with _alone_in(out):
        return _run_batch(studies, out, measure, settings_digest, workers, watch)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep another process out of a folder, whose unfinished studies look like those of a killed run."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        said = f"another bmd-node process writes into {folder}: wait for it, or use another --out"
        raise ConfigurationError(said) from error


def _run_batch(
    studies: Sequence[StudyFiles], out: Path, measure: Measure, settings_digest: str, workers: int, watch: Watch
) -> ProcessOutcome:
    # of an earlier run that found one study
    remove_results(out)
    for left in out.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(left, ignore_errors=True)
    jobs = [_job(study, settings_digest) for study in studies]
    rows: dict[str, StudyRow] = {}
    for job in jobs:
        known = _known(job, out)
        if known is not None:
            rows[job.name] = known
    if rows:
        watch.said(f"{len(rows)} of {len(jobs)} studies are measured already and are not measured again")
    watch.done(len(rows))
    written_s = time.monotonic()
    for row in _measured([job for job in jobs if job.name not in rows], out, measure, workers, watch.is_stopped):
        rows[row.folder] = row
        what = f"failed: {row.error}" if row.result is None else row.status
        watch.said(f"study {row.study_instance_uid}: {what} ({len(rows)} of {len(jobs)})")
        watch.done(len(rows))
        if time.monotonic() - written_s > _TABLES_EVERY_S:
            _write_tables(jobs, rows, out)
            written_s = time.monotonic()
    _write_tables(jobs, rows, out)
    return _outcome(jobs, rows, out, watch)


def _job(study: StudyFiles, settings_digest: str) -> _Job:
    files = sorted((path.name, stat.st_size, stat.st_mtime_ns) for path in study.paths for stat in (path.stat(),))
    parts = json.dumps([files, settings_digest, __version__])
    # the UID is whatever the file says: it must not lead out of the folder
    name = re.sub(r"[^0-9A-Za-z.]", "_", study.study_instance_uid).lstrip(".") or "_"
    return _Job(name, study, hashlib.sha256(parts.encode()).hexdigest())


def _known(job: _Job, out: Path) -> StudyRow | None:
    """The result of an earlier run, if it is whole and of the same files and settings."""
    try:
        done = json.loads((out / job.name / _DONE_FILE).read_text(encoding="utf-8"))
        return _row(job, out) if done == {"digest": job.digest} else None
    except (OSError, ValueError, NodeError):
        return None


def _row(job: _Job, out: Path) -> StudyRow:
    result = read_result(out / job.name)
    return StudyRow(job.name, job.study.study_instance_uid, result, read_header(out / job.name), result.status)


def _measured(
    jobs: Sequence[_Job], out: Path, measure: Measure, workers: int, is_stopped: threading.Event
) -> Iterator[StudyRow]:
    waiting = list(reversed(jobs))
    running: set[Future[StudyRow]] = set()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="study")
    try:
        while running or (waiting and not is_stopped.is_set()):
            while waiting and len(running) < workers and not is_stopped.is_set():
                running.add(pool.submit(_one, waiting.pop(), out, measure))
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                yield future.result()
    finally:
        # interrupted, it does not wait: whoever lent the processes ends them, and the threads with them
        pool.shutdown(wait=False)


def _one(job: _Job, out: Path, measure: Measure) -> StudyRow:
    folder = out / job.name
    try:
        folder.mkdir(exist_ok=True)
        # first: whatever happens from here on, the folder is not taken for done
        (folder / _DONE_FILE).unlink(missing_ok=True)
        remove_results(folder)
        with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=out) as temporary:
            measure(job.study.paths, Path(temporary))
            copy_results(Path(temporary), folder)
        row = _row(job, out)
        with whole_file(folder / _DONE_FILE) as file:
            file.write(json.dumps({"digest": job.digest}).encode())
    except NodeError as error:
        return _failed(job, str(error))
    except OSError as error:
        return _failed(job, f"{folder} cannot be written: {error.strerror}")
    return row


def _failed(job: _Job, error: str) -> StudyRow:
    return StudyRow(job.name, job.study.study_instance_uid, None, WrittenHeader(), "failed", error)


def _write_tables(jobs: Sequence[_Job], rows: dict[str, StudyRow], out: Path) -> None:
    in_order = [rows[job.name] for job in jobs if job.name in rows]
    for name, made in _TABLES:
        with whole_file(out / name) as file:
            file.write(made(in_order).encode())


def _outcome(jobs: Sequence[_Job], rows: dict[str, StudyRow], out: Path, watch: Watch) -> ProcessOutcome:
    in_order = [rows[job.name] for job in jobs if job.name in rows]
    n_measured = sum(row.status == "measured" for row in in_order)
    n_failed = sum(row.result is None for row in in_order)
    counted = f"{n_measured} of {len(jobs)} studies measured, {len(in_order) - n_measured - n_failed} not, {n_failed} failed"
    watch.said(f"{counted}; studies.csv and levels.csv in {out}")
    if len(in_order) < len(jobs):
        watch.said(f"stopped: {len(jobs) - len(in_order)} studies are left. The same command goes on with them")
    elif n_failed:
        watch.said("the same command tries the failed ones again")
    items = [
        {"folder": row.folder, "study_instance_uid": row.study_instance_uid}
        | (
            json.loads((out / row.folder / RESULT_FILE).read_text(encoding="utf-8"))
            if row.result is not None
            else {"status": row.status, "reasons": [{"code": "failed", "detail": row.error}]}
        )
        for row in in_order
    ]
    printed = json.dumps(items, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    return ProcessOutcome("measured" if n_measured else "not_measured", printed, "\n".join(map(_line, in_order)))


def _line(row: StudyRow) -> str:
    if row.result is None:
        return f"{row.study_instance_uid}  {row.status}: {row.error}"
    bmd = "no BMD" if row.result.bmd_mg_cm3 is None else f"{text(row.result.bmd_mg_cm3)} mg/cm3"
    hu = "" if row.result.hu_mean is None else f"{text(row.result.hu_mean)} HU, {bmd}"
    codes = " ".join(dict.fromkeys(reason.code for reason in row.result.reasons))
    parts = [part for part in (hu, row.result.category or "", codes) if part]
    return f"{row.study_instance_uid}  {row.status}: {'; '.join(parts)}"
