"""Which CT of a patient speaks for an operation."""

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
    """The latest CT that passed its quality rules and is for certain of the operation's patient, with the rules that hold.

    Args:
        was_told: whether somebody was told of this operation before: a CT that has grown old since takes nothing back.

    Returns:
        Why there is none, or why no rule holds for it.
    """
    if not offers:
        return Reason("no_result", phrase("no CT of this patient was measured"))
    certain = [offer.result for offer in offers if not offer.doubts]
    if not certain:
        doubts = joined(dict.fromkeys(doubt.detail for offer in offers for doubt in offer.doubts), "; ")
        return Reason(
            "patient_in_doubt",
            phrase("it is not sure that the CT is of the patient of the operation: {doubts}", doubts=doubts),
        )
    fit = [result for result in certain if result.refused is None]
    if not fit:
        return max(certain, key=_made_on).refused or Reason("no_result", phrase("no CT of this patient was measured"))
    recent = [result for result in fit if was_told or _is_recent(result, operation, settings, now)]
    if not recent:
        days = settings.max_result_age_days
        why = phrase("the latest CT was made more than {days} days before the operation", days=days)
        return Reason("result_too_old", why)
    latest = max(recent, key=_made_on)
    rules = rules_of(latest, settings)
    return rules if isinstance(rules, Reason) else (latest, rules)


def _is_recent(result: ScreenedResult, operation: Operation, settings: AlertSettings, now: dt.datetime) -> bool:
    """A CT without a date is taken for the one that came just now; an order is as old as its CT."""
    if result.acquisition_date is None or operation.source is PlanSource.DICOM_ORDER:
        return True
    day = site_time(operation.starts or now, settings).date()
    return (day - result.acquisition_date).days <= settings.max_result_age_days


def _made_on(result: ScreenedResult) -> tuple[dt.date, str]:
    return result.acquisition_date or dt.date.max, result.study_instance_uid
