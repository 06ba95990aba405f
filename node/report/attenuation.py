"""Attenuation against published limits, where there is no equation, and against what is usual at the patient's age."""

from __future__ import annotations

from dataclasses import dataclass

from node.model import ADULT_FROM_YEARS, NO_BMD_CODES, ContrastPhase, Level, StudyResult
from node.model.rounding import finite, rounded, rounded_hu

#: Limits of L1 for osteoporosis by DXA in 1867 adults: 110 HU or less was more than 90 % specific, 160 HU or less 90 %
#: sensitive (Pickhardt et al., Ann Intern Med 2013;158(8):588-595).
_SPECIFIC_HU, _SENSITIVE_HU = 110.0, 160.0
_SOURCE = "Pickhardt 2013, Ann Intern Med 158:588"
_KVP = 120.0
#: See :func:`usual_at_age`.
_YOUNG_YEARS, _YOUNG_HU, _YOUNG_SD_HU = 30.0, 226.0, 44.0
_OLD_YEARS, _OLD_HU, _OLD_SD_HU = 90.0, 89.0, 38.0
_LOSS_HU_PER_YEAR = 2.5
_USUAL_SOURCE = "Jang 2019, Radiology 291:360"


@dataclass(frozen=True, slots=True)
class HuReference:
    """Attenuation of L1 and the published limits; never an ACR category.

    Attributes:
        hu_mean: of L1, rounded without crossing a limit.
        specific_hu: at or below this, over 90 % specific.
        sensitive_hu: at or below this, 90 % sensitive.
        source: where the limits were published.
    """

    hu_mean: float
    specific_hu: float
    sensitive_hu: float
    source: str

    @property
    def limits_reached(self) -> int:
        """How many of the two limits L1 is at or below."""
        return sum(self.hu_mean <= limit for limit in (self.specific_hu, self.sensitive_hu))


@dataclass(frozen=True, slots=True)
class LowDespiteContrast:
    """Attenuation at or below the specific limit although contrast raises it.

    A bound: contrast cannot make bone look less dense than it is.

    Attributes:
        hu_mean: of ``level``, rounded without crossing the limit.
        is_certain: whether there is contrast beyond doubt; the bound holds in either case.
    """

    level: Level
    hu_mean: float
    is_certain: bool
    specific_hu: float
    source: str


@dataclass(frozen=True, slots=True)
class UsualAtAge:
    """Attenuation of L1 and what is usual at the patient's age, HU; neither a T- nor a Z-score."""

    hu_mean: float
    usual_hu: float
    usual_sd_hu: float
    source: str


def hu_reference_of(result: StudyResult) -> HuReference | None:
    """The limits, where they apply: a usable L1, exactly 120 kVp, no contrast, an adult, and no BMD from an equation.

    Nor do they apply to HU that are not certain. An unknown contrast phase does not count as "no contrast". If the age is
    unknown, an adult is assumed; the finding ``population`` reports the unknown age.
    """
    if result.bmd.bmd_mg_cm3 is not None or not _is_comparable(result) or _phase_of(result) is not ContrastPhase.NONE:
        return None
    hu_mean = _hu_of(result, Level.L1)
    if hu_mean is None:
        return None
    limits = (_SPECIFIC_HU, _SENSITIVE_HU)
    return HuReference(rounded_hu(hu_mean, limits), *limits, _SOURCE)


def low_despite_contrast(result: StudyResult) -> LowDespiteContrast | None:
    """The bound, where it says something: contrast, or an unknown phase, and L1 at or below the specific limit.

    Without a usable L1, L2 is compared with the limit of L1. Otherwise the conditions of :func:`hu_reference_of` apply.
    """
    facts = result.facts
    if result.bmd.bmd_mg_cm3 is not None or not _is_comparable(result) or facts is None:
        return None
    if facts.contrast_phase is ContrastPhase.NONE:
        return None
    is_certain = facts.contrast_phase is not ContrastPhase.UNKNOWN and not facts.contrast_probable
    for level in (Level.L1, Level.L2):
        hu_mean = _hu_of(result, level)
        if hu_mean is not None:
            if hu_mean > _SPECIFIC_HU:
                return None
            return LowDespiteContrast(level, rounded_hu(hu_mean, (_SPECIFIC_HU,)), is_certain, _SPECIFIC_HU, _SOURCE)
    return None


def usual_at_age(result: StudyResult) -> UsualAtAge | None:
    """What is usual at the patient's age; ``None`` unless L1 is usable, unenhanced, at 120 kVp, in an adult of known age.

    Mean and standard deviation of 20 374 adults (Jang et al., Radiology 2019;291:360): 226 ± 44 HU below 30 years, 89 ± 38
    HU at 90, and 2.5 HU less with every year. The line falls from the first mean until it reaches the last; the standard
    deviation is interpolated. Nothing is said beyond 90 years.
    """
    facts = result.facts
    age = None if facts is None or facts.age_doubt is not None else facts.patient_age_years
    hu_mean = _hu_of(result, Level.L1)
    if age is None or not ADULT_FROM_YEARS <= age < _OLD_YEARS + 1 or hu_mean is None:
        return None
    if not _is_comparable(result) or _phase_of(result) is not ContrastPhase.NONE:
        return None
    years = min(max(age - _YOUNG_YEARS, 0.0), _OLD_YEARS - _YOUNG_YEARS)
    usual = max(_YOUNG_HU - _LOSS_HU_PER_YEAR * years, _OLD_HU)
    share = years / (_OLD_YEARS - _YOUNG_YEARS)
    spread = _YOUNG_SD_HU + share * (_OLD_SD_HU - _YOUNG_SD_HU)
    return UsualAtAge(rounded(hu_mean), rounded(usual, 0), rounded(spread, 0), _USUAL_SOURCE)


def _is_comparable(result: StudyResult) -> bool:
    """Whether the HU of the study can be compared with published ones at all, whatever the contrast."""
    facts = result.facts
    if result.status != "measured" or facts is None or facts.kvp != _KVP or facts.multi_energy:
        return False
    if any(reason.code in NO_BMD_CODES for reason in result.reasons):
        return False
    return facts.patient_age_years is None or facts.patient_age_years >= ADULT_FROM_YEARS


def _phase_of(result: StudyResult) -> ContrastPhase | None:
    return None if result.facts is None else result.facts.contrast_phase


def _hu_of(result: StudyResult, level: Level) -> float | None:
    return next((finite(one.hu_mean) for one in result.levels if one.level is level and one.usable), None)
