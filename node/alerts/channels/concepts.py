"""Codes that only alerts use, in the private scheme of the reports; all others are in :mod:`node.model.codes`."""

from __future__ import annotations

from pydicom.sr.coding import Code

from node.common.uids import derived_uid
from node.model.codes import PRIVATE_SCHEME, PRIVATE_SCHEME_UID

#: The private scheme as a FHIR system.
SCHEME_URI = f"urn:oid:{PRIVATE_SCHEME_UID}"
#: System of the identifiers of alerts.
ALERT_SYSTEM = f"urn:oid:{derived_uid('bmd-node', 'alerts')}"

ATTENUATION = Code("ATTENUATION", PRIVATE_SCHEME, "Mean trabecular attenuation")
ALERT = Code("ALERT", PRIVATE_SCHEME, "Alert before a planned spine operation")
ALERT_TEXT = Code("ALERT-TEXT", PRIVATE_SCHEME, "Text of the alert")
