"""Processes that a library forks from a node with signal handlers."""

from __future__ import annotations

import subprocess
import sys

_FORKS = """
import multiprocessing, threading, time
from node.cli.options import stop_on_signal

stop = stop_on_signal()
ended = []

def forks():
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600.0,))
    child.start()
    child.terminate()
    child.join(20.0)
    ended.append(child.exitcode)
    child.kill()

step = threading.Thread(target=forks)
step.start()
step.join()
print(ended[0], stop.is_set())
"""


def test_a_helper_that_a_library_forks_ends_when_it_is_told_to() -> None:
    """Steps run in threads. The helpers of nnU-Net once survived SIGTERM, and the step waited for them forever."""
    said = subprocess.run([sys.executable, "-c", _FORKS], capture_output=True, text=True, timeout=120, check=True)
    assert said.stdout.split() == ["-15", "False"], said.stderr
