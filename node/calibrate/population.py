"""The population that the ACR categories are intended for."""

from __future__ import annotations

from node.language.phrase import Phrase, phrase
from node.model import ADULT_FROM_YEARS, AgeDoubt, Reason, ScanFindingCode, SeriesFacts

#: The ACR categories are intended for post-menopausal women and older men; the text that was read gives no age. 50 years is
#: an assumption for both, after the ISCD positions for DXA: the WHO classification applies to post-menopausal women and to
#: men of 50 and older (J Clin Densitom 2006;9(1):22-30). A header does not record menopause.
MEANT_FROM_YEARS = 50.0


def population_reason(facts: SeriesFacts) -> Reason | None:
    """The finding ``population``: the patient is, or may be, outside the population of the ACR categories.

    The sentence contains no age, because it is part of reports and records.

    Returns:
        The reason; ``None`` if age and sex are known and the patient is at least 50.
    """
    no_age, no_sex = facts.patient_age_years is None, facts.patient_sex in (None, "O")
    if facts.patient_age_years is not None and facts.patient_age_years < MEANT_FROM_YEARS:
        return Reason(
            ScanFindingCode.POPULATION,
            phrase("the patient is younger than the ACR categories are intended for, taken as 50 years and older"),
        )
    if no_age or no_sex:
        what = phrase("age and sex") if no_age and no_sex else phrase("age") if no_age else phrase("sex")
        if no_age and facts.age_doubt is not None:
            return Reason(ScanFindingCode.POPULATION, _doubted(what, facts.age_doubt))
        return Reason(
            ScanFindingCode.POPULATION,
            phrase(
                "the header does not state the patient's {what}: it is not known whether the ACR categories apply",
                what=what,
            ),
        )
    return None


def _doubted(what: Phrase, doubt: AgeDoubt) -> Phrase:
    """Why the age is not known although the header seems to state it."""
    match doubt:
        case AgeDoubt.FILLER:
            why = phrase("the header holds a filler value")
        case AgeDoubt.CONTRADICTION:
            why = phrase("age and birth date in the header contradict each other")
        case AgeDoubt.VARIES:
            why = phrase("the images of the series differ in it")
    return phrase("{what} not known ({why}): it is not known whether the ACR categories apply", what=what, why=why)


def too_young(facts: SeriesFacts) -> Reason | None:
    """Why a child or adolescent gets no category; ``None`` for adults and unknown age."""
    if facts.patient_age_years is None or facts.patient_age_years >= ADULT_FROM_YEARS:
        return None
    return Reason("category_withheld", phrase("child or adolescent: no bone density category is intended for this age"))
