"""Repairs source headers so that valid objects can be built from them; identifiers of patient and study are kept.

Real headers lack required attributes, and contain invalid dates, undefined codes and text in many character sets. The
objects must still be valid and match the patient in the PACS: identifiers keep their value, and only characters that DICOM
forbids are removed. Text that cannot be decoded in the declared character set is not guessed: U+FFFD replaces it. A
character set unknown to pydicom is read as Latin 1.
"""

from __future__ import annotations

import json
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from pydicom.charset import CODES_TO_ENCODINGS, python_encoding
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import DA, TM

from node.model import SeriesFacts
from node.model.codes import MANUFACTURER, MODEL_NAME

UTF8 = "ISO_IR 192"

# Latin alphabet No. 9 (PS3.3 C.12.1.1.2) is missing in pydicom 3.0, which would silently decode wrong letters.
python_encoding.setdefault("ISO_IR 203", "iso8859_15")
python_encoding.setdefault("ISO 2022 IR 203", "iso8859_15")
CODES_TO_ENCODINGS.setdefault(b"\x1b-b", "iso8859_15")

# Patient, General Study and Patient Study modules (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2): what a PACS indexes and shows.
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_OPTIONAL = (
    "IssuerOfPatientID",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDescription",
)
_IMAGE = (
    # the scanner: contributing equipment of SEG and SR
    "Manufacturer",
    "ManufacturerModelName",
    "InstitutionName",
    "StationName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PositionReferenceIndicator",
    "Modality",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PixelSpacing",
    "SliceThickness",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
# Longest value of a text VR in characters (PS3.5 table 6.2-1).
_MAX_LENGTH = {"LO": 64, "SH": 16, "AS": 4, "CS": 16, "UI": 64}
# Keys of a PACS. Truncated, they could match another patient or order, so overlong values stay as they are.
_IDENTIFIERS = ("PatientID", "IssuerOfPatientID", "StudyID", "AccessionNumber")
# Maximum length of a value with a short VR, in bytes (PS3.5 7.1.2).
_MAX_BYTES = 65534
# ISO 2022: escape, intermediate bytes, final byte (PS3.5 6.1.2.5.1).
_ESCAPE_SEQUENCE = re.compile(r"\x1b[\x20-\x2f]+[\x30-\x7e]")
_ONE_AT_A_TIME = threading.RLock()
_UNREADABLE = (ValueError, TypeError, OverflowError, LookupError, NotImplementedError, AttributeError)


def clean_headers(source_datasets: Sequence[Dataset], facts: SeriesFacts, frame_of_reference_uid: str) -> list[Dataset]:
    """Copies of source headers that objects can be built from.

    Args:
        source_datasets: headers of one series, as read.
        facts: of that series.
        frame_of_reference_uid: used if the source has none.

    Returns:
        Datasets in the same order: patient and study of the first one, so that one deviating image cannot split a study;
        identity and geometry of each image; text decoded, to be written as UTF-8.
    """
    patient_and_study = patient_and_study_of(source_datasets[0])
    cleaned = []
    for source in source_datasets:
        ds = Dataset()
        ds.update(patient_and_study)
        for keyword in _IMAGE:
            _copy(source, ds, keyword)
        ds.Modality = "CT"
        ds.StudyInstanceUID = facts.study_instance_uid
        ds.SeriesInstanceUID = facts.series_instance_uid
        ds.FrameOfReferenceUID = facts.frame_of_reference_uid or frame_of_reference_uid
        if "SliceThickness" not in ds:
            ds.SliceThickness = facts.spacing_mm[2]
        if "PositionReferenceIndicator" not in ds:
            ds.PositionReferenceIndicator = None
        cleaned.append(ds)
    return cleaned


def kept_headers(source_datasets: Sequence[Dataset], facts: SeriesFacts, frame_of_reference_uid: str) -> str:
    """The parts of source headers that report and page need, without pixels; arguments as for :func:`clean_headers`.

    Returns:
        A list of data sets in the DICOM JSON Model (PS3.18 F.2), from which the same report and page can be built. Of the
        functional groups of a multi-frame image it keeps the geometry of each frame.
    """
    with quiet():
        reduced = clean_headers(source_datasets, facts, frame_of_reference_uid)
        for ds in reduced:
            for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
                if keyword in ds:
                    setattr(ds, keyword, [_geometry_of(group) for group in ds[keyword].value])
        return json.dumps([ds.to_json_dict() for ds in reduced], ensure_ascii=False)


def _geometry_of(functional_groups: Dataset) -> Dataset:
    geometry = Dataset()
    for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence", "PlanePositionSequence"):
        if keyword in functional_groups:
            geometry[keyword] = functional_groups[keyword]
    return geometry


def read_kept_headers(text: str) -> list[Dataset]:
    """Read the kept headers, in their order."""
    with quiet():
        return [Dataset.from_json(item) for item in json.loads(text)]


def patient_and_study_of(source: Dataset) -> Dataset:
    """Patient and study attributes of a source header; required ones are present, empty if the source lacks them."""
    ds = Dataset()
    ds.SpecificCharacterSet = UTF8
    for keyword in _TYPE_2:
        if not _copy(source, ds, keyword):
            setattr(ds, keyword, None)
    for keyword in _OPTIONAL:
        _copy(source, ds, keyword)
    if ds.PatientSex not in ("M", "F", "O"):
        ds.PatientSex = None
    return ds


def stamp(ds: Dataset, created: datetime) -> None:
    """Set what all objects share: manufacturer, character set, dates and times."""
    ds.SpecificCharacterSet = UTF8
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = MODEL_NAME
    date, time = created.strftime("%Y%m%d"), created.strftime("%H%M%S.%f")
    for kind in ("InstanceCreation", "Content", "Series"):
        setattr(ds, f"{kind}Date", date)
        setattr(ds, f"{kind}Time", time)
    for equipment in ds.get("ContributingEquipmentSequence", []):
        if "ContributionDateTime" in equipment:
            equipment.ContributionDateTime = date + time


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress library warnings about invalid values while an object is built: they quote names and dates.

    Invalid values are repaired here, so no information is lost. One object at a time: both switches are process-wide, and
    two threads that restore them in the wrong order would leave them off.
    """
    with _ONE_AT_A_TIME, warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore", UserWarning)
        yield


def plain_text(value: object, max_length: int | None = None) -> str:
    """Text without control characters, and without backslashes, which separate values."""
    if isinstance(value, MultiValue):
        value = " ".join(str(v) for v in value)
    # pydicom 3.0 leaves the escape sequences of GB 2312 (ISO 2022 IR 58) in the text that it decodes
    text = _ESCAPE_SEQUENCE.sub("", str(value))
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\\]+", " ", text).strip()
    return text if max_length is None else text[:max_length].strip()


def _copy(source: Dataset, target: Dataset, keyword: str) -> bool:
    """Copy an attribute if it is readable and not empty; returns whether it was copied."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(keyword)
    vr = dictionary_VR(tag)
    try:
        value = source[tag].value if tag in source else None
        if value is None or value == "":
            return False
        value = _identifier(value) if keyword in _IDENTIFIERS else _repaired(vr, value)
    except _UNREADABLE:
        return False
    if value is None or value == "":
        return False
    target[tag] = DataElement(tag, vr, value)
    return True


def _identifier(value: object) -> str | None:
    text = plain_text(value)
    return text if len(text.encode()) <= _MAX_BYTES else None


def _repaired(vr: str, value: object) -> object:
    if vr == "PN":
        return _person_name(plain_text(value))
    if vr in ("LO", "SH", "CS", "UI"):
        # LossyImageCompressionMethod and the like may hold several values
        if vr in ("CS", "UI") and isinstance(value, MultiValue):
            return value
        return plain_text(value, _MAX_LENGTH[vr])
    if vr == "AS":
        return value if re.fullmatch(r"\d{3}[DWMY]", str(value)) else None
    if vr == "DA":
        return str(DA(str(value)))
    if vr == "TM":
        return str(TM(str(value)))
    return value


def _person_name(name: str) -> str:
    """At most three groups of at most five components, each group of at most 64 characters (PS3.5 6.2.1)."""
    groups = ["^".join(group.split("^")[:5])[:64] for group in name.split("=")[:3]]
    return "=".join(groups).rstrip("=")
