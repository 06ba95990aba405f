"""Reading the few elements of an instance, from sound files and from broken ones."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import split_dataset

from node.common.errors import InputError
from node.receive.header import is_uid, read_header
from tests.receive.listener_process import ct_series, write_series


@pytest.mark.parametrize("transfer_syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_header_is_read_in_every_encoding(tmp_path: Path, transfer_syntax: str) -> None:
    (ds,) = ct_series(1)
    ds.file_meta.TransferSyntaxUID = transfer_syntax
    path = tmp_path / "image.dcm"
    ds.save_as(path, enforce_file_format=True)
    header = read_header(path)
    assert (header.sop_instance_uid, header.study_instance_uid) == (ds.SOPInstanceUID, ds.StudyInstanceUID)
    assert header.transfer_syntax_uid == transfer_syntax
    assert header.digest == hashlib.sha256(path.read_bytes()[split_dataset(path)[1] :]).hexdigest()


@pytest.mark.parametrize(
    ("position", "orientation", "expected_mm"),
    [
        ([10, 20, 30], [1, 0, 0, 0, 1, 0], 30.0),  # axial
        ([10, 20, 30], [0, 1, 0, 0, 0, -1], -10.0),  # sagittal, PS3.3 section C.7.6.2.1.1: normal is row x column
        ([10, 20, 30], [1, 0, 0, 0, 0, -1], 20.0),  # coronal
    ],
)
def test_the_position_is_taken_along_the_slice_normal(
    tmp_path: Path, position: list[float], orientation: list[float], expected_mm: float
) -> None:
    (ds,) = ct_series(1)
    ds.ImagePositionPatient, ds.ImageOrientationPatient = position, orientation
    plane = read_header(write_series(tmp_path, [ds])[0]).plane
    assert plane is not None
    assert plane.position_mm == pytest.approx(expected_mm)


def test_an_image_without_position_has_no_plane(tmp_path: Path) -> None:
    (ds,) = ct_series(1)
    del ds.ImagePositionPatient
    assert read_header(write_series(tmp_path, [ds])[0]).plane is None


UNREADABLE = {
    "comma": b"-127,5\\0\\0 ",
    "words": b"unknown ",
    "two values": b"1\\2 ",
    "four values": b"1\\2\\3\\4 ",
    "infinite": b"1e999\\0\\0 ",
    "not a number": b"nan\\0\\0 ",
    "empty components": b"\\\\",
    "bytes": b"\xff\xfe\xfd\xfc",
    "seventeen digits": b"-127.50000000000000001\\0\\0 ",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("keyword", ["ImagePositionPatient", "ImageOrientationPatient", "ManufacturerModelName"])
@pytest.mark.parametrize("value", UNREADABLE.values(), ids=UNREADABLE)
def test_a_value_that_cannot_be_read_is_not_known_and_nothing_more(tmp_path: Path, keyword: str, value: bytes) -> None:
    (ds,) = ct_series(1)
    ds[keyword] = RawDataElement(Tag(keyword), ds[keyword].VR, len(value), value, 0, False, True)
    header = read_header(write_series(tmp_path, [ds])[0])
    assert header.sop_instance_uid == ds.SOPInstanceUID
    if keyword != "ManufacturerModelName" and value != UNREADABLE["seventeen digits"]:
        assert header.plane is None


@pytest.mark.filterwarnings("ignore")
def test_what_is_broken_after_the_uids_does_not_matter(tmp_path: Path) -> None:
    (ds,) = ct_series(1)
    whole = write_series(tmp_path, [ds])[0].read_bytes()
    at = whole.index(b"\x20\x00\x32\x00DS")  # Image Position (Patient)
    for broken in (b"\x20\x00\x32\x00SQ\x00\x00\xff\xff\xff\xff\x01\x02", b"\x20\x00\x32\x00??\xff\xff", b"\x20\x00"):
        path = tmp_path / "broken.dcm"
        path.write_bytes(whole[:at] + broken)
        header = read_header(path)
        assert (header.sop_instance_uid, header.plane) == (ds.SOPInstanceUID, None)


def test_uids_may_be_padded_with_blanks(tmp_path: Path) -> None:
    (ds,) = ct_series(1)
    padded = f"{ds.StudyInstanceUID}  ".encode()
    ds["StudyInstanceUID"] = RawDataElement(Tag("StudyInstanceUID"), "UI", len(padded), padded, 0, False, True)
    assert read_header(write_series(tmp_path, [ds])[0]).study_instance_uid == ds.StudyInstanceUID.strip()


@pytest.mark.filterwarnings("ignore")  # pydicom warns of each strange value
def test_broken_files_are_input_errors_and_nothing_else(tmp_path: Path) -> None:
    dice = random.Random(1)
    whole = []
    for transfer_syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, None):
        (ds,) = ct_series(1, size=8)
        if transfer_syntax is not None:
            ds.file_meta.TransferSyntaxUID = transfer_syntax
        whole.append(write_series(tmp_path, [ds])[0].read_bytes())
    path, n_refused = tmp_path / "broken.dcm", 0
    for _ in range(1000):
        broken = bytearray(dice.choice(whole))
        for _ in range(dice.choice([1, 3, 30])):
            broken[dice.randrange(132, len(broken))] = dice.choice([0, 255, dice.randrange(256)])
        path.write_bytes(broken[: dice.choice([len(broken), dice.randrange(132, len(broken))])])
        try:
            header = read_header(path)
        except InputError:
            n_refused += 1
        else:
            assert is_uid(header.sop_instance_uid)
    assert 100 < n_refused < 1000


@pytest.mark.parametrize("value", ["1", "1.2.840", "1.02.3", "1." * 31 + "12"])
def test_uids(value: str) -> None:
    assert is_uid(value)


@pytest.mark.parametrize("value", ["", ".", "1.", ".1", "1..2", "1.a", "1.2\n", " 1.2", "1/2", "1." * 32 + "1", "\u0661.2"])
def test_what_is_no_uid(value: str) -> None:
    assert not is_uid(value)
