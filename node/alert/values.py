"""The values of the alert room: frozen, typed, small enough to be kept as the result of a durable step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from node.model import Reason


class Rule(StrEnum):
    """Why an alert is sent; of several that hold, the first of this list."""

    OSTEOPOROSIS = "osteoporosis"
    BELOW_CUT = "below_cut"
    LOW_BONE_MASS = "low_bone_mass"


@dataclass(frozen=True, slots=True)
class OrderText:
    """What the DICOM headers of the measured study say of a planned operation: the weakest source of plans.

    The texts are free and may name the patient: they are searched, and neither sent nor logged. ``None`` or empty where the
    headers say nothing.

    Attributes:
        study_instance_uid: Study Instance UID (0020,000D).
        accession_number: Accession Number (0008,0050).
        study_description: Study Description (0008,1030).
        requested_procedure_description: Requested Procedure Description (0032,1060).
        scheduled_procedure_descriptions: Scheduled Procedure Step Description (0040,0007), one per request attribute item.
        performed_procedure_description: Performed Procedure Step Description (0040,0254).
        reason_for_requested_procedure: Reason for the Requested Procedure (0040,1002).
    """

    study_instance_uid: str
    accession_number: str | None = None
    study_description: str | None = None
    requested_procedure_description: str | None = None
    scheduled_procedure_descriptions: tuple[str, ...] = ()
    performed_procedure_description: str | None = None
    reason_for_requested_procedure: str | None = None

    def texts(self) -> Iterator[tuple[str, str]]:
        """Name of the field, for a person, and its text; fields that say nothing are left out."""
        fields = (
            ("reason for the requested procedure", self.reason_for_requested_procedure),
            ("requested procedure description", self.requested_procedure_description),
            *(("scheduled procedure description", text) for text in self.scheduled_procedure_descriptions),
            ("performed procedure description", self.performed_procedure_description),
            ("study description", self.study_description),
        )
        for name, text in fields:
            if text:
                yield name, text


@dataclass(frozen=True, slots=True)
class Alert:
    """One message to one recipient.

    Attributes:
        id: the same for the same study, recipient and rule, so that a repeat can be told; see :func:`alert_id`.
        recipient: address that the channel understands.
        subject: one line.
        text: plain text; accession number and link, but no name, patient ID or birth date.
    """

    id: str
    rule: Rule
    recipient: str
    study_instance_uid: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class NoAlert:
    """Nothing is to be sent, and why."""

    reason: Reason


def alert_id(study_instance_uid: str, recipient: str, rule: Rule) -> str:
    """128 bits of SHA-256 in hexadecimal over study, recipient and rule.

    A result that changes within its rule (74, then 75 mg/cm3) keeps the id; one that changes its rule gets another.
    """
    parts = json.dumps([study_instance_uid, recipient, rule.value])
    return hashlib.sha256(parts.encode()).hexdigest()[:32]
