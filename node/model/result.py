"""The result of a study, with what it is compared to."""

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
    """The result beside an earlier one of the same patient.

    Attributes:
        study_instance_uid: of the earlier study.
        acquisition_date: of the earlier study.
        days_before: how many days before this study it was made.
        levels: the levels usable in both studies, whose means the values below are; empty if there are none, then each value
            is the mean over the usable levels of its own study.
        hu_mean, prior_hu_mean: of this study and of the earlier one, HU.
        bmd_mg_cm3, prior_bmd_mg_cm3: likewise; ``None`` where a study has no BMD.
        change_mg_cm3: this study less the earlier one; ``None`` if they cannot be compared.
        change_percent: of the earlier value; ``None`` if they cannot be compared.
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
        """Whether the change, to 0.1 %, is no larger than the least significant one; ``None`` if they cannot be compared."""
        if self.change_percent is None or self.lsc_percent is None:
            return None
        return round(abs(self.change_percent), 1) <= self.lsc_percent


@dataclass(frozen=True, slots=True)
class Software:
    """What computed a result."""

    version: str
    segmenter: str


@dataclass(frozen=True, slots=True)
class StudyResult:
    """The result of one study, measured or not.

    Attributes:
        status: ``measured`` if at least one level is usable.
        reasons: why the study was not measured, or has no BMD; also doubts that a reader should know.
        facts: the measured series (or the one that came nearest to it); ``None`` if no series was suitable.
        why_this_series: one sentence; empty if ``facts`` is ``None``.
        series_left_out: every other series with its reason.
        bodies: the named vertebral bodies (evidence and confidence of each name).
        levels: measured levels, from the head downward.
        hu_mean: mean of the usable levels in HU.
        bmd: calibrated values.
        timings_s: seconds spent in each room.
        scan: what the image says of the scan itself.
        prior: the result beside an earlier one of the same patient; ``None`` if the node knows of none.
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
