"""Reads HL7 v2 patient updates (ADT^A08) and merges (ADT^A40, chapter 3).

An update says who the patient with a number is; a merge that two numbers are one person. Both rest on the issuer of a number
(PID-3.4, MRG-1.4): a message that does not name it is refused, unless ``plans.default_issuer`` does. Nothing is guessed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from node.clinical.identity import Issuers, PatientIdentifier, PatientIdentity
from node.plans.hl7_message import Hl7Code, Hl7Message, Hl7Segment, RefusedMessageError
from node.plans.siu import check_header, identifiers_of, identity_of_pid, missing, sent_at_of
from node.records.patient_merges import Merge
from node.settings.plans import PlanHl7Settings, PlanSettings

#: Message type (MSH-9.1).
ADT = "ADT"
_UPDATE, _MERGE = "A08", "A40"
_SET_ISSUER = "name it, or set plans.default_issuer if all patient IDs without an issuer have one"


@dataclass(frozen=True, slots=True)
class PatientStatement:
    """Content of one message.

    Attributes:
        patients: who the patients are; the numbers of each have an issuer.
        merges: numbers that are merged into others; empty for an update.
        sent_at: when it was sent, by the clock of the sender.
    """

    message_id: str
    sent_at: dt.datetime
    patients: tuple[PatientIdentity, ...]
    merges: tuple[Merge, ...]


def patient_statement(
    message: Hl7Message, plans: PlanSettings, settings: PlanHl7Settings, received_at: dt.datetime
) -> PatientStatement:
    """Read a message about patients.

    Raises:
        RefusedMessageError: it is of another event, lacks required data, or leaves open which numbers are meant.
    """
    event = check_header(message.msh, ADT, (_UPDATE, _MERGE), settings)
    control_id = message.msh.text(10)
    if not control_id:
        raise missing("MSH-10", "the message control ID")
    issuers = Issuers(plans.issuers, plans.default_issuer)
    groups = tuple(_groups(message))
    if not groups:
        raise missing("PID", "the patient")
    if event == _UPDATE and len(groups) > 1:
        raise RefusedMessageError(Hl7Code.SEGMENT_SEQUENCE, "an update must be about one patient", "PID")
    return PatientStatement(
        control_id,
        sent_at_of(message.msh.text(7), plans.zone, received_at),
        tuple(_patient(pid, issuers) for pid, _mrg in groups),
        tuple(merge for pid, mrg in groups for merge in _merges(pid, mrg, issuers)) if event == _MERGE else (),
    )


def _refuse_nul(numbers: Iterable[PatientIdentifier], location: str) -> None:
    """PostgreSQL cannot store it."""
    if any("\0" in text for one in numbers for text in (one.value, one.issuer, one.issuer_universal_id)):
        raise RefusedMessageError(Hl7Code.DATA_TYPE, "a patient identifier contains a NUL character", location)


def _groups(message: Hl7Message) -> Iterator[tuple[Hl7Segment, Hl7Segment | None]]:
    """Each PID with the MRG that follows it, before the next PID."""
    pid: Hl7Segment | None = None
    mrg: Hl7Segment | None = None
    for segment in message.segments:
        if segment.name == "PID":
            if pid is not None:
                yield pid, mrg
            pid, mrg = segment, None
        elif segment.name == "MRG":
            if pid is None or mrg is not None:
                text = "each MRG segment must follow a PID segment of its own"
                raise RefusedMessageError(Hl7Code.SEGMENT_SEQUENCE, text, "MRG")
            mrg = segment
    if pid is not None:
        yield pid, mrg


def _patient(pid: Hl7Segment, issuers: Issuers) -> PatientIdentity:
    patient = identity_of_pid(pid)
    if patient is None:
        raise missing("PID-3", "the patient identifier")
    _refuse_nul(patient.identifiers, "PID-3")
    if not any(issuers.names_of(one) for one in patient.identifiers):
        raise _no_issuer("PID-3")
    return patient


def _merges(pid: Hl7Segment, mrg: Hl7Segment | None, issuers: Issuers) -> Iterator[Merge]:
    prior = tuple(identifiers_of(mrg, 1)) if mrg is not None else ()
    if not prior:
        raise missing("MRG-1", "the prior patient identifier of a merge")
    _refuse_nul(prior, "MRG-1")
    patient = _patient(pid, issuers)
    for number in prior:
        names = issuers.names_of(number)
        if not names:
            raise _no_issuer("MRG-1")
        surviving = [one for one in patient.identifiers if issuers.names_of(one) & names]
        if len({one.value for one in surviving}) != 1:
            n = len(surviving)
            text = (
                f"PID-3 must have exactly one identifier of the issuer of MRG-1, it has {n}: it is open which one survives"
            )
            raise RefusedMessageError(Hl7Code.DATA_TYPE, text, "PID-3")
        if surviving[0].value == number.value:
            text = "the identifier of MRG-1 is that of PID-3: nothing is merged"
            raise RefusedMessageError(Hl7Code.DATA_TYPE, text, "MRG-1")
        yield Merge(number, surviving[0])


def _no_issuer(location: str) -> RefusedMessageError:
    segment = location.partition("-")[0]
    text = f"no patient identifier of {segment} names its issuer: {_SET_ISSUER}"
    return RefusedMessageError(Hl7Code.REQUIRED_FIELD_MISSING, text, location)
