"""A real Orthanc, started from the project's own ``orthanc.json`` on free ports, and what is sent to it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    generate_uid,
)

from node.demo.pacs import free_port

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancPython.so")
USER, PASSWORD = "test", "only-in-this-test"
DEADLINE_S = 60.0

needs_orthanc = pytest.mark.skipif(
    shutil.which("Orthanc") is None or not PYTHON_PLUGIN.exists() or shutil.which("storescu") is None,
    reason="needs the Debian packages orthanc, orthanc-python, orthanc-dicomweb and dcmtk",
)


def wait_until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Poll until something holds."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {deadline_s:.0f} s: {what}")
        time.sleep(0.1)


class OrthancServer:
    """Orthanc with a configuration and a storage directory of its own; it can be stopped, killed and started again."""

    def __init__(self, folder: Path, changes: dict[str, Any]) -> None:
        """Take the shipped configuration and change what a test must: ports, where things lie, and what is given."""
        self.folder = folder
        self.dicom_port, self.http_port = free_port(), free_port()
        shipped = json.loads((REPOSITORY / "orthanc.json").read_text(encoding="utf-8"))
        ports = {"DicomPort": self.dicom_port, "HttpPort": self.http_port}
        self._configuration = folder / "orthanc.json"
        configuration = shipped | ports | changes
        # the tests have one user, who is also the node's
        configuration["BmdNode"] = configuration["BmdNode"] | {"NodeUser": USER}
        self._configuration.write_text(json.dumps(configuration), encoding="utf-8")
        self._log = folder / "orthanc.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What Orthanc has said since its first start."""
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def point_plugin_to(self, port: int) -> None:
        """Let the plugin's modality be a node on this port; before the start."""
        changed = json.loads(self._configuration.read_text(encoding="utf-8"))
        changed["DicomModalities"][changed["BmdNode"]["Modality"]]["Port"] = port
        self._configuration.write_text(json.dumps(changed), encoding="utf-8")

    def start(self) -> None:
        """Start, and wait until the REST API answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["Orthanc", str(self._configuration)],
                cwd=REPOSITORY,
                env={**os.environ, "ORTHANC_STORAGE": str(self.folder / "storage")},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(self._answers, "Orthanc answers")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail(f"Orthanc has ended:\n{self.log}")
        try:
            self.status("/system")
        except urllib.error.URLError:
            return False
        return True

    def stop(self) -> int:
        """Ask it to stop; returns its exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it without a word."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code = self._process.wait(DEADLINE_S)
        self._process = None
        return code

    def status(self, path: str, login: str | None = None) -> int:
        """HTTP status of a GET, as nobody or with ``user:password``."""
        try:
            with self._open(path, login) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def get(self, path: str) -> Any:
        """JSON of a resource, as the user of the test."""
        with self._open(path, f"{USER}:{PASSWORD}") as answer:
            return json.load(answer)

    def text(self, path: str) -> str:
        """Text of a resource, as the user of the test."""
        with self._open(path, f"{USER}:{PASSWORD}") as answer:
            return str(answer.read().decode("utf-8"))

    def post(self, path: str) -> None:
        """POST nothing to a resource, as a program of the user of the test."""
        with self._open(path, f"{USER}:{PASSWORD}", b"", {"X-BMD-Node": "test"}):
            pass

    def send_as(
        self, login: str, path: str, body: bytes, headers: dict[str, str] | None = None, method: str = "POST"
    ) -> int:
        """HTTP status of a request with a body, as ``user:password``; a redirection is followed."""
        try:
            with self._open(path, login, body, headers, method) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def _open(
        self,
        path: str,
        login: str | None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        method: str | None = None,
    ) -> Any:
        url = f"http://127.0.0.1:{self.http_port}{path}"
        request = urllib.request.Request(url, body, headers or {}, method=method)
        if login is not None:
            request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
        return urllib.request.urlopen(request, timeout=10)  # noqa: S310 - our own server

    def send(self, *datasets: Dataset) -> None:
        """Send objects as a scanner or the node would, with dcmtk's storescu over one association."""
        folder = self.folder / f"send-{generate_uid()}"
        folder.mkdir()
        for n, ds in enumerate(datasets):
            ds.save_as(folder / f"{n}.dcm", enforce_file_format=True)
        subprocess.run(
            ["storescu", "-R", "-aec", "ORTHANC", "127.0.0.1", str(self.dicom_port), "+sd", str(folder)],
            check=True,
            timeout=DEADLINE_S,
            capture_output=True,
        )


def ct_series(study_uid: str, slices: int = 4, model_name: str = "Scanner") -> list[Dataset]:
    """A small CT series."""
    series_uid = generate_uid()
    return [_image(study_uid, series_uid, CTImageStorage, "CT", model_name, n) for n in range(slices)]


def results(study_uid: str, model_name: str = "bmd-node") -> list[Dataset]:
    """SEG, SR and summary page of the node, or of another program, as far as a PACS looks into them."""
    kinds = ((SegmentationStorage, "SEG"), (Comprehensive3DSRStorage, "SR"), (SecondaryCaptureImageStorage, "OT"))
    return [_image(study_uid, generate_uid(), sop_class, modality, model_name, 0) for sop_class, modality in kinds]


def _image(study_uid: str, series_uid: str, sop_class: str, modality: str, model_name: str, n: int) -> Dataset:
    ds = Dataset()
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Test^Plugin", "P1", "", ""
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = study_uid, series_uid, generate_uid()
    ds.SOPClassUID, ds.Modality, ds.ManufacturerModelName = sop_class, modality, model_name
    ds.StudyDate = ds.StudyTime = ds.AccessionNumber = ds.StudyID = ""
    ds.SeriesNumber, ds.InstanceNumber = 1, n + 1
    if modality != "SR":
        ds.Rows = ds.Columns = 16
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 16, 15
        ds.PixelData = np.full((16, 16), n, np.uint16).tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds
