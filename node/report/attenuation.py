"""L1 attenuation against published limits, where there is no equation."""

from __future__ import annotations

from dataclasses import dataclass

from node.model import ADULT_FROM_YEARS, NO_BMD_CODES, ContrastPhase, Level, StudyResult
from node.model.rounding import finite, rounded_hu

#: Limits of L1 for osteoporosis by DXA in 1867 adults: 110 HU or less was more than 90 % specific, 160 HU or less 90 %
#: sensitive (Pickhardt et al., Ann Intern Med 2013;158(8):588-595).
_SPECIFIC_HU, _SENSITIVE_HU = 110.0, 160.0
_SOURCE = "Pickhardt 2013, Ann Intern Med 158:588"
_KVP = 120.0


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


def hu_reference_of(result: StudyResult) -> HuReference | None:
    """The limits, where they apply: a usable L1, exactly 120 kVp, no contrast, an adult, and no BMD from an equation.

    Nor do they apply to HU that are not certain. An unknown contrast phase does not count as "no contrast". If the age is
    unknown, an adult is assumed; the finding ``population`` reports the unknown age.
    """
    facts = result.facts
    if result.status != "measured" or facts is None or result.bmd.bmd_mg_cm3 is not None:
        return None
    if facts.kvp != _KVP or facts.contrast_phase is not ContrastPhase.NONE or facts.multi_energy:
        return None
    if any(reason.code in NO_BMD_CODES for reason in result.reasons):
        return None
    if facts.patient_age_years is not None and facts.patient_age_years < ADULT_FROM_YEARS:
        return None
    for level in result.levels:
        hu_mean = finite(level.hu_mean)
        if level.level is Level.L1 and level.usable and hu_mean is not None:
            limits = (_SPECIFIC_HU, _SENSITIVE_HU)
            return HuReference(rounded_hu(hu_mean, limits), *limits, _SOURCE)
    return None
