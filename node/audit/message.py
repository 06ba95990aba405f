"""An entry of the audit trail as a DICOM audit message (PS3.15 A.5.1 has the schema, A.5.3 the events)."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from node.records.audit import Action, AuditEntry, AuditRow

_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>'
_DCM, _RFC_3881, _OWN = "DCM", "RFC-3881", "99BMDNODE"


@dataclass(frozen=True, slots=True)
class _Code:
    value: str
    meaning: str
    scheme: str = _DCM


@dataclass(frozen=True, slots=True)
class _Event:
    """Event ID (CID 400), Event Type Code (CID 401) and Event Action Code (A.5.1.1)."""

    event_id: _Code
    action: str
    event_type: _Code | None = None


_ALERT = _Code("110113", "Security Alert")
_ACTIVITY = _Code("110100", "Application Activity")
_AUTHENTICATION = _Code("110114", "User Authentication")
_ACCESSED = _Code("110103", "DICOM Instances Accessed")
_QUERY = _Code("110112", "Query")
_RESTRICTED = _Code("110132", "Use of Restricted Function")

_EVENTS = {
    Action.START: _Event(_ACTIVITY, "E", _Code("110120", "Application Start")),
    Action.STOP: _Event(_ACTIVITY, "E", _Code("110121", "Application Stop")),
    Action.LOGIN: _Event(_AUTHENTICATION, "E", _Code("110122", "Login")),
    Action.LOGOUT: _Event(_AUTHENTICATION, "E", _Code("110123", "Logout")),
    Action.SESSION: _Event(_ALERT, "E", _RESTRICTED),
    Action.FORM: _Event(_ALERT, "E", _RESTRICTED),
    Action.ACCESS: _Event(_ALERT, "E", _RESTRICTED),
    Action.LIST: _Event(_QUERY, "E"),
    Action.SEARCH: _Event(_QUERY, "E"),
    Action.VIEW: _Event(_ACCESSED, "R"),
    Action.CHANGE: _Event(_ACCESSED, "U"),
    Action.SIGN: _Event(_ACCESSED, "U"),
    Action.EXPORT: _Event(_Code("110106", "Export"), "R"),
    Action.ACKNOWLEDGE: _Event(_Code("acknowledge", "Alert acknowledged", _OWN), "E"),
    Action.ACCOUNT: _Event(_ALERT, "E", _Code("110137", "User Security Attributes Changed")),
    Action.AUDIT: _Event(_Code("110101", "Audit Log Used"), "R"),
}
_OF_STUDIES = (Action.VIEW, Action.CHANGE, Action.SIGN, Action.EXPORT)
_APPLICATION = _Code("110150", "Application")
_STUDY_UID = _Code("110180", "Study Instance UID")
_SEARCH_CRITERIA, _USER, _URI = (
    _Code("10", "Search Criteria", _RFC_3881),
    _Code("11", "User Identifier", _RFC_3881),
    _Code("12", "URI", _RFC_3881),
)
#: EventOutcomeIndicator: success; minor failure, such as a wrong password; serious failure.
_SUCCESS, _MINOR, _SERIOUS = "0", "4", "8"


def audit_message(row: AuditRow, source_id: str, enterprise_site_id: str = "") -> bytes:
    """Return the message as XML in UTF-8.

    Args:
        source_id: Audit Source ID.
        enterprise_site_id: Audit Enterprise Site ID; empty: none.
    """
    entry = row.entry
    root = ET.Element("AuditMessage")
    _add_event(root, row)
    if entry.user_name or entry.address:
        person = _participant(root, entry.user_name or "unknown", is_requestor=True)
        if _is_address(entry.address):
            person.attrib |= {"NetworkAccessPointID": entry.address, "NetworkAccessPointTypeCode": "2"}
    _add_code(_participant(root, source_id, is_requestor=not entry.user_name), "RoleIDCode", _APPLICATION)
    source = ET.SubElement(root, "AuditSourceIdentification", AuditSourceID=source_id)
    if enterprise_site_id:
        source.set("AuditEnterpriseSiteID", enterprise_site_id)
    ET.SubElement(source, "AuditSourceTypeCode", {"csd-code": "4"})
    _add_object(root, entry)
    # in one line: servers write a message in one, and escape what would break it
    xml: bytes = ET.tostring(root, encoding="utf-8")
    return _DECLARATION + xml


def _add_event(root: ET.Element, row: AuditRow) -> None:
    event, entry = _EVENTS[row.entry.action], row.entry
    outcome = _SUCCESS if entry.is_success else _MINOR if entry.action is Action.LOGIN else _SERIOUS
    found = ET.SubElement(
        root,
        "EventIdentification",
        EventActionCode=event.action,
        EventDateTime=row.at.isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=outcome,
    )
    _add_code(found, "EventID", event.event_id)
    if event.event_type is not None:
        _add_code(found, "EventTypeCode", event.event_type)
    if entry.detail:
        ET.SubElement(found, "EventOutcomeDescription").text = _printable(entry.detail)


def _participant(root: ET.Element, user_id: str, *, is_requestor: bool) -> ET.Element:
    requestor = "true" if is_requestor else "false"
    return ET.SubElement(root, "ActiveParticipant", UserID=_printable(user_id), UserIsRequestor=requestor)


def _add_object(root: ET.Element, entry: AuditEntry) -> None:
    """What was looked at: a study (a report, system object), an account (a person), a page, or what was searched for."""
    if entry.action in (Action.LIST, Action.SEARCH):
        found = _object(root, entry.subject or entry.detail or "studies", _SEARCH_CRITERIA, "2", "24")
        query = base64.b64encode(entry.detail.encode()).decode("ascii")
        ET.SubElement(found, "ParticipantObjectQuery").text = query
        return
    if not entry.subject:
        return
    if entry.action in _OF_STUDIES:
        found = _object(root, entry.subject, _STUDY_UID, "2", "3")
    elif entry.action is Action.ACCOUNT:
        found = _object(root, entry.subject, _USER, "1", "11")
    else:
        found = _object(root, entry.subject, _URI, "2", "13")
    ET.SubElement(found, "ParticipantObjectName").text = _printable(entry.subject)


def _object(root: ET.Element, object_id: str, id_type: _Code, type_code: str, role: str) -> ET.Element:
    found = ET.SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=_printable(object_id),
        ParticipantObjectTypeCode=type_code,
        ParticipantObjectTypeCodeRole=role,
    )
    _add_code(found, "ParticipantObjectIDTypeCode", id_type)
    return found


def _add_code(parent: ET.Element, tag: str, code: _Code) -> None:
    ET.SubElement(parent, tag, {"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning})


def _printable(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold."""
    return "".join(c if c.isprintable() else "?" for c in text)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
