"""Whether one level alone decides the ACR category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from node.calibrate.acr import NORMAL_ABOVE_MG_CM3, OSTEOPOROSIS_BELOW_MG_CM3, acr_category
from node.language.phrase import Phrase, phrase
from node.model import AcrCategory, Level, LevelFindingCode, LevelMeasurement, Reason

#: Withholds the category.
CATEGORY_WITHHELD = "category_withheld"
#: Only says that the category rests on one level.
ONE_LEVEL_DECIDES = "one_level_decides"


def decided_by_one_level(
    levels: Sequence[LevelMeasurement], bmd_of: Mapping[Level, float], interval_mg_cm3: tuple[float, float]
) -> Reason | None:
    """Leave out one level after the other; name the one without which the category would be another.

    The category is withheld if that level is an outlier among the others, or if the mean of the others lies outside the
    interval, so that the interval does not tell the doubt. Otherwise the result is borderline, and the sentence says on
    which level it rests.

    Args:
        levels: the usable levels.
        bmd_of: their BMD, mg/cm3.
        interval_mg_cm3: of their mean.

    Returns:
        A reason with the code ``category_withheld`` or ``one_level_decides``; ``None`` if no level decides alone.
    """
    values = [bmd_of[level.level] for level in levels]
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    deciding = [
        (abs(rest - mean), level, rest)
        for level in levels
        if acr_category(rest := (sum(values) - bmd_of[level.level]) / (len(values) - 1)) is not acr_category(mean)
    ]
    if not deciding:
        return None
    _, level, rest = max(deciding, key=lambda one: one[0])
    low, high = interval_mg_cm3
    outlier = any(finding.code == LevelFindingCode.OUTLIER for finding in level.findings)
    values_said: dict[str, str | float] = {
        "level": level.level.name,
        "own": bmd_of[level.level],
        "rest": rest,
        "limits": _limits(acr_category(rest)),
    }
    if outlier or not low <= rest <= high:
        said = phrase(
            "{level} alone ({own:.0f} mg/cm3) decides the category: the mean of the other levels is {rest:.1f} mg/cm3, "
            "{limits}",
            **values_said,
        )
        return Reason(CATEGORY_WITHHELD, said)
    said = phrase(
        "the category rests on {level} ({own:.0f} mg/cm3): the mean of the other levels is {rest:.1f} mg/cm3, {limits}",
        **values_said,
    )
    return Reason(ONE_LEVEL_DECIDES, said)


def _limits(category: AcrCategory) -> Phrase:
    match category:
        case AcrCategory.OSTEOPOROSIS:
            return phrase("below {limit:.0f} mg/cm3", limit=OSTEOPOROSIS_BELOW_MG_CM3)
        case AcrCategory.NORMAL:
            return phrase("above {limit:.0f} mg/cm3", limit=NORMAL_ABOVE_MG_CM3)
        case AcrCategory.LOW_BONE_MASS:
            return phrase("{low:.0f} to {high:.0f} mg/cm3", low=OSTEOPOROSIS_BELOW_MG_CM3, high=NORMAL_ABOVE_MG_CM3)
