"""A real worker in a separate process, for tests that stop it, kill it, or remove what it needs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node.phantom import PhantomParameters, make_phantom, write_series
from node.receive import import_folder
from node.records.runs import RunRecord, RunRecords, RunState
from node.settings.tree import Settings, load_settings
from tests.deliver.delivery_servers import eventually

PATIENCE_S = 200.0


def write_config(folder: Path, text: str = "") -> Path:
    """Write settings with which a study is complete at once, and retries are fast."""
    path = folder / "bmd-node.toml"
    path.write_text(
        f'state_dir = "{folder / "state"}"\n[study]\nstable_after_s = 0\nstable_after_release_s = 0\n'
        f"[listener]\nmin_free_disk_mb = 0\n[deliver]\nretry_first_s = 0.1\nretry_max_s = 0.2\n{text}"
    )
    return path


def send_phantom(folder: Path, settings: Settings, seed: int = 0) -> None:
    """Import a small CT that can be measured."""
    parameters = PhantomParameters(pixel_spacing_mm=1.5, slice_distance_mm=3.0, seed=seed)
    write_series(make_phantom(parameters), folder / f"ct-{seed}")
    import_folder(folder / f"ct-{seed}", settings)


class RunningWorker:
    """A worker process with its log."""

    def __init__(self, config: Path) -> None:
        self.log = config.parent / "worker.log"
        with self.log.open("ab") as file:
            command = [sys.executable, "-m", "node.cli", "worker", "--config", str(config)]
            self.process = subprocess.Popen(command, stderr=file, stdout=file)

    def says(self, text: str) -> bool:
        """Whether the log contains a text; fails if the worker has ended."""
        assert self.process.poll() is None, self.log.read_text()
        return text in self.log.read_text()

    def computing(self) -> list[int]:
        """Return the ids of the compute processes."""
        found = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False)
        children = [int(pid) for pid in found.stdout.split()]
        return [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]

    def kill(self) -> None:
        """Kill the worker, as a power failure would."""
        self.process.kill()
        self.process.wait(60)

    def stop(self) -> None:
        """Stop the worker in an orderly way."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


@contextmanager
def worker(config: Path) -> Iterator[RunningWorker]:
    """Start a worker and wait until it is ready; kill it at the end if it still runs."""
    n_before = (config.parent / "worker.log").read_text().count("worker ready") if _has_log(config) else 0
    running = RunningWorker(config)
    try:

        def ready() -> bool:
            return running.says("worker ready") and running.log.read_text().count("worker ready") > n_before

        eventually(ready, "the worker", PATIENCE_S)
        yield running
    finally:
        if running.process.poll() is None:
            running.kill()


def _has_log(config: Path) -> bool:
    return (config.parent / "worker.log").exists()


def kill_process(pid: int) -> None:
    """Kill a process, as the system does when memory runs out."""
    os.kill(pid, signal.SIGKILL)


def runs_of(config: Path) -> dict[str, RunRecord]:
    """Return every run by its id."""
    return {run.run_id: run for run in RunRecords.open(load_settings(config)).runs()}


def only_run(config: Path) -> RunRecord:
    """Return the only run."""
    [run] = runs_of(config).values()
    return run


def at_step(config: Path, step: str) -> bool:
    """Whether the only run is in a step."""
    runs = list(runs_of(config).values())
    return bool(runs) and runs[0].state is RunState.RUNNING and runs[0].step == step
