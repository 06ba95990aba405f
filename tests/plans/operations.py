"""Planned operations as small as the tests need them."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

from node.clinical.identity import PatientIdentifier, PatientIdentity
from node.clinical.planned_operation import (
    CodedProcedure,
    OperationKey,
    Participant,
    PlannedOperation,
    PlanSource,
    PlanStatus,
    Role,
)

UTC = dt.UTC
PATIENT = PatientIdentity((PatientIdentifier("4711", "KIS"),), ("Müller^Anna",), dt.date(1950, 4, 1), "F")
SURGEON = Participant(Role.SURGEON, "Schraube^Petra", "17", "KIS")
PLIF = CodedProcedure("5-836.40", "OPS", "PLIF L4/5")


def at(hour: int, minute: int = 0, day: int = 1) -> dt.datetime:
    """A time in January 2030."""
    return dt.datetime(2030, 1, day, hour, minute, tzinfo=UTC)


def planned(sent_at: dt.datetime | None = None, **changes: object) -> PlannedOperation:
    """An operation on 20 January 2030 at 8, said by an HL7 message."""
    operation = PlannedOperation(
        key=OperationKey(PlanSource.HL7_SIU, "KIS", "A1"),
        status=PlanStatus.PLANNED,
        sent_at=sent_at or at(7),
        received_at=at(7, 1),
        patient=PATIENT,
        starts=at(8, day=20),
        procedures=(PLIF,),
        participants=(SURGEON,),
        place="OR 3",
        levels=("L4", "L5"),
    )
    return replace(operation, **changes)  # type: ignore[arg-type]
