"""A listener in a process of its own, as in real use, and small CT series to send to it."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from node.receive import ReceivedStudies
from node.records.database import open_database
from node.records.received import instances
from node.settings.tree import Settings

#: In every data set that is sent; must be seen in no log.
PATIENT = "Quaxelbart^Zenobia"

_SERVE = """
import logging, signal, sys, threading
from node.receive import serve_listener
from node.settings.tree import Settings
logging.basicConfig(level="DEBUG")
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
serve_listener(Settings.model_validate_json(sys.argv[1]), stop, lambda: print("ready", flush=True))
"""


def free_port() -> int:
    """A TCP port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def debian_tool(name: str) -> str:
    """Path of a program of a Debian package; pynetdicom installs others under the same names, which are not meant."""
    found = shutil.which(name, path="/usr/bin:/usr/local/bin:/usr/sbin")
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package dcmtk)")
    return found


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not seen within {timeout_s:g} s: {what}"
        time.sleep(0.02)


def ct_slice(study_uid: str, series_uid: str, number: int, *, z_mm: float | None = None, size: int = 64) -> Dataset:
    """An axial CT image with noise in it, so that no two are alike."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.PatientName, ds.PatientID = PATIENT, "4711"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid, series_uid
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName = "CT", "ACME", "Scanner 1"
    ds.InstanceNumber = number
    ds.ImagePositionPatient = [0, 0, number * 2.0 if z_mm is None else z_mm]
    ds.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    ds.Rows = ds.Columns = size
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit, ds.PixelRepresentation = 15, 1
    noise = np.random.default_rng(number).integers(-1000, 1000, (size, size), dtype=np.int16)
    ds.PixelData = noise.tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def ct_series(n: int, *, size: int = 64) -> list[Dataset]:
    """A series of a new study, 2 mm between its slices."""
    study_uid, series_uid = generate_uid(), generate_uid()
    return [ct_slice(study_uid, series_uid, number, size=size) for number in range(n)]


def write_series(folder: Path, series: list[Dataset]) -> list[Path]:
    """Write data sets as DICOM files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for ds in series:
        files.append(folder / f"{ds.SOPInstanceUID}.dcm")
        ds.save_as(files[-1], enforce_file_format=True)
    return files


@dataclass
class Listener:
    """A listener process and what it has on record."""

    settings: Settings
    log: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return self.settings.listener.port

    @property
    def studies(self) -> ReceivedStudies:
        return ReceivedStudies.open(self.settings)

    def start(self) -> None:
        """Start the process and wait until it accepts connections."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-c", _SERVE, self.settings.model_dump_json()]
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n", self.log.read_text()

    def kill(self) -> None:
        """Kill -9."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Stop in order."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)

    def rows(self, table: sa.Table = instances) -> list[sa.Row[tuple[object, ...]]]:
        """All rows of a table."""
        engine = open_database(self.settings)
        try:
            with engine.connect() as connection:
                return list(connection.execute(sa.select(table)).all())
        finally:
            engine.dispose()

    def file_of(self, sop_instance_uid: str) -> Path:
        """The file of a recorded instance."""
        (path,) = [row.path for row in self.rows() if row.sop_instance_uid == sop_instance_uid]
        return self.settings.state_dir / path

    def files(self) -> set[Path]:
        """Every file of received data in the state directory."""
        folders = (self.settings.state_dir / "received", self.settings.state_dir / "incoming")
        return {path for folder in folders for path in folder.rglob("*") if path.is_file()}
