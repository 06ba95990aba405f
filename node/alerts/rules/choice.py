"""Which CT of a patient is used for an operation."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from node.alerts.rules.quiet_hours import site_time
from node.alerts.rules.thresholds import rules_of
from node.alerts.values import Offer, Operation, Rule, ScreenedResult
from node.clinical.planned_operation import PlanSource
from node.language.phrase import joined, phrase
from node.model import Reason
from node.settings.alert import AlertSettings


def chosen_result(
    operation: Operation, offers: Sequence[Offer], settings: AlertSettings, now: dt.datetime, was_told: bool
) -> tuple[ScreenedResult, tuple[Rule, ...]] | Reason:
    """The latest CT that passed the quality rules and certainly belongs to the patient, with the rules that apply.

    Args:
        was_told: whether somebody was alerted to this operation before. A CT that has become too old since then withdraws
            nothing.

    Returns:
        The CT and its rules, or why there is no such CT, or why no rule applies to it.
    """
    if not offers:
        return Reason("no_result", phrase("no CT of this patient was measured"))
    certain = [offer.result for offer in offers if not offer.doubts]
    if not certain:
        doubts = joined(dict.fromkeys(doubt.detail for offer in offers for doubt in offer.doubts), "; ")
        return Reason(
            "patient_in_doubt",
            phrase("it is not certain that the CT and the operation are of one patient: {doubts}", doubts=doubts),
        )
    fit = [result for result in certain if result.refused is None]
    if not fit:
        return max(certain, key=_made_on).refused or Reason("no_result", phrase("no CT of this patient was measured"))
    recent = [result for result in fit if was_told or _is_recent(result, operation, settings, now)]
    if not recent:
        days = settings.max_result_age_days
        why = phrase("the latest CT was acquired more than {days} days before the operation", days=days)
        return Reason("result_too_old", why)
    latest = max(recent, key=_made_on)
    rules = rules_of(latest, settings)
    return rules if isinstance(rules, Reason) else (latest, rules)


def _is_recent(result: ScreenedResult, operation: Operation, settings: AlertSettings, now: dt.datetime) -> bool:
    """Whether a CT is recent enough. One without a date counts as recent, and so does the CT that an order came with."""
    if result.acquisition_date is None or operation.source is PlanSource.DICOM_ORDER:
        return True
    day = site_time(operation.starts or now, settings).date()
    return (day - result.acquisition_date).days <= settings.max_result_age_days


def _made_on(result: ScreenedResult) -> tuple[dt.date, str]:
    return result.acquisition_date or dt.date.max, result.study_instance_uid
