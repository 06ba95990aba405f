"""Typed headers of the images in a DICOM file; the data set itself never leaves this module.

A value that is absent, empty or invalid for its VR (a KVP of ``na``) is ``None``. :mod:`node.select.admission` decides
whether an image can be used without it.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from node.clinical.age import Age, age_at, date_of
from node.clinical.agreement import WrittenIdentity, written_identity
from node.clinical.identity import days_of, sex_of
from node.common.dicom_file import open_dicom
from node.common.errors import InputError
from node.language.phrase import phrase
from node.model import SourceFrame, Vector
from node.select.completeness import missing_pixel_data

#: PS3.4 B.5.
CT_SOP_CLASSES = frozenset({CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage})

#: Attributes with the day of the scan (PS3.3 C.7.2.1, C.7.6.1, C.7.6.16.2.2), the nearest to the scan first. Not every image
#: has one; Study Date is the day on which the study started. Series and content dates may be those of a reformat.
_DATES = ("FrameAcquisitionDateTime", "AcquisitionDate", "AcquisitionDateTime", "StudyDate")

#: Exceptions that pydicom raises for truncated or damaged files.
READ_ERRORS = (
    BytesLengthException,
    InvalidDicomError,
    OSError,
    EOFError,
    ValueError,  # also UnicodeDecodeError
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)


#: Who the patient of a file is, and the days that it names.
_Patient = tuple[WrittenIdentity, tuple[dt.date, ...]]


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """Header of one frame (a single-frame image has one).

    Positions and spacings are in mm, times are DICOM TM strings. ``pixel_spacing_mm`` is (between rows, between columns) as
    in PS3.3 10.7.1.3. ``image_orientation`` holds the cosines of the row, then of the column (PS3.3 C.7.6.2.1.1).
    """

    source: SourceFrame
    transfer_syntax_uid: str
    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str | None
    modality: str | None
    image_type: tuple[str, ...]
    calculation_technique: str | None
    derivation: str
    conversion_type: str | None
    rows: int
    columns: int
    samples_per_pixel: int
    bits_allocated: int
    bits_stored: int
    high_bit: int | None
    signed: bool
    image_position_mm: Vector | None
    image_orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, float] | None
    slice_thickness_mm: float | None
    rescale_slope: float | None
    rescale_intercept: float | None
    rescale_type: str | None
    lossy: bool | None
    lossy_ratio: str | None
    kvp: float | None
    multi_energy: bool
    convolution_kernel: str | None
    manufacturer: str | None
    manufacturer_model_name: str | None
    device_serial_number: str | None
    station_name: str | None
    contrast_bolus_agent: str | None
    contrast_bolus_route: str | None
    body_part_examined: str | None
    study_description: str | None
    protocol_name: str | None
    patient_position: str | None
    irradiation_event_uid: str | None
    series_number: int | None
    series_description: str | None
    instance_number: int | None
    acquisition_number: int | None
    temporal_position: int | None
    trigger_time_ms: float | None
    acquisition_date: dt.date | None
    acquisition_time: str | None
    content_time: str | None
    series_time: str | None
    patient_age: Age
    patient_sex: str | None
    patient: WrittenIdentity
    accession_number: str | None
    study_date: str | None
    study_id: str | None


class _Attributes:
    """Looks an attribute up in the functional groups of a frame, then in the data set (PS3.3 C.7.6.16)."""

    def __init__(self, places: Sequence[Dataset]) -> None:
        self._places = places

    def _value(self, keyword: str) -> object:
        for place in self._places:
            try:
                value = place.get(keyword)
            except (BytesLengthException, ValueError, TypeError, KeyError, NotImplementedError, OverflowError):
                continue  # a value that is invalid for its VR counts as absent: see the module's docstring
            if value is not None and value != "":
                return cast(object, value)
        return None

    def values(self, keyword: str) -> tuple[object, ...]:
        value = self._value(keyword)
        if value is None:
            return ()
        return tuple(value) if isinstance(value, (MultiValue, list, tuple)) else (value,)

    def texts(self, keyword: str) -> tuple[str, ...]:
        return tuple(str(value).strip(" \0") for value in self.values(keyword))

    def text(self, keyword: str) -> str | None:
        """First value, stripped; ``None`` if that is empty."""
        texts = self.texts(keyword)
        return (texts[0] or None) if texts else None

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        values = self.values(keyword)
        if len(values) != count:
            return None
        try:
            numbers = tuple(float(str(value)) for value in values)
        except ValueError:
            return None
        return numbers if all(map(math.isfinite, numbers)) else None

    def number(self, keyword: str) -> float | None:
        numbers = self.numbers(keyword, 1)
        return numbers[0] if numbers else None

    def integer(self, keyword: str) -> int | None:
        number = self.number(keyword)
        return None if number is None else int(number)

    def items(self, keyword: str) -> tuple[Dataset, ...]:
        return tuple(value for place in self._places for value in place.get(keyword) or () if isinstance(value, Dataset))


@contextmanager
def values_judged_here() -> Iterator[None]:
    """Silence pydicom's warnings about invalid values: they quote the values, which may be patient data."""
    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def read_headers(path: Path) -> tuple[FrameHeader, ...]:
    """Read the header of every frame in a file, without the pixels.

    An object that is not an image (a report, a plan) gives one header too, so that it can be listed as left out.

    Args:
        path: a DICOM file, with or without preamble.

    Returns:
        One header per frame, in the order of the frames.

    Raises:
        InputError: the file cannot be read, lacks one of its UIDs, or is truncated in its pixel data.
    """
    try:
        with open_dicom(path) as stream:
            ds = dcmread(stream, stop_before_pixels=True, force=True)
            frames = headers_of(ds, path)
            fault = _pixel_data_fault(ds, stream)
    except READ_ERRORS as error:
        # pydicom's message may quote a value; the type of the error is enough
        cause = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise InputError(phrase("{path} cannot be read as DICOM ({cause})", path=str(path), cause=cause)) from error
    if fault:
        raise InputError(phrase("{path} is incomplete: {fault}", path=str(path), fault=fault))
    return frames


def _pixel_data_fault(ds: Dataset, stream: BinaryIO) -> str | None:
    transfer_syntax_uid = ds.file_meta.get("TransferSyntaxUID")
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        return None  # a deflated file without its end could not have been read
    if "Rows" not in ds and ds.get("SOPClassUID") not in CT_SOP_CLASSES:
        return None  # not an image
    is_implicit_vr, is_little_endian = ds.original_encoding
    bits = int(ds.get("Rows") or 0) * int(ds.get("Columns") or 0) * int(ds.get("BitsAllocated") or 0)
    expected = bits * int(ds.get("SamplesPerPixel") or 1) * int(ds.get("NumberOfFrames") or 1) // 8
    return missing_pixel_data(stream, bool(is_implicit_vr), bool(is_little_endian), expected)


def headers_of(ds: Dataset, path: Path) -> tuple[FrameHeader, ...]:
    """Header of every frame of a data set that was read from ``path``.

    Raises:
        InputError: the data set lacks one of its UIDs, or describes a different number of frames than it contains.
    """
    per_frame = ds.get("PerFrameFunctionalGroupsSequence") or ()
    patient = written_identity(ds), days_of(ds)
    if not per_frame:
        return (_header(_Attributes([ds]), path, _transfer_syntax(ds), patient, 1),)
    if len(per_frame) != int(ds.get("NumberOfFrames") or 1):
        n_held = int(ds.get("NumberOfFrames") or 1)
        wrong = phrase("{path} describes {n} frames but contains {n_held}", path=str(path), n=len(per_frame), n_held=n_held)
        raise InputError(wrong)
    shared = [_macros(item) for item in ds.get("SharedFunctionalGroupsSequence") or ()]
    shared_macros = [macro for macros in shared for macro in macros]
    return tuple(
        _header(_Attributes([*_macros(item), *shared_macros, ds]), path, _transfer_syntax(ds), patient, number)
        for number, item in enumerate(per_frame, start=1)
    )


def _macros(item: Dataset) -> list[Dataset]:
    """Items of every functional group macro of a frame; each macro is a sequence of its own."""
    return [macro for element in item if element.VR == "SQ" for macro in element.value or ()]


def _transfer_syntax(ds: Dataset) -> str:
    return str(ds.file_meta.get("TransferSyntaxUID", ""))


def _header(at: _Attributes, path: Path, transfer_syntax_uid: str, of_patient: _Patient, frame_number: int) -> FrameHeader:
    sop_instance_uid, sop_class_uid = at.text("SOPInstanceUID"), at.text("SOPClassUID")
    study_instance_uid, series_instance_uid = at.text("StudyInstanceUID"), at.text("SeriesInstanceUID")
    if not (sop_instance_uid and sop_class_uid and study_instance_uid and series_instance_uid):
        lacks = phrase(
            "{path} is not a usable DICOM file: its SOP class, instance, series or study UID is missing", path=str(path)
        )
        raise InputError(lacks)
    position, spacing = at.numbers("ImagePositionPatient", 3), at.numbers("PixelSpacing", 2)
    acquisition_date, (patient, days) = _acquisition_date(at), of_patient
    return FrameHeader(
        source=SourceFrame(path, sop_class_uid, sop_instance_uid, frame_number),
        transfer_syntax_uid=transfer_syntax_uid,
        study_instance_uid=study_instance_uid,
        series_instance_uid=series_instance_uid,
        frame_of_reference_uid=at.text("FrameOfReferenceUID"),
        modality=at.text("Modality"),
        # Frame Type is Image Type per frame, without MIXED (PS3.3 C.8.16.1)
        image_type=tuple(value.upper() for value in at.texts("FrameType") or at.texts("ImageType")),
        calculation_technique=at.text("VolumeBasedCalculationTechnique"),
        derivation=" ".join([*at.texts("DerivationDescription"), *_meanings(at.items("DerivationCodeSequence"))]),
        conversion_type=at.text("ConversionType"),
        rows=at.integer("Rows") or 0,
        columns=at.integer("Columns") or 0,
        samples_per_pixel=at.integer("SamplesPerPixel") or 1,
        bits_allocated=at.integer("BitsAllocated") or 0,
        bits_stored=at.integer("BitsStored") or 0,
        high_bit=at.integer("HighBit"),
        signed=at.integer("PixelRepresentation") == 1,
        image_position_mm=None if position is None else (position[0], position[1], position[2]),
        image_orientation=at.numbers("ImageOrientationPatient", 6),
        pixel_spacing_mm=None if spacing is None else (spacing[0], spacing[1]),
        slice_thickness_mm=at.number("SliceThickness"),
        rescale_slope=at.number("RescaleSlope"),
        rescale_intercept=at.number("RescaleIntercept"),
        rescale_type=at.text("RescaleType"),
        lossy={"01": True, "00": False}.get(at.text("LossyImageCompression") or ""),
        lossy_ratio=at.text("LossyImageCompressionRatio"),
        kvp=at.number("KVP"),
        multi_energy=at.text("MultienergyCTAcquisition") == "YES" or bool(at.items("MultienergyCTAcquisitionSequence")),
        convolution_kernel=at.text("ConvolutionKernel"),
        manufacturer=at.text("Manufacturer"),
        manufacturer_model_name=at.text("ManufacturerModelName"),
        device_serial_number=at.text("DeviceSerialNumber"),
        station_name=at.text("StationName"),
        contrast_bolus_agent=at.text("ContrastBolusAgent")
        or " ".join(_meanings(at.items("ContrastBolusAgentSequence")))
        or None,
        contrast_bolus_route=at.text("ContrastBolusRoute"),
        body_part_examined=at.text("BodyPartExamined"),
        study_description=at.text("StudyDescription"),
        protocol_name=at.text("ProtocolName"),
        patient_position=at.text("PatientPosition"),
        irradiation_event_uid=at.text("IrradiationEventUID"),
        series_number=at.integer("SeriesNumber"),
        series_description=at.text("SeriesDescription"),
        instance_number=at.integer("InstanceNumber"),
        acquisition_number=_first(at.integer("FrameAcquisitionNumber"), at.integer("AcquisitionNumber")),
        temporal_position=_first(at.integer("TemporalPositionIndex"), at.integer("TemporalPositionIdentifier")),
        trigger_time_ms=at.number("TriggerTime"),
        acquisition_date=acquisition_date,
        acquisition_time=at.text("AcquisitionTime") or _time_of_day(at),
        content_time=at.text("ContentTime"),
        series_time=at.text("SeriesTime"),
        patient_age=age_at(at.text("PatientAge") or "", date_of(at.text("PatientBirthDate") or ""), acquisition_date, days),
        patient_sex=sex_of(patient.sex) or None,
        patient=patient,
        accession_number=at.text("AccessionNumber"),
        study_date=at.text("StudyDate"),
        study_id=at.text("StudyID"),
    )


def _meanings(codes: Iterable[Dataset]) -> list[str]:
    return [str(code.get("CodeMeaning") or "") for code in codes]


def _first(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def _time_of_day(at: _Attributes) -> str | None:
    """Time of a date with time: (0018,9074) of a frame, or (0008,002A)."""
    text = at.text("FrameAcquisitionDateTime") or at.text("AcquisitionDateTime") or ""
    return re.split(r"[+-]", text[8:])[0] or None


def _acquisition_date(at: _Attributes) -> dt.date | None:
    return next((date for keyword in _DATES if (date := date_of(at.text(keyword) or "")) is not None), None)
