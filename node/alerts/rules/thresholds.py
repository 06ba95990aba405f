"""Which rules of the settings apply to a result, and whether they concern an operation."""

from __future__ import annotations

from node.alerts.values import Operation, Rule, ScreenedResult
from node.language.phrase import phrase
from node.model import AcrCategory, Reason
from node.settings.alert import AlertSettings


def rules_of(result: ScreenedResult, settings: AlertSettings) -> tuple[Rule, ...] | Reason:
    """The rules that apply, the leading one first, or why none applies."""
    if result.refused is not None:
        return result.refused
    density = _density_rule(result, settings)
    rules = [] if density is None else [density]
    if settings.fracture and result.fractures is not None:
        rules.append(Rule.FRACTURE)
    if rules:
        return tuple(rules)
    if result.bmd_mg_cm3 is not None:
        cut = settings.bmd_below_mg_cm3
        why = phrase("the mean BMD is not below {cut:g} mg/cm3, and not in a range that this site alerts for", cut=cut)
        return Reason("bmd_not_low", why)
    if settings.hu_below is None:
        return Reason(
            "no_bmd",
            phrase("there is an attenuation but no calibrated BMD, and this site has set no limit for the attenuation"),
        )
    return Reason(
        "attenuation_not_low", phrase("the mean attenuation is not below {hu:g} HU, the site's limit", hu=settings.hu_below)
    )


def not_concerned(operation: Operation, settings: AlertSettings) -> Reason | None:
    """Why the rules do not concern this operation; ``None`` if they do."""
    if not operation.active:
        return Reason("operation_cancelled", phrase("the operation was cancelled or is no longer planned"))
    if operation.found is None and operation.past:
        return Reason("operation_is_past", phrase("the text is about a spine instrumentation that has already been done"))
    if operation.found is None:
        return Reason("no_planned_operation", phrase("the plan has no code and no word for spine instrumentation"))
    if operation.levels and not set(operation.levels) & set(settings.levels):
        return Reason("other_levels", phrase("the operation is at levels that this site does not alert for"))
    return None


def _density_rule(result: ScreenedResult, settings: AlertSettings) -> Rule | None:
    if result.bmd_mg_cm3 is None:
        low = settings.hu_below is not None and result.hu_mean is not None and result.hu_mean < settings.hu_below
        return Rule.LOW_ATTENUATION if low else None
    if result.category is AcrCategory.OSTEOPOROSIS:
        return Rule.OSTEOPOROSIS
    if result.bmd_mg_cm3 < settings.bmd_below_mg_cm3:
        return Rule.BELOW_CUT
    if result.category is AcrCategory.LOW_BONE_MASS and settings.low_bone_mass:
        return Rule.LOW_BONE_MASS
    return None
