"""Reads the few elements of an instance that receiving needs, without decoding the rest."""

from __future__ import annotations

import hashlib
import io
import math
import re
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from node.common.dicom_file import open_dicom, read_file_meta
from node.common.errors import InputError

_KEYWORDS = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "AccessionNumber",
    "PatientID",
    "Manufacturer",
    "ManufacturerModelName",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)
_SPECIFIC_TAGS: list[BaseTag | int] = [Tag(keyword) for keyword in _KEYWORDS]
_DEFLATED_BEGINNING_BYTES = 16 * 1024 * 1024
_LAST_TAG = int(max(_SPECIFIC_TAGS))
_LAST_UID_TAG = int(Tag("SeriesInstanceUID"))
#: Of the values that are read here none is longer in earnest, and all of it would be in memory.
_MOST_VALUE_BYTES = 1024 * 1024
_UNDEFINED_LENGTH = 0xFFFFFFFF
#: PS3.5 6.2 pads UIDs with NUL; some devices do so with blanks.
_PADDING = " \0"

#: What pydicom raises on invalid DICOM; RuntimeError means deeply nested sequences or an unknown codec.
_NOT_READABLE = (
    InvalidDicomError,
    BytesLengthException,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
)

# PS3.5 section 9.1. Leading zeros of a component are invalid, but real devices send them, and they are harmless.
_UID_PATTERN = re.compile(r"[0-9]+(\.[0-9]+)*")
_UID_MAX_LENGTH = 64


@dataclass(frozen=True, slots=True)
class SlicePlane:
    """Position of an image in its stack.

    Attributes:
        orientation_key: rounded direction cosines of rows and columns, equal for all slices of a stack.
        position_mm: distance from the origin of the patient coordinate system along the slice normal.
    """

    orientation_key: str
    position_mm: float


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """The header of an instance for receiving; ``plane`` is ``None`` unless there is exactly one.

    The accession number and the Patient ID are patient data, for the search alone, never for a log.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    manufacturer_model_name: str | None
    plane: SlicePlane | None
    digest: str
    accession_number: str | None = field(default=None, repr=False)
    patient_id: str | None = field(default=None, repr=False)


def is_uid(value: str) -> bool:
    """Whether a text is a UID: components of digits, at most 64 characters (PS3.5 section 9.1)."""
    return len(value) <= _UID_MAX_LENGTH and _UID_PATTERN.fullmatch(value) is not None


def read_header(path: Path) -> InstanceHeader:
    """Read a DICOM file up to Image Orientation (Patient), and digest its data set.

    The digest is the SHA-256 of the encoded data set, without the File Meta Information.

    Raises:
        InputError: it is not a DICOM file, or one of its UIDs is missing or invalid.
        OSError: the file cannot be read.
    """
    try:
        with open_dicom(path) as file:
            file_meta, offset = read_file_meta(file)
            transfer_syntax_uid = _uid(file_meta, "TransferSyntaxUID")
            stream = _beginning(file, transfer_syntax_uid)
            start = stream.tell()
            ds = _read(stream, transfer_syntax_uid, _LAST_UID_TAG)
            uids = {keyword: _uid(ds, keyword) for keyword in _KEYWORDS if keyword.endswith("UID")}
            stream.seek(start)
            plane = _plane_if_readable(stream, transfer_syntax_uid)
        model_name = _text(ds, "ManufacturerModelName")
        accession_number, patient_id = _text(ds, "AccessionNumber"), _text(ds, "PatientID")
    except (*_NOT_READABLE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's; pydicom's own say that the file ends too early
        # pydicom's message may quote the value of an element, so only its type is passed on.
        raise InputError(f"{path.name} is not readable as DICOM ({type(error).__name__})") from error
    with path.open("rb") as file:
        file.seek(offset)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return InstanceHeader(
        sop_class_uid=uids["SOPClassUID"],
        sop_instance_uid=uids["SOPInstanceUID"],
        study_instance_uid=uids["StudyInstanceUID"],
        series_instance_uid=uids["SeriesInstanceUID"],
        transfer_syntax_uid=transfer_syntax_uid,
        manufacturer_model_name=model_name,
        plane=plane,
        digest=digest,
        accession_number=accession_number,
        patient_id=patient_id,
    )


def _beginning(file: BinaryIO, transfer_syntax_uid: str) -> BinaryIO:
    """The data set as a stream; of a deflated one only the beginning, since a megabyte may inflate to a gigabyte."""
    if transfer_syntax_uid != DeflatedExplicitVRLittleEndian:
        return file
    packed = file.read(_DEFLATED_BEGINNING_BYTES)
    return io.BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, _DEFLATED_BEGINNING_BYTES))


def _read(stream: BinaryIO, transfer_syntax_uid: str, last_tag: int) -> Dataset:
    def is_enough(tag: BaseTag, _vr: str | None, length: int) -> bool:
        if int(tag) in _SPECIFIC_TAGS and _MOST_VALUE_BYTES < length < _UNDEFINED_LENGTH:
            raise ValueError("a value of the header is too long")
        return int(tag) > last_tag

    return read_dataset(
        stream,
        # PS3.5 section 10: whatever is not one of these is encoded as explicit VR little endian.
        is_implicit_VR=transfer_syntax_uid == ImplicitVRLittleEndian,
        is_little_endian=transfer_syntax_uid != ExplicitVRBigEndian,
        stop_when=is_enough,
        specific_tags=[tag for tag in _SPECIFIC_TAGS if int(tag) <= last_tag],
    )


def _plane_if_readable(stream: BinaryIO, transfer_syntax_uid: str) -> SlicePlane | None:
    """Where the image lies.

    Storage takes what is parseable (PS3.4 B.4.1 level 2): a value that no reader understands, such as ``-127,5``, means only
    that the position is not known.
    """
    try:
        return _slice_plane(_read(stream, transfer_syntax_uid, _LAST_TAG))
    except (*_NOT_READABLE, OSError):
        return None


def _uid(ds: Dataset, keyword: str) -> str:
    value = str(ds.get(keyword) or "").strip(_PADDING)
    if not is_uid(value):
        raise InputError(f"{keyword} is {'not a valid UID' if value else 'missing'}")
    return value


def _text(ds: Dataset, keyword: str) -> str | None:
    try:
        value = ds.get(keyword)
    except _NOT_READABLE:
        return None
    return None if value is None else str(value).strip(_PADDING)


def _slice_plane(ds: Dataset) -> SlicePlane | None:
    position, orientation = ds.get("ImagePositionPatient"), ds.get("ImageOrientationPatient")
    if position is None or orientation is None:
        return None
    origin, cosines = [float(value) for value in position], [float(value) for value in orientation]
    if len(origin) != 3 or len(cosines) != 6 or not all(map(math.isfinite, origin + cosines)):
        return None
    (rx, ry, rz), (cx, cy, cz) = cosines[:3], cosines[3:]
    # PS3.3 section C.7.6.2.1.1: the normal is the cross product of the row and the column direction.
    normal = (ry * cz - rz * cy, rz * cx - rx * cz, rx * cy - ry * cx)
    return SlicePlane(
        # Adding 0.0 turns negative zero into zero.
        orientation_key="\\".join(f"{round(cosine, 3) + 0.0:.3f}" for cosine in cosines),
        position_mm=sum(n * p for n, p in zip(normal, origin, strict=True)),
    )
