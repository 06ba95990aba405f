"""The files of a run that the page shows: ``result.json`` and ``summary.png`` of its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError


class _Part(BaseModel):
    """A part of ``result.json``, as far as the page shows it."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Because(_Part):
    """A reason or a finding."""

    code: str
    detail: str


class LevelResult(_Part):
    """One row of the table of levels."""

    level: str
    hu_mean: float | None
    hu_sd: float | None
    roi_volume_mm3: float
    bmd_mg_cm3: float | None
    usable: bool
    findings: tuple[Because, ...]


class SeriesResult(_Part):
    """The measured series."""

    series_instance_uid: str
    manufacturer: str | None
    model: str | None
    kvp: float | None
    kernel: str | None
    orientation: str


class LeftOut(_Part):
    """A series that was not measured."""

    series_instance_uid: str
    code: str
    detail: str


class UsedCalibration(_Part):
    """The equation."""

    id: str
    slope: float
    intercept: float
    material: str
    source: str


class HuReferenceResult(_Part):
    """L1 attenuation against published limits."""

    detail: str


class ComparisonResult(_Part):
    """What the result is compared with, in words."""

    detail: str


class FractureResult(_Part):
    """A vertebral fracture."""

    level: str
    grade: int | None


class ReportText(_Part):
    """Lines to paste into the report of the CT, in the language of the site."""

    language: str
    findings: str
    impression: str


class SoftwareResult(_Part):
    """The software that computed the result."""

    version: str
    segmenter: str


class Result(_Part):
    """A result, as far as the page shows it."""

    status: str
    reasons: tuple[Because, ...]
    series: SeriesResult | None
    series_left_out: tuple[LeftOut, ...]
    levels: tuple[LevelResult, ...]
    hu_mean: float | None
    bmd_mg_cm3: float | None
    bmd_interval_mg_cm3: tuple[float, float] | None
    category: str | None
    calibration: UsedCalibration | None
    software: SoftwareResult
    borderline: bool | None = None
    hu_reference: HuReferenceResult | None = None
    caveats: tuple[str, ...] = ()
    remarks: tuple[Because, ...] = ()
    headline: str = ""
    fractures: tuple[FractureResult, ...] = ()
    low_despite_contrast: ComparisonResult | None = None
    usual_at_age: ComparisonResult | None = None
    rank_in_hospital: ComparisonResult | None = None
    report_text: ReportText | None = None

    @property
    def comparisons(self) -> tuple[str, ...]:
        """What the result is compared with, in words."""
        found = (self.low_despite_contrast, self.usual_at_age, self.rank_in_hospital)
        return tuple(one.detail for one in found if one is not None)


@dataclass(frozen=True, slots=True)
class ResultFiles:
    """The files in the folder of a run."""

    folder: Path

    def json_path(self) -> Path | None:
        """``result.json``; ``None`` if it does not exist."""
        return self._inside("result.json")

    def picture_path(self) -> Path | None:
        """``summary.png``; ``None`` if it does not exist."""
        return self._inside("summary.png")

    def result(self) -> tuple[Result | None, str]:
        """The result, or an error message for its file; neither if there is no file yet."""
        path = self.json_path()
        if path is None:
            return None, ""
        try:
            return Result.model_validate_json(path.read_bytes()), ""
        except ValidationError as error:
            return None, f"result.json cannot be shown: {error.error_count()} of its values are missing or wrong"

    def _inside(self, name: str) -> Path | None:
        """A regular file of this folder; a link to outside is not followed."""
        path = (self.folder / name).resolve()
        return path if path.parent == self.folder.resolve() and path.is_file() else None
