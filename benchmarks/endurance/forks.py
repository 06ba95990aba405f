"""Workers that cost nothing to start, so that a thousand of them can be killed, and the places where they die.

A worker is forked from a process that has imported everything; its computing process comes from a fork server that has, too.
Apart from the imports it starts as ``bmd-node worker`` does: it opens the database, resumes what was interrupted, and loads
the network.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import itertools
import logging
import multiprocessing
import os
import pkgutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path

import sqlalchemy as sa

import node.records
import node.study.pipeline
from node.common.private import UMASK
from node.settings.tree import Settings
from node.worker.loop import Loop, run_worker

#: Functions of the node whose name says what a thread of the worker was doing; a step names itself.
_PLACES = {
    "deliver": "deliver",
    "alert": "alert",
    "study": "study, between steps",
    "_hand_over": "hand over",
    "_hand_over_studies": "hand over",
    "_start_due": "start a workflow",
    "reconcile": "compare",
    "_beat": "sign of life",
    "_keep_house": "housekeeping",
    "run_worker": "start of the worker",
    "take": "receive",
    "_add_alerts": "alert",
}


#: Is set when an attack is asked to end: it stops attacking, and still says what became of the studies.
ending = threading.Event()
#: Exit statuses of processes that have ended.
_statuses: dict[int, int] = {}


def prepare() -> None:
    """Start the fork server. To be called before any thread is started."""
    assert node.study.pipeline is not None
    for module in pkgutil.iter_modules(node.records.__path__):  # Alembic imports them when it looks at the tables
        importlib.import_module(f"node.records.{module.name}")
    multiprocessing.set_forkserver_preload(["node.study.pipeline", "node.segment.embedded", "node.segment.torchscript"])
    _server().ensure_running()


def _server() -> forkserver.ForkServer:
    return forkserver._forkserver  # type: ignore[attr-defined,no-any-return]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process kills itself: at the ``n``-th statement or commit of any of its databases.

    Attributes:
        n: counted from one.
        notes: file for a note of what it was doing.
        is_ready: whether statements count only once the worker is ready and resumes work.
    """

    n: int
    notes: Path
    is_ready: bool = False


def fork(function: Callable[[], object], log: Path, place: Place | None = None) -> int:
    """Run a function in a process group of its own, and return its id. It dies at ``place``, if it comes so far."""
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        _die_with(parent)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # only this process's parent decides
        os.umask(UMASK)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(out, 1)
        os.dup2(out, 2)
        logging.basicConfig(level="WARNING", format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
        _use_fork_server()
        if place is not None:
            _die_at(place)
        function()
        status = 0
    except BaseException:
        logging.exception("ended")
    finally:
        os._exit(status)


def worker(settings: Settings) -> Callable[[], None]:
    """What a forked worker does, until it is killed or gets SIGTERM."""

    def run() -> None:
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        run_worker(settings, stop)

    return run


def compute_in(folder: Path) -> None:
    """Let the computing processes of this process's workers run in a folder, by which :func:`computing` knows them."""
    os.chdir(folder)
    multiprocessing.process.ORIGINAL_DIR = str(folder)  # type: ignore[attr-defined]


def computing() -> list[int]:
    """Ids of the processes that compute for the workers of this process, if there is one attack in each folder."""
    found = subprocess.run(["pgrep", "-P", str(_server()._forkserver_pid)], capture_output=True, text=True, check=False)  # type: ignore[attr-defined]
    return [int(pid) for pid in found.stdout.split() if _folder_of(int(pid)) == Path.cwd()]


def _folder_of(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def ended(pid: int) -> bool:
    """Whether a forked process has ended."""
    with contextlib.suppress(ChildProcessError):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found == pid:
            _statuses[pid] = os.waitstatus_to_exitcode(status)
        return found == pid
    return True


def succeeded(pid: int) -> bool:
    """Whether a process that has ended did so without an error."""
    return _statuses.get(pid) == 0


def wait_for(pid: int, longest_s: float) -> bool:
    """Wait for the end of a process. ``False``: it still runs."""
    give_up_s = time.monotonic() + longest_s
    while not ended(pid):
        if time.monotonic() > give_up_s:
            return False
        time.sleep(0.01)
    return True


def wait_for_work(pid: int, cpu_s: float, longest_s: float) -> bool:
    """Wait for the end of a process, or until it has used so much processor time. ``False``: it still runs.

    Unlike a time on the clock, it means the same on a busy machine.
    """
    give_up_s = time.monotonic() + longest_s
    while not ended(pid):
        if used_cpu_s(pid) > cpu_s or time.monotonic() > give_up_s:
            return False
        time.sleep(0.05)
    return True


def used_cpu_s(pid: int) -> float:
    """Processor time of a process so far."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def kill(pid: int) -> None:
    """kill -9."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_for(pid, 60)


def stop(pid: int) -> None:
    """End a worker in order."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if not wait_for(pid, 60):
        kill(pid)


def _die_with(parent: int) -> None:
    """Leave no process behind when an attack fails (prctl with PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _use_fork_server() -> None:
    """Computing processes come from the fork server that was started before this process was forked."""
    _server().ensure_running = lambda: None  # type: ignore[method-assign]
    get_context = multiprocessing.get_context

    def forked(method: str | None = None) -> object:
        return get_context("forkserver" if method == "spawn" else method)

    multiprocessing.get_context = forked  # type: ignore[assignment]


def _die_at(place: Place) -> None:
    """Kill this process at the n-th event, after a note of where that was."""
    counted = itertools.count(1)
    counts = threading.Event()
    if place.is_ready:
        run = Loop.run

        def ready(self: Loop, stop: threading.Event) -> None:
            counts.set()
            run(self, stop)

        Loop.run = ready  # type: ignore[method-assign]
    else:
        counts.set()

    def event(what: str) -> None:
        if counts.is_set() and next(counted) == place.n:
            notes = os.open(place.notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(notes, f"{_where()}|{what}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *_: event("before a statement"))
    sa.event.listen(sa.Engine, "after_cursor_execute", lambda *_: event("after a statement"))
    dialect = sa.engine.default.DefaultDialect
    commit = dialect.do_commit

    def do_commit(self: object, connection: object) -> None:
        event("before a commit")
        commit(self, connection)  # type: ignore[arg-type]
        event("after a commit")

    dialect.do_commit = do_commit  # type: ignore[assignment,method-assign]


def _where() -> str:
    """What this thread of the node is doing."""
    frame = sys._getframe()
    found = "workflow engine"
    while frame is not None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if file.endswith("worker/workflows.py") and name == "run_step":
            return f"step {frame.f_locals['name']}"
        if "/node/" in file and name in _PLACES and found == "workflow engine":
            found = _PLACES[name]
        frame = frame.f_back  # type: ignore[assignment]
    return found
