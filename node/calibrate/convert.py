"""HU → BMD with its interval and category."""

from __future__ import annotations

from collections.abc import Sequence

from node.calibrate.acr import acr_category, thresholds_crossed
from node.calibrate.contrast import contrast_policy
from node.calibrate.interval import interval_mg_cm3
from node.calibrate.one_level import CATEGORY_WITHHELD, decided_by_one_level
from node.calibrate.population import too_young
from node.calibrate.registry import Registry
from node.language.phrase import phrase
from node.model import AcrCategory, Bmd, Calibration, ContrastConclusion, LevelMeasurement, Reason, SeriesFacts


def convert(
    levels: Sequence[LevelMeasurement],
    facts: SeriesFacts,
    registry: Registry,
    own: Calibration | None = None,
    contrast: ContrastConclusion | None = None,
) -> Bmd:
    """Convert measured levels to BMD, with the equation ``own`` of this scan or one of the registry.

    BMD = slope x HU + intercept per level; the mean over the usable levels decides the ACR category. Without a matching
    equation or a usable level there is no BMD, and the reason says why. A single level suffices, with a caveat.

    The interval is that of :func:`~node.calibrate.interval.interval_mg_cm3`. If it reaches into another category, the result
    lists the crossed thresholds and is borderline.

    With known or possible contrast, and an equation that was not made for that phase, the lower end is lowered by the known
    mean bias of 17.5 mg/cm3. The category is withheld if the interval then crosses a threshold. Nothing is subtracted,
    because the scatter between patients is larger than the bias. Only a correction entered by the site is subtracted; its
    residual SD widens the interval (:mod:`node.calibrate.contrast`).

    Children and adolescents get no category. Nor does a patient whose category one level alone decides, see
    :func:`~node.calibrate.one_level.decided_by_one_level`.

    Args:
        levels: as measured.
        facts: of the series, with the concluded contrast phase.
        registry: equations and the site's contrast corrections.
        own: an equation derived from this scan.
        contrast: the conclusion on contrast; ``None``: only the header counts.
    """
    calibration = own or registry.match(facts)
    if isinstance(calibration, Reason):
        return Bmd(None, (), None, None, None, (calibration,))
    policy = contrast_policy(facts, calibration, contrast, registry.contrast_corrections)
    per_level = tuple(
        (level.level, calibration.slope * level.hu_mean + calibration.intercept - policy.taken_off_mg_cm3)
        for level in levels
        if level.hu_mean is not None
    )
    counting = [level for level in levels if level.usable and level.hu_mean is not None]
    bmd_of = dict(per_level)
    values = [bmd_of[level.level] for level in counting]
    if not values:
        none = Reason("no_usable_level", phrase("no level of L1 to L4 is usable"))
        return Bmd(calibration, per_level, None, None, None, (none,))
    mean = sum(values) / len(values)
    lower, upper = policy.widened(interval_mg_cm3(counting, calibration))
    reasons: list[Reason] = []
    if len(values) == 1:
        reasons.append(
            Reason(
                "one_level",
                phrase(
                    "only one usable level; the consensus for QCT classification is at least two, the underlying study "
                    "accepted one; the interval does not include scatter between levels"
                ),
            )
        )
    if policy.reason is not None:
        reasons.append(policy.reason)
    category: AcrCategory | None = acr_category(mean)
    young = too_young(facts)
    if young is not None:
        reasons.append(young)
        category = None
    withheld = policy.withheld(lower, upper)
    if withheld is not None:
        reasons.append(withheld)
        category = None
    alone = decided_by_one_level(counting, bmd_of, (lower, upper))
    if alone is not None:
        reasons.append(alone)
        if alone.code == CATEGORY_WITHHELD:
            category = None
    crossed = thresholds_crossed(lower, upper)
    return Bmd(calibration, per_level, mean, (lower, upper), category, tuple(reasons), crossed, policy.correction)
