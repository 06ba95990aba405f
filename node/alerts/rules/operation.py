"""A planned operation, or an imaging order, as the rules need it."""

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
    """One text for the key of an operation."""
    parts = (key.source.value, key.source_name, key.operation_id)
    return ">".join(part.replace("%", "%25").replace(">", "%3E") for part in parts)


def operation_key(id_: str) -> OperationKey:
    """The key that :func:`operation_id` made one text of."""
    source, source_name, name = (part.replace("%3E", ">").replace("%25", "%") for part in id_.split(">"))
    return OperationKey(PlanSource(source), source_name, name)


def operation_of_plan(plan: PlannedOperation, settings: AlertSettings) -> Operation:
    """What a source of plans says of an operation.

    A code counts before a word: people write words, and a code says what is meant.
    """
    texts = [(_TEXT, procedure.text) for procedure in plan.procedures if procedure.text]
    search = find_instrumentation(texts, settings.instrumentation_words, settings.past_operation_words)
    code = _code_of(plan.procedures, settings)
    vanished, starts = plan.status is PlanStatus.VANISHED, plan.starts
    if plan.status is PlanStatus.DONE and (starts is None or starts > plan.sent_at):
        starts = plan.sent_at  # sooner than planned: it is over, and nothing is left to be said of it
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
    """What the imaging order of a measured study says of an operation.

    Args:
        ordered_on: day of the CT; nobody said when the operation is, so it is taken to be open ``days_ahead`` days.
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
    """The first code of the settings that a code of the plan begins with; capitals and blanks do not count."""
    for procedure in procedures:
        plain = procedure.code.strip().casefold()
        for code in settings.procedure_codes:
            if plain.startswith(code.strip().casefold()):
                return code
    return None
