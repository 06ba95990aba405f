"""The result of a study, and its comparison with a prior study."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from node.language.phrase import Phrase
from node.model.bodies import VertebralBody
from node.model.density import Bmd
from node.model.levels import Level
from node.model.measurement import NOTHING_READ, LevelMeasurement, ScanReadings
from node.model.reasons import Reason
from node.model.series import SeriesFacts, SeriesLeftOut


@dataclass(frozen=True, slots=True)
class PriorComparison:
    """Comparison with a prior study of the same patient.

    Attributes:
        study_instance_uid: of the prior study.
        acquisition_date: of the prior study.
        days_before: days from the prior study to this one.
        levels: the levels usable in both studies, over which the values below are means; if empty, each value is the mean
            over the usable levels of its own study.
        hu_mean, prior_hu_mean: of this study and the prior one, HU.
        bmd_mg_cm3, prior_bmd_mg_cm3: likewise; ``None`` if a study has no BMD.
        change_mg_cm3: this study minus the prior one; ``None`` if they cannot be compared.
        change_percent: relative to the prior value; ``None`` if they cannot be compared.
        lsc_percent: the least significant change; ``None`` if they cannot be compared.
        not_comparable: why they cannot be compared; empty if they can.
    """

    study_instance_uid: str
    acquisition_date: dt.date
    days_before: int
    levels: tuple[Level, ...]
    hu_mean: float
    prior_hu_mean: float
    bmd_mg_cm3: float | None
    prior_bmd_mg_cm3: float | None
    change_mg_cm3: float | None
    change_percent: float | None
    lsc_percent: float | None
    not_comparable: tuple[Reason, ...]

    @property
    def within_lsc(self) -> bool | None:
        """Whether the change, to 0.1 %, is within the least significant change; ``None`` if they cannot be compared."""
        if self.change_percent is None or self.lsc_percent is None:
            return None
        return round(abs(self.change_percent), 1) <= self.lsc_percent


@dataclass(frozen=True, slots=True)
class PatientRank:
    """The place of a patient among other patients of the hospital, of the same sex and age (± 5 years), by the HU of L1.

    All are unenhanced, at the same tube voltage.

    Attributes:
        percentile: 1 to 99; the percentage of the other patients with a lower attenuation.
        n_patients: the other patients.
    """

    percentile: int
    n_patients: int
    kvp: float


@dataclass(frozen=True, slots=True)
class Software:
    """The software that computed a result."""

    version: str
    segmenter: str


@dataclass(frozen=True, slots=True)
class StudyResult:
    """The result of one study, measured or not.

    Attributes:
        status: ``measured`` if at least one level is usable.
        reasons: why the study was not measured or has no BMD; also caveats for the reader.
        facts: the measured series (or the most suitable one); ``None`` if no series was suitable.
        why_this_series: one sentence; empty if ``facts`` is ``None``.
        series_left_out: every other series with its reason.
        bodies: the labelled vertebral bodies, with evidence and confidence of each level.
        levels: measured levels, cranial to caudal.
        hu_mean: mean of the usable levels in HU.
        bmd: calibrated values.
        timings_s: seconds spent in each room.
        scan: reference readings of the scan.
        prior: comparison with a prior study of the patient; ``None`` if the node knows none.
        rank: place among the hospital's own patients; ``None`` if too few are known.
        remarks: what an administrator should know of the headers; not for the reader of the report.
    """

    status: Literal["measured", "not_measured"]
    reasons: tuple[Reason, ...]
    facts: SeriesFacts | None
    why_this_series: Phrase
    series_left_out: tuple[SeriesLeftOut, ...]
    bodies: tuple[VertebralBody, ...]
    levels: tuple[LevelMeasurement, ...]
    hu_mean: float | None
    bmd: Bmd
    timings_s: tuple[tuple[str, float], ...]
    software: Software
    scan: ScanReadings = NOTHING_READ
    prior: PriorComparison | None = None
    remarks: tuple[Reason, ...] = ()
    rank: PatientRank | None = None
