"""A planned operation, from any of the sources."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from node.clinical.identity import PatientIdentity


class PlanSource(StrEnum):
    """Source of an operation, the most trusted first. A weaker source never overrules a stronger one.

    ``FHIR`` is an Appointment, which is a booking; ``FHIR_REQUEST`` is a ServiceRequest, which asks for one.
    """

    HL7_SIU = "hl7_siu"
    FHIR = "fhir"
    FHIR_REQUEST = "fhir_request"
    THEATRE_LIST = "theatre_list"
    DICOM_ORDER = "dicom_order"

    @property
    def trust(self) -> int:
        """Higher is more trusted."""
        return len(PlanSource) - list(PlanSource).index(self)


class PlanStatus(StrEnum):
    """State of an operation. ``MOVED`` is still planned, at another time than before.

    ``VANISHED``: it was not cancelled, but its source no longer has it (a FHIR resource that was deleted).
    """

    PLANNED = "planned"
    MOVED = "moved"
    CANCELLED = "cancelled"
    NO_SHOW = "no_show"
    DONE = "done"
    VANISHED = "vanished"


#: States in which an operation is still planned.
ACTIVE = (PlanStatus.PLANNED, PlanStatus.MOVED)


@dataclass(frozen=True, slots=True)
class CodedProcedure:
    """A procedure as the source gives it.

    Attributes:
        code: empty if there is only a text.
        coding_system: name at the source ("OPS", "SCT", "http://snomed.info/sct"); empty if there is none.
        text: free text, which may name the patient; empty if there is only a code.
    """

    code: str = ""
    coding_system: str = ""
    text: str = field(default="", repr=False)


class Role(StrEnum):
    """Role of a person in the operation."""

    SURGEON = "surgeon"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Participant:
    """A person who takes part, or whom the source names.

    Attributes:
        name: family^given^middle^prefix^suffix.
        id: number of the person at ``assigning_authority``.
        address: e-mail address or telephone number, if the source gives one.
    """

    role: Role
    name: str = field(default="", repr=False)
    id: str = ""
    assigning_authority: str = ""
    address: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class OperationKey:
    """Identifies an operation; the id alone is unique only at its source.

    Attributes:
        source_name: the system at the source: sending facility and application, name of the server, of the list.
        operation_id: filler or placer appointment ID, id of the resource, column of the list, or Study Instance UID.
    """

    source: PlanSource
    source_name: str
    operation_id: str


@dataclass(frozen=True, slots=True)
class PlannedOperation:
    """What one source says about one operation; empty or ``None`` for what it does not say.

    Attributes:
        sent_at: when the source sent it, by its own clock; decides which of two statements is the later one.
        received_at: when the node received it.
        starts: aware.
        time_known: whether the source gave a time of day; if not, ``starts`` is the beginning of the day at the site.
        participants: surgeons and others.
        place: operating theatre.
        levels: vertebral levels in the text ("L4-S1": L4, L5, S1), from the head downward; never guessed.
        revision: counts the recorded changes from 1; 0 for a statement that is not recorded yet.
    """

    key: OperationKey
    status: PlanStatus
    sent_at: dt.datetime
    received_at: dt.datetime
    patient: PatientIdentity
    starts: dt.datetime | None = None
    time_known: bool = True
    procedures: tuple[CodedProcedure, ...] = ()
    participants: tuple[Participant, ...] = ()
    place: str = ""
    levels: tuple[str, ...] = ()
    revision: int = 0

    @property
    def is_active(self) -> bool:
        """Whether it is still planned, according to this source."""
        return self.status in ACTIVE

    @property
    def surgeons(self) -> tuple[Participant, ...]:
        """The participants who operate."""
        return tuple(person for person in self.participants if person.role is Role.SURGEON)


def merged(known: PlannedOperation | None, said: PlannedOperation, *, keeps_status: bool = False) -> PlannedOperation:
    """What is known about an operation after a later statement from the same source.

    An HL7 message may leave out whole segments that it does not change, as a cancellation often does: what it leaves out
    stays as before. Every other source sends everything each time, so what it leaves out is gone.

    Args:
        keeps_status: the statement has no status (SIU^S14 without SCH-25), so a cancelled operation stays cancelled.
    """
    if known is None:
        return said
    if said.key.source is PlanSource.HL7_SIU:
        said = _filled(said, known)
    status = known.status if keeps_status else said.status
    if status is PlanStatus.PLANNED and known.is_active:
        elsewhen = None not in (known.starts, said.starts) and known.starts != said.starts
        status = PlanStatus.MOVED if elsewhen or known.status is PlanStatus.MOVED else PlanStatus.PLANNED
    return replace(said, status=status)


def _filled(said: PlannedOperation, known: PlannedOperation) -> PlannedOperation:
    no_time = said.starts is None
    names_procedures = bool(said.procedures or said.levels)
    return replace(
        said,
        patient=said.patient if said.patient.identifiers else known.patient,
        starts=known.starts if no_time else said.starts,
        time_known=known.time_known if no_time else said.time_known,
        procedures=said.procedures if names_procedures else known.procedures,
        levels=said.levels if names_procedures else known.levels,
        participants=said.participants or known.participants,
        place=said.place or known.place,
    )


def same_statement(one: PlannedOperation, other: PlannedOperation) -> bool:
    """Whether two statements say the same; when they were sent and received does not matter."""
    return replace(one, sent_at=other.sent_at, received_at=other.received_at, revision=other.revision) == other


def without_weaker(operations: Iterable[PlannedOperation]) -> tuple[PlannedOperation, ...]:
    """The operations of *one* patient without those that a more trusted source overrules, in the same order.

    Two sources with the same day mean one operation, and the more trusted one decides, even if it says that the operation
    was cancelled. A weaker source without a time is overruled by every more trusted one that starts on the day of its
    statement or later, or that has no time either. An operation that vanished from its source overrules only an imaging
    order, which may be older.
    """
    known = tuple(operations)
    return tuple(one for one in known if not any(_knows_better(other, one) for other in known))


def _knows_better(stronger: PlannedOperation, weaker: PlannedOperation) -> bool:
    if stronger.key.source.trust <= weaker.key.source.trust:
        return False
    if stronger.status is PlanStatus.VANISHED and weaker.key.source is not PlanSource.DICOM_ORDER:
        return False
    if stronger.starts is None:
        return weaker.starts is None
    if weaker.starts is None:
        return stronger.starts.date() >= weaker.sent_at.astimezone(stronger.starts.tzinfo).date()
    return stronger.starts.date() == weaker.starts.astimezone(stronger.starts.tzinfo).date()
