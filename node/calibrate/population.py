"""Whom the ACR categories are meant for."""

from __future__ import annotations

from node.language.phrase import phrase
from node.model import ADULT_FROM_YEARS, Reason, ScanFindingCode, SeriesFacts

#: The ACR categories are meant for post-menopausal women and older men; what was read of them names no age. 50 years is an
#: assumption for both, after the ISCD's positions for DXA: the WHO classification is for post-menopausal women and for men
#: of 50 and older (J Clin Densitom 2006;9(1):22-30). A header does not tell the menopause.
MEANT_FROM_YEARS = 50.0


def population_reason(facts: SeriesFacts) -> Reason | None:
    """The finding ``population``: the patient is outside those whom the ACR categories are meant for, or may be.

    The sentence names no age: it goes into reports and records.

    Returns:
        The reason; ``None`` where age and sex are known and the patient is at least 50.
    """
    no_age, no_sex = facts.patient_age_years is None, facts.patient_sex in (None, "O")
    if facts.patient_age_years is not None and facts.patient_age_years < MEANT_FROM_YEARS:
        return Reason(
            ScanFindingCode.POPULATION,
            phrase("the patient is younger than those whom the ACR categories are meant for, taken as 50 years and older"),
        )
    if no_age or no_sex:
        what = phrase("age and sex") if no_age and no_sex else phrase("age") if no_age else phrase("sex")
        return Reason(
            ScanFindingCode.POPULATION,
            phrase(
                "the header does not tell the {what} of the patient: it is not known whether the ACR categories apply",
                what=what,
            ),
        )
    return None


def too_young(facts: SeriesFacts) -> Reason | None:
    """Why a child or adolescent gets no category; ``None`` for adults, and where the age is not known."""
    if facts.patient_age_years is None or facts.patient_age_years >= ADULT_FROM_YEARS:
        return None
    return Reason("category_withheld", phrase("child or adolescent: no category of bone density is meant for them"))
