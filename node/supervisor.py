"""``bmd-node serve``: listener, worker, status page, intake, link with Orthanc and watch as separate processes.

Inference therefore never blocks C-ECHO, and a process that dies is restarted alone.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from node.common.errors import ConfigurationError
from node.plans import is_switched_on
from node.segment import load_segmenter
from node.settings.tree import SegmentSettings, Settings

log = logging.getLogger(__name__)

_POLL_S = 0.5
_STOP_S = 20.0
_FIRST_RESTART_S = 1.0
_MAX_RESTART_S = 30.0
#: A process that ran this long is not in a crash loop: its next restart has the shortest delay.
_HEALTHY_S = 60.0


@dataclass
class _Part:
    """A process of the node, and when it may be restarted."""

    name: str
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    restart_after_s: float = field(default=_FIRST_RESTART_S)
    not_before: float = 0.0


def refuse_without_segmenter(settings: SegmentSettings) -> None:
    """Load the chosen segmenter once, in a separate process, so that its memory is freed.

    Without this check the listener would accept images that a repeatedly restarted worker never measures.

    Raises:
        ConfigurationError: it cannot be used; the message says what to do.
    """
    # forked, not spawned: it has no threads yet, and nothing has to be imported again
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_try_segmenter, args=(settings, sender))
    process.start()
    sender.close()
    try:
        refusal = receiver.recv()
    except EOFError:
        process.join()
        refusal = f"The segmenter {settings.segmenter} cannot be loaded: its process ended with {process.exitcode}."
    process.join()
    if refusal:
        raise ConfigurationError(refusal)


def _try_segmenter(settings: SegmentSettings, answer: Connection) -> None:
    """Send the reason why the segmenter cannot be used; empty if it can."""
    try:
        load_segmenter(settings)
    except ConfigurationError as error:
        answer.send(str(error))
    else:
        answer.send("")


def parts_of(settings: Settings) -> tuple[str, ...]:
    """The commands that make up the node with these settings."""
    parts = ["listener", "worker"]
    if settings.web.enabled:
        parts.append("web")
    if is_switched_on(settings):
        parts.append("intake")
    if settings.orthanc.is_asked:
        parts.append("puller")
    if settings.watch.recipients:
        parts.append("watch")
    return tuple(parts)


def supervise(parts: tuple[str, ...], config: Path | None, stop: threading.Event) -> None:
    """Run ``bmd-node PART`` for every part until ``stop`` is set; restart a part that ends.

    Args:
        parts: names of commands.
        config: settings file, passed on.
        stop: set by the signal handlers of the command line.
    """
    running = [_Part(name) for name in parts]
    try:
        while not stop.wait(_POLL_S):
            for part in running:
                _look_after(part, config)
    finally:
        for part in running:
            if part.process is not None and part.process.poll() is None:
                part.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _STOP_S
        for part in running:
            if part.process is not None:
                try:
                    part.process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    log.warning(
                        "%s did not stop within %.0f s and is killed; its work resumes at the next start", part.name, _STOP_S
                    )
                    part.process.kill()


def _look_after(part: _Part, config: Path | None) -> None:
    now = time.monotonic()
    if part.process is None:
        if now >= part.not_before:
            command = [sys.executable, "-m", "node.cli", part.name, *(["--config", str(config)] if config else [])]
            part.process = subprocess.Popen(command)
            part.started_at = now
            log.info("%s started, process %d", part.name, part.process.pid)
        return
    code = part.process.poll()
    if code is None:
        return
    healthy = now - part.started_at > _HEALTHY_S
    part.restart_after_s = _FIRST_RESTART_S if healthy else min(part.restart_after_s * 2, _MAX_RESTART_S)
    part.not_before = now + part.restart_after_s
    part.process = None
    log.error("%s ended with exit status %d, restarting in %.0f s", part.name, code, part.restart_after_s)


def stop_with_parent(stop: threading.Event) -> None:
    """Set ``stop`` when the parent process is gone, so that a killed supervisor leaves no listener behind."""
    parent = os.getppid()

    def watch() -> None:
        while not stop.wait(_POLL_S):
            if os.getppid() != parent:
                log.warning("the supervisor is gone, stopping")
                stop.set()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
