"""The notes of the summary page: what matters for this patient, in order of weight. The structured report has all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from node.language.phrase import Phrase, as_phrase, phrase
from node.model import LevelFindingCode, ScanFindingCode, SeriesFacts, StudyResult
from node.model.fractures import FRACTURE_MEANING, fractures_of
from node.report.attenuation import low_despite_contrast
from node.report.context import context_of
from node.report.wording import (
    POPULATION_CAVEAT,
    all_reasons,
    basis_of_levels,
    borderline_text,
    contrast_not_known,
    contrast_with_hu_only,
    missing_levels,
    one_level_only,
    prior_text,
    without_error_of_equation,
)

#: Readers skip a longer list (an assumption).
_MOST_CAVEATS = 3
_CONTRAST, _POPULATION = "contrast", "population"
#: Reasons that say the same as each other or as a caveat: the weightiest of a group is enough.
_GROUPS = {"contrast_phase": _CONTRAST, "contrast": _CONTRAST, ScanFindingCode.POPULATION: _POPULATION}
#: A report that replaces another one says so before anything else but a fracture.
_REPLACING = ("replaces_earlier", "recalculated")
#: From these ages on, the ACR categories certainly apply: menopause is over (60 years is an assumption), and men count from
#: 50 years (ISCD, J Clin Densitom 2006;9(1):22-30).
_APPLIES_FROM_YEARS = {"F": 60.0, "M": 50.0}


@dataclass(frozen=True, slots=True)
class _Caveat:
    """A caveat; the lowest ``rank`` matters most. Of a group that is not empty, one is enough."""

    rank: int
    said: Phrase
    group: str = ""


def page_notes(result: StudyResult) -> tuple[Phrase, ...]:
    """The caveats that matter most, then what the result is compared with."""
    caveats = _caveats_by_weight(result)
    shown = [caveat.said for caveat in caveats[:_MOST_CAVEATS]]
    n_more = len(caveats) - len(shown)
    if n_more == 1:
        shown.append(phrase("1 more note is in the structured report."))
    elif n_more > 1:
        shown.append(phrase("{n} more notes are in the structured report.", n=n_more))
    previous = () if result.prior is None else (prior_text(result.prior),)
    return (*shown, *previous, *context_of(result))


def _caveats_by_weight(result: StudyResult) -> list[_Caveat]:
    found: list[_Caveat] = []
    groups: set[str] = set()
    for caveat in sorted(_caveats(result), key=lambda one: one.rank):
        if caveat.group not in groups:
            found.append(caveat)
        if caveat.group:
            groups.add(caveat.group)
    return found


def _caveats(result: StudyResult) -> Iterator[_Caveat]:
    if fractures_of(result):
        yield _Caveat(0, FRACTURE_MEANING)
    without_category = result.bmd.reasons if result.bmd.category is None else ()
    for reason in all_reasons(result):
        if reason.code == LevelFindingCode.FRACTURE:
            continue  # in the headline, and in the findings of the levels
        rank = 1 if reason.code in _REPLACING else 2 if reason in without_category else 4
        if rank == 4 and reason.code in set(ScanFindingCode):
            rank = 5
        yield _Caveat(rank, as_phrase(reason.detail), _GROUPS.get(reason.code, ""))
    borderline = borderline_text(result.bmd)
    if borderline:
        yield _Caveat(3, borderline)
    for said in (*basis_of_levels(result), *missing_levels(result), *one_level_only(result)):
        yield _Caveat(4, said)
    if low_despite_contrast(result) is None:
        for said in (*contrast_with_hu_only(result), *contrast_not_known(result)):
            yield _Caveat(4, said, _CONTRAST)
    for said in without_error_of_equation(result):
        yield _Caveat(6, said)
    if result.bmd.category is not None and not _categories_apply(result.facts):
        yield _Caveat(7, POPULATION_CAVEAT, _POPULATION)


def _categories_apply(facts: SeriesFacts | None) -> bool:
    """Whether age and sex are known and within the population of the ACR categories."""
    if facts is None or facts.patient_age_years is None:
        return False
    return facts.patient_age_years >= _APPLIES_FROM_YEARS.get(facts.patient_sex or "", float("inf"))
