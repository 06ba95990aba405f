"""A node to attack: its settings, its studies, its database, and what became of them."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

import pydicom
import sqlalchemy as sa
import torch
from torch import Tensor, nn

from benchmarks.endurance import forks
from benchmarks.endurance.receiver import Mood, Receiver
from node.common.uids import derived_uid
from node.phantom import NARROW_SPINE, FieldOfView, PhantomParameters, make_phantom, write_series
from node.receive import import_folder
from node.records.runs import DeliveryState, RunRecord, RunRecords, RunState
from node.records.work import WorkRecords, WorkState
from node.settings.tree import Settings, load_settings
from node.study.objects import object_files

#: Without vertebrae to find, every step still runs, and the page for the radiologist is sent.
TINY = PhantomParameters(
    field_of_view=FieldOfView((0.0, 25.0, -5.0), (60.0, 60.0, 60.0)), pixel_spacing_mm=3.0, slice_distance_mm=3.0
)
#: Small, but measured: segmentation, report and page are sent.
MEASURED = PhantomParameters(field_of_view=NARROW_SPINE, pixel_spacing_mm=2.0, slice_distance_mm=3.0)
_TISSUES = ("background", "upper_body", "lumbar_body", "posterior_elements", "disc", "sacrum", "rib", "hip")
_OFFSETS = ("offset_s", "offset_p", "offset_l")
#: No study may wait for longer than this once nobody attacks any more.
PATIENCE_S = 900.0
_OVER = (RunState.MEASURED, RunState.NOT_MEASURED)


@dataclass
class Outcome:
    """What became of the studies of one attack.

    Attributes:
        attack: what was done, for people.
        database: SQLite or PostgreSQL.
        attacks: how often it was done.
        where: how often, by the place that it hit.
        studies: sent.
        measured: with segmentation, report and page.
        lost: studies without a result, and objects that never arrived.
        doubled: objects that no run made, and objects that came twice with different content.
        stuck: work, deliveries and runs that do not go on.
        retried: pieces of work that were given up after three crashes, and that a person had tried again.
        settled_s: seconds from the last attack until everything was over.
        invalid: objects in which dciodvfy finds an error, of those that it was given.
        notes: anything else that was measured, for people.
    """

    attack: str
    database: str
    attacks: int = 0
    where: dict[str, int] = field(default_factory=dict)
    studies: int = 0
    measured: int = 0
    objects: int = 0
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    retried: int = 0
    settled_s: float = 0.0
    seconds: float = 0.0
    validated: int = 0
    invalid: int = 0
    notes: str = ""

    def save(self, path: Path) -> None:
        """Write it down, so that an interrupted attack still has its figures."""
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")


class Site:
    """A node with a PACS, and the studies that were sent to it."""

    def __init__(self, folder: Path, database_url: str | None = None, *, network: bool = False, more: str = "") -> None:
        """Make settings.

        Args:
            folder: for everything.
            database_url: of an empty PostgreSQL database; ``None``: SQLite.
            network: whether the embedded network segments. Without it the studies cost little, and none is measured.
            more: more settings, as TOML.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.receiver = Receiver(folder)
        self.log = folder / "worker.log"
        self.notes = folder / "notes.txt"
        self.database = "PostgreSQL" if database_url else "SQLite"
        self.n_studies = self.n_retried = 0
        url = f'database_url = "{database_url}"\n' if database_url else ""
        segment = "" if network else f'[segment]\nsegmenter = "torchscript:{_blind_network(folder / "blind.pt")}"\n'
        self.config = folder / "bmd-node.toml"
        self.config.write_text(
            f'{url}state_dir = "{folder / "state"}"\nlog_level = "WARNING"\n{segment}'
            "[study]\nkeep_days = 0\nstable_after_s = 0\nstable_after_release_s = 0\n[listener]\nmin_free_disk_mb = 0\n"
            f"{more}\n[deliver]\nretry_first_s = 0.2\nretry_max_s = 1\ntimeout_s = 10\ngive_up_after = 1000000\n"
            '[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\n'
            f"port = {self.receiver.port}\nsend_not_measured = true\n"
        )
        self.settings: Settings = load_settings(self.config)

    @cached_property
    def _engine(self) -> sa.Engine:
        # no connection stays open, so that a forked worker inherits none
        return sa.create_engine(
            self.settings.sqlalchemy_url,
            poolclass=sa.NullPool,
            connect_args={} if self.database != "SQLite" else {"timeout": 60},
        )

    @property
    def work(self) -> WorkRecords:
        """The table of work."""
        return WorkRecords(self._engine)

    @property
    def runs(self) -> tuple[RunRecord, ...]:
        """Every run."""
        return RunRecords(self._engine).runs(100_000)

    def send(self, parameters: PhantomParameters, n: int) -> None:
        """Import the same spine as ``n`` more studies, in a process of its own. ``parameters`` are always the same."""
        there = self.folder / "sent" / str(self.n_studies)
        there.mkdir(parents=True)
        if not (self.folder / "template").exists():
            write_series(make_phantom(parameters), self.folder / "template")
        slices = [pydicom.dcmread(path) for path in sorted((self.folder / "template").glob("*.dcm"))]
        for number in range(self.n_studies, self.n_studies + n):
            for ds in slices:
                ds.StudyInstanceUID = derived_uid("endurance", "study", str(number))
                ds.SeriesInstanceUID = derived_uid("endurance", "series", str(number))
                uid = derived_uid("endurance", "image", str(number), str(ds.InstanceNumber))
                ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid
                ds.PatientID = f"ENDURANCE-{number}"
                ds.save_as(there / f"{number}-{ds.InstanceNumber}.dcm")
        self.n_studies += n
        # a scanner sends again what was not acknowledged
        give_up_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_s:
            pid = forks.fork(lambda: import_folder(there, self.settings), self.log)
            if forks.wait_for(pid, PATIENCE_S) and forks.succeeded(pid):
                return
            time.sleep(1)
        raise TimeoutError("the studies cannot be stored")

    def start(self, place: forks.Place | None = None, settings: Settings | None = None) -> int:
        """Start a worker, and return its process id."""
        return forks.fork(forks.worker(settings or self.settings), self.log, place)

    def waiting(self) -> int:
        """Pieces of work that are not over, and studies that no run has yet."""
        work = self.work
        open_work = len(work.in_state(WorkState.WAITING)) + len(work.in_state(WorkState.RUNNING))
        return open_work + max(0, self.n_studies - len(self.runs))

    def settle(self, *pids: int, patience_s: float = PATIENCE_S) -> float:
        """Let a worker finish everything, and end it. Returns the seconds that it took.

        Work that was given up after three crashes is tried again, as a person would.
        """
        start_s = time.monotonic()
        running = pids or (self.start(),)
        while time.monotonic() - start_s < patience_s:
            for given_up in self.work.in_state(WorkState.GIVEN_UP):
                self.work.retry(given_up.work_id)
                self.n_retried += 1
            if not self.waiting() and all(run.state in _OVER for run in self.runs):
                break
            time.sleep(0.2)
        took_s = time.monotonic() - start_s
        for pid in running:
            forks.stop(pid)
        return took_s

    def outcome(self, attack: str, seconds: float, settled_s: float) -> Outcome:
        """Compare what was sent with what was made and what arrived."""
        runs, there = self.runs, self.receiver.contents()
        work = self.work
        files = [path for run in runs for path in object_files(run.folder)]
        made = {str(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID) for path in files}
        over = {run.study_instance_uid for run in runs if run.state in _OVER}
        undelivered = sum(delivery.state is not DeliveryState.STORED for run in runs for delivery in run.deliveries)
        open_work = sum(len(work.in_state(state)) for state in (WorkState.WAITING, WorkState.RUNNING, WorkState.GIVEN_UP))
        invalid = [path for path in _sample(files) if iod_errors(path)]
        return Outcome(
            attack=attack,
            database=self.database,
            studies=self.n_studies,
            measured=sum(run.state is RunState.MEASURED for run in runs),
            objects=len(made),
            lost=self.n_studies - len(over) + len(made - there.keys()),
            doubled=len(there.keys() - made) + sum(len(digests) > 1 for digests in there.values()),
            stuck=open_work + undelivered + sum(run.state not in _OVER for run in runs),
            retried=self.n_retried,
            settled_s=round(settled_s, 1),
            seconds=round(seconds, 1),
            validated=len(_sample(files)),
            invalid=len(invalid),
            where=dict(self.places()),
        )

    def places(self) -> Counter[str]:
        """Where workers have killed themselves."""
        if not self.notes.exists():
            return Counter()
        return Counter(line.split("|")[0] for line in self.notes.read_text().splitlines())

    def steps(self) -> Iterator[str]:
        """The steps that studies are in now."""
        return (run.step for run in self.runs if run.state is RunState.RUNNING and run.step)

    def close(self) -> None:
        """End the receiver."""
        self.receiver.be(Mood.DOWN)


def _sample(files: list[Path]) -> list[Path]:
    """Every object of a measured study, up to 60, and twenty others."""
    measured = [path for path in files if (path.parent / "sr.dcm").exists()]
    return measured[:60] + [path for path in files if path not in measured][:20]


def iod_errors(path: Path) -> list[str]:
    """Error lines of dciodvfy (Debian package dicom3tools)."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


class _Blind(nn.Module):
    """Sees background everywhere."""

    def forward(self, hu: Tensor) -> Tensor:
        return torch.cat([hu * 0 + 9.0, *[hu * 0] * (len(_TISSUES) + len(_OFFSETS) - 1)], dim=1)


def _blind_network(path: Path) -> Path:
    if path.exists():  # another archive would be another version of the software, with other UIDs
        return path
    contract = {
        "contract": 1, "name": "blind", "version": "1", "spacing_mm": 4.0, "hu_range": [-1024, 3071], "patch_voxels": 24,
        "channels": [*_TISSUES, *_OFFSETS],
    }  # fmt: skip
    traced = torch.jit.trace(_Blind(), torch.zeros(1, 1, 24, 24, 24), check_trace=False)  # type: ignore[no-untyped-call]
    torch.jit.save(traced, str(path), _extra_files={"bmd-node.json": json.dumps(contract)})  # type: ignore[no-untyped-call]
    return path
