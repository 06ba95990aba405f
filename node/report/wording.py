"""Sentences that the objects share, in English.

One place for all words that people read, so that report, page and table say the same, and translations have one source.
"""

from __future__ import annotations

from node.model import (
    MEASURED_LEVELS,
    AcrCategory,
    Bmd,
    ContrastPhase,
    Level,
    LevelMeasurement,
    PriorComparison,
    Reason,
    SeriesFacts,
    StudyResult,
)
from node.report.attenuation import hu_reference_of
from node.report.rounding import ACR_THRESHOLDS_MG_CM3, finite, rounded, rounded_bmd, text

CATEGORY_WORDS = {
    AcrCategory.OSTEOPOROSIS: "Osteoporosis range",
    AcrCategory.LOW_BONE_MASS: "Low bone mass range",
    AcrCategory.NORMAL: "Normal range",
}
CATEGORY_LIMITS = {
    AcrCategory.OSTEOPOROSIS: f"below {ACR_THRESHOLDS_MG_CM3[0]:.0f} mg/cm3",
    AcrCategory.LOW_BONE_MASS: f"{ACR_THRESHOLDS_MG_CM3[0]:.0f} to {ACR_THRESHOLDS_MG_CM3[1]:.0f} mg/cm3",
    AcrCategory.NORMAL: f"above {ACR_THRESHOLDS_MG_CM3[1]:.0f} mg/cm3",
}
SCREENING = "Screening estimate by software, not verified by a physician: not a diagnosis."
NOT_MEASURED_CAVEAT = "No estimate of bone density from this study. That says nothing about the bone."
#: 21 CFR 892.1171 / FDA product code SAO: what must go with a normal result.
NORMAL_CAVEAT = "A normal result does not rule out low BMD."
#: Whom the ACR categories are meant for (ACR practice parameter for QCT).
POPULATION_CAVEAT = "ACR categories apply to post-menopausal women and older men."

_PHASE_WORDS = {
    ContrastPhase.NONE: "no contrast",
    ContrastPhase.ARTERIAL: "arterial contrast phase",
    ContrastPhase.PORTAL_VENOUS: "portal venous contrast phase",
    ContrastPhase.UNKNOWN: "contrast phase not known",
}


def levels_text(levels: tuple[Level, ...]) -> str:
    """``L1 to L4`` for a run of three or more, ``L1, L3`` for others, ``L2 only`` for one."""
    if len(levels) == 1:
        return f"{levels[0].name} only"
    names = [level.name for level in levels]
    if len(levels) > 2 and int(levels[-1]) - int(levels[0]) == len(levels) - 1:
        return f"{names[0]} to {names[-1]}"
    return ", ".join(names)


def usable_levels(result: StudyResult) -> tuple[Level, ...]:
    """Levels that count for the mean."""
    return tuple(level.level for level in result.levels if level.usable)


def level_bmd(bmd: Bmd, level: Level) -> float | None:
    """BMD of a level in mg/cm3, rounded; ``None`` if there is none."""
    for known, value in bmd.level_bmd_mg_cm3:
        if known is level:
            return rounded_bmd(value)
    return None


def level_text(level: LevelMeasurement, bmd: Bmd) -> str:
    """All that was measured of a level, as a sentence."""
    hu, deviation = finite(level.hu_mean), finite(level.hu_sd)
    values = []
    if hu is not None:
        scatter = "" if deviation is None else f" (SD {text(rounded(deviation))} HU)"
        values.append(f"mean attenuation {text(rounded(hu))} HU{scatter}")
    if level.roi_volume_mm3 > 0:
        values.append(f"measured volume {text(rounded(level.roi_volume_mm3))} mm3")
    value = level_bmd(bmd, level.level)
    if value is not None:
        values.append(f"trabecular BMD {text(value)} mg/cm3")
    measured = ", ".join(values) or "no value"
    counts = "counts for the mean" if level.usable else "does not count for the mean"
    findings = findings_text(level)
    return f"{level.level.name}: {measured}; {counts}{': ' if findings else ''}{findings}."


def mean_hu_text(hu_mean: float) -> str:
    """Mean over the usable levels."""
    return f"mean {text(rounded(hu_mean))} HU"


def all_reasons(result: StudyResult) -> tuple[Reason, ...]:
    """Reasons of the study and of its calibration, each once."""
    return tuple(dict.fromkeys(result.reasons + result.bmd.reasons))


def findings_text(level: LevelMeasurement) -> str:
    """Findings of a level in one line; empty if there are none."""
    return "; ".join(finding.detail for finding in level.findings)


def headline(result: StudyResult) -> str:
    """The result in a few words."""
    if result.status == "not_measured":
        return "Not measured"
    if result.bmd.category is not None:
        return CATEGORY_WORDS[result.bmd.category] + (" (borderline)" if result.bmd.borderline else "")
    if result.bmd.bmd_mg_cm3 is not None:
        return "BMD without category"
    return "Attenuation only, no BMD"


def value_text(result: StudyResult) -> str:
    """The mean with its interval and levels; empty if nothing was measured."""
    if result.status == "not_measured":
        return ""
    levels = levels_text(usable_levels(result))
    bmd = result.bmd
    if bmd.bmd_mg_cm3 is not None:
        interval = ""
        if bmd.interval_mg_cm3 is not None:
            low, high = bmd.interval_mg_cm3
            interval = f" (interval {_end(low)} to {_end(high)})"
        return f"mean trabecular BMD {text(rounded_bmd(bmd.bmd_mg_cm3))} mg/cm3{interval}, {levels}"
    if result.hu_mean is not None:
        return f"mean trabecular attenuation {text(rounded(result.hu_mean))} HU, {levels}"
    return ""


def _end(value_mg_cm3: float) -> str:
    """End of an interval: whole mg/cm3, or as fine as its side of a threshold needs."""
    return f"{rounded_bmd(value_mg_cm3, 0):g}"


def conclusion(result: StudyResult) -> str:
    """One paragraph: the result first, then what it is not."""
    parts = [headline(result)]
    if result.bmd.category is not None:
        parts[0] += f", ACR ({CATEGORY_LIMITS[result.bmd.category]})"
    value = value_text(result)
    if value:
        parts[0] += f": {value}"
    parts[0] += "."
    if result.status == "not_measured":
        return f"{parts[0]} {NOT_MEASURED_CAVEAT}"
    if result.bmd.category is AcrCategory.NORMAL:
        parts.append(NORMAL_CAVEAT)
    borderline = borderline_text(result.bmd)
    if borderline:
        parts.append(borderline)
    parts.append(SCREENING)
    return " ".join(parts)


def borderline_text(bmd: Bmd) -> str:
    """Which other categories the interval reaches; empty if the category is not borderline."""
    if bmd.category is None or not bmd.borderline:
        return ""
    low, high = ACR_THRESHOLDS_MG_CM3
    reached = {AcrCategory.LOW_BONE_MASS}
    if low in bmd.thresholds_crossed_mg_cm3:
        reached.add(AcrCategory.OSTEOPOROSIS)
    if high in bmd.thresholds_crossed_mg_cm3:
        reached.add(AcrCategory.NORMAL)
    others = [c for c in AcrCategory if c in reached and c is not bmd.category]
    words = " and ".join(f"the {_plain(CATEGORY_WORDS[c])} ({CATEGORY_LIMITS[c]})" for c in others)
    return f"Borderline: the interval also reaches {words}."


def _plain(words: str) -> str:
    return words[:1].lower() + words[1:]


def all_caveats(result: StudyResult) -> tuple[str, ...]:
    """Everything that goes with a result for a reader who has nothing else: that of the conclusion, then the others."""
    if result.status == "not_measured":
        return (NOT_MEASURED_CAVEAT,)
    normal = (NORMAL_CAVEAT,) if result.bmd.category is AcrCategory.NORMAL else ()
    borderline = borderline_text(result.bmd)
    return (*normal, *((borderline,) if borderline else ()), SCREENING, *caveats(result))


def caveats(result: StudyResult) -> tuple[str, ...]:
    """The previous result, then what a reader should bear in mind beyond the reasons: one sentence each."""
    previous = (prior_text(result.prior),) if result.prior is not None and result.status == "measured" else ()
    return (*previous, *caveats_of_result(result))


def caveats_of_result(result: StudyResult) -> tuple[str, ...]:
    """What a reader should bear in mind of this result alone, beyond the reasons: one sentence each."""
    sentences = []
    if result.bmd.category is not None:
        sentences.append(POPULATION_CAVEAT)
    calibration = result.bmd.calibration
    if result.bmd.interval_mg_cm3 is not None and calibration is not None and calibration.slope_se is None:
        sentences.append("The interval does not hold the error of the equation, which is not known.")
    if result.facts is not None and result.status == "measured" and result.facts.contrast_phase is ContrastPhase.UNKNOWN:
        sentences.append("Contrast phase not known; contrast makes attenuation and BMD read higher.")
    found = {level.level for level in result.levels}
    missing = [level.name for level in MEASURED_LEVELS if level not in found]
    if missing and result.status == "measured":
        sentences.append(f"Not found in the image: {', '.join(missing)}.")
    known = {reason.code for reason in all_reasons(result)}
    if len(usable_levels(result)) == 1 and "one_level" not in known:
        sentences.append("One usable level only; at least two are the consensus for a QCT class.")
    return tuple(sentences)


def prior_text(prior: PriorComparison) -> str:
    """The result beside an earlier one, without a date: the summary page shows none."""
    when = f"Earlier study, {_time_before(prior.days_before)} before"
    over = f" over {levels_text(prior.levels)}" if prior.levels else ""
    if prior.bmd_mg_cm3 is not None and prior.prior_bmd_mg_cm3 is not None:
        values = f"{text(rounded_bmd(prior.prior_bmd_mg_cm3))} mg/cm3, now {text(rounded_bmd(prior.bmd_mg_cm3))}{over}"
    else:
        values = f"{text(rounded(prior.prior_hu_mean))} HU, now {text(rounded(prior.hu_mean))}{over}"
    if prior.change_mg_cm3 is None or prior.change_percent is None or prior.lsc_percent is None:
        return f"{when}: {values}; not comparable: {', '.join(reason.detail for reason in prior.not_comparable)}."
    change = f"change {rounded(prior.change_mg_cm3):+.1f} mg/cm3 ({rounded(prior.change_percent):+.1f} %)"
    verdict = "within" if prior.within_lsc else "beyond"
    return f"{when}: {values}; {change}, {verdict} the least significant change of {prior.lsc_percent:.1f} %."


def _time_before(days: int) -> str:
    if days < 60:
        return f"{days} day{'' if days == 1 else 's'}"
    if days < 730:
        return f"{days / 30.44:.0f} months"
    return f"{days / 365.25:.1f} years"


def hu_reference(result: StudyResult) -> str:
    """L1 beside published limits of attenuation, where they apply; empty otherwise."""
    reference = hu_reference_of(result)
    if reference is None:
        return ""
    place = {2: "at or below both", 1: "between the", 0: "above both"}[reference.limits_reached]
    return (
        f"L1, {text(reference.hu_mean)} HU, lies {place} published limits for osteoporosis by DXA (no ACR category): "
        f"{reference.specific_hu:.0f} HU or less is over 90 % specific, {reference.sensitive_hu:.0f} HU or less 90 % "
        f"sensitive, at 120 kVp without contrast ({reference.source})."
    )


def equation_text(result: StudyResult) -> str:
    """The equation as it was used; empty if there is none."""
    calibration = result.bmd.calibration
    if calibration is None:
        return ""
    sign = "-" if calibration.intercept < 0 else "+"
    return f"BMD = {calibration.slope:g} x HU {sign} {abs(calibration.intercept):g} mg/cm3"


def scanner_text(facts: SeriesFacts) -> str:
    """Scanner, tube voltage, kernel, slices and contrast in one line."""
    scanner = " ".join(part for part in (facts.manufacturer, facts.manufacturer_model_name) if part) or "scanner not named"
    voltage = "kVp not stated" if facts.kvp is None else f"{facts.kvp:g} kVp"
    kernel = f"kernel {facts.convolution_kernel}" if facts.convolution_kernel else "kernel not stated"
    thickness = f"{facts.orientation.value}, slices every {text(rounded(facts.spacing_mm[2], 2))} mm"
    return ", ".join((scanner, voltage, kernel, thickness, _PHASE_WORDS[facts.contrast_phase]))
