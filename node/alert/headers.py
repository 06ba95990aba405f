"""The imaging order as the headers of the images repeat it."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from node.alert.values import OrderText


def order_text(ds: Dataset) -> OrderText:
    """Read the order from the header of one image (PS3.3 C.7.2.1, C.7.3.1, C.4.12, table 10-9)."""
    requests = list(ds.get("RequestAttributesSequence") or [])
    scheduled = tuple(str(item.get("ScheduledProcedureStepDescription") or "") for item in requests)
    asked = [ds, *requests]

    def first(keyword: str) -> str | None:
        return next((str(item.get(keyword)) for item in asked if item.get(keyword)), None)

    return OrderText(
        study_instance_uid=str(ds.StudyInstanceUID),
        accession_number=first("AccessionNumber"),
        study_description=first("StudyDescription"),
        requested_procedure_description=first("RequestedProcedureDescription"),
        scheduled_procedure_descriptions=tuple(text for text in scheduled if text),
        performed_procedure_description=first("PerformedProcedureStepDescription"),
        reason_for_requested_procedure=first("ReasonForTheRequestedProcedure"),
        requesting_physician=_physician(ds, "RequestingPhysician"),
        referring_physician=_physician(ds, "ReferringPhysicianName"),
    )


def _physician(ds: Dataset, keyword: str) -> str | None:
    """Prefix, given and family name; ``None`` where there is none, or where somebody wrote the patient's own name."""
    name = PersonName(str(ds.get(keyword) or ""))
    shown = " ".join(part for part in (name.name_prefix, name.given_name, name.middle_name, name.family_name) if part)
    patient = PersonName(str(ds.get("PatientName") or ""))
    is_patient = (name.family_name, name.given_name) == (patient.family_name, patient.given_name)
    return None if not shown or is_patient else shown
