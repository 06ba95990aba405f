"""Sentences that set a result beside others: published limits, what is usual at the age, the hospital's own patients."""

from __future__ import annotations

from node.language.phrase import Phrase, as_phrase, phrase
from node.model import StudyResult
from node.report.attenuation import hu_reference_of, low_despite_contrast, usual_at_age

_NOTHING = as_phrase("")


def hu_reference(result: StudyResult) -> Phrase:
    """Attenuation against published limits, with contrast as a bound; empty where they do not apply."""
    reference = hu_reference_of(result)
    if reference is None:
        return _low_despite_contrast(result)
    place = {2: phrase("at or below both"), 1: phrase("between the"), 0: phrase("above both")}[reference.limits_reached]
    return phrase(
        "L1 ({hu} HU) is {place} published limits for osteoporosis by DXA (not an ACR category): "
        "{specific:.0f} HU or less is over 90 % specific, {sensitive:.0f} HU or less is 90 % "
        "sensitive, at 120 kVp without contrast ({source}).",
        hu=reference.hu_mean,
        place=place,
        specific=reference.specific_hu,
        sensitive=reference.sensitive_hu,
        source=reference.source,
    )


def low_text(result: StudyResult) -> Phrase:
    """That the attenuation is low even though contrast raises it, in a few words; empty if it cannot be said."""
    low = low_despite_contrast(result)
    if low is None:
        return _NOTHING
    if not low.is_certain:
        return phrase("{level} ({hu} HU) is low, with or without contrast", level=low.level.name, hu=low.hu_mean)
    return phrase("{level} ({hu} HU) is low even though contrast raises HU", level=low.level.name, hu=low.hu_mean)


def _low_despite_contrast(result: StudyResult) -> Phrase:
    low = low_despite_contrast(result)
    if low is None:
        return _NOTHING
    return phrase(
        "{found}: contrast cannot make bone look less dense than it is. Without contrast, {specific:.0f} HU or less in L1 "
        "at 120 kVp is over 90 % specific for osteoporosis by DXA (not an ACR category; {source}).",
        found=low_text(result),
        specific=low.specific_hu,
        source=low.source,
    )


def usual_text(result: StudyResult) -> Phrase:
    """What is usual at the patient's age, without the age; empty where nothing is known."""
    usual = usual_at_age(result)
    if usual is None:
        return _NOTHING
    return phrase(
        "L1 {hu} HU; the mean at this age is {mean:.0f} ± {sd:.0f} HU (adults, 120 kVp, no contrast; {source}).",
        hu=usual.hu_mean,
        mean=usual.usual_hu,
        sd=usual.usual_sd_hu,
        source=usual.source,
    )


def rank_text(result: StudyResult) -> Phrase:
    """The place among the hospital's own patients; empty if too few are known."""
    rank = result.rank
    if rank is None:
        return _NOTHING
    return phrase(
        "L1 is at percentile {percentile} of {n} patients of this hospital of the same sex and age (± 5 years), without "
        "contrast, at {kvp:g} kVp.",
        percentile=rank.percentile,
        n=rank.n_patients,
        kvp=rank.kvp,
    )


def context_of(result: StudyResult) -> tuple[Phrase, ...]:
    """All of these sentences that apply."""
    said = (hu_reference(result), usual_text(result), rank_text(result))
    return tuple(sentence for sentence in said if sentence)
