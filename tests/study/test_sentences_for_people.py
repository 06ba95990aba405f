"""Reports of inputs that fail hold nothing that belongs into a log."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

#: A unit and pairs of levels hold a slash, and nothing else does.
ALLOWED = re.compile(r"mg/cm3|[TLS]\d+/[TLS]\d+")
FOR_LOGS = re.compile(
    r"/|Error|Exception|Traceback|\b(pydicom|pylibjpeg|gdcm|openjpeg|numpy|nibabel|torch|highdicom)\b|\.py\b"
)


def _text(folder: Path) -> None:
    (folder / "notes.dcm").write_text("no image at all")


def _truncated(folder: Path) -> None:
    ds = pydicom.Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = generate_uid(), generate_uid(), "CT"
    ds.Rows = ds.Columns = 64
    ds.BitsAllocated = ds.BitsStored = 16
    ds.SamplesPerPixel, ds.PixelData = 1, bytes(64 * 64 * 2)
    ds.save_as(folder / "1.dcm", enforce_file_format=True)
    whole = (folder / "1.dcm").read_bytes()
    (folder / "1.dcm").write_bytes(whole[:-4000])


def _no_uid(folder: Path) -> None:
    _truncated(folder)
    ds = pydicom.dcmread(folder / "1.dcm", force=True)
    del ds.SeriesInstanceUID
    ds.PixelData = bytes(64 * 64 * 2)
    ds.save_as(folder / "1.dcm")


def _sentences(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in ([inner] if key == "detail" else _sentences(inner))]
    return [text for inner in value for text in _sentences(inner)] if isinstance(value, list) else []


@pytest.mark.parametrize("broken", [_text, _truncated, _no_uid])
def test_what_fails_is_said_for_people(tmp_path: Path, broken: Callable[[Path], None]) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    broken(folder)
    done = subprocess.run(
        [sys.executable, "-m", "node.cli", "process", str(folder), "--out", str(out), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (2, 3), done.stderr
    if done.returncode == 2:
        return  # nothing was readable: there is no report
    for sentence in _sentences(json.loads(done.stdout)):
        assert not FOR_LOGS.search(ALLOWED.sub("", sentence)), sentence
