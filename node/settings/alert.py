"""Settings of the alerts: who gets an alert, when, and by which channels."""

from __future__ import annotations

from datetime import time
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from node.settings.types import Host, HostOrNone, MailAddress, Port, Section, WebAddress, WebAddressOrNone, Word

#: A vertebra of the spine, C1 to S5.
SpineLevel = Annotated[str, Field(pattern=r"^(C[1-7]|T([1-9]|1[0-3])|L[1-6]|S[1-5])$")]
#: Text of a field in an HL7 header, without delimiters.
Hl7Name = Annotated[str, Field(max_length=180, pattern=r"^[^|^~\\&\x00-\x1f]*$")]
#: Name of a receiver; the records have room for 16 characters.
ReceiverName = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[A-Za-z0-9_.-]+$")]
#: Name of the channel that the settings of the mail server in ``[alert]`` switch on.
MAIL = "mail"


class AlertSettings(Section):
    """Alerts to the surgeon about low BMD before an operation: when they are sent, and how by mail. Nothing leaves the node
    until a channel is switched on: ``smtp_host`` here, or an entry of ``[[alert_receivers]]``. An alert that nobody has
    acknowledged in time goes to ``escalation_recipients`` and to the receivers with the stage ``second``."""

    smtp_host: HostOrNone = ""
    """Host name or address of the mail server; empty: no mail leaves the node."""

    smtp_port: Port = 587
    """TCP port of the mail server; usually 587 for STARTTLS, 465 for TLS, and 25 for a relay without either."""

    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    """``starttls``: encrypt before anything else is sent, or send nothing; ``tls``: encrypted from the first byte; ``none``:
    not encrypted, for a relay on the same machine. Both kinds of encryption check the server's certificate."""

    ca_file: str = ""
    """PEM file with the authorities that may have signed the server's certificate; empty: those of the system."""

    user: str = Field(default="", pattern=r"^[ -~]*$")
    """User name at the mail server, in ASCII; empty: no login."""

    password_file: str = ""
    """File with the password of ``user``, in ASCII, and nothing else; read for every mail."""

    sender: MailAddress | Literal[""] = ""
    """Sender address of the messages."""

    recipients: tuple[MailAddress, ...] = ()
    """Addresses that get every alert, each as a separate message; without ``smtp_host`` nothing is sent to them."""

    surgeons: dict[str, MailAddress] = Field(default_factory=dict)
    """Address of a surgeon, by the identifier in the planned operation. A surgeon gets the alerts of his or her operations,
    in addition to ``recipients``."""

    escalation_recipients: tuple[MailAddress, ...] = ()
    """Addresses that get an alert that nobody has acknowledged in time, or that every recipient refused permanently."""

    escalate_after_h: float = Field(default=24.0, gt=0)
    """Hours from an alert until it also goes to ``escalation_recipients`` and the second receivers. An assumption."""

    patient_in_mail: bool = False
    """Name the patient (name, birth date, Patient ID) in the mail, and who requested the CT according to its headers.
    Otherwise the mail has only the accession number and the link."""

    acknowledge_url: WebAddressOrNone = ""
    """Web address of the node's status page as surgeons reach it. The text of an alert then has a link to a page with a
    button that acknowledges it. Empty: no link; use ``bmd-node alerts acknowledge``."""

    quiet_from: time | None = None
    """Local time when quiet hours begin. Until ``quiet_until`` no alert is sent, unless the operation starts before they
    end. Not set: no quiet hours."""

    quiet_until: time | None = None
    """Local time when quiet hours end."""

    time_zone: str = ""
    """Time zone of the site, such as Europe/Berlin, for the quiet hours and for the days that alerts name. Empty: the time
    zone of the machine."""

    timeout_s: float = Field(default=30.0, gt=0)
    """Network time-out for each answer of a receiver, on every channel."""

    link_template: str = ""
    """Web address of the images, with ``{study_instance_uid}`` or ``{accession_number}`` where the viewer expects them.
    Empty: no link."""

    bmd_below_mg_cm3: float = Field(default=81.8, gt=0)
    """Alert for a mean BMD below this, mg/cm3 (81.8: the cut-off that best separated screw loosening in the study)."""

    low_bone_mass: bool = True
    """Alert also for the ACR category low bone mass (80 to 120 mg/cm3); osteoporosis always alerts."""

    fracture: bool = True
    """Alert for a vertebral fracture at any BMD."""

    hu_below: float | None = None
    """If no equation applies: alert for a mean attenuation of the usable levels below this, HU. Not set: no alert without a
    calibrated BMD. There is no limit that is valid for every scanner: set one only with a source of your own."""

    days_ahead: int = Field(default=90, ge=1)
    """Alert for operations that start within this many days; for a later one the alert waits until then. An assumption."""

    max_result_age_days: int = Field(default=365, ge=1)
    """A CT acquired more than this many days before the operation causes no alert. An assumption."""

    levels: tuple[SpineLevel, ...] = ("L1", "L2", "L3", "L4", "L5", "S1")
    """An operation with levels causes an alert only if one of them is in this list (the levels of the study's constructs).
    An operation without levels causes an alert as well."""

    procedure_codes: tuple[Word, ...] = ("5-836", "5-83b")
    """Codes of operations with screws; each includes all codes that begin with it. The default are codes of the German OPS
    for spondylodesis and for osteosynthesis or dynamic stabilisation of the spine."""

    instrumentation_words: tuple[Word, ...] = Field(
        default=(
            "spondylodesis",
            "spondylodese",
            "spinal fusion",
            "spine fusion",
            "lumbar fusion",
            "interbody fusion",
            "posterolateral fusion",
            "PLIF",
            "TLIF",
            "ALIF",
            "XLIF",
            "OLIF",
            "LLIF",
            "pedicle screw",
            "pedikelschraube",
            "spinal instrumentation",
            "spine instrumentation",
            "posterior instrumentation",
            "dorsale instrumentierung",
            "dynamic stabilization",
            "dynamic stabilisation",
            "dynamische stabilisierung",
            "dorsale stabilisierung",
            "wirbelsäulenversteifung",
            "versteifungsoperation",
            "versteifungs-OP",
            "fixateur interne",
        ),
        min_length=1,
    )
    """Words for an operation with screws in the texts of a planned operation or an imaging order. Each is found at the start
    of a word. Case, ä or ae, and a space or a hyphen do not matter."""

    past_operation_words: tuple[Word, ...] = (
        "Z.n.",
        "Zn.",
        "zustand nach",
        "status nach",
        "kontrolle",
        "verlaufskontrolle",
        "nach",
        "postop",
        "postoperativ",
        "postoperative",
        "postoperativer",
        "status post",
        "s/p",
        "after",
        "following",
        "follow-up",
        "previous",
        "prior",
    )
    """Words for an operation that has already been done. An instrumentation word does not count if one of these is up to two
    words before it, in the same clause. Empty: every instrumentation word counts."""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.smtp_host and not (self.sender and (self.recipients or self.surgeons)):
            raise ValueError("smtp_host is set, so sender and recipients (or surgeons) must be set, too")
        if (self.quiet_from is None) != (self.quiet_until is None):
            raise ValueError("quiet_from and quiet_until go together: set both or neither")
        if bool(self.user) != bool(self.password_file):
            raise ValueError("user and password_file go together: set both or neither")
        if self.user and self.smtp_security == "none":
            raise ValueError("the password of user would be sent unencrypted: set smtp_security to starttls or tls")
        if len({address.casefold() for address in self.recipients}) != len(self.recipients):
            raise ValueError("two recipients are the same")
        return self

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, name: str) -> str:
        try:
            if name:
                ZoneInfo(name)
        except (ValueError, OSError, ZoneInfoNotFoundError) as error:
            raise ValueError(
                f"time_zone {name} is unknown on this machine: write an IANA name, such as Europe/Berlin"
            ) from error
        return name

    @model_validator(mode="after")
    def _link_can_be_filled(self) -> Self:
        filled = self.link_template.replace("{study_instance_uid}", "1").replace("{accession_number}", "1")
        if not self.link_template:
            return self
        if filled == self.link_template or any(c in "{}" or not c.isprintable() or c.isspace() for c in filled):
            raise ValueError(
                "link_template needs {study_instance_uid} or {accession_number}, and must not contain spaces or other braces"
            )
        return self


class _Receiver(Section):
    """What every receiver has: entries of ``[[alert_receivers]]``."""

    name: ReceiverName
    """Name in logs and records, such as ``engine``; no two receivers have the same, and ``mail`` is taken. Keep it: under
    another name, alerts that were sent before are sent again."""

    stage: Literal["first", "second"] = "first"
    """``first``: gets every alert; ``second``: gets an alert only if nobody has acknowledged it in time, or if everyone who
    got it first refused it permanently."""


class Hl7Receiver(_Receiver):
    """A receiver of alerts as HL7 v2.5.1 results (ORU^R01) over MLLP. They name the patient."""

    kind: Literal["hl7"] = "hl7"
    """``hl7``."""

    host: Host
    """Host name or address."""

    port: Port = 2575
    """TCP port; 2575 is registered for HL7."""

    security: Literal["tls", "none"] = "tls"
    """``tls``: encrypted from the first byte, and the receiver's certificate is checked; ``none``: not encrypted."""

    ca_file: str = ""
    """PEM file with the authorities that may have signed the receiver's certificate; empty: those of the system."""

    client_cert_file: str = ""
    """PEM file with the node's own certificate, and its key unless ``client_key_file`` holds it; empty: the node shows
    none."""

    client_key_file: str = ""
    """PEM file with the key of ``client_cert_file``."""

    sending_application: Hl7Name = "BMDNODE"
    """MSH-3."""

    sending_facility: Hl7Name = ""
    """MSH-4."""

    receiving_application: Hl7Name = ""
    """MSH-5."""

    receiving_facility: Hl7Name = ""
    """MSH-6."""

    assigning_authority: Hl7Name = ""
    """PID-3.4 where the images hold no Issuer of Patient ID."""

    result_copies_to: tuple[Hl7Name, ...] = ()
    """Identifiers of staff to whom the receiver passes the result on (OBR-28), in place of the surgeons that the planned
    operation names. Empty: those surgeons."""

    @model_validator(mode="after")
    def _key_has_a_certificate(self) -> Self:
        if self.client_key_file and not self.client_cert_file:
            raise ValueError("client_key_file is the key of client_cert_file: set client_cert_file, too")
        return self


class FhirReceiver(_Receiver):
    """A FHIR server that gets alerts as R4B resources in one transaction: DiagnosticReport, Observations, Flag and
    Communication. They name the patient."""

    kind: Literal["fhir"] = "fhir"
    """``fhir``."""

    base_url: WebAddress
    """Base address of the server."""

    token_file: str = ""
    """File that holds a bearer token, and nothing else; empty: the node sends none."""

    ca_file: str = ""
    """PEM file with the authorities that may have signed the server's certificate; empty: those of the system."""

    patient_system: str = Field(default="", pattern=r"^\S*$")
    """System (URI) of the server's Patient identifiers where the images hold no Issuer of Patient ID. This or
    ``patient_systems`` must be set."""

    patient_systems: dict[str, str] = Field(default_factory=dict)
    """System (URI) of the server's Patient identifiers, by the Issuer of Patient ID of the images."""

    practitioner_system: str = Field(default="", pattern=r"^\S*$")
    """System (URI) of the identifiers of surgeons that planned operations give; empty: only names are sent."""

    recipients: tuple[Word, ...] = ()
    """Identifiers of practitioners whom the Communication names as its recipients, in place of the surgeons that the planned
    operation names. Empty: those surgeons."""

    @model_validator(mode="after")
    def _patients_can_be_found(self) -> Self:
        if not (self.patient_system or self.patient_systems):
            raise ValueError("patient_system or patient_systems must be set, or the server cannot find the patient")
        return self


class WebhookReceiver(_Receiver):
    """A web address that gets alerts as JSON, signed according to the Standard Webhooks specification 1.0. They do not name
    the patient."""

    kind: Literal["webhook"] = "webhook"
    """``webhook``."""

    url: WebAddress
    """Where the JSON is posted to."""

    secret_file: str = Field(min_length=1)
    """File that holds the secret, ``whsec_`` and 24 to 64 bytes in Base64, and nothing else."""

    ca_file: str = ""
    """PEM file with the authorities that may have signed the server's certificate; empty: those of the system."""


#: An entry of ``[[alert_receivers]]``, told apart by its ``kind``; :mod:`node.alerts.channels.registry` has the channel of
#: each.
AlertReceiver = Annotated[Hl7Receiver | FhirReceiver | WebhookReceiver, Field(discriminator="kind")]
