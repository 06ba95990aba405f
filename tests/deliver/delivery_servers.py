"""Destinations to deliver to, and small objects of the classes that the node sends."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    Comprehensive3DSRStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    generate_uid,
)
from pynetdicom import AE, evt

from node.settings.tree import Destination

SR, SEG, SC = Comprehensive3DSRStorage, SegmentationStorage, SecondaryCaptureImageStorage


def free_port() -> int:
    """A TCP port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_open(port: int) -> bool:
    """Whether a port of this machine takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def eventually(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not seen within {timeout_s:g} s: {what}"
        time.sleep(0.02)


def destination(port: int, *, ae_title: str = "PACS", host: str = "127.0.0.1") -> Destination:
    """A destination on this machine."""
    return Destination(name="pacs", ae_title=ae_title, host=host, port=port)


def make_object(
    folder: Path, sop_class_uid: str, *, study_uid: str = "1.2.3.4", transfer_syntax: str = ExplicitVRLittleEndian
) -> Path:
    """A file of a class; the rules of its module do not matter to the network."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(transfer_syntax)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = UID(sop_class_uid)
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid, generate_uid()
    ds.PatientID, ds.PatientName = "4711", "Doe^Jane"
    ds.Modality = {SR: "SR", SEG: "SEG"}.get(UID(sop_class_uid), "OT")
    if sop_class_uid == SC:
        ds.Rows = ds.Columns = 300
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.PixelRepresentation = 7, 0
        ds.PixelData = bytes(range(250)) * 360
        ds["PixelData"].VR = "OB"
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    ds.save_as(path, enforce_file_format=True)
    return path


@contextmanager
def storage_scp(
    statuses: dict[str, int] | None = None,
    *,
    sop_classes: tuple[str, ...] = (SR, SEG, SC),
    transfer_syntax: str = ExplicitVRLittleEndian,
    ae_title: str = "PACS",
    max_associations: int = 10,
    aborts: bool = False,
    aborts_at: Collection[str] = (),
    port: int = 0,
) -> Iterator[tuple[int, list[Dataset]]]:
    """A storage SCP that answers each class with a status of its own (success if none is given).

    Yields:
        Its port, and the list that received data sets are added to.
    """
    received: list[Dataset] = []

    def on_store(event: evt.Event) -> int:
        ds = event.dataset
        if aborts or ds.SOPClassUID in aborts_at:
            event.assoc.abort()
        ds.file_meta = event.file_meta
        received.append(ds)
        return (statuses or {}).get(ds.SOPClassUID, 0x0000)

    ae = AE(ae_title=ae_title)
    ae.require_called_aet = True
    ae.maximum_associations = max_associations
    for sop_class in sop_classes:
        ae.add_supported_context(sop_class, transfer_syntax)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])
    assert server is not None
    try:
        yield server.server_address[1], received
    finally:
        ae.shutdown()


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc."""

    dicom_port: int
    http_port: int

    def get(self, path: str) -> bytes:
        """Answer of the REST interface."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=30) as response:
            return bytes(response.read())

    def sop_instance_uids(self) -> list[str]:
        """Every instance it holds."""
        ids = json.loads(self.get("/instances"))
        tags = [json.loads(self.get(f"/instances/{orthanc_id}/simplified-tags")) for orthanc_id in ids]
        return sorted(instance["SOPInstanceUID"] for instance in tags)
