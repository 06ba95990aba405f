"""From attenuation to density: equation, correction, BMD and category."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

from node.model.levels import Level
from node.model.reasons import Reason
from node.model.series import ContrastPhase

#: Below this age there are no densitometric criteria for osteoporosis (ISCD, J Clin Densitom 2004;7(1):17-26).
ADULT_FROM_YEARS = 20.0


#: Limits between the ACR categories, mg/cm3 (ACR practice parameter for QCT, as used by Löffler et al., Front Endocrinol
#: 2021;11:552719).
ACR_THRESHOLDS_MG_CM3 = (80.0, 120.0)


class AcrCategory(StrEnum):
    """ACR category of lumbar trabecular BMD: < 80, 80 to 120 inclusive, > 120 mg/cm3."""

    OSTEOPOROSIS = "osteoporosis"
    LOW_BONE_MASS = "low_bone_mass"
    NORMAL = "normal"


@dataclass(frozen=True, slots=True)
class Calibration:
    """The equation BMD = slope x HU + intercept that was used.

    Attributes:
        slope: mg/cm3 per HU.
        intercept: mg/cm3.
        material: reference material, ``HA`` (hydroxyapatite) or ``K2HPO4``, or as stated by the source.
        source: citation or phantom fit.
        contrast_phase: the phase that the equation was made for; ``None`` if it is not restricted to one.
        approved_by: who approved its use at the site, on the day ``approved_on``; ``None`` for a shipped equation.
        slope_se, intercept_se: standard errors of the fit, in their units; ``None`` if not known.
        fit_points: number of points of the fit.
        of_this_scanner: whether the equation was made for this scanner, not only for its model.
    """

    id: str
    slope: float
    intercept: float
    material: str
    source: str
    contrast_phase: ContrastPhase | None = None
    approved_by: str | None = None
    approved_on: dt.date | None = None
    slope_se: float | None = None
    intercept_se: float | None = None
    fit_points: int | None = None
    of_this_scanner: bool = False


@dataclass(frozen=True, slots=True)
class ContrastCorrection:
    """A site's own correction for every BMD in a contrast phase.

    Attributes:
        mg_cm3: subtracted from every BMD.
        sd_mg_cm3: residual standard deviation between patients; it widens the interval.
        source: origin of both values.
        approved_by: who approved it at the site, on the day ``approved_on``.
    """

    phase: ContrastPhase
    mg_cm3: float
    sd_mg_cm3: float
    source: str
    approved_by: str
    approved_on: dt.date


@dataclass(frozen=True, slots=True)
class Bmd:
    """Calibrated result of a study, mg/cm3.

    Attributes:
        calibration: the equation; ``None`` if none fits (then every other value is ``None`` or empty).
        level_bmd_mg_cm3: BMD of every level that has a mean.
        bmd_mg_cm3: mean BMD over the usable levels.
        interval_mg_cm3: interval of that mean, lower and upper end.
        category: ACR category of the mean.
        reasons: why there is no BMD or no category, and caveats.
        thresholds_crossed_mg_cm3: limits of the ACR categories that the interval crosses.
        contrast_correction: the site's own correction in these values; ``None`` if nothing was subtracted.
    """

    calibration: Calibration | None
    level_bmd_mg_cm3: tuple[tuple[Level, float], ...]
    bmd_mg_cm3: float | None
    interval_mg_cm3: tuple[float, float] | None
    category: AcrCategory | None
    reasons: tuple[Reason, ...]
    thresholds_crossed_mg_cm3: tuple[float, ...] = ()
    contrast_correction: ContrastCorrection | None = None

    @property
    def borderline(self) -> bool:
        """Whether there is a category, and the interval reaches into another."""
        return self.category is not None and bool(self.thresholds_crossed_mg_cm3)
