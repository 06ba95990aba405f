"""Converts HL7 v2 scheduling messages (SIU, chapter 10) to planned operations.

Versions 2.3 to 2.8 differ, so all locations are read: the time is in SCH-11, TQ1-7 or AIS-4, in this order. A time without
an offset is in the zone of the site, not in the offset of MSH-7 as in chapter 2: that offset belongs to the day of sending,
and an operation after a change to or from summer time would be wrong by an hour.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from node.clinical.age import date_of
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
from node.plans.hl7_message import Hl7Code, Hl7Message, Hl7Segment, Hl7Value, RefusedMessageError, names_zone, time_of
from node.plans.levels import named_levels
from node.records.planned_operations import MAX_ID_LENGTH
from node.settings.plans import PlanHl7Settings, PlanSettings

#: Message type (MSH-9.1).
SIU = "SIU"
_VERSIONS = ("2.3", "2.4", "2.5", "2.6", "2.7", "2.8")
#: Trigger events of chapter 10, and the resulting status.
_EVENTS = {
    "S12": PlanStatus.PLANNED,
    "S13": PlanStatus.MOVED,
    "S14": PlanStatus.PLANNED,
    "S15": PlanStatus.CANCELLED,
    "S17": PlanStatus.CANCELLED,
    "S26": PlanStatus.NO_SHOW,
}
#: A modification keeps the status, unless SCH-25 has one.
_KEEPS_STATUS = "S14"
_NEEDS_PATIENT = ("S12", "S13", "S14")
_NEEDS_TIME = ("S12", "S13")
#: HL7 table 0278, filler status codes that override the event.
_FILLER_STATUS = {
    "CANCELLED": PlanStatus.CANCELLED,
    "DC": PlanStatus.CANCELLED,
    "DELETED": PlanStatus.CANCELLED,
    "COMPLETE": PlanStatus.DONE,
    "NOSHOW": PlanStatus.NO_SHOW,
}
_FILLER_STATUS_PLANNED = ("PENDING", "WAITLIST", "BOOKED", "STARTED", "OVERBOOK")
#: HL7 table 0203: stay, visit and account numbers, which do not identify a person.
_NUMBERS_OF_NO_PERSON = ("AN", "ANC", "AND", "ANT", "ANON", "VN")
#: Largest accepted clock error of a sender: beyond it, the order of its messages would be wrong.
_MAX_AHEAD = dt.timedelta(hours=1)
_DELETED = "D"


@dataclass(frozen=True, slots=True)
class Statement:
    """Content of one message, for :meth:`node.records.planned_operations.PlannedOperations.keep`."""

    operation: PlannedOperation
    message_id: str
    keeps_status: bool


def statement_of(message: Hl7Message, plans: PlanSettings, settings: PlanHl7Settings, received_at: dt.datetime) -> Statement:
    """Read a scheduling message.

    Raises:
        RefusedMessageError: it is of another kind, or lacks required data.
    """
    msh = message.msh
    event = check_header(msh, SIU, tuple(_EVENTS), settings)
    control_id = msh.text(10)
    if not control_id:
        raise missing("MSH-10", "the message control ID")
    sch = _only(message, "SCH")
    patient = _patient(message)
    if patient is None and event in _NEEDS_PATIENT:
        raise missing("PID-3", "the patient with an identifier")
    starts = _starts(message, sch, plans.zone)
    if starts is None and event in _NEEDS_TIME:
        raise missing("SCH-11", "the start of the operation, in SCH-11, TQ1-7 or AIS-4,")
    filler_status = {sch.text(25, component).upper() for component in (1, 2)} - {""}
    overruled = next((_FILLER_STATUS[code] for code in filler_status if code in _FILLER_STATUS), None)
    procedures = tuple(_procedures(message, sch))
    operation = PlannedOperation(
        key=OperationKey(PlanSource.HL7_SIU, _sender(msh), _appointment_id(sch)),
        status=overruled or _EVENTS[event],
        sent_at=sent_at_of(msh.text(7), plans.zone, received_at),
        received_at=received_at,
        patient=patient or PatientIdentity(),
        starts=None if starts is None else starts[0],
        time_known=starts is None or starts[1],
        procedures=procedures,
        participants=tuple(_participants(message, settings)),
        place=next((place for ail in _kept(message, "AIL", 2) if (place := _place(ail))), ""),
        levels=named_levels(one.text for one in procedures),
    )
    says_status = bool(filler_status & {*_FILLER_STATUS, *_FILLER_STATUS_PLANNED})
    return Statement(operation, control_id, event == _KEEPS_STATUS and not says_status)


def check_header(msh: Hl7Segment, kind: str, events: Collection[str], settings: PlanHl7Settings) -> str:
    """The event of a message (MSH-9.2).

    Args:
        msh: its header.
        kind: message type (MSH-9.1) that is read here.
        events: its events that are read.
        settings: of the site.

    Raises:
        RefusedMessageError: type, event, version or processing ID are not for this node.
    """
    said, event, version, processing = msh.text(9), msh.text(9, 2), msh.text(12), msh.text(11)
    if said != kind:
        text = f"only scheduling messages (SIU) and patient updates (ADT) are accepted, not {_plain(said)}^{_plain(event)}"
        raise RefusedMessageError(Hl7Code.UNSUPPORTED_MESSAGE_TYPE, text, "MSH-9", is_rejected=True)
    if event not in events:
        text = f"of {kind} only the events {', '.join(events)} are accepted, not {kind}^{_plain(event)}"
        raise RefusedMessageError(Hl7Code.UNSUPPORTED_EVENT, text, "MSH-9", is_rejected=True)
    if not version.startswith(_VERSIONS):
        text = f"only versions 2.3 to 2.8 are accepted, not {_plain(version)}"
        raise RefusedMessageError(Hl7Code.UNSUPPORTED_VERSION, text, "MSH-12", is_rejected=True)
    if processing not in settings.processing_ids:
        text = f"the processing ID {_plain(processing)} is not in plans_hl7.processing_ids"
        raise RefusedMessageError(Hl7Code.UNSUPPORTED_PROCESSING_ID, text, "MSH-11", is_rejected=True)
    return event


def _plain(code: str) -> str:
    """The code if it looks like one; other content may be anything."""
    return code if re.fullmatch(r"[A-Z0-9.]{1,7}", code) else "something else"


def _only(message: Hl7Message, name: str) -> Hl7Segment:
    found = message.named(name)
    if len(found) != 1:
        text = f"exactly one {name} segment is required, the message has {len(found)}"
        raise RefusedMessageError(Hl7Code.SEGMENT_SEQUENCE, text, name)
    return found[0]


def missing(location: str, what: str) -> RefusedMessageError:
    """The refusal of a message without required data."""
    return RefusedMessageError(Hl7Code.REQUIRED_FIELD_MISSING, f"{what} is missing", location)


def _sender(msh: Hl7Segment) -> str:
    """Sending facility and application (MSH-4, MSH-3)."""
    return f"{msh.text(4)}/{msh.text(3)}"[:MAX_ID_LENGTH]


def _appointment_id(sch: Hl7Segment) -> str:
    """Filler Appointment ID (SCH-2), or Placer Appointment ID (SCH-1), with its namespace."""
    value = next(iter([*sch.values(2), *sch.values(1)]), None)
    if value is None or not value.text():
        raise missing("SCH-2", "the appointment ID of filler or placer")
    name_space = value.text(2) or value.text(3)
    text = f"{value.text()}^{name_space}" if name_space else value.text()
    if len(text) > MAX_ID_LENGTH:
        raise RefusedMessageError(
            Hl7Code.DATA_TYPE, f"the appointment ID is longer than {MAX_ID_LENGTH} characters", "SCH-2"
        )
    return text


def sent_at_of(text: str, zone: dt.tzinfo, received_at: dt.datetime) -> dt.datetime:
    """MSH-7, or the time of receipt if MSH-7 gives no usable order.

    That is: no time of day, an ambiguous or missing hour at a change of summer time, or a time in the future.
    """
    try:
        found = time_of(text, zone) if text else None
    except ValueError:
        raise RefusedMessageError(Hl7Code.DATA_TYPE, "the time of the message cannot be read", "MSH-7") from None
    if found is None or not found[1]:
        return received_at
    when, local = found[0], found[0].astimezone(zone)
    is_certain = names_zone(text) or local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset()
    return when if is_certain and when <= received_at + _MAX_AHEAD else received_at


def _starts(message: Hl7Message, sch: Hl7Segment, zone: dt.tzinfo) -> tuple[dt.datetime, bool] | None:
    places = [("SCH-11", sch.text(11, 4))]
    places += [("TQ1-7", tq1.text(7)) for tq1 in message.named("TQ1")]
    places += [("AIS-4", ais.text(4)) for ais in _kept(message, "AIS", 2)]
    for location, text in places:
        if not text:
            continue
        try:
            found = time_of(text, zone)
        except ValueError:
            found = None
        if found is None:
            raise RefusedMessageError(Hl7Code.DATA_TYPE, "the start of the operation is not a valid date and time", location)
        return found
    return None


def _kept(message: Hl7Message, name: str, action: int) -> tuple[Hl7Segment, ...]:
    """Resource segments that the message does not delete (segment action code, HL7 table 0206)."""
    return tuple(segment for segment in message.named(name) if segment.text(action) != _DELETED)


def _patient(message: Hl7Message) -> PatientIdentity | None:
    found = message.named("PID")
    if len(found) > 1:
        text = "the message has more than one patient: the operation cannot be assigned"
        raise RefusedMessageError(Hl7Code.SEGMENT_SEQUENCE, text, "PID")
    return identity_of_pid(found[0]) if found else None


def identity_of_pid(pid: Hl7Segment) -> PatientIdentity | None:
    """Who the patient is; ``None`` without a number that identifies a person.

    Names are those of PID-5, all repetitions, and the aliases of PID-9.
    """
    identifiers = tuple(identifiers_of(pid, 3))
    if not identifiers:
        return None
    names = (name for field in (5, 9) for value in pid.values(field) if (name := _name(value, 1)))
    return PatientIdentity(
        identifiers=tuple(dict.fromkeys(identifiers)),
        names=tuple(dict.fromkeys(names)),
        birth_date=date_of(pid.text(7)),
        sex=pid.text(8) if pid.text(8) in ("M", "F", "O") else "",
    )


def identifiers_of(segment: Hl7Segment, field: int) -> Iterator[PatientIdentifier]:
    """Numbers of persons in a field (CX).

    Raises:
        RefusedMessageError: one is too long.
    """
    for value in segment.values(field):
        number = value.text()
        if number and value.text(5) not in _NUMBERS_OF_NO_PERSON:
            if len(number) > MAX_ID_LENGTH:
                text = f"a patient identifier is longer than {MAX_ID_LENGTH} characters"
                raise RefusedMessageError(Hl7Code.DATA_TYPE, text, f"{segment.name}-{field}")
            yield PatientIdentifier(number, value.text(4, 1), value.text(4, 2))


def _name(value: Hl7Value, first: int) -> str:
    """XPN, or XCN from its second component: family, given, middle, suffix, prefix, in the order of DICOM."""
    family, given, middle, suffix, prefix = (value.text(first + n).replace("^", " ") for n in range(5))
    return "^".join((family, given, middle, prefix, suffix)).rstrip("^")


def _procedures(message: Hl7Message, sch: Hl7Segment) -> Iterator[CodedProcedure]:
    """Service (AIS-3) with its notes (NTE-3), and the appointment reason (SCH-7), which may contain the text."""
    of_service = False
    for segment in message.segments:
        if segment.name == "AIS":
            of_service = segment.text(2) != _DELETED
            if of_service:
                yield from (_coded(value) for value in segment.values(3))
        elif segment.name != "NTE":
            of_service = False
        elif of_service:
            yield from (CodedProcedure(text=value.text()) for value in segment.values(3) if value.text())
    yield from (_coded(value) for value in sch.values(7))


def _coded(value: Hl7Value) -> CodedProcedure:
    return CodedProcedure(code=value.text(1), text=value.text(2), coding_system=value.text(3))


def _participants(message: Hl7Message, settings: PlanHl7Settings) -> Iterator[Participant]:
    beginnings = tuple(word.casefold() for word in settings.surgeon_roles)
    for aip in _kept(message, "AIP", 2):
        roles = [role for component in (1, 2) if (role := aip.text(4, component).casefold())]
        operates = not roles or any(role.startswith(beginnings) for role in roles)
        for value in aip.values(3):
            yield Participant(
                role=Role.SURGEON if operates else Role.OTHER,
                name=_name(value, 2),
                id=value.text(1),
                assigning_authority=value.text(9, 1) or value.text(9, 2),
            )


def _place(ail: Hl7Segment) -> str:
    """Point of care, room and bed (AIL-3, PL), or its description."""
    parts = [part for component in (1, 2, 3) if (part := ail.text(3, component))]
    return " ".join(parts) or ail.text(3, 9)
