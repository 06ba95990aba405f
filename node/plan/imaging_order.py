"""The order behind an image as a planned operation: the weakest source, which names no time and often no surgeon.

It is an order for imaging, and speaks of an operation only in passing; whether its words mean one that is still to come is
for the rules of the alert to say.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from pydicom.dataset import Dataset

from node.patient_identity import identity_of
from node.plan.levels import named_levels
from node.plan_settings import with_offset
from node.planned_operation import CodedProcedure, OperationKey, Participant, PlannedOperation, PlanSource, PlanStatus, Role

#: Texts of the order, the one that says most of an operation first (PS3.3 C.7.2.1, C.7.3.1, table 10-9).
_TEXTS = (
    "ReasonForTheRequestedProcedure",
    "RequestedProcedureDescription",
    "ScheduledProcedureStepDescription",
    "PerformedProcedureStepDescription",
    "StudyDescription",
)
_CODES = ("ReasonForRequestedProcedureCodeSequence", "RequestedProcedureCodeSequence", "ProcedureCodeSequence")
_PEOPLE = ("RequestingPhysician", "ReferringPhysicianName")
_SOURCE_NAME = "imaging order"


def operation_of(ds: Dataset, zone: dt.tzinfo, received_at: dt.datetime) -> PlannedOperation:
    """What the header of one image says of an operation; its key is the Study Instance UID.

    Args:
        ds: header of any image of the study.
        zone: of Study Date and Time.
        received_at: also the time of the statement where the study has no date.
    """
    requests = list(ds.get("RequestAttributesSequence") or [])
    procedures = tuple(dict.fromkeys(_procedures([*requests, ds])))
    return PlannedOperation(
        key=OperationKey(PlanSource.DICOM_ORDER, _SOURCE_NAME, str(ds.StudyInstanceUID)),
        status=PlanStatus.PLANNED,
        sent_at=_study_time(ds, zone) or received_at,
        received_at=received_at,
        patient=identity_of(ds),
        procedures=procedures,
        participants=tuple(
            Participant(Role.OTHER, name=str(ds.get(keyword)))
            for keyword in _PEOPLE
            if str(ds.get(keyword) or "").strip("^ ")
        ),
        levels=named_levels(one.text for one in procedures),
    )


def _procedures(datasets: list[Dataset]) -> Iterator[CodedProcedure]:
    for ds in datasets:
        for keyword in _CODES:
            for item in ds.get(keyword) or []:
                yield CodedProcedure(
                    code=str(item.get("CodeValue") or ""),
                    coding_system=str(item.get("CodingSchemeDesignator") or ""),
                    text=str(item.get("CodeMeaning") or ""),
                )
    for keyword in _TEXTS:
        for ds in datasets:
            if text := str(ds.get(keyword) or "").strip():
                yield CodedProcedure(text=text)


def _study_time(ds: Dataset, zone: dt.tzinfo) -> dt.datetime | None:
    digits = str(ds.get("StudyDate") or "") + str(ds.get("StudyTime") or "").partition(".")[0].ljust(6, "0")
    try:
        return with_offset(dt.datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=zone), zone)
    except ValueError:
        return None
