"""The PACS of the demo: Orthanc if it is installed, otherwise a small storage SCP in this process."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pydicom
from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.events import Event

from node.common.errors import TransportError
from node.deliver import echo
from node.settings.tree import Destination

HOST = "127.0.0.1"
_START_S = 60.0
_POLL_S = 0.3


@dataclass(frozen=True, slots=True)
class InPacs:
    """An object in the PACS."""

    modality: str
    description: str
    path: Path


class Pacs(Protocol):
    """The PACS that receives the results."""

    name: str
    port: int

    def objects(self, study_instance_uid: str, folder: Path) -> list[InPacs]:
        """Fetch the objects that are not CT into a folder."""


@contextmanager
def running_pacs(out: Path, say: Callable[[str], None]) -> Iterator[Pacs]:
    """Run the PACS until the block ends, with its storage in ``out``."""
    executable = shutil.which("Orthanc")
    if executable is None:
        say("Orthanc is not installed: using a small storage SCP instead.")
        with _StorageScp.running(out / "pacs") as scp:
            yield scp
    else:
        say(f"PACS: Orthanc ({executable})")
        with _Orthanc.running(executable, out) as orthanc:
            yield orthanc


class _StorageScp:
    """The replacement: stores received objects as files."""

    name = "embedded storage SCP"

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._folder = folder

    @classmethod
    @contextmanager
    def running(cls, folder: Path) -> Iterator[_StorageScp]:
        """Serve until the block ends."""
        folder.mkdir()
        _config.UNRESTRICTED_STORAGE_SERVICE = True

        def keep(event: Event) -> int:
            ds = event.dataset
            ds.file_meta = event.file_meta
            ds.save_as(folder / f"{len(list(folder.iterdir())):04d}.dcm", enforce_file_format=True)
            return 0x0000

        ae = AE("PACS")
        ae.supported_contexts = AllStoragePresentationContexts
        ae.add_supported_context("1.2.840.10008.1.1")
        port = free_port()
        ae.start_server((HOST, port), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
        try:
            yield cls(folder, port)
        finally:
            ae.shutdown()

    def objects(self, study_instance_uid: str, folder: Path) -> list[InPacs]:
        """See :class:`Pacs`."""
        folder.mkdir(parents=True, exist_ok=True)
        found = []
        for path in sorted(self._folder.iterdir()):
            ds = pydicom.dcmread(path, stop_before_pixels=True)
            if ds.StudyInstanceUID == study_instance_uid and ds.Modality != "CT":
                kept = folder / f"{ds.Modality.lower()}.dcm"
                shutil.copyfile(path, kept)
                found.append(InPacs(ds.Modality, str(ds.get("SeriesDescription", "")), kept))
        return found


class _Orthanc:
    """Orthanc with its own storage and a password generated for this run."""

    name = "Orthanc"

    def __init__(self, port: int, url: str, password: str) -> None:
        self.port = port
        self._url = url
        self._authorization = "Basic " + base64.b64encode(f"demo:{password}".encode()).decode()

    @classmethod
    @contextmanager
    def running(cls, executable: str, out: Path) -> Iterator[_Orthanc]:
        """Serve until the block ends."""
        dicom_port, http_port = free_port(), free_port()
        password = secrets.token_urlsafe(16)
        config = out / "orthanc.json"
        config.write_text(
            json.dumps(
                {
                    "Name": "bmd-node demo",
                    "StorageDirectory": str((out / "orthanc").absolute()),
                    "DicomAet": "PACS",
                    "DicomPort": dicom_port,
                    "HttpPort": http_port,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": True,
                    "RegisteredUsers": {"demo": password},
                    "DicomCheckCalledAet": False,
                    "UnknownSopClassAccepted": True,
                    "Plugins": [],
                }
            ),
            encoding="utf-8",
        )
        config.chmod(0o600)
        with (out / "orthanc.log").open("wb") as log_file:
            # proxy settings of the environment must not apply to this machine
            environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
            process = subprocess.Popen([executable, str(config)], stdout=log_file, stderr=log_file, env=environment)
            try:
                orthanc = cls(dicom_port, f"http://{HOST}:{http_port}", password)
                until_it_answers(Destination(name="Orthanc", ae_title="PACS", host=HOST, port=dicom_port), out)
                yield orthanc
            finally:
                process.terminate()
                process.wait()

    def objects(self, study_instance_uid: str, folder: Path) -> list[InPacs]:
        """See :class:`Pacs`."""
        folder.mkdir(parents=True, exist_ok=True)
        query = {"Level": "Series", "Query": {"StudyInstanceUID": study_instance_uid}, "Expand": True}
        found = []
        for series in json.loads(self._call("/tools/find", json.dumps(query).encode())):
            tags = series["MainDicomTags"]
            for instance in series["Instances"]:
                if tags["Modality"] == "CT":
                    continue
                path = folder / f"{tags['Modality'].lower()}.dcm"
                path.write_bytes(self._call(f"/instances/{instance}/file"))
                found.append(InPacs(tags["Modality"], tags.get("SeriesDescription", ""), path))
        return found

    def _call(self, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(self._url + path, body, {"Authorization": self._authorization})  # noqa: S310 - http on this machine
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60.0) as response:
                content: bytes = response.read()
        except urllib.error.URLError as error:
            raise TransportError(f"Orthanc does not answer to {path}: {error}") from error
        return content


def free_port() -> int:
    """An unused TCP port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def until_it_answers(destination: Destination, out: Path) -> None:
    """Wait until C-ECHO succeeds.

    Raises:
        TransportError: nothing answers; the logs are in ``out``.
    """
    deadline = time.monotonic() + _START_S
    while True:
        try:
            return echo(destination, "SCANNER", timeout_s=5.0)
        except TransportError as error:
            if time.monotonic() > deadline:
                raise TransportError(f"{destination.name} did not start, see {out}/*.log: {error}") from error
        time.sleep(_POLL_S)
