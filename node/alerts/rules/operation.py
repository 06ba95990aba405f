"""The part of a planned operation or an imaging order that the rules need."""

from __future__ import annotations

import datetime as dt

from node.alerts.rules.instrumentation import find_instrumentation
from node.alerts.values import FoundWord, Operation, Surgeon
from node.clinical.imaging_order import OrderText
from node.clinical.planned_operation import CodedProcedure, OperationKey, PlannedOperation, PlanSource, PlanStatus
from node.language.phrase import phrase
from node.settings.alert import AlertSettings

_CODE, _TEXT = phrase("procedure code"), phrase("procedure")


def operation_id(key: OperationKey) -> str:
    """The key of an operation as one text."""
    parts = (key.source.value, key.source_name, key.operation_id)
    return ">".join(part.replace("%", "%25").replace(">", "%3E") for part in parts)


def operation_key(id_: str) -> OperationKey:
    """The key from a text of :func:`operation_id`."""
    source, source_name, name = (part.replace("%3E", ">").replace("%25", "%") for part in id_.split(">"))
    return OperationKey(PlanSource(source), source_name, name)


def operation_of_plan(plan: PlannedOperation, settings: AlertSettings) -> Operation:
    """An operation from a source of plans.

    A code counts before a word: people write words freely, and a code is unambiguous.
    """
    texts = [(_TEXT, procedure.text) for procedure in plan.procedures if procedure.text]
    search = find_instrumentation(texts, settings.instrumentation_words, settings.past_operation_words)
    code = _code_of(plan.procedures, settings)
    vanished, starts = plan.status is PlanStatus.VANISHED, plan.starts
    if plan.status is PlanStatus.DONE and (starts is None or starts > plan.sent_at):
        starts = plan.sent_at  # done earlier than planned: it is over, and needs no message
    return Operation(
        id=operation_id(plan.key),
        source=plan.key.source,
        active=plan.is_active or vanished,
        vanished=vanished,
        starts=starts,
        found=FoundWord(code, _CODE) if code is not None else search.planned,
        past=search.past,
        levels=plan.levels,
        surgeons=tuple(Surgeon(person.id, person.name) for person in plan.surgeons),
        open_until=None
        if starts is not None
        else (plan.sent_at + dt.timedelta(days=settings.days_ahead)).astimezone(dt.UTC).date(),
    )


def operation_of_order(order: OrderText, ordered_on: dt.date, settings: AlertSettings) -> Operation:
    """An operation from the imaging order of a measured study.

    Args:
        ordered_on: day of the CT. The date of the operation is unknown, so the order counts as open for ``days_ahead`` days.
    """
    search = find_instrumentation(order.texts(), settings.instrumentation_words, settings.past_operation_words)
    return Operation(
        id=operation_id(OperationKey(PlanSource.DICOM_ORDER, "", order.study_instance_uid)),
        source=PlanSource.DICOM_ORDER,
        active=True,
        starts=None,
        found=search.planned,
        past=search.past,
        open_until=ordered_on + dt.timedelta(days=settings.days_ahead),
    )


def _code_of(procedures: tuple[CodedProcedure, ...], settings: AlertSettings) -> str | None:
    """The first code of the settings that a code of the plan begins with; case and spaces do not matter."""
    for procedure in procedures:
        plain = procedure.code.strip().casefold()
        for code in settings.procedure_codes:
            if plain.startswith(code.strip().casefold()):
                return code
    return None
