"""Files that cost far more than they are: each is refused in little memory and time, and not the good series beside it."""

from __future__ import annotations

import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import write_file_meta_info
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from node.common.errors import InputError
from node.select.budget import check_file
from node.settings.tree import SelectSettings
from tests.receive.listener_process import ct_series, write_series

_MB = 1024 * 1024
#: Runs select and load as ``bmd-node process`` does; prints the codes of what was left out, and what was read.
_RUN = """
import resource, sys
from pathlib import Path
import torch
from node.common.errors import InputError
from node.select import find_dicom, load_volume, select_series
from node.settings.tree import SelectSettings
before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
chosen = select_series(find_dicom(Path(sys.argv[1])), SelectSettings())
codes = {left.code for left in chosen.left_out}
for candidate in chosen.candidates:
    try:
        print("read", load_volume(candidate).hu.shape)
    except InputError as error:
        codes.add("refused")
print("left out", *sorted(codes))
print("MB", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 - before_mb)
"""


def good_series() -> list[Dataset]:
    """A series that is admitted: 40 slices, 2 mm apart."""
    series = ct_series(40)
    for ds in series:
        ds.Modality, ds.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.PixelSpacing, ds.SliceThickness, ds.KVP = [1, 1], 2, 120
        ds.RescaleSlope, ds.RescaleIntercept = 1, 0
        ds.FrameOfReferenceUID = "1.2.3"
    return series


def deflated(path: Path, series: list[Dataset]) -> None:
    """Few MB that inflate to 1.5 GB, and say 4 GB."""
    meta = series[0].file_meta
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    deflater = zlib.compressobj(1, zlib.DEFLATED, -15)
    with (path / "bomb.dcm").open("wb") as file:
        file.write(bytes(128) + b"DICM")
        write_file_meta_info(file, meta)
        file.write(deflater.compress(struct.pack("<HH2sHL", 0x0009, 0x1000, b"OB", 0, 2**32 - 2)))
        zeros = bytes(64 * _MB)
        for _ in range(24):
            file.write(deflater.compress(zeros))
        file.write(deflater.flush())


def _each(change: Callable[[Dataset], None]) -> Callable[[Path, list[Dataset]], None]:
    def make(path: Path, series: list[Dataset]) -> None:
        uid = generate_uid()
        for ds in series:
            ds.SeriesInstanceUID = uid
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            change(ds)
        write_series(path, series)

    return make


def _compressed(uid: str, stream: bytes) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        ds.file_meta.TransferSyntaxUID = uid
        ds.PixelData = encapsulate([stream])
        ds["PixelData"].is_undefined_length = True
        ds["PixelData"].VR = "OB"

    return change


def j2k(width: int, height: int, tile: int) -> bytes:
    """A JPEG 2000 stream with a main header and nothing else."""
    siz = struct.pack(">HHLLLLLLLLH", 41, 0, width, height, 0, 0, tile, tile, 0, 0, 1) + b"\x0f\x01\x01"
    cod = struct.pack(">HBBHBBBBBB", 12, 0, 0, 1, 0, 5, 4, 4, 0, 1)
    return b"\xff\x4f\xff\x51" + siz + b"\xff\x52" + cod + b"\xff\x5c\x00\x13\x40" + bytes(16) + b"\xff\xd9"


def jpeg(marker: int, rows: int, columns: int) -> bytes:
    """A JPEG stream with a start of frame."""
    return (
        b"\xff\xd8"
        + struct.pack(">BBHBHHB", 0xFF, marker, 11, 16, rows, columns, 1)
        + b"\x01\x11\x00"
        + bytes(100)
        + b"\xff\xd9"
    )


def rows_40000(ds: Dataset) -> None:
    ds.Rows = ds.Columns = 40000
    _compressed(JPEG2000Lossless, j2k(40000, 40000, 40000))(ds)


def many_items(ds: Dataset) -> None:
    ds.add_new(0x00091010, "UN", (b"\xfe\xff\x00\xe0" + bytes(4)) * 200_000)


def spacing(*values: float) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        ds.PixelSpacing = list(values)

    return change


def large_private(ds: Dataset) -> None:
    ds.add_new(0x00091010, "OB", bytes(40 * _MB) if ds.InstanceNumber == 0 else b"")


BOMBS = {
    "deflated": (deflated, "unreadable"),
    "JPEG 2000 of 60000 x 60000": (_each(_compressed(JPEG2000Lossless, j2k(60000, 60000, 60000))), "refused"),
    "JPEG 2000 of many tiles": (_each(_compressed(JPEG2000Lossless, j2k(64, 64, 1))), "refused"),
    "JPEG-LS of 60000 x 60000": (_each(_compressed(JPEGLSLossless, jpeg(0xF7, 60000, 60000))), "refused"),
    "RLE of far too many bytes": (
        _each(_compressed(RLELossless, struct.pack("<16L", 2, 64, 500_000, *([0] * 13)) + b"\x81\x00" * 500_000)),
        "refused",
    ),
    "40000 rows": (_each(rows_40000), "too_large"),
    "pixels of 5 m": (_each(spacing(5000, 5000)), "implausible_size"),
    "pixels of 5 m in one direction": (_each(spacing(1, 5000)), "implausible_size"),
    "pixels of a nanometre": (_each(spacing(1e-6, 1e-6)), "implausible_size"),
    "items without end": (_each(many_items), "unreadable"),
    "a private value of 40 MB": (_each(large_private), "unreadable"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("make", "code"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_at_no_cost(tmp_path: Path, make: Callable[[Path, list[Dataset]], None], code: str) -> None:
    bombs, good = tmp_path / "study" / "bombs", good_series()
    bombs.mkdir(parents=True)
    write_series(tmp_path / "study" / "good", good)
    make(bombs, [dcmread(file) for file in sorted((tmp_path / "study" / "good").iterdir())])
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(tmp_path / "study")], capture_output=True, text=True, timeout=120, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    *read, left_out, memory = done.stdout.strip().splitlines()
    assert "read (40, 64, 64)" in read
    assert code in left_out.split()
    assert int(memory.split()[1]) < 400
    assert after.ru_utime - before.ru_utime < 60  # most of it is the import of torch on a busy machine


@pytest.mark.filterwarnings("ignore")
def test_the_limits_are_settings(tmp_path: Path) -> None:
    (file,) = write_series(tmp_path, ct_series(1, size=512))
    check_file(file, SelectSettings())
    file.write_bytes(file.read_bytes() + bytes(_MB))
    with pytest.raises(InputError, match="at most 1 MB are allowed"):
        check_file(file, SelectSettings(max_file_mb=1))


@pytest.mark.filterwarnings("ignore")
def test_a_deflated_file_of_a_usual_size_is_read(tmp_path: Path) -> None:
    (ds,) = ct_series(1, size=512)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.add_new(0x00091010, "SQ", Sequence([Dataset() for _ in range(100)]))
    (file,) = write_series(tmp_path, [ds])
    check_file(file, SelectSettings())
    check_file(file, SelectSettings(max_inflated_mb=1))
