"""The values of the alerts: frozen, typed, and small enough to be recorded as the result of a durable step."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum

from node.clinical.planned_operation import PlanSource
from node.model import AcrCategory, Level, Reason
from node.settings.alert import MAIL, ReceiverName


class Rule(StrEnum):
    """Why an alert is sent. Apart from ``FRACTURE``, only one rule applies at a time."""

    OSTEOPOROSIS = "osteoporosis"
    BELOW_CUT = "below_cut"
    LOW_BONE_MASS = "low_bone_mass"
    FRACTURE = "fracture"
    LOW_ATTENUATION = "low_attenuation"


@dataclass(frozen=True, slots=True)
class LevelValue:
    """One level of L1 to L4 in an alert.

    Attributes:
        hu_mean, bmd_mg_cm3: ``None`` if there is no value.
        usable: whether it is part of the mean.
        findings: why it is not, or what a reader should know.
    """

    level: Level
    hu_mean: float | None
    bmd_mg_cm3: float | None
    usable: bool
    findings: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class ScreenedResult:
    """The part of a measured result that alerts need, without patient data.

    Attributes:
        run_id: of the report; a later report of the same study replaces it.
        accession_number: ``None`` if the headers have none.
        acquisition_date: day of the CT; ``None`` if unknown.
        refused: why the result must not cause an alert; ``None`` if it passed the quality rules.
        calibration_id: the equation; ``None`` if none applies, and then there is no BMD.
        fractures: the fractures that were found; ``None`` if there are none.
        doubts: about the study as a whole.
    """

    run_id: str
    study_instance_uid: str
    accession_number: str | None
    acquisition_date: dt.date | None
    refused: Reason | None
    hu_mean: float | None
    bmd_mg_cm3: float | None
    interval_mg_cm3: tuple[float, float] | None
    category: AcrCategory | None
    borderline: bool
    calibration_id: str | None
    levels: tuple[LevelValue, ...]
    fractures: Reason | None
    doubts: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class FoundWord:
    """What shows that an operation uses screws.

    Attributes:
        word: word or code as the settings write it; never the text of the plan, which may name the patient.
        field: name of the field, for a person.
    """

    word: str
    field: str


@dataclass(frozen=True, slots=True)
class Surgeon:
    """Who operates: identifier and name (family^given^...) from the plan. This is staff data, not patient data."""

    id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """The part of a planned operation that alerts need.

    Attributes:
        id: stays the same through every change of the plan.
        active: whether it is still planned, as far as known.
        vanished: whether its source no longer has it, although it was not cancelled.
        starts: aware; ``None`` if unknown.
        found: what shows that it uses screws; ``None`` if nothing does.
        past: whether the text is about such an operation that has already been done.
        levels: levels in the plan, from the head downward; empty: the plan has none.
        open_until: without ``starts``, the last day on which the plan counts as open.
    """

    id: str
    source: PlanSource
    active: bool
    starts: dt.datetime | None
    found: FoundWord | None
    past: bool = False
    levels: tuple[str, ...] = ()
    surgeons: tuple[Surgeon, ...] = ()
    open_until: dt.date | None = None
    vanished: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """A result that belongs, or may belong, to the patient of an operation.

    Attributes:
        doubts: why it is not certain that both belong to one patient; with any doubt nobody is alerted.
    """

    result: ScreenedResult
    doubts: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class ChannelsOn:
    """The channels that the settings switch on.

    Attributes:
        mail: whether there is a mail server; mail goes to first and second recipients, by its address.
        first: names of the receivers that get every alert.
        second: names of the receivers that get what nobody has acknowledged in time.
    """

    mail: bool = False
    first: tuple[ReceiverName, ...] = ()
    second: tuple[ReceiverName, ...] = ()

    @property
    def names(self) -> tuple[ReceiverName, ...]:
        """Names of all of them."""
        return (*((MAIL,) if self.mail else ()), *self.first, *self.second)


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who gets an alert.

    Attributes:
        channel: ``mail``, or the name of a receiver in the settings. Records may hold receivers that the settings no longer
            have.
        address: mail address; empty for a receiver.
    """

    channel: ReceiverName
    address: str = ""

    def __str__(self) -> str:
        """For a person."""
        return f"{self.channel} {self.address}".rstrip()


class AlertKind(StrEnum):
    """What a message means to its recipient."""

    NEW = "new"
    CORRECTION = "correction"
    WITHDRAWAL = "withdrawal"


@dataclass(frozen=True, slots=True)
class Alert:
    """One message to one recipient.

    Attributes:
        id: of the alert, the same for all messages about one operation to one recipient; see :func:`alert_id`.
        revision: counts these messages from 1, so that a repeat can be recognised.
        rules: the rules that apply, the leading one first; for a withdrawal, those of the message that it withdraws.
        escalation: whether it is sent because nobody has acknowledged the first one.
        operation: as known at that time.
        result: the result that the message is about.
        because: why it is corrected or withdrawn; ``None`` for a new one.
        wrong: for a withdrawal, whether the message was wrong when it was sent (a corrected result, another patient). If
            not, only the plans have changed.
    """

    id: str
    revision: int
    kind: AlertKind
    rules: tuple[Rule, ...]
    recipient: Recipient
    escalation: bool
    operation: Operation
    result: ScreenedResult
    because: Reason | None = None
    wrong: bool = False

    @property
    def message_id(self) -> str:
        """Identifies this message."""
        return f"{self.id}-{self.revision}"


@dataclass(frozen=True, slots=True)
class Message:
    """What a person reads.

    Attributes:
        subject: one line.
        text: plain text; no name, Patient ID or birth date.
        of_header: one sentence on who requested the CT and for what, from the image headers. It is free text that may name
            the patient, so only channels that name the patient use it. Empty if the headers have nothing.
    """

    subject: str
    text: str
    of_header: str = field(default="", repr=False)


def alert_id(operation_id: str, recipient: Recipient) -> str:
    """128 bits of SHA-256 in hexadecimal over operation and recipient.

    The rule is not part of it: a recipient is alerted once per operation, with every rule that applies. A result that
    changes the rule leads to a correction.
    """
    parts = json.dumps([operation_id, recipient.channel, recipient.address])
    return hashlib.sha256(parts.encode()).hexdigest()[:32]
