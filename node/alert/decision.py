"""When an alert is sent: a table of conditions, each with the reason that is given where it fails."""

from __future__ import annotations

import math

from node.alert.message import message_for
from node.alert.order import find_instrumentation
from node.alert.values import Alert, NoAlert, OrderText, Rule, alert_id
from node.model import AcrCategory, Reason, StudyResult
from node.phrase import phrase
from node.settings import AlertSettings


def decide(result: StudyResult, order: OrderText, settings: AlertSettings) -> tuple[Alert, ...] | NoAlert:
    """Decide whether surgeons are told of a result.

    An alert needs a measured result with a calibrated BMD whose category was not withheld, a word for spine instrumentation
    in the order, and osteoporosis, a BMD below the cut or (if set) low bone mass.

    Args:
        result: of the study.
        order: what the headers of the same study say of an operation.
        settings: words, limits and recipients. Whether a channel is switched on plays no part, so that a site can see what
            would be sent before it sends anything.

    Returns:
        One alert per recipient, each to be sent on its own; or why there is none.
    """
    refused = _not_fit_to_alert(result, order)
    if refused is not None:
        return NoAlert(refused)
    search = find_instrumentation(order, settings.instrumentation_words, settings.past_operation_words)
    if search.planned is None:
        return NoAlert(_no_operation(search.past))
    rule = _rule(result, settings)
    if rule is None:
        cut = settings.bmd_below_mg_cm3
        detail = phrase("the mean BMD is not below {cut:g} mg/cm3, and its category alerts nobody", cut=cut)
        return NoAlert(Reason("bmd_not_low", detail))
    if not settings.recipients:
        return NoAlert(
            Reason("no_recipient", phrase("the rule {rule} holds, but the settings name no recipient", rule=rule))
        )
    study = order.study_instance_uid
    alerts = []
    for recipient in settings.recipients:
        name = alert_id(study, recipient, rule)
        subject, text = message_for(result, order, search.planned, settings, name)
        alerts.append(Alert(name, rule, recipient, study, subject, text))
    return tuple(alerts)


def _not_fit_to_alert(result: StudyResult, order: OrderText) -> Reason | None:
    bmd = result.bmd
    if result.status != "measured" or result.facts is None:
        return Reason("not_measured", phrase("the study was not measured"))
    if result.facts.study_instance_uid != order.study_instance_uid:
        return Reason("other_study", phrase("result and order are not of the same study: no alert to the wrong person"))
    if bmd.calibration is None or bmd.bmd_mg_cm3 is None or not math.isfinite(bmd.bmd_mg_cm3):
        return Reason("no_bmd", phrase("there is attenuation but no calibrated BMD"))
    if bmd.category is None:
        return Reason("category_withheld", phrase("the ACR category was withheld: the BMD is too uncertain to alert on"))
    return None


def _no_operation(past: bool) -> Reason:
    if past:
        return Reason("operation_is_past", phrase("the order speaks of a spine instrumentation that was done already"))
    return Reason("no_planned_operation", phrase("the order holds no word for spine instrumentation"))


def _rule(result: StudyResult, settings: AlertSettings) -> Rule | None:
    if result.bmd.category is AcrCategory.OSTEOPOROSIS:
        return Rule.OSTEOPOROSIS
    if result.bmd.bmd_mg_cm3 is not None and result.bmd.bmd_mg_cm3 < settings.bmd_below_mg_cm3:
        return Rule.BELOW_CUT
    if result.bmd.category is AcrCategory.LOW_BONE_MASS and settings.low_bone_mass:
        return Rule.LOW_BONE_MASS
    return None
