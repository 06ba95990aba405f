"""Tables of several studies: one row per study, and one per level; their columns are the data dictionary as well.

The rows hold patient data, unless they are pseudonymised.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from node.report.written import WrittenHeader, WrittenLevel, WrittenResult, WrittenSeries

Cell = str | float | int | bool | dt.date | None


class Kind(StrEnum):
    """What a column holds."""

    TEXT = "text"
    NUMBER = "number"
    WHOLE = "whole number"
    DATE = "date"
    YES_NO = "yes or no"


class Pseudonym(StrEnum):
    """What becomes of a column when a table is pseudonymised."""

    KEPT = "unchanged"
    HASHED = "replaced by a keyed hash"
    SHIFTED = "shifted by a number of days that is the same for all studies of a patient"
    CAPPED = "unchanged up to 89; every higher age becomes 90"
    DROPPED = "empty"


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One study.

    Attributes:
        folder: of its results, below the folder of the tables; empty in an export.
        result: ``None`` if the study could not be read, or its result does not stand any more.
        status: ``measured``, ``not_measured``, ``failed`` or ``withdrawn``.
        error: why there is no result.
        measured_on: day of the result; ``None`` if it is not recorded.
        in_conflict: whether images came again with other content and nobody has decided yet.
    """

    folder: str
    study_instance_uid: str
    result: WrittenResult | None
    header: WrittenHeader
    status: str
    error: str = ""
    measured_on: dt.date | None = None
    in_conflict: bool = False


@dataclass(frozen=True, slots=True)
class LevelRow:
    """One level of a study."""

    study: StudyRow
    level: WrittenLevel


@dataclass(frozen=True, slots=True)
class StudyColumn:
    """A column of the table of studies."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    pseudonym: Pseudonym
    value: Callable[[StudyRow], Cell]


@dataclass(frozen=True, slots=True)
class LevelColumn:
    """A column of the table of levels."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    pseudonym: Pseudonym
    value: Callable[[LevelRow], Cell]


def _of_result(read: Callable[[WrittenResult], Cell]) -> Callable[[StudyRow], Cell]:
    return lambda row: None if row.result is None else read(row.result)


def _of_series(read: Callable[[WrittenSeries], Cell]) -> Callable[[StudyRow], Cell]:
    return lambda row: None if row.result is None or row.result.series is None else read(row.result.series)


def _bmi(header: WrittenHeader) -> float | None:
    if header.height_m is None or header.weight_kg is None:
        return None
    return round(header.weight_kg / header.height_m**2, 1)


def _codes(result: WrittenResult) -> str:
    return " ".join(dict.fromkeys(reason.code for reason in result.reasons))


def _findings(result: WrittenResult) -> str:
    return " ".join(dict.fromkeys(f"{level.level}:{finding.code}" for level in result.levels for finding in level.findings))


_TEXT, _NUMBER, _WHOLE, _DATE, _YES_NO = Kind.TEXT, Kind.NUMBER, Kind.WHOLE, Kind.DATE, Kind.YES_NO
_KEPT, _HASHED, _SHIFTED = Pseudonym.KEPT, Pseudonym.HASHED, Pseudonym.SHIFTED

STUDY_COLUMNS = (
    StudyColumn("study_instance_uid", _TEXT, "", "Study Instance UID (0020,000D)", _HASHED, lambda r: r.study_instance_uid),
    StudyColumn("accession_number", _TEXT, "", "Accession Number (0008,0050)", _HASHED, lambda r: r.header.accession_number),
    StudyColumn("patient_id", _TEXT, "", "Patient ID (0010,0020)", _HASHED, lambda r: r.header.patient_id),
    StudyColumn(
        "issuer_of_patient_id",
        _TEXT,
        "",
        "Issuer of Patient ID (0010,0021)",
        Pseudonym.DROPPED,
        lambda r: r.header.issuer_of_patient_id,
    ),
    StudyColumn(
        "age_years",
        _WHOLE,
        "years",
        "Completed years on the day of the study: Patient's Age (0010,1010), else from the birth date; empty if the two "
        "contradict each other or a filler value stands for them",
        Pseudonym.CAPPED,
        lambda r: r.header.age_years,
    ),
    StudyColumn("sex", _TEXT, "", "Patient's Sex (0010,0040): F, M or O", _KEPT, lambda r: r.header.sex),
    StudyColumn("height_m", _NUMBER, "m", "Patient's Size (0010,1020)", _KEPT, lambda r: r.header.height_m),
    StudyColumn("weight_kg", _NUMBER, "kg", "Patient's Weight (0010,1030)", _KEPT, lambda r: r.header.weight_kg),
    StudyColumn(
        "bmi_kg_m2", _NUMBER, "kg/m2", "Weight divided by the square of the height", _KEPT, lambda r: _bmi(r.header)
    ),
    StudyColumn("study_date", _DATE, "", "Study Date (0008,0020)", _SHIFTED, lambda r: r.header.study_date),
    StudyColumn("measured_on", _DATE, "", "Day on which the node had the result", _SHIFTED, lambda r: r.measured_on),
    StudyColumn(
        "status",
        _TEXT,
        "",
        "measured: at least one level is usable; not_measured: see reasons; failed: see error; withdrawn: the images turned "
        "out to be of another study",
        _KEPT,
        lambda r: r.status,
    ),
    StudyColumn(
        "reasons",
        _TEXT,
        "",
        "Codes of reasons and caveats, separated by blanks (docs/admission.md, docs/findings.md)",
        _KEPT,
        _of_result(_codes),
    ),
    StudyColumn(
        "reasons_text",
        _TEXT,
        "",
        "The same as sentences",
        Pseudonym.DROPPED,
        _of_result(lambda r: "; ".join(dict.fromkeys(reason.detail for reason in r.reasons))),
    ),
    StudyColumn(
        "in_conflict",
        _YES_NO,
        "",
        "Whether images of the study came again with other content, on which nobody has decided (docs/identity.md)",
        _KEPT,
        lambda r: r.in_conflict,
    ),
    StudyColumn(
        "series_instance_uid",
        _TEXT,
        "",
        "Series Instance UID (0020,000E) of the measured series",
        _HASHED,
        _of_series(lambda s: s.series_instance_uid),
    ),
    StudyColumn("manufacturer", _TEXT, "", "Manufacturer (0008,0070)", _KEPT, _of_series(lambda s: s.manufacturer)),
    StudyColumn("scanner_model", _TEXT, "", "Manufacturer's Model Name (0008,1090)", _KEPT, _of_series(lambda s: s.model)),
    StudyColumn("station_name", _TEXT, "", "Station Name (0008,1010)", _HASHED, lambda r: r.header.station_name),
    StudyColumn(
        "device_serial_number",
        _TEXT,
        "",
        "Device Serial Number (0018,1000)",
        _HASHED,
        lambda r: r.header.device_serial_number,
    ),
    StudyColumn("kvp", _NUMBER, "kV", "KVP (0018,0060)", _KEPT, _of_series(lambda s: s.kvp)),
    StudyColumn("kernel", _TEXT, "", "Convolution Kernel (0018,1210)", _KEPT, _of_series(lambda s: s.kernel)),
    StudyColumn("orientation", _TEXT, "", "axial, sagittal or coronal", _KEPT, _of_series(lambda s: s.orientation)),
    StudyColumn("slice_spacing_mm", _NUMBER, "mm", "Distance between slices", _KEPT, _of_series(lambda s: s.spacing_mm[2])),
    StudyColumn(
        "contrast_phase",
        _TEXT,
        "",
        "none, arterial, portal_venous or unknown; concluded from image and header",
        _KEPT,
        _of_series(lambda s: s.contrast_phase),
    ),
    StudyColumn("hu_mean", _NUMBER, "HU", "Mean of the levels used", _KEPT, _of_result(lambda r: r.hu_mean)),
    StudyColumn(
        "bmd_mg_cm3",
        _NUMBER,
        "mg/cm3",
        "Mean trabecular BMD of the levels used; empty without a validated equation",
        _KEPT,
        _of_result(lambda r: r.bmd_mg_cm3),
    ),
    StudyColumn(
        "bmd_from_mg_cm3",
        _NUMBER,
        "mg/cm3",
        "Lower end of the interval of the BMD (docs/calibration.md)",
        _KEPT,
        _of_result(lambda r: None if r.bmd_interval_mg_cm3 is None else r.bmd_interval_mg_cm3[0]),
    ),
    StudyColumn(
        "bmd_to_mg_cm3",
        _NUMBER,
        "mg/cm3",
        "Upper end of the interval of the BMD",
        _KEPT,
        _of_result(lambda r: None if r.bmd_interval_mg_cm3 is None else r.bmd_interval_mg_cm3[1]),
    ),
    StudyColumn(
        "category",
        _TEXT,
        "",
        "ACR: osteoporosis (below 80 mg/cm3), low_bone_mass (80 to 120), normal (above 120); empty if withheld",
        _KEPT,
        _of_result(lambda r: r.category),
    ),
    StudyColumn(
        "borderline",
        _YES_NO,
        "",
        "Whether the interval of the BMD crosses a limit of the category",
        _KEPT,
        _of_result(lambda r: r.borderline),
    ),
    StudyColumn(
        "levels_used",
        _TEXT,
        "",
        "Levels in the means, separated by blanks",
        _KEPT,
        _of_result(lambda r: " ".join(level.level for level in r.levels if level.usable)),
    ),
    StudyColumn(
        "findings",
        _TEXT,
        "",
        "Findings on levels as LEVEL:CODE, separated by blanks (docs/findings.md)",
        _KEPT,
        _of_result(_findings),
    ),
    StudyColumn(
        "calibration",
        _TEXT,
        "",
        "Id of the equation from HU to BMD",
        _KEPT,
        _of_result(lambda r: None if r.calibration is None else r.calibration.id),
    ),
    StudyColumn("software", _TEXT, "", "Version of bmd-node", _KEPT, _of_result(lambda r: r.software.version)),
    StudyColumn("segmenter", _TEXT, "", "Segmenter and its version", _KEPT, _of_result(lambda r: r.software.segmenter)),
    StudyColumn("error", _TEXT, "", "Why there is no result", Pseudonym.DROPPED, lambda r: r.error),
)

LEVEL_COLUMNS = (
    LevelColumn(
        "study_instance_uid",
        _TEXT,
        "",
        "Study Instance UID (0020,000D), as in the table of studies",
        _HASHED,
        lambda r: r.study.study_instance_uid,
    ),
    LevelColumn("level", _TEXT, "", "Vertebral level", _KEPT, lambda r: r.level.level),
    LevelColumn("hu_mean", _NUMBER, "HU", "Mean of the measured region", _KEPT, lambda r: r.level.hu_mean),
    LevelColumn("hu_sd", _NUMBER, "HU", "Standard deviation in the region", _KEPT, lambda r: r.level.hu_sd),
    LevelColumn("roi_volume_mm3", _NUMBER, "mm3", "Volume of the region", _KEPT, lambda r: r.level.roi_volume_mm3),
    LevelColumn(
        "bmd_mg_cm3",
        _NUMBER,
        "mg/cm3",
        "BMD of the level; empty without a validated equation",
        _KEPT,
        lambda r: r.level.bmd_mg_cm3,
    ),
    LevelColumn("usable", _YES_NO, "", "Whether the level is in the means", _KEPT, lambda r: r.level.usable),
    LevelColumn(
        "findings",
        _TEXT,
        "",
        "Codes of its findings, separated by blanks",
        _KEPT,
        lambda r: " ".join(dict.fromkeys(finding.code for finding in r.level.findings)),
    ),
    LevelColumn(
        "confidence", _NUMBER, "", "Confidence of the name of the level, 0 to 1", _KEPT, lambda r: r.level.confidence
    ),
)


def levels_of(rows: Iterable[StudyRow]) -> tuple[LevelRow, ...]:
    """The rows of all levels of these studies."""
    return tuple(LevelRow(row, level) for row in rows if row.result is not None for level in row.result.levels)


def studies_csv(rows: Sequence[StudyRow]) -> str:
    """One line per study, with the folder of its results. Values that do not exist are empty, never 0."""
    names = ("folder", *(column.name for column in STUDY_COLUMNS))
    return csv_text(names, ((row.folder, *(column.value(row) for column in STUDY_COLUMNS)) for row in rows))


def levels_csv(rows: Sequence[StudyRow]) -> str:
    """One line per measured level of each study."""
    names = ("folder", *(column.name for column in LEVEL_COLUMNS))
    lines = ((row.study.folder, *(column.value(row) for column in LEVEL_COLUMNS)) for row in levels_of(rows))
    return csv_text(names, lines)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A table as CSV (RFC 4180): dates in ISO 8601, ``yes`` and ``no``, nothing for ``None``."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_as_text(cell) for cell in row] for row in rows)
    return text.getvalue()


def _as_text(cell: Cell) -> str | float:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return cell.isoformat() if isinstance(cell, dt.date) else cell
