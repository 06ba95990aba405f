"""Tables of several studies for a spreadsheet: one line per study, and one per level. No patient data but UIDs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node.model import LevelMeasurement, StudyResult
from node.model.rounding import finite, rounded, rounded_bmd, rounded_interval
from node.report.wording import all_reasons, level_bmd

_STUDY_COLUMNS = (
    *("folder", "study_instance_uid", "status", "reasons", "series_instance_uid", "hu_mean", "bmd_mg_cm3"),
    *("bmd_from_mg_cm3", "bmd_to_mg_cm3", "category", "calibration", "error"),
)
_LEVEL_COLUMNS = (
    *("folder", "study_instance_uid", "level", "hu_mean", "hu_sd", "roi_volume_mm3", "bmd_mg_cm3", "usable", "findings"),
)

_Cell = str | float | None


@dataclass(frozen=True, slots=True)
class StudyRow:
    """One study of several.

    Attributes:
        folder: where its results are, below the folder of the tables.
        study_instance_uid: of the study.
        result: ``None`` if it could not be read.
        error: why not.
    """

    folder: str
    study_instance_uid: str
    result: StudyResult | None
    error: str = ""

    @property
    def status(self) -> str:
        """``measured``, ``not_measured`` or ``failed``."""
        return "failed" if self.result is None else self.result.status


def studies_csv(rows: Sequence[StudyRow]) -> str:
    """One line per study. Codes of reasons are separated by blanks; values that do not exist are empty, never 0."""
    return _csv(_STUDY_COLUMNS, map(_study, rows))


def levels_csv(rows: Sequence[StudyRow]) -> str:
    """One line per measured level of each study."""
    return _csv(
        _LEVEL_COLUMNS,
        (_level(row, row.result, level) for row in rows if row.result is not None for level in row.result.levels),
    )


def _study(row: StudyRow) -> Sequence[_Cell]:
    result = row.result
    if result is None:
        return (row.folder, row.study_instance_uid, row.status, *([None] * 8), row.error)
    bmd = result.bmd
    low, high = (None, None) if bmd.interval_mg_cm3 is None else rounded_interval(bmd.interval_mg_cm3)
    return (
        row.folder,
        row.study_instance_uid,
        row.status,
        " ".join(dict.fromkeys(reason.code for reason in all_reasons(result))),
        None if result.facts is None else result.facts.series_instance_uid,
        _short(result.hu_mean),
        _bmd(bmd.bmd_mg_cm3),
        _bmd(low),
        _bmd(high),
        None if bmd.category is None else bmd.category.value,
        None if bmd.calibration is None else bmd.calibration.id,
        None,
    )


def _level(row: StudyRow, result: StudyResult, level: LevelMeasurement) -> Sequence[_Cell]:
    return (
        row.folder,
        row.study_instance_uid,
        level.level.name,
        _short(level.hu_mean),
        _short(level.hu_sd),
        rounded(level.roi_volume_mm3),
        level_bmd(result.bmd, level.level),
        "yes" if level.usable else "no",
        " ".join(dict.fromkeys(finding.code for finding in level.findings)),
    )


def _short(value: float | None) -> float | None:
    value = finite(value)
    return None if value is None else rounded(value)


def _bmd(value_mg_cm3: float | None) -> float | None:
    value = finite(value_mg_cm3)
    return None if value is None else rounded_bmd(value)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[_Cell]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(["" if cell is None else cell for cell in row] for row in rows)
    return text.getvalue()
