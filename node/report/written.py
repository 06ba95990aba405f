"""Results as they were written: ``result.json``, and patient, study and scanner in the headers of the objects."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict
from pydicom.dataset import Dataset

from node.clinical.age import age_at, date_of
from node.clinical.identity import days_of, sex_of

#: Purpose of the item of Contributing Equipment Sequence that names the scanner (PS3.16 CID 7005).
_ACQUISITION_EQUIPMENT = "109101"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class WrittenReason(_Part):
    """A reason or a finding."""

    code: str
    detail: str


class WrittenLevel(_Part):
    """A level."""

    level: str
    hu_mean: float | None
    hu_sd: float | None
    roi_volume_mm3: float | None
    bmd_mg_cm3: float | None
    usable: bool
    findings: tuple[WrittenReason, ...]
    confidence: float | None = None


class WrittenSeries(_Part):
    """The measured series."""

    series_instance_uid: str
    manufacturer: str | None
    model: str | None
    kvp: float | None
    kernel: str | None
    spacing_mm: tuple[float, float, float]
    orientation: str
    contrast_phase: str


class WrittenCalibration(_Part):
    """The equation."""

    id: str


class WrittenSoftware(_Part):
    """The software that measured."""

    version: str
    segmenter: str


class WrittenResult(_Part):
    """``result.json``, as far as tables of studies need it."""

    status: str
    reasons: tuple[WrittenReason, ...]
    series: WrittenSeries | None
    levels: tuple[WrittenLevel, ...]
    hu_mean: float | None
    bmd_mg_cm3: float | None
    bmd_interval_mg_cm3: tuple[float, float] | None
    category: str | None
    borderline: bool | None = None
    calibration: WrittenCalibration | None
    software: WrittenSoftware


@dataclass(frozen=True, slots=True)
class WrittenHeader:
    """Patient, study and scanner of a result; empty or ``None`` for what is not known. This is patient data.

    Attributes:
        age_years: completed years on the day of the study.
        sex: ``M``, ``F`` or ``O``.
    """

    patient_id: str = field(default="", repr=False)
    issuer_of_patient_id: str = ""
    age_years: int | None = field(default=None, repr=False)
    sex: str = field(default="", repr=False)
    height_m: float | None = field(default=None, repr=False)
    weight_kg: float | None = field(default=None, repr=False)
    accession_number: str = field(default="", repr=False)
    study_date: dt.date | None = field(default=None, repr=False)
    station_name: str = ""
    device_serial_number: str = ""


def written_header(page: Dataset | None, report: Dataset | None) -> WrittenHeader:
    """Read patient and study of a result.

    Args:
        page: header of the summary page, which has every attribute of patient and study that the images had.
        report: header of the structured report, which names the scanner; stands in for a missing page.
    """
    ds = page if page is not None else report
    if ds is None:
        return WrittenHeader()
    days = days_of(ds)
    study_date = date_of(_text(ds, "StudyDate"))
    age = age_at(_text(ds, "PatientAge"), date_of(_text(ds, "PatientBirthDate")), study_date, days)
    scanner = _scanner(report)
    return WrittenHeader(
        patient_id=_text(ds, "PatientID"),
        issuer_of_patient_id=_text(ds, "IssuerOfPatientID"),
        age_years=None if age.years is None else int(age.years),
        sex=sex_of(_text(ds, "PatientSex")),
        height_m=_positive(ds, "PatientSize"),
        weight_kg=_positive(ds, "PatientWeight"),
        accession_number=_text(ds, "AccessionNumber"),
        study_date=study_date,
        station_name=_text(scanner, "StationName"),
        device_serial_number=_text(scanner, "DeviceSerialNumber"),
    )


def _scanner(report: Dataset | None) -> Dataset:
    for item in [] if report is None else report.get("ContributingEquipmentSequence") or []:
        purposes = item.get("PurposeOfReferenceCodeSequence") or []
        if any(purpose.get("CodeValue") == _ACQUISITION_EQUIPMENT for purpose in purposes):
            return item if isinstance(item, Dataset) else Dataset()
    return Dataset()


def _text(ds: Dataset, keyword: str) -> str:
    return str(ds.get(keyword) or "").strip()


def _positive(ds: Dataset, keyword: str) -> float | None:
    try:
        value = float(_text(ds, keyword))
    except ValueError:
        return None
    return value if value > 0 else None
