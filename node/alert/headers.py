"""The imaging order as the headers of the images repeat it."""

from __future__ import annotations

from pydicom.dataset import Dataset

from node.alert.values import OrderText


def order_text(ds: Dataset) -> OrderText:
    """Read the order from the header of one image (PS3.3 C.7.2.1, C.7.3.1, table 10-9)."""
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
    )
