"""A real node and a real PACS for the system tests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from node.common.errors import TransportError
from node.deliver import echo
from node.demo.pacs import Pacs, free_port, running_pacs
from node.model import Level
from node.phantom import NARROW_SPINE, PhantomParameters, make_phantom, write_series
from node.records.runs import DeliveryState, RunRecord, RunRecords
from node.settings.tree import Destination, load_settings

PATIENCE_S = 240.0


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Poll a condition; generous, since a busy machine is no failure."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {PATIENCE_S:.0f} s for {what}"
        time.sleep(0.1)


@dataclass
class RunningNode:
    """``bmd-node serve`` in a process group of its own, with a PACS as its only destination."""

    config: Path
    port: int
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait for C-ECHO."""
        with self.log.open("ab") as log_file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "node.cli", "serve", "--config", str(self.config)],
                stdout=log_file,
                stderr=log_file,
                start_new_session=True,
            )
        wait_until(self.answers, f"the listener, see {self.log.read_text()[-2000:]}")

    def answers(self) -> bool:
        """Whether C-ECHO is answered."""
        try:
            echo(self.as_destination, "TEST", 5.0)
        except TransportError:
            return False
        return True

    @property
    def as_destination(self) -> Destination:
        """Where a scanner sends to."""
        return Destination(name="node", ae_title="BMDNODE", host="127.0.0.1", port=self.port)

    @property
    def records(self) -> RunRecords:
        """The records that the status page shows."""
        return RunRecords.open(load_settings(self.config))

    def kill(self) -> None:
        """kill -9 for every process at the same moment."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it as an administrator would."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def wait_until_delivered(self) -> RunRecord:
        """Wait until the only run has reached its destination."""

        def delivered() -> bool:
            runs = self.records.runs()
            return bool(runs) and bool(runs[0].deliveries) and runs[0].deliveries[0].state is not DeliveryState.PENDING

        wait_until(delivered, f"the delivery; log: {self.log.read_text()[-3000:]}")
        runs = self.records.runs()
        assert len(runs) == 1
        return runs[0]


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[Pacs]:
    """A real Orthanc with an empty storage."""
    if shutil.which("Orthanc") is None:
        pytest.skip("Orthanc is not installed (Debian package orthanc)")
    folder = tmp_path / "pacs"
    folder.mkdir()
    with running_pacs(folder, print) as pacs:
        yield pacs


class HasPort(Protocol):
    """A PACS, as far as the node's settings name it."""

    port: int


@contextmanager
def node_for(pacs: HasPort, folder: Path) -> Iterator[RunningNode]:
    """A node that is set up but not started; it is stopped at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config = folder / "bmd-node.toml"
    config.write_text(
        f"""
state_dir = {json.dumps(str(folder / "state"))}

[listener]
host = "127.0.0.1"
port = {port}

[study]
stable_after_s = 5
stable_after_release_s = 0.5

[web]
enabled = false

[deliver]
retry_first_s = 1
retry_max_s = 2

[[destinations]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs.port}
"""
    )
    node = RunningNode(config, port, folder / "node.log")
    try:
        yield node
    finally:
        node.stop()


@pytest.fixture(scope="session")
def small_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CT of the lumbar spine that is quick to process: narrow field of view, 2 mm slices."""
    folder = tmp_path_factory.mktemp("small_phantom")
    levels = ((Level.L1, 105.0), (Level.L2, 100.0), (Level.L3, 95.0), (Level.L4, 100.0))
    parameters = PhantomParameters(
        level_densities_mg_cm3=levels, field_of_view=NARROW_SPINE, pixel_spacing_mm=1.0, slice_distance_mm=2.0
    )
    write_series(make_phantom(parameters), folder)
    return folder
