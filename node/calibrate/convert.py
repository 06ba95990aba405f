"""HU → BMD with its interval and category."""

from __future__ import annotations

from collections.abc import Sequence

from node.calibrate.acr import NORMAL_ABOVE_MG_CM3, OSTEOPOROSIS_BELOW_MG_CM3, acr_category, thresholds_crossed
from node.calibrate.interval import interval_mg_cm3
from node.calibrate.population import too_young
from node.calibrate.registry import Registry
from node.model import AcrCategory, Bmd, Calibration, ContrastPhase, LevelMeasurement, Reason, SeriesFacts

#: Mean bias of the pipeline in the portal venous phase, mg/ml (arterial: 5.68): the larger of the two.
_CONTRAST_BIAS_MG_CM3 = 17.5


def convert(
    levels: Sequence[LevelMeasurement], facts: SeriesFacts, registry: Registry, own: Calibration | None = None
) -> Bmd:
    """Convert measured levels to BMD, by the equation ``own`` of the very scan, or by that of the registry.

    BMD = slope x HU + intercept per level; the mean over the usable levels decides the ACR category. Without a matching
    equation, or without a usable level, there is no BMD, and the reason says why. One level is enough, but is said.

    The interval is that of :func:`~node.calibrate.interval.interval_mg_cm3`. Where it reaches into another category, the
    result names the thresholds that it crosses, and counts as borderline.

    Where the header records a contrast agent, and the equation was not made for that very phase, the lower end goes down by
    the known mean bias of 17.5 mg/cm3, and the category is withheld if the interval then crosses a threshold (the scatter
    between patients is larger than the bias, so nothing is subtracted).

    Children and adolescents get no category.
    """
    calibration = own or registry.match(facts)
    if isinstance(calibration, Reason):
        return Bmd(None, (), None, None, None, (calibration,))
    per_level = tuple(
        (level.level, calibration.slope * level.hu_mean + calibration.intercept)
        for level in levels
        if level.hu_mean is not None
    )
    counting = [level for level in levels if level.usable and level.hu_mean is not None]
    bmd_of = dict(per_level)
    values = [bmd_of[level.level] for level in counting]
    if not values:
        return Bmd(calibration, per_level, None, None, None, (Reason("no_usable_level", "no level of L1 to L4 is usable"),))
    mean = sum(values) / len(values)
    lower, upper = interval_mg_cm3(counting, calibration)
    reasons: list[Reason] = []
    if len(values) == 1:
        reasons.append(
            Reason(
                "one_level",
                "one usable level only; at least two are the consensus for a QCT class, the study took one; "
                "the interval holds no scatter between levels",
            )
        )
    contrast = _contrast_reason(facts, calibration)
    if contrast is not None:
        reasons.append(contrast)
        lower -= _CONTRAST_BIAS_MG_CM3
        crosses = [t for t in (OSTEOPOROSIS_BELOW_MG_CM3, NORMAL_ABOVE_MG_CM3) if lower <= t <= upper]
        if crosses:
            detail = f"contrast-enhanced, and the interval {lower:.0f} to {upper:.0f} mg/cm3 crosses {crosses[0]:.0f}"
            reasons.append(Reason("category_withheld", detail))
            return Bmd(calibration, per_level, mean, (lower, upper), None, tuple(reasons), thresholds_crossed(lower, upper))
    category: AcrCategory | None = acr_category(mean)
    young = too_young(facts)
    if young is not None:
        reasons.append(young)
        category = None
    return Bmd(calibration, per_level, mean, (lower, upper), category, tuple(reasons), thresholds_crossed(lower, upper))


def _contrast_reason(facts: SeriesFacts, calibration: Calibration) -> Reason | None:
    if calibration.contrast_phase in (ContrastPhase.ARTERIAL, ContrastPhase.PORTAL_VENOUS):
        return None  # made for this very phase, or it would not have been chosen
    if facts.contrast_phase in (ContrastPhase.ARTERIAL, ContrastPhase.PORTAL_VENOUS):
        return Reason(
            "contrast", f"{facts.contrast_phase.replace('_', ' ')} phase: BMD reads too high, by an unknown amount"
        )
    if facts.contrast_bolus_agent:
        return Reason("contrast", "the header records a contrast agent: BMD may read too high, by an unknown amount")
    return None
