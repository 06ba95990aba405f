"""Converts an Appointment or ServiceRequest to a planned operation."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

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
from node.common.errors import InputError
from node.plans.fhir_models import (
    Appointment,
    CodeableConcept,
    HumanName,
    Identifier,
    Location,
    Participation,
    Patient,
    Practitioner,
    PractitionerRole,
    Reference,
    Resource,
    ServiceRequest,
    day_of,
)
from node.plans.levels import named_levels
from node.records.planned_operations import MAX_ID_LENGTH
from node.settings.plans import with_offset

#: Returns the resource of a reference; ``None`` if it cannot be found.
Resolve = Callable[[Reference], Resource | None]

#: http://hl7.org/fhir/appointmentstatus
_APPOINTMENT_STATUS = {
    **dict.fromkeys(("proposed", "pending", "booked", "arrived", "checked-in", "waitlist"), PlanStatus.PLANNED),
    "fulfilled": PlanStatus.DONE,
    "noshow": PlanStatus.NO_SHOW,
    "cancelled": PlanStatus.CANCELLED,
    "entered-in-error": PlanStatus.CANCELLED,
}
#: http://hl7.org/fhir/request-status; a draft is not an order yet, and "unknown" says nothing
_REQUEST_STATUS = {
    "active": PlanStatus.PLANNED,
    "on-hold": PlanStatus.PLANNED,
    "completed": PlanStatus.DONE,
    "revoked": PlanStatus.CANCELLED,
    "entered-in-error": PlanStatus.CANCELLED,
}
_NO_ORDER = ("draft", "unknown")
#: http://terminology.hl7.org/CodeSystem/v3-ParticipationType: primary and secondary performer
_PERFORMERS = ("PPRF", "SPRF")
_SEX = {"male": "M", "female": "F", "other": "O"}
#: HL7 table 0203, as in :mod:`node.plans.siu`: visit and account numbers.
_NUMBERS_OF_NO_PERSON = ("AN", "ANC", "AND", "ANT", "ANON", "VN")


@dataclass(frozen=True, slots=True)
class FhirContext:
    """Context of a resource.

    Attributes:
        source_name: name of the server.
        zone: time zone of days without a time.
    """

    source_name: str
    zone: dt.tzinfo
    received_at: dt.datetime
    resolve: Resolve


def operation_of_appointment(appointment: Appointment, context: FhirContext) -> PlannedOperation:
    """Read an appointment.

    Raises:
        InputError: it is planned but has no patient, or has an unknown status.
    """
    if appointment.status not in _APPOINTMENT_STATUS:
        raise InputError("Appointment.status is not valid in FHIR R4")
    actors = [(one, context.resolve(one.actor)) for one in appointment.participant if one.actor is not None]
    patient = next((found for _, found in actors if isinstance(found, Patient)), None)
    reference = next((one.actor for one, _ in actors if one.actor is not None and _means(one.actor, "Patient")), None)
    concepts = [*appointment.service_type, *appointment.reason_code]
    for based_on in appointment.based_on:
        request = context.resolve(based_on)
        if isinstance(request, ServiceRequest) and request.code is not None:
            concepts += [request.code, *request.order_detail]
    participants = [
        _participant(one.actor, found, context, operates=_operates(one))
        for one, found in actors
        if one.actor is not None
        and not isinstance(found, Patient | Location)
        and not _means(one.actor, "Patient", "Location")
    ]
    place = next((_place(one.actor, found) for one, found in actors if one.actor and _is_place(one.actor, found)), "")
    return _operation(
        context,
        appointment,
        PlanSource.FHIR,
        status=_APPOINTMENT_STATUS[appointment.status],
        patient=_patient(patient, reference),
        when=appointment.start,
        procedures=tuple(_procedures(concepts, [appointment.description])),
        participants=tuple(one for one in participants if one is not None),
        place=place,
    )


def operation_of_request(request: ServiceRequest, context: FhirContext) -> PlannedOperation | None:
    """Read a service request; ``None`` if it is a draft.

    Raises:
        InputError: it is planned but has no patient, or has an unknown status.
    """
    if request.status in _NO_ORDER:
        return None
    if request.status not in _REQUEST_STATUS:
        raise InputError("ServiceRequest.status is not valid in FHIR R4")
    subject = context.resolve(request.subject) if request.subject is not None else None
    concepts = [*([request.code] if request.code else []), *request.order_detail, *request.reason_code, *request.body_site]
    people = [(one, True) for one in request.performer] + ([(request.requester, False)] if request.requester else [])
    participants = [_participant(one, context.resolve(one), context, operates=operates) for one, operates in people]
    period_start = request.occurrence_period.start if request.occurrence_period is not None else ""
    return _operation(
        context,
        request,
        PlanSource.FHIR_REQUEST,
        status=_REQUEST_STATUS[request.status],
        patient=_patient(subject if isinstance(subject, Patient) else None, request.subject),
        when=request.occurrence_date_time or period_start,
        procedures=tuple(_procedures(concepts, [])),
        participants=tuple(one for one in participants if one is not None),
        place=next((_place(one, context.resolve(one)) for one in request.location_reference), ""),
    )


def _operation(
    context: FhirContext,
    resource: Appointment | ServiceRequest,
    source: PlanSource,
    *,
    status: PlanStatus,
    patient: PatientIdentity,
    when: str,
    procedures: tuple[CodedProcedure, ...],
    participants: tuple[Participant, ...],
    place: str,
) -> PlannedOperation:
    if not resource.id:
        raise InputError(f"{resource.resource_type} has no id")
    if not patient.identifiers and status is PlanStatus.PLANNED:
        raise InputError(f"{resource.resource_type}: no patient with an identifier can be found")
    starts = _starts(when, context.zone)
    return PlannedOperation(
        key=OperationKey(source, context.source_name, f"{resource.resource_type}/{resource.id}"),
        status=status,
        sent_at=resource.meta.last_updated or context.received_at,
        received_at=context.received_at,
        patient=patient,
        starts=starts,
        time_known=starts is None or "T" in when,
        procedures=procedures,
        participants=participants,
        place=place,
        levels=named_levels(one.text for one in procedures),
    )


def _starts(text: str, zone: dt.tzinfo) -> dt.datetime | None:
    """An instant or dateTime; a day starts in the zone of the site; a month or year gives no time."""
    if not text or day_of(text) is None:
        return None
    try:
        when = dt.datetime.fromisoformat(text)
        return with_offset(when if when.tzinfo else when.replace(tzinfo=zone), zone)
    except ValueError:
        raise InputError("the start of the operation is not a valid dateTime, or a filler value") from None


def _means(reference: Reference, *kinds: str) -> bool:
    """Whether a reference is to a resource of one of these types, found or not."""
    return reference.type in kinds or any(f"{kind}/" in reference.reference for kind in kinds)


def _patient(patient: Patient | None, reference: Reference | None) -> PatientIdentity:
    if patient is None:
        logical = () if reference is None or reference.identifier is None else (reference.identifier,)
        return PatientIdentity(identifiers=tuple(_identifiers(logical)))
    return PatientIdentity(
        identifiers=tuple(_identifiers(patient.identifier)),
        names=tuple(name for one in patient.name if (name := _name(one))),
        birth_date=day_of(patient.birth_date),
        sex=_SEX.get(patient.gender, ""),
    )


def _identifiers(identifiers: Iterable[Identifier]) -> Iterator[PatientIdentifier]:
    for one in identifiers:
        is_person = not any(coding.code in _NUMBERS_OF_NO_PERSON for coding in one.type.coding)
        if one.value.strip() and is_person and len(one.value) <= MAX_ID_LENGTH:
            yield PatientIdentifier(one.value.strip(), one.system)


def _name(name: HumanName) -> str:
    if not name.family and not name.given:
        return name.text.replace("^", " ").strip()
    first, *more = [*name.given, ""]
    parts = (name.family, first, " ".join(more), " ".join(name.prefix), " ".join(name.suffix))
    return "^".join(part.replace("^", " ").strip() for part in parts).rstrip("^")


def _operates(participation: Participation) -> bool:
    """Whether a participant is a performer; without a role it counts as such, as in HL7 v2."""
    codes = [coding.code for concept in participation.type for coding in concept.coding]
    return not codes or any(code in _PERFORMERS for code in codes)


def _participant(
    reference: Reference, found: Resource | None, context: FhirContext, *, operates: bool
) -> Participant | None:
    if isinstance(found, PractitionerRole) and found.practitioner is not None:
        reference, found = found.practitioner, context.resolve(found.practitioner)
    role = Role.SURGEON if operates else Role.OTHER
    if not isinstance(found, Practitioner):
        known = reference.identifier or Identifier()
        return Participant(role, reference.display, known.value, known.system) if reference.display or known.value else None
    number = next((one for one in found.identifier if one.value), Identifier())
    return Participant(
        role=role,
        name=next((name for one in found.name if (name := _name(one))), reference.display),
        id=number.value,
        assigning_authority=number.system,
        address=next((one.value for one in found.telecom if one.system == "email"), ""),
    )


def _is_place(reference: Reference, found: Resource | None) -> bool:
    return isinstance(found, Location) or _means(reference, "Location")


def _place(reference: Reference, found: Resource | None) -> str:
    return found.name if isinstance(found, Location) and found.name else reference.display


def _procedures(concepts: Iterable[CodeableConcept], texts: Iterable[str]) -> Iterator[CodedProcedure]:
    for concept in concepts:
        for coding in concept.coding:
            yield CodedProcedure(coding.code, coding.system, coding.display or concept.text)
        if concept.text and not any(coding.display in ("", concept.text) for coding in concept.coding):
            yield CodedProcedure(text=concept.text)
    yield from (CodedProcedure(text=text.strip()) for text in texts if text.strip())
