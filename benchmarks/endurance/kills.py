"""Kills of the worker, or of the process that computes, at random moments: nothing may be lost, doubled or stuck.

``python -m benchmarks.endurance.kills --kills 200`` kills so often, then lets the worker finish, and compares what arrived
at the receiver with what was sent. With ``--database-url`` of an empty PostgreSQL database it uses that.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
from pynetdicom import AE, evt

from node.common.uids import derived_uid
from node.phantom import PhantomParameters, make_phantom, write_series
from node.receive import import_folder
from node.records.runs import DeliveryState, RunRecords, RunState
from node.records.work import WorkRecords, WorkState
from node.settings.tree import Settings, load_settings

_SR, _SEG, _PAGE = (
    "1.2.840.10008.5.1.4.1.1.88.34",
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.7",
)
#: A kill comes after a time between these, in seconds, counted from the start of the worker.
_SHORTEST_S, _LONGEST_S = 0.5, 14.0
#: No study may wait for longer than this once nobody kills any more.
_PATIENCE_S = 600.0


@dataclass
class Receiver:
    """A PACS that is sometimes away, and counts what comes."""

    stored: Counter[str] = field(default_factory=Counter)
    port: int = 0
    _ae: AE | None = None

    def start(self) -> None:
        """Listen; on the same port again after a stop."""
        self._ae = AE(ae_title="PACS")
        for sop_class in (_SR, _SEG, _PAGE):
            self._ae.add_supported_context(sop_class)
        server = self._ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._on_store)]
        )
        assert server is not None
        self.port = server.server_address[1]

    def stop(self) -> None:
        """Be away."""
        if self._ae is not None:
            self._ae.shutdown()

    def _on_store(self, event: evt.Event) -> int:
        self.stored[str(event.request.AffectedSOPInstanceUID)] += 1
        return 0x0000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the studies."""

    kills: int
    studies: int
    measured: int
    lost: int
    doubled: int
    stuck: int
    seconds: float

    def __str__(self) -> str:
        """One line of a table."""
        return (
            f"{self.kills} kills, {self.studies} studies: {self.measured} measured, lost {self.lost}, "
            f"doubled {self.doubled}, stuck {self.stuck}; {self.seconds:.0f} s"
        )


def attack(folder: Path, kills: int, database_url: str | None, seed: int) -> Outcome:
    """Kill so often, then see what became of the studies."""
    drawn = random.Random(seed)
    start = time.monotonic()
    receiver = Receiver()
    receiver.start()
    config = _config(folder, receiver.port, database_url)
    settings = load_settings(config)
    template = folder / "template"
    write_series(make_phantom(PhantomParameters(pixel_spacing_mm=1.5, slice_distance_mm=3.0)), template)
    n_studies = 0
    for n_kills in range(kills):
        if n_studies <= n_kills // 3:
            _send(template, folder / "sent", n_studies, settings)
            n_studies += 1
        worker = _worker(config)
        time.sleep(drawn.uniform(_SHORTEST_S, _LONGEST_S))
        computing = _children(worker.pid)
        if drawn.random() < 0.2 and computing:
            os.kill(computing[0], signal.SIGKILL)
            time.sleep(drawn.uniform(0.0, 2.0))
        if drawn.random() < 0.1:
            receiver.stop()
            receiver.start()
        worker.kill()
        worker.wait()
        print(f"\r{n_kills + 1} kills, {n_studies} studies", end="", file=sys.stderr, flush=True)
    worker = _worker(config)
    give_up = time.monotonic() + _PATIENCE_S
    while not _is_done(settings) and time.monotonic() < give_up:
        time.sleep(1.0)
    worker.terminate()
    worker.wait()
    receiver.stop()
    return _outcome(settings, receiver, kills, n_studies, time.monotonic() - start)


def _outcome(settings: Settings, receiver: Receiver, kills: int, n_studies: int, seconds: float) -> Outcome:
    runs = RunRecords.open(settings).runs(10_000)
    of_study = {run.study_instance_uid: run for run in runs if run.state is RunState.MEASURED}
    expected = {
        str(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
        for run in of_study.values()
        for path in (run.folder / "seg.dcm", run.folder / "sr.dcm", run.folder / "summary.dcm")
    }
    stuck = len(WorkRecords.open(settings).in_state(WorkState.RUNNING)) + len(
        WorkRecords.open(settings).in_state(WorkState.WAITING)
    )
    unsent = sum(d.state is not DeliveryState.STORED for run in of_study.values() for d in run.deliveries)
    lost = n_studies - len(of_study) + len(expected - receiver.stored.keys())
    # a receiver that was killed off in mid-association may see an object twice; it keeps one (same SOP Instance UID)
    strangers = len(receiver.stored.keys() - expected)
    return Outcome(kills, n_studies, len(of_study), lost, strangers, stuck + unsent, seconds)


def _is_done(settings: Settings) -> bool:
    work = WorkRecords.open(settings)
    if work.in_state(WorkState.WAITING) or work.in_state(WorkState.RUNNING):
        return False
    for given_up in work.in_state(WorkState.GIVEN_UP):
        # killed three times in mid-study by us: a person would have it tried again
        work.retry(given_up.work_id)
    runs = RunRecords.open(settings).runs(10_000)
    return bool(runs) and all(run.state in (RunState.MEASURED, RunState.NOT_MEASURED) for run in runs)


def _send(template: Path, folder: Path, number: int, settings: Settings) -> None:
    """The same spine as another study."""
    there = folder / str(number)
    there.mkdir(parents=True)
    study, series = derived_uid("endurance", "study", str(number)), derived_uid("endurance", "series", str(number))
    for path in template.glob("*.dcm"):
        ds = pydicom.dcmread(path)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = derived_uid(str(number), str(ds.SOPInstanceUID))
        ds.PatientID = f"ENDURANCE-{number}"
        ds.save_as(there / path.name)
    import_folder(there, settings)


def _config(folder: Path, port: int, database_url: str | None) -> Path:
    path = folder / "bmd-node.toml"
    url = f'database_url = "{database_url}"\n' if database_url else ""
    path.write_text(
        f'{url}state_dir = "{folder / "state"}"\nlog_level = "WARNING"\n[study]\nstable_after_s = 0\n'
        "[listener]\nmin_free_disk_mb = 0\n[deliver]\nretry_first_s = 0.5\nretry_max_s = 2\n"
        f'[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {port}\n'
    )
    return path


def _worker(config: Path) -> subprocess.Popen[bytes]:
    with (config.parent / "worker.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "node.cli", "worker", "--config", str(config)], stderr=log, stdout=log
        )


def _children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(child) for child in found.stdout.split()]


def main() -> None:
    """Read the command line, attack, print one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--database-url")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="kept afterwards [default: a temporary one]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bmd-node-endurance-") as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = attack(folder, arguments.kills, arguments.database_url, arguments.seed)
    print(f"\n{'PostgreSQL' if arguments.database_url else 'SQLite'}: {outcome}")
    sys.exit(bool(outcome.lost or outcome.doubled or outcome.stuck))


if __name__ == "__main__":
    main()
