"""Would a message say something else today? Only then is it corrected."""

from __future__ import annotations

import datetime as dt

from node.alerts.amounts import bmd_text
from node.alerts.rules.quiet_hours import site_time
from node.alerts.values import Alert, Operation, Rule, ScreenedResult
from node.language.phrase import phrase
from node.model import Reason
from node.settings.alert import AlertSettings

#: Only a FHIR server shows that something is gone: the other sources say what is planned or cancelled.
NO_LONGER_FOUND = Reason("operation_vanished", phrase("the operation is no longer found on the hospital's FHIR server"))


def difference(
    told: Alert, operation: Operation, result: ScreenedResult, rules: tuple[Rule, ...], settings: AlertSettings
) -> Reason | None:
    """What has changed since; ``None`` if a recipient would read the same.

    A move within the same day changes nothing, since alerts name the day. A newer CT with the same rules changes nothing
    either: two CTs never give exactly the same number, and a second message would say the same.
    """
    before = told.operation
    if operation.vanished and not before.vanished:
        return NO_LONGER_FOUND
    if before.vanished and not operation.vanished:
        return Reason("operation_found_again", phrase("the operation has been found again"))
    # without a day in the message there is none to correct
    if before.starts is not None and _day(before, settings) != _day(operation, settings):
        return Reason("operation_moved", phrase("the date of the operation has changed"))
    is_same_ct = told.result.study_instance_uid == result.study_instance_uid
    if set(told.rules) != set(rules):
        if is_same_ct:
            return Reason("result_corrected", phrase("the result was corrected"))
        return Reason("newer_result", phrase("a newer CT has a different result"))
    if is_same_ct and _numbers(told.result, settings) != _numbers(result, settings):
        return Reason("result_corrected", phrase("the result was corrected"))
    if before.levels != operation.levels:
        return Reason("operation_changed", phrase("the planned levels of the operation have changed"))
    return None


def _day(operation: Operation, settings: AlertSettings) -> dt.date | None:
    return None if operation.starts is None else site_time(operation.starts, settings).date()


def _numbers(result: ScreenedResult, settings: AlertSettings) -> tuple[object, ...]:
    """The numbers of a result as a message shows them, rounded."""
    levels = tuple(
        (level.level, level.usable, bmd_text(level.bmd_mg_cm3, settings), [finding.code for finding in level.findings])
        for level in result.levels
    )
    hu = None if result.bmd_mg_cm3 is not None or result.hu_mean is None else round(result.hu_mean)
    ends = tuple(bmd_text(end, settings) for end in result.interval_mg_cm3 or ())
    return (bmd_text(result.bmd_mg_cm3, settings), ends, result.category, result.borderline, hu, levels)
