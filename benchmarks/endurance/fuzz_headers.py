"""Damaged headers of CT images: read, or left out with a reason, and never at the cost of the good series beside them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from benchmarks.endurance.fuzz_cases import Case, Check, damaged
from node.common.errors import InputError
from node.common.quiet import keep_values_out_of_logs
from node.receive.header import is_uid, read_header
from node.select import ct_studies, find_dicom, select_series
from node.settings.tree import SelectSettings

#: In every header; no reason may quote it.
PATIENT = "Quaxelbart"
SETTINGS = SelectSettings(min_slices=5, min_extent_mm=10)
_SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
#: Tags, VRs, lengths and delimiters (PS3.5 7), and values that a reader may stumble over.
_PIECES = (
    *(
        bytes.fromhex(one)
        for one in ("ffffffff", "feffffff", "feff00e0", "feff0de0", "feffdde0", "00000000", "ffff", "0000")
    ),
    *(bytes.fromhex(one) for one in ("e07f1000", "20003200", "20003700", "28003000", "00280010", "02000000", "08000500")),
    *(one.encode() for one in ("SQ", "UN", "OB", "OW", "DS", "IS", "US", "FD", "PN", "UI", "UT", "AT", "??", "\0\0")),
    *(b"NaN ", b"1e999 ", b"-1,5", b"\\", b"\\\\\\", b"ISO_IR 100", b"ISO 2022 IR 87", b"\x1b$B", b"1.2.840.10008.1.2"),
    *(b"\xff" * 16, b"\x00" * 64, b"9" * 40, b"18000101", b"00000000", b"99991231", b"000Y", b"999D"),
)
_VALUES = (
    *(b"", b" ", b"\\", b"\0\0", b"NaN", b"-inf", b"1e400", b"1e-400", b"-1", b"0", b"4294967296", b"99999999999999999999"),
    *(
        b"1\\2\\3",
        b"1\\2\\3\\4\\5\\6\\7",
        b"0\\0\\0\\0\\0\\0",
        b"1\\0\\0\\1\\0\\0",
        b"1e308\\1e308\\1e308",
        b"na",
        b"\xff\xfe",
    ),
    *(
        b"\x01\x00",
        b"\xff\xff",
        b"\x00\x80",
        b"\x10\x00\x00\x00",
        b"00010101",
        b"99991231235959.999999+1400",
        b"999Y",
        b"1.2",
    ),
    *(b"MONOCHROME1", b"RGB", b"DERIVED\\SECONDARY", b"LOCALIZER", b"MR", b"A" * 70, b"\\".join([b"1"] * 300)),
)
_KEYWORDS = (
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "StudyDate", "AcquisitionDate", "ContentTime"),
    *("Modality", "Manufacturer", "CodeMeaning", "PatientName", "PatientID", "PatientBirthDate", "PatientAge", "PatientSex"),
    *(
        "KVP",
        "SliceThickness",
        "ConvolutionKernel",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SeriesNumber",
        "InstanceNumber",
    ),
    *("AcquisitionNumber", "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "TriggerTime"),
    *("TemporalPositionIdentifier", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns"),
    *("PixelSpacing", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "RescaleSlope"),
    *("RescaleIntercept", "RescaleType", "LossyImageCompression", "PerFrameFunctionalGroupsSequence", "AcquisitionDateTime"),
)


def ct_image(number: int, series: str, cells: np.ndarray | None = None) -> Dataset:
    """An axial CT image, 2.5 mm from the one before it."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = CTImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = f"{series}.{number + 1}"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = f"{series}.8", series, f"{series}.9"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.StudyDate = ds.AcquisitionDate = "20260901"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = f"{PATIENT}^Zenobia", PATIENT, "19500401", "F"
    ds.Modality, ds.Manufacturer, ds.ManufacturerModelName, ds.SeriesNumber = "CT", "ACME", "Scanner 1", "3"
    ds.InstanceNumber, ds.AcquisitionNumber, ds.KVP, ds.SliceThickness = str(number + 1), "1", "120", "2.5"
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-10, -10, 2.5 * number], [1, 0, 0, 0, 1, 0]
    cells = np.random.default_rng(number).integers(900, 1200, (36, 44)) if cells is None else cells
    ds.Rows, ds.Columns = cells.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelSpacing = 1, "MONOCHROME2", [0.8, 0.7]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope = "-1024", "1"
    ds.PixelData = cells.astype("<u2").tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def good_series(folder: Path) -> list[Path]:
    """The files of a series that is measured."""
    paths = []
    for number in range(6):
        paths.append(folder / f"good{number}.dcm")
        ct_image(number, "1.2.3").save_as(paths[-1], enforce_file_format=True)
    return paths


def _enhanced() -> Dataset:
    ds = ct_image(0, "1.2.5")
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    frames = []
    for number in range(4):
        position, frame = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, 2.5 * number]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.8, 0.7], "2.5"
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], frames
    ds.NumberOfFrames, ds.PixelData = 4, ds.PixelData * 4
    return ds


def encoded(ds: Dataset, syntax: str) -> bytes:
    """The data set in a transfer syntax, without File Meta Information; one that is deflated before it is."""
    stream = DicomBytesIO()
    stream.is_implicit_VR = syntax == ImplicitVRLittleEndian
    stream.is_little_endian = syntax != ExplicitVRBigEndian
    copied = Dataset()
    copied.update(ds)
    write_dataset(stream, copied)
    return stream.getvalue()


def _file(data: bytes, syntax: str, sop_class: str = CTImageStorage) -> bytes:
    """A file around an encoded data set."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, "1.2.5.1"
    meta.TransferSyntaxUID = syntax
    stream = BytesIO()
    stream.write(bytes(128) + b"DICM")
    write_file_meta_info(stream, meta)
    if syntax == DeflatedExplicitVRLittleEndian:
        deflater = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        data = deflater.compress(data) + deflater.flush()
    return stream.getvalue() + data


def _with_values(elements: Mapping[int, bytes], values: Sequence[tuple[str, bytes]]) -> bytes:
    """A file in which elements have other values, as a device may write them: right in form, wrong in content."""
    changed = dict(elements)
    for keyword, value in values:
        tag = Tag(keyword)
        padded = value + b" " * (len(value) % 2)
        changed[int(tag)] = struct.pack("<HHL", tag.group, tag.element, len(padded)) + padded
    return _file(b"".join(changed[tag] for tag in sorted(changed)), ImplicitVRLittleEndian)


def _elements(ds: Dataset) -> dict[int, bytes]:
    """Each element of a data set, encoded."""
    found = {}
    for element in ds:
        alone = Dataset()
        alone.add(element)
        found[int(element.tag)] = encoded(alone, ImplicitVRLittleEndian)
    return found


class Headers:
    """Targets ``node.receive.header`` and ``node.select``."""

    examples_per_round = 400

    def cases(self) -> st.SearchStrategy[Case]:
        """Damaged files; files in which values are wrong; and damaged data sets that are deflated."""
        images = (ct_image(0, "1.2.5"), _enhanced())
        sets = [(encoded(ds, syntax), syntax) for ds in images for syntax in _SYNTAXES]
        whole = [_file(data, syntax) for data, syntax in sets]
        value = st.one_of(st.sampled_from(_VALUES), st.binary(max_size=12))
        wrong = st.lists(st.tuples(st.sampled_from(_KEYWORDS), value), min_size=1, max_size=4)
        plain = [data for data, syntax in sets if syntax == ExplicitVRLittleEndian]
        return st.one_of(
            damaged(whole, _PIECES),
            st.builds(_with_values, st.sampled_from([_elements(ds) for ds in images]), wrong),
            damaged(plain, _PIECES).map(lambda data: _file(data, DeflatedExplicitVRLittleEndian)),
        ).map(Case)

    @contextmanager
    def open(self, folder: Path) -> Iterator[Check]:
        """Nothing to start."""
        keep_values_out_of_logs()
        good = good_series(folder)
        path = folder / "damaged.dcm"

        def check(case: Case) -> str:
            path.write_bytes(case.data)
            outcome = "refused"
            try:
                header = read_header(path)
            except InputError as error:
                _names_nobody(str(error))
            else:
                outcome = "read"
                assert is_uid(header.sop_instance_uid)
                assert is_uid(header.study_instance_uid)
            try:
                find_dicom(path)
            except InputError as error:
                _names_nobody(str(error))
            studies = ct_studies([*good, path])
            assert any(study.study_instance_uid == "1.2.3.8" for study in studies)
            selection = select_series([path, *good], SETTINGS)
            for left in selection.left_out:
                _names_nobody(f"{left.series_instance_uid} {left.code} {left.detail}")
            chosen = {candidate.facts.series_instance_uid for candidate in selection.candidates}
            assert "1.2.3" in chosen, f"the good series is left out: {selection.left_out}"
            return outcome

        yield check


def _names_nobody(reason: str) -> None:
    assert PATIENT not in reason, "a reason quotes the patient"
