"""The imaging order, as far as the image headers repeat it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from node.language.phrase import phrase


@dataclass(frozen=True, slots=True)
class OrderText:
    """What the DICOM headers of the measured study say about a planned operation: the weakest source of plans.

    The texts are free and may name the patient. They are searched, never logged, and only sent by channels that name the
    patient. ``None`` or empty if the headers have nothing.

    Attributes:
        study_instance_uid: Study Instance UID (0020,000D).
        accession_number: Accession Number (0008,0050).
        study_description: Study Description (0008,1030).
        requested_procedure_description: Requested Procedure Description (0032,1060).
        scheduled_procedure_descriptions: Scheduled Procedure Step Description (0040,0007), one per request attribute item.
        performed_procedure_description: Performed Procedure Step Description (0040,0254).
        reason_for_requested_procedure: Reason for the Requested Procedure (0040,1002).
        requesting_physician: Requesting Physician (0032,1032), in the usual order of a name.
        referring_physician: Referring Physician's Name (0008,0090), in the usual order of a name.
    """

    study_instance_uid: str
    accession_number: str | None = None
    study_description: str | None = None
    requested_procedure_description: str | None = None
    scheduled_procedure_descriptions: tuple[str, ...] = ()
    performed_procedure_description: str | None = None
    reason_for_requested_procedure: str | None = None
    requesting_physician: str | None = None
    referring_physician: str | None = None

    def texts(self) -> Iterator[tuple[str, str]]:
        """Name of the field, for a person, and its text; empty fields are left out."""
        fields = (
            (phrase("reason for the requested procedure"), self.reason_for_requested_procedure),
            (phrase("requested procedure description"), self.requested_procedure_description),
            *((phrase("scheduled procedure description"), text) for text in self.scheduled_procedure_descriptions),
            (phrase("performed procedure description"), self.performed_procedure_description),
            (phrase("study description"), self.study_description),
        )
        for name, text in fields:
            if text:
                yield name, text


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
    """Prefix, given and family name; ``None`` if there is no name, or if it is the patient's own."""
    name = PersonName(str(ds.get(keyword) or ""))
    shown = " ".join(part for part in (name.name_prefix, name.given_name, name.middle_name, name.family_name) if part)
    patient = PersonName(str(ds.get("PatientName") or ""))
    is_patient = (name.family_name, name.given_name) == (patient.family_name, patient.given_name)
    return None if not shown or is_patient else shown
