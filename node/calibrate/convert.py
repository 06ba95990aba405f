"""HU → BMD with its interval and category."""

from __future__ import annotations

import math
from collections.abc import Sequence

from node.calibrate.acr import acr_category
from node.calibrate.contrast import contrast_policy
from node.calibrate.registry import Registry
from node.model import MEASURED_LEVELS, Bmd, ContrastConclusion, LevelMeasurement, Reason, SeriesFacts

#: RMS-CV of automated vBMD between sessions, 4.7 % (Eur Radiol Exp 2024): floor of the interval.
_PRECISION_CV = 0.047
_Z_95 = 1.96


def convert(
    levels: Sequence[LevelMeasurement],
    facts: SeriesFacts,
    registry: Registry,
    contrast: ContrastConclusion | None = None,
) -> Bmd:
    """Convert measured levels to BMD.

    BMD = slope x HU + intercept per level; the mean over the usable levels decides the ACR category. Without a matching
    equation, or without a usable level, there is no BMD, and the reason says why.

    The interval is ``mean +- 1.96 sqrt((0.047 mean)^2 + s^2 / n (1 - n / 4))``: precision between sessions as the floor, and
    the scatter ``s`` of the ``n`` usable levels as far as levels of L1 to L4 are missing (finite population of four). One
    level has no scatter to go by; its reason says so. Where there is contrast, or may be, and the equation was not made for
    that very phase, the lower end goes down by the known mean bias of 17.5 mg/cm3, and the category is withheld if the
    interval then crosses a threshold (the scatter between patients is larger than the bias, so nothing is subtracted). Only
    a correction that the site entered is taken off; the scatter that it leaves widens the interval.

    Args:
        levels: as measured.
        facts: of the series, with the contrast phase that was concluded.
        registry: equations and the site's contrast corrections.
        contrast: what was concluded of contrast; ``None``: only what the header says.
    """
    calibration = registry.match(facts)
    if isinstance(calibration, Reason):
        return Bmd(None, (), None, None, None, (calibration,))
    policy = contrast_policy(facts, calibration, contrast, registry.contrast_corrections)
    taken_off = policy.correction.mg_cm3 if policy.correction is not None else 0.0
    per_level = tuple(
        (level.level, calibration.slope * level.hu_mean + calibration.intercept - taken_off)
        for level in levels
        if level.hu_mean is not None
    )
    usable = {level.level for level in levels if level.usable}
    values = [bmd for level, bmd in per_level if level in usable]
    if not values:
        return Bmd(calibration, per_level, None, None, None, (Reason("no_usable_level", "no level of L1 to L4 is usable"),))
    mean = sum(values) / len(values)
    lower, upper = _interval(values, mean, policy.correction.sd_mg_cm3 if policy.correction is not None else 0.0)
    reasons: list[Reason] = []
    if len(values) == 1:
        reasons.append(
            Reason("one_level", "one usable level only; at least two are the consensus for a QCT class, the study took one")
        )
    if policy.reason is not None:
        reasons.append(policy.reason)
    lower -= policy.lower_by_mg_cm3
    withheld = policy.withheld(lower, upper)
    if withheld is not None:
        reasons.append(withheld)
    category = acr_category(mean) if withheld is None else None
    return Bmd(calibration, per_level, mean, (lower, upper), category, tuple(reasons), contrast_correction=policy.correction)


def _interval(values: Sequence[float], mean: float, contrast_sd: float) -> tuple[float, float]:
    n = len(values)
    scatter2 = sum((v - mean) ** 2 for v in values) / (n - 1) if n > 1 else 0.0
    half = _Z_95 * math.sqrt((_PRECISION_CV * mean) ** 2 + scatter2 / n * (1 - n / len(MEASURED_LEVELS)) + contrast_sd**2)
    return mean - half, mean + half
