"""The scenarios of ``scenarios.toml``, and what is known after each of their steps."""

from __future__ import annotations

import datetime as dt
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter

from node.alerts import Action, ChannelsOn, Recipient, ScreenedResult, screened
from node.alerts.cases import KnownPatient, KnownStudy
from node.clinical.identity import PatientIdentifier, PatientIdentity
from node.clinical.imaging_order import OrderText
from node.clinical.planned_operation import (
    CodedProcedure,
    OperationKey,
    Participant,
    PlannedOperation,
    PlanSource,
    PlanStatus,
    Role,
    merged,
)
from node.language.phrase import phrase
from node.model import Reason, StudyResult
from node.settings.alert import AlertSettings
from tests.alerts.alert_inputs import bmd_of, result
from tests.plans.operations import PATIENT

ZONE = ZoneInfo("Europe/Berlin")
_OTHERS = {
    "other_name": replace(PATIENT, names=("Huber^Josef",)),
    "other_number": replace(PATIENT, identifiers=(PatientIdentifier("815", "KIS"),)),
    "other_issuer": replace(PATIENT, identifiers=(PatientIdentifier("4711", "LAB"),)),
}
#: Settings of a receiver, by the last part of its name; "second_" before it is its stage.
_RECEIVERS = {
    "hl7": {"host": "localhost"},
    "fhir": {"base_url": "https://localhost/fhir", "patient_system": "urn:oid:1.2.3"},
    "webhook": {"url": "https://localhost/", "secret_file": "secret"},
}
SURGEONS = {"17": "petra@hospital.example", "18": "paul@hospital.example"}


@dataclass(frozen=True, slots=True)
class Step:
    """One event, and what is expected then; see the file."""

    at: str
    expect: tuple[str, ...]
    plan: str = ""
    cancel: str = ""
    status: PlanStatus = PlanStatus.CANCELLED
    source: PlanSource = PlanSource.HL7_SIU
    starts: str = ""
    levels: tuple[str, ...] = ("L4", "L5")
    code: str = "5-836.40"
    text: str = "PLIF L4/5"
    surgeon: str = ""
    patient: str = ""
    result: str = ""
    bmd: float | None = None
    hu: float | None = None
    date: dt.date = dt.date(2030, 1, 2)
    fracture: bool = False
    withheld: bool = False
    order: str = "CT LWS"
    acknowledge: str = ""
    refuse: str = ""

    @property
    def when(self) -> dt.datetime:
        return local(self.at)

    @property
    def study_instance_uid(self) -> str:
        return f"1.2.3.{ord(self.result)}"

    @property
    def order_text(self) -> OrderText:
        return OrderText(self.study_instance_uid, accession_number=f"ACC-{self.result}", study_description=self.order)

    def study_result(self) -> StudyResult | None:
        """The result of the step; ``None`` if the study was not measured."""
        if self.bmd is None and self.hu is None:
            return None
        bmd = bmd_of(self.bmd if self.bmd is not None else 100.0)
        if self.bmd is None:
            bmd = replace(bmd, calibration=None, level_bmd_mg_cm3=(), bmd_mg_cm3=None, interval_mg_cm3=None, category=None)
        if self.withheld:
            bmd = replace(bmd, category=None)
        found = result(bmd, study=self.study_instance_uid)
        assert found.facts is not None
        levels = tuple(replace(level, findings=()) for level in found.levels)
        seen = (Reason("fracture", phrase("L3 wedge, height loss of 31 %")),) if self.fracture else ()
        return replace(
            found,
            facts=replace(found.facts, acquisition_date=self.date),
            levels=levels,
            hu_mean=self.hu or 100.0,
            reasons=(*seen, *found.reasons),
        )

    def planned(self, known: PlannedOperation | None) -> PlannedOperation:
        """What the source says of the operation in this step."""
        if self.cancel:
            assert known is not None
            return replace(known, status=self.status, sent_at=self.when, received_at=self.when)
        surgeon = Participant(Role.SURGEON, "Schraube^Petra", self.surgeon, "KIS")
        return PlannedOperation(
            key=self.key,
            status=PlanStatus.PLANNED,
            sent_at=self.when,
            received_at=self.when,
            patient=_OTHERS.get(self.patient, PATIENT),
            starts=local(self.starts),
            procedures=(CodedProcedure(self.code, "OPS", self.text),),
            participants=(surgeon,) if self.surgeon else (),
            levels=self.levels,
        )

    @property
    def key(self) -> OperationKey:
        return OperationKey(self.source, "KIS", self.plan or self.cancel)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A row of the table."""

    name: str
    steps: tuple[Step, ...]
    settings: dict[str, object] = field(default_factory=dict)
    surgeons: bool = False
    escalation: bool = False
    channels: tuple[str, ...] = ("mail",)

    @property
    def on(self) -> ChannelsOn:
        """The channels of this site."""
        receivers = [name for name in self.channels if name != "mail"]
        first = tuple(name for name in receivers if not name.startswith("second_"))
        return ChannelsOn("mail" in self.channels, first, tuple(name for name in receivers if name not in first))

    def sections(self) -> dict[str, object]:
        """The settings of a site with these channels; nobody listens there."""
        receivers = []
        for stage, names in (("first", self.on.first), ("second", self.on.second)):
            for name in names:
                kind = name.removeprefix("second_")
                receivers.append({"kind": kind, "name": name, "stage": stage, **_RECEIVERS[kind]})
        return {"alert": self.alert_settings(), "alert_receivers": receivers}

    def alert_settings(self) -> AlertSettings:
        values: dict[str, object] = {
            "smtp_host": "localhost" if self.on.mail else "",
            "sender": "node@hospital.example",
            "recipients": ["team@hospital.example"],
            "time_zone": "Europe/Berlin",
            "surgeons": SURGEONS if self.surgeons or not self.settings.get("recipients", True) else {},
            "escalation_recipients": ["chief@hospital.example"] if self.escalation else [],
            **self.settings,
        }
        return AlertSettings.model_validate(values)


@dataclass(slots=True)
class Known:
    """What is known after the steps so far."""

    studies: list[KnownStudy] = field(default_factory=list)
    plans: dict[OperationKey, list[PlannedOperation]] = field(default_factory=dict)

    def apply(self, step: Step) -> None:
        if step.plan or step.cancel:
            history = self.plans.setdefault(step.key, [])
            before = history[-1] if history else None
            history.append(merged(before, step.planned(before)))
        if step.result:
            found = step.study_result()
            self.studies.append(
                KnownStudy(step.when, step.study_instance_uid, _screened(step, found), step.order_text, identity())
            )

    def patient(self) -> KnownPatient:
        return KnownPatient(tuple(self.studies), tuple(tuple(history) for history in self.plans.values()))


def identity() -> PatientIdentity:
    """The patient of the images."""
    return PATIENT


def name_of(recipient: Recipient) -> str:
    """How the table calls a recipient: by the address before the @, or by the channel."""
    return recipient.address.partition("@")[0] or recipient.channel


def local(text: str) -> dt.datetime:
    """A time of the site, aware."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZONE)


def said(actions: tuple[Action, ...]) -> list[str]:
    """Decisions as the table has them: a message with its recipient, a wait with its time, else the reason alone."""
    out = []
    for action in actions:
        if action.alert is not None:
            assert action.recipient is not None
            name = name_of(action.recipient)
            out.append(f"{action.kind} {name} {action.reason.code}")
            continue
        out.append(action.reason.code)
        if action.due is not None:
            out.append(f"wait {action.due.astimezone(ZONE):%Y-%m-%d %H:%M}")
    return out


def scenarios() -> list[Scenario]:
    """The table."""
    table = tomllib.loads((Path(__file__).parent / "scenarios.toml").read_text(encoding="utf-8"))
    return TypeAdapter(list[Scenario]).validate_python(table["scenario"])


def _screened(step: Step, found: StudyResult | None) -> ScreenedResult | None:
    return None if found is None else screened(f"run-{step.result}-{step.at}", found, step.order_text)
