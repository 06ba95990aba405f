"""The values of the alert room: frozen, typed, small enough to be kept as the result of a durable step."""

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
    """Why an alert is sent; the first three exclude each other, and so does the last one."""

    OSTEOPOROSIS = "osteoporosis"
    BELOW_CUT = "below_cut"
    LOW_BONE_MASS = "low_bone_mass"
    FRACTURE = "fracture"
    LOW_ATTENUATION = "low_attenuation"


@dataclass(frozen=True, slots=True)
class LevelValue:
    """One level of L1 to L4 as an alert says it.

    Attributes:
        hu_mean, bmd_mg_cm3: ``None`` where there is none.
        usable: whether it counts for the mean.
        findings: why not, or what a reader should know.
    """

    level: Level
    hu_mean: float | None
    bmd_mg_cm3: float | None
    usable: bool
    findings: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class ScreenedResult:
    """A measured result, as far as alerts need it: no patient data, and nothing that only the report says.

    Attributes:
        run_id: the report that says so; a later one of the same study replaces it.
        accession_number: ``None`` if the headers hold none.
        acquisition_date: day of the CT; ``None`` if not known.
        refused: why the result must not alert anybody, ``None`` if it passed its quality rules.
        calibration_id: the equation; ``None`` if none applies, then there is no BMD.
        fractures: what was found; ``None`` if nothing was.
        doubts: of the study as a whole.
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
    """What tells that an operation is one with screws.

    Attributes:
        word: word or code as the settings write it; never the plan's own text, which may name the patient.
        field: name of the field for a person.
    """

    word: str
    field: str


@dataclass(frozen=True, slots=True)
class Surgeon:
    """Who operates: identifier and name (family^given^...) as the plan gives them; a name is staff data, not a patient's."""

    id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """A planned operation of the patient, as far as alerts need it.

    Attributes:
        id: the same through every change of the plan.
        active: whether it is still going to happen, as far as anybody says.
        vanished: whether its source no longer knows it, though nobody said that it was cancelled.
        starts: aware; ``None`` if nobody said.
        found: what tells that it is one with screws; ``None``: nothing does.
        past: whether the text speaks of such an operation that was done already.
        levels: that the plan names, from the head downward; empty: it names none.
        open_until: where nobody said when it starts: the last day on which the plan is taken to be open.
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
    """A result that is, or may be, of the patient of an operation.

    Attributes:
        doubts: what keeps it from being sure that both are of one patient; nobody is alerted with any.
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
    """What a message is to its recipient."""

    NEW = "new"
    CORRECTION = "correction"
    WITHDRAWAL = "withdrawal"


@dataclass(frozen=True, slots=True)
class Alert:
    """One message to one recipient.

    Attributes:
        id: of the alert: the same for all messages of one operation to one recipient, see :func:`alert_id`.
        revision: counts these messages from 1; with it a repeat can be told.
        rules: those that hold, the leading one first; of a withdrawal, those of the message that it withdraws.
        escalation: whether it was sent because nobody has acknowledged the first one.
        operation: as it was known.
        result: that the message speaks of.
        because: why it is corrected or withdrawn; ``None`` for a new one.
        wrong: whether the withdrawn message was wrong when it was sent (a corrected result, another patient), and not only
            overtaken by the plans.
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
        """Of this message."""
        return f"{self.id}-{self.revision}"


@dataclass(frozen=True, slots=True)
class Message:
    """What a person reads.

    Attributes:
        subject: one line.
        text: plain text; no name, Patient ID or birth date.
        of_header: one sentence: who asked for the CT, and for what, as the headers of the images say. Free text that may
            name the patient: only for channels that do so anyway. Empty where they say nothing.
    """

    subject: str
    text: str
    of_header: str = field(default="", repr=False)


def alert_id(operation_id: str, recipient: Recipient) -> str:
    """128 bits of SHA-256 in hexadecimal over operation and recipient.

    The rule is no part of it: of one operation a recipient is told once, with every rule that holds, and a result that
    changes its rule corrects what was said.
    """
    parts = json.dumps([operation_id, recipient.channel, recipient.address])
    return hashlib.sha256(parts.encode()).hexdigest()[:32]
