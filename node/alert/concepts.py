"""Codes of what alerts say to programs: the private scheme of the reports, since no standard one has volumetric BMD.

The rooms do not import each other; a test holds these against the codes of the structured report.
"""

from __future__ import annotations

from dataclasses import dataclass

from node.model import AcrCategory
from node.uids import derived_uid

#: Designator of the scheme in DICOM and HL7 v2, and its UID as FHIR writes it.
SCHEME = "99BMDNODE"
SCHEME_URI = f"urn:oid:{derived_uid('bmd-node', 'coding scheme')}"
#: System of the identifiers of alerts.
ALERT_SYSTEM = f"urn:oid:{derived_uid('bmd-node', 'alerts')}"

#: Units in UCUM, with which both HL7 v2 and FHIR name them.
MG_CM3, HOUNSFIELD = "mg/cm3", "[hnsf'U]"


@dataclass(frozen=True, slots=True)
class Concept:
    """A code of the scheme with its meaning."""

    code: str
    meaning: str


BMD = Concept("VBMD", "Volumetric trabecular bone mineral density")
BMD_LOWER_END = Concept("VBMD-LOWER", "Lower end of interval of trabecular BMD")
BMD_UPPER_END = Concept("VBMD-UPPER", "Upper end of interval of trabecular BMD")
CATEGORY = Concept("ACR-CATEGORY", "ACR category of lumbar trabecular BMD")
CATEGORIES = {
    AcrCategory.OSTEOPOROSIS: Concept("ACR-OSTEOPOROSIS", "Osteoporosis range, below 80 mg/cm3"),
    AcrCategory.LOW_BONE_MASS: Concept("ACR-LOW", "Low bone mass range, 80 to 120 mg/cm3"),
    AcrCategory.NORMAL: Concept("ACR-NORMAL", "Normal range, above 120 mg/cm3"),
}
#: Of alerts alone.
ATTENUATION = Concept("ATTENUATION", "Mean trabecular attenuation")
ALERT = Concept("ALERT", "Alert before a planned spine operation")
ALERT_TEXT = Concept("ALERT-TEXT", "Text of the alert")
