"""Sentences shared by all report objects, as phrases: English, with translations in the catalogues.

All text that people read is defined here, so that report, page and table agree and translations have one source.
"""

from __future__ import annotations

from node.language.phrase import Phrase, as_phrase, joined, phrase
from node.model import (
    ACR_THRESHOLDS_MG_CM3,
    MEASURED_LEVELS,
    AcrCategory,
    Bmd,
    Calibration,
    ContrastPhase,
    Level,
    LevelMeasurement,
    Orientation,
    PriorComparison,
    Reason,
    SeriesFacts,
    StudyResult,
)
from node.model.fractures import FRACTURE_MEANING, fractures_of, fractures_text
from node.model.rounding import finite, rounded, rounded_bmd, rounded_interval
from node.report.context import low_text

_LOW, _HIGH = ACR_THRESHOLDS_MG_CM3

CATEGORY_WORDS = {
    AcrCategory.OSTEOPOROSIS: phrase("Osteoporosis range"),
    AcrCategory.LOW_BONE_MASS: phrase("Low bone mass range"),
    AcrCategory.NORMAL: phrase("Normal range"),
}
_BORDERLINE_WORDS = {
    AcrCategory.OSTEOPOROSIS: phrase("Osteoporosis range (borderline)"),
    AcrCategory.LOW_BONE_MASS: phrase("Low bone mass range (borderline)"),
    AcrCategory.NORMAL: phrase("Normal range (borderline)"),
}
#: The ACR practice parameter calls a BMD below 80 mg/cm3 with a fracture severe osteoporosis.
_SEVERE_WORDS = {False: phrase("Severe osteoporosis range"), True: phrase("Severe osteoporosis range (borderline)")}
_SEVERE_LIMITS = phrase("below {limit:.0f} mg/cm3, with a fracture", limit=_LOW)
CATEGORY_LIMITS = {
    AcrCategory.OSTEOPOROSIS: phrase("below {limit:.0f} mg/cm3", limit=_LOW),
    AcrCategory.LOW_BONE_MASS: phrase("{low:.0f} to {high:.0f} mg/cm3", low=_LOW, high=_HIGH),
    AcrCategory.NORMAL: phrase("above {limit:.0f} mg/cm3", limit=_HIGH),
}
_ALSO_REACHED = {
    AcrCategory.OSTEOPOROSIS: phrase("the osteoporosis range ({limits})", limits=CATEGORY_LIMITS[AcrCategory.OSTEOPOROSIS]),
    AcrCategory.LOW_BONE_MASS: phrase(
        "the low bone mass range ({limits})", limits=CATEGORY_LIMITS[AcrCategory.LOW_BONE_MASS]
    ),
    AcrCategory.NORMAL: phrase("the normal range ({limits})", limits=CATEGORY_LIMITS[AcrCategory.NORMAL]),
}
SCREENING = phrase("Screening estimate by software, not verified by a physician: not a diagnosis.")
NOT_MEASURED_CAVEAT = phrase("Bone density was not estimated. No conclusion about the bone is possible.")
FRACTURE_WITHOUT_BMD = phrase("Bone density was not estimated.")
#: 21 CFR 892.1171 / FDA product code SAO: what must go with a normal result.
NORMAL_CAVEAT = phrase("A normal result does not rule out low BMD.")
#: From this confidence on, two landmarks agree on the levels; with one it is at most 0.85 (:mod:`node.segment.naming`).
CERTAIN_LEVEL = 0.86
#: Population of the ACR categories (ACR practice parameter for QCT).
POPULATION_CAVEAT = phrase("ACR categories apply to post-menopausal women and older men.")

PHASE_WORDS = {
    ContrastPhase.NONE: phrase("no contrast"),
    ContrastPhase.ARTERIAL: phrase("arterial contrast phase"),
    ContrastPhase.PORTAL_VENOUS: phrase("portal venous contrast phase"),
    ContrastPhase.UNKNOWN: phrase("contrast phase not known"),
}
_PROBABLE_PHASE_WORDS = {
    ContrastPhase.ARTERIAL: phrase("probably arterial contrast phase"),
    ContrastPhase.PORTAL_VENOUS: phrase("probably portal venous contrast phase"),
}
_ORIENTATION_WORDS = {
    Orientation.AXIAL: phrase("axial"),
    Orientation.SAGITTAL: phrase("sagittal"),
    Orientation.CORONAL: phrase("coronal"),
}
_NOTHING = as_phrase("")


def levels_text(levels: tuple[Level, ...]) -> Phrase:
    """``L1 to L4`` for a run of three or more, ``L1, L3`` for others, ``L2 only`` for one."""
    if len(levels) == 1:
        return phrase("{level} only", level=levels[0].name)
    names = [level.name for level in levels]
    if len(levels) > 2 and int(levels[-1]) - int(levels[0]) == len(levels) - 1:
        return phrase("{first} to {last}", first=names[0], last=names[-1])
    return joined(names, ", ")


def usable_levels(result: StudyResult) -> tuple[Level, ...]:
    """Levels included in the mean."""
    return tuple(level.level for level in result.levels if level.usable)


def level_bmd(bmd: Bmd, level: Level) -> float | None:
    """BMD of a level in mg/cm3, rounded; ``None`` if there is none."""
    for known, value in bmd.level_bmd_mg_cm3:
        if known is level:
            return rounded_bmd(value)
    return None


def level_text(level: LevelMeasurement, bmd: Bmd) -> Phrase:
    """All measurements of a level, as a sentence."""
    hu, deviation, value = finite(level.hu_mean), finite(level.hu_sd), level_bmd(bmd, level.level)
    values = []
    if hu is not None and deviation is not None:
        values.append(phrase("mean attenuation {hu} HU (SD {sd} HU)", hu=rounded(hu), sd=rounded(deviation)))
    elif hu is not None:
        values.append(phrase("mean attenuation {hu} HU", hu=rounded(hu)))
    if level.roi_volume_mm3 > 0:
        values.append(phrase("measured volume {volume} mm3", volume=rounded(level.roi_volume_mm3)))
    if value is not None:
        values.append(phrase("trabecular BMD {bmd} mg/cm3", bmd=value))
    counts = phrase("included in the mean") if level.usable else phrase("not included in the mean")
    measured = joined([joined(values or [phrase("no value")], ", "), counts], "; ")
    sentences = joined([measured, findings_text(level)] if level.findings else [measured], ": ")
    return Phrase("{level}: {said}.", {"level": level.level.name, "said": sentences})


def mean_hu_text(hu_mean: float) -> Phrase:
    """Mean attenuation of the usable levels."""
    return phrase("mean {hu} HU", hu=rounded(hu_mean))


def all_reasons(result: StudyResult) -> tuple[Reason, ...]:
    """Reasons of the study and of its calibration, without duplicates."""
    return tuple(dict.fromkeys(result.reasons + result.bmd.reasons))


def findings_text(level: LevelMeasurement) -> Phrase:
    """Findings of a level in one line; empty if there are none."""
    return joined((finding.detail for finding in level.findings), "; ")


def is_severe(result: StudyResult) -> bool:
    """Whether a fracture comes with a BMD in the osteoporosis range."""
    return result.bmd.category is AcrCategory.OSTEOPOROSIS and bool(fractures_of(result))


def headline(result: StudyResult) -> Phrase:
    """The result in a few words: the fractures, if any, then the BMD."""
    fractures = fractures_of(result)
    density = density_headline(result)
    return joined([fractures_text(fractures), density], ". ") if fractures else density


def density_headline(result: StudyResult) -> Phrase:
    """The BMD in a few words, without its value."""
    if result.status == "not_measured":
        return phrase("Not measured")
    if is_severe(result):
        return _SEVERE_WORDS[result.bmd.borderline]
    if result.bmd.category is not None:
        return (_BORDERLINE_WORDS if result.bmd.borderline else CATEGORY_WORDS)[result.bmd.category]
    if result.bmd.bmd_mg_cm3 is not None:
        return phrase("BMD without category")
    return phrase("Attenuation only, no BMD")


def category_limits(result: StudyResult) -> Phrase:
    """Limits of the category, and that it comes with a fracture; empty if there is no category."""
    if result.bmd.category is None:
        return _NOTHING
    return _SEVERE_LIMITS if is_severe(result) else CATEGORY_LIMITS[result.bmd.category]


def value_text(result: StudyResult) -> Phrase:
    """The mean with its interval and levels; empty if nothing was measured."""
    if result.status == "not_measured":
        return _NOTHING
    levels = levels_text(usable_levels(result))
    bmd = result.bmd
    if bmd.bmd_mg_cm3 is not None:
        mean = rounded_bmd(bmd.bmd_mg_cm3)
        if bmd.interval_mg_cm3 is None:
            return phrase("mean trabecular BMD {bmd} mg/cm3, {levels}", bmd=mean, levels=levels)
        low, high = rounded_interval(bmd.interval_mg_cm3)
        return phrase(
            "mean trabecular BMD {bmd} mg/cm3 (interval {low:g} to {high:g}), {levels}",
            bmd=mean,
            low=low,
            high=high,
            levels=levels,
        )
    if result.hu_mean is not None:
        return phrase("mean trabecular attenuation {hu} HU, {levels}", hu=rounded(result.hu_mean), levels=levels)
    return _NOTHING


def conclusion(result: StudyResult) -> Phrase:
    """One paragraph: the fractures, the BMD, then the caveats."""
    fractures = fractures_of(result)
    first = density_headline(result)
    if result.bmd.category is not None:
        first = joined([first, phrase("ACR ({limits})", limits=category_limits(result))], ", ")
    value = value_text(result)
    parts = [Phrase("{said}.", {"said": fractures_text(fractures)})] if fractures else []
    parts.append(Phrase("{said}.", {"said": joined([first, value] if value else [first], ": ")}))
    if result.status == "not_measured":
        return joined([*parts, not_measured_caveat(result)], " ")
    low = low_text(result)
    if low:
        parts.append(Phrase("{said}.", {"said": low}))
    if fractures:
        parts.append(FRACTURE_MEANING)
    if result.bmd.category is AcrCategory.NORMAL:
        parts.append(NORMAL_CAVEAT)
    borderline = borderline_text(result.bmd)
    if borderline:
        parts.append(borderline)
    parts.append(SCREENING)
    return joined(parts, " ")


def not_measured_caveat(result: StudyResult) -> Phrase:
    """That there is no BMD; a fracture that was seen is a conclusion all the same."""
    return FRACTURE_WITHOUT_BMD if fractures_of(result) else NOT_MEASURED_CAVEAT


def borderline_text(bmd: Bmd) -> Phrase:
    """Other categories that the interval reaches; empty if the category is not borderline."""
    if bmd.category is None or not bmd.borderline:
        return _NOTHING
    reached = {AcrCategory.LOW_BONE_MASS}
    if _LOW in bmd.thresholds_crossed_mg_cm3:
        reached.add(AcrCategory.OSTEOPOROSIS)
    if _HIGH in bmd.thresholds_crossed_mg_cm3:
        reached.add(AcrCategory.NORMAL)
    others = [_ALSO_REACHED[c] for c in AcrCategory if c in reached and c is not bmd.category]
    if len(others) == 1:
        return phrase("Borderline: the interval also reaches {category}.", category=others[0])
    first, second = others
    return phrase("Borderline: the interval also reaches {first} and {second}.", first=first, second=second)


def all_caveats(result: StudyResult) -> tuple[Phrase, ...]:
    """All caveats for a reader who sees nothing else: those of the conclusion, then the others."""
    if result.status == "not_measured":
        return (not_measured_caveat(result),)
    fractured = (FRACTURE_MEANING,) if fractures_of(result) else ()
    normal = (NORMAL_CAVEAT,) if result.bmd.category is AcrCategory.NORMAL else ()
    borderline = borderline_text(result.bmd)
    return (*fractured, *normal, *((borderline,) if borderline else ()), SCREENING, *caveats(result))


def caveats(result: StudyResult) -> tuple[Phrase, ...]:
    """The prior result, then caveats beyond the reasons; one sentence each."""
    previous = (prior_text(result.prior),) if result.prior is not None and result.status == "measured" else ()
    return (*previous, *caveats_of_result(result))


def caveats_of_result(result: StudyResult) -> tuple[Phrase, ...]:
    """Caveats of this result alone, beyond the reasons; one sentence each."""
    sentences = []
    if result.bmd.category is not None:
        sentences.append(POPULATION_CAVEAT)
    sentences += [*without_error_of_equation(result), *contrast_not_known(result), *contrast_with_hu_only(result)]
    return (*sentences, *basis_of_levels(result), *missing_levels(result), *one_level_only(result))


def without_error_of_equation(result: StudyResult) -> tuple[Phrase, ...]:
    """What the interval lacks."""
    calibration = result.bmd.calibration
    if result.bmd.interval_mg_cm3 is None or calibration is None or calibration.slope_se is not None:
        return ()
    return (phrase("The interval does not include the error of the equation, which is not known."),)


def contrast_not_known(result: StudyResult) -> tuple[Phrase, ...]:
    """That the HU may read too high."""
    if result.facts is None or result.status != "measured" or result.facts.contrast_phase is not ContrastPhase.UNKNOWN:
        return ()
    return (phrase("Contrast phase not known; contrast raises measured attenuation and BMD."),)


def one_level_only(result: StudyResult) -> tuple[Phrase, ...]:
    """That the mean rests on one level, unless a reason says so."""
    known = {reason.code for reason in all_reasons(result)}
    if len(usable_levels(result)) != 1 or "one_level" in known:
        return ()
    return (phrase("Only one usable level; the consensus for QCT classification is at least two."),)


def contrast_with_hu_only(result: StudyResult) -> tuple[Phrase, ...]:
    """That HU read too high; with a BMD, the equation's own reasons say it."""
    facts = result.facts
    if result.status != "measured" or facts is None or result.bmd.bmd_mg_cm3 is not None:
        return ()
    if facts.contrast_phase not in (ContrastPhase.ARTERIAL, ContrastPhase.PORTAL_VENOUS):
        return ()
    return (phrase("The HU read too high: contrast raises them ({phase}).", phase=phase_text(facts)),)


def basis_of_levels(result: StudyResult) -> tuple[Phrase, ...]:
    """What the level labels rest on, unless two landmarks agree."""
    if result.status != "measured":
        return ()
    bodies = [body for body in result.bodies if body.level in MEASURED_LEVELS]
    weakest = min(bodies, key=lambda body: body.confidence, default=None)
    if weakest is None or weakest.confidence >= CERTAIN_LEVEL:
        return ()
    said = phrase(
        "Levels: {evidence} (confidence {confidence:.2f}).", evidence=weakest.evidence, confidence=weakest.confidence
    )
    return (said,)


def missing_levels(result: StudyResult) -> tuple[Phrase, ...]:
    """Levels that were not measured and that no reason names."""
    if result.status != "measured":
        return ()
    found = {level.level for level in result.levels}
    details = [(reason.code, reason.detail) for reason in all_reasons(result)]
    named = {detail.values.get("level") for _, detail in details if isinstance(detail, Phrase)}
    missing = [level.name for level in MEASURED_LEVELS if level not in found and level.name not in named]
    if not missing:
        return ()
    levels = ", ".join(missing)
    # A body may have been found whose level is not certain.
    if any(code == "level_not_certain" for code, _ in details):
        return (phrase("Not labelled: {levels}.", levels=levels),)
    return (phrase("Not found in the image: {levels}.", levels=levels),)


def shown_change(prior: PriorComparison) -> float | None:
    """The difference of both values as shown, so that the sentence adds up; ``None`` if they cannot be compared."""
    if prior.change_mg_cm3 is None or prior.bmd_mg_cm3 is None or prior.prior_bmd_mg_cm3 is None:
        return None
    return rounded(rounded_bmd(prior.bmd_mg_cm3) - rounded_bmd(prior.prior_bmd_mg_cm3))


def prior_text(prior: PriorComparison) -> Phrase:
    """Comparison with a prior result, without a date: the summary page shows none."""
    when = phrase("Prior study, {time} earlier", time=_time_before(prior.days_before))
    if prior.bmd_mg_cm3 is not None and prior.prior_bmd_mg_cm3 is not None:
        before, now = rounded_bmd(prior.prior_bmd_mg_cm3), rounded_bmd(prior.bmd_mg_cm3)
        values = phrase("{before} mg/cm3, now {now}", before=before, now=now)
    else:
        values = phrase("{before} HU, now {now}", before=rounded(prior.prior_hu_mean), now=rounded(prior.hu_mean))
    if prior.levels:
        values = phrase("{values} over {levels}", values=values, levels=levels_text(prior.levels))
    change = shown_change(prior)
    if change is None or prior.change_percent is None or prior.lsc_percent is None:
        why = joined((reason.detail for reason in prior.not_comparable), ", ")
        return phrase("{when}: {values}; not comparable: {why}.", when=when, values=values, why=why)
    percent = rounded(prior.change_percent)
    moved = phrase("change {change:+.1f} mg/cm3 ({percent:+.1f} %)", change=change, percent=percent)
    lsc = prior.lsc_percent
    verdict = (
        phrase("within the least significant change of {lsc:.1f} %", lsc=lsc)
        if prior.within_lsc
        else phrase("beyond the least significant change of {lsc:.1f} %", lsc=lsc)
    )
    return phrase("{when}: {values}; {change}, {verdict}.", when=when, values=values, change=moved, verdict=verdict)


def _time_before(days: int) -> Phrase:
    if days == 1:
        return phrase("{days} day", days=days)
    if days < 60:
        return phrase("{days} days", days=days)
    if days < 730:
        return phrase("{months:.0f} months", months=days / 30.44)
    return phrase("{years:.1f} years", years=days / 365.25)


def equation_text(result: StudyResult) -> Phrase:
    """The equation that was used; empty if there is none."""
    calibration = result.bmd.calibration
    if calibration is None:
        return _NOTHING
    sign, intercept = ("-" if calibration.intercept < 0 else "+"), abs(calibration.intercept)
    return phrase(
        "BMD = {slope:g} x HU {sign} {intercept:g} mg/cm3", slope=calibration.slope, sign=sign, intercept=intercept
    )


def material_text(calibration: Calibration) -> str:
    """The reference material, or that the source of the equation does not state it."""
    unknown = phrase("not stated")
    return unknown if calibration.material == unknown else calibration.material


def phase_text(facts: SeriesFacts) -> Phrase:
    """The concluded contrast phase, and whether it is only probable."""
    if facts.contrast_probable and facts.contrast_phase in _PROBABLE_PHASE_WORDS:
        return _PROBABLE_PHASE_WORDS[facts.contrast_phase]
    return PHASE_WORDS[facts.contrast_phase]


def scanner_text(facts: SeriesFacts) -> Phrase:
    """Scanner, tube voltage, kernel, slices and contrast in one line."""
    scanner = " ".join(part for part in (facts.manufacturer, facts.manufacturer_model_name) if part)
    kernel = facts.convolution_kernel
    slices = phrase(
        "{orientation}, slices every {distance} mm",
        orientation=_ORIENTATION_WORDS[facts.orientation],
        distance=rounded(facts.spacing_mm[2], 2),
    )
    return joined(
        (
            scanner or phrase("scanner not stated"),
            phrase("kVp not stated") if facts.kvp is None else phrase("{kvp:g} kVp", kvp=facts.kvp),
            phrase("kernel {kernel}", kernel=kernel) if kernel else phrase("kernel not stated"),
            slices,
            phase_text(facts),
        ),
        ", ",
    )
