"""Settings of the planned operations: who tells of them, and how. Nothing is on by default."""

from __future__ import annotations

import codecs
import datetime as dt
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, IPvAnyNetwork, model_validator

from node.settings.types import Port, Section, WebAddressOrNone, Word


def _known_encoding(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError:
        raise ValueError(
            f"{name} is no character set that Python knows: write utf-8, cp1252, iso-8859-1 or another"
        ) from None
    return name


def _known_zone(name: str) -> str:
    try:
        if name:
            ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name} is no time zone of this machine: write one like Europe/Berlin") from None
    return name


_LOOPBACK = ("localhost", "127.0.0.1", "::1")

Encoding = Annotated[str, AfterValidator(_known_encoding)]
TimeZone = Annotated[str, AfterValidator(_known_zone)]


class PlanSettings(Section):
    """Planned operations: whose they are, and how long they are kept. What tells of them stands in the next sections."""

    time_zone: TimeZone = ""
    """Time zone of times that name none, as ``Europe/Berlin``; empty: the one of the node's machine."""

    issuers: tuple[tuple[str, ...], ...] = ()
    """Spellings of the issuers of patient IDs, a list for each issuer: HL7 (PID-3.4), DICOM (Issuer of Patient ID) and FHIR
    (system of the identifier) name the same one differently. Name space or OID: ``[["KIS", "1.2.276.0.76.3", "SUED"]]``."""

    default_issuer: str = ""
    """Issuer of a patient ID that names none, on either side; empty: such an ID is not known to be the same one, and nobody
    is alerted. Set it only if all numbers without an issuer at this site come from one."""

    keep_days: float = Field(default=90.0, gt=0)
    """Planned operations, and messages that were refused, are removed this many days after the operation, or, without a
    time, after they were heard of for the last time. An assumption."""

    max_refused: int = Field(default=5000, ge=1)
    """Messages, resources and lines that were refused and are kept; where there are more, the oldest is removed, counted,
    and told in the log. An assumption."""

    refused_samples: int = Field(default=10, ge=1)
    """Of messages that are not for the node (type, event, processing ID or version), as many of each kind are kept as
    samples; the others are counted. An assumption."""

    @property
    def zone(self) -> dt.tzinfo:
        """The time zone that is used."""
        return ZoneInfo(self.time_zone) if self.time_zone else _LocalZone()


class _LocalZone(dt.tzinfo):
    """The zone of the machine with its summer time, which a fixed offset of today would lack."""

    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        """Offset that the machine's clock has at this time."""
        return (when or dt.datetime.now()).replace(tzinfo=None).astimezone().utcoffset() or dt.timedelta()

    def dst(self, _when: dt.datetime | None) -> None:
        """Not known apart from the offset."""

    def fromutc(self, when: dt.datetime) -> dt.datetime:
        """The machine's time at a time of UTC, which has this zone."""
        return dt.datetime.fromtimestamp(when.replace(tzinfo=dt.UTC).timestamp()).replace(tzinfo=self)

    def tzname(self, when: dt.datetime | None) -> str:
        """Name that the machine has for it."""
        return (when or dt.datetime.now()).replace(tzinfo=None).astimezone().tzname() or ""


def with_offset(when: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """The time of a zone, with the offset that the zone has then: it stays the same when it is kept and read again."""
    local = when.astimezone(dt.UTC).astimezone(zone)
    return local.replace(tzinfo=dt.timezone(local.utcoffset() or dt.timedelta()), fold=0)


class PlanHl7Settings(Section):
    """HL7 v2 scheduling messages (SIU) over MLLP."""

    enabled: bool = False
    """Listen for messages."""

    host: str = "0.0.0.0"  # noqa: S104 - the sending system must be able to reach the node
    """Address to listen on."""

    port: Port = 2575
    """TCP port to listen on (2575 is registered for HL7)."""

    senders: tuple[IPvAnyNetwork, ...] = ()
    """Addresses or networks that may send, as ``10.1.2.0/24``; empty: any. MLLP has no other proof of the sender but TLS."""

    certificate_file: str = ""
    """PEM file with the node's certificate; with ``key_file`` messages come over TLS only. Empty: in clear."""

    key_file: str = ""
    """PEM file with the key of the certificate."""

    client_ca_file: str = ""
    """PEM file with the authorities that sign the senders' certificates; a sender without one is turned away."""

    encoding: Encoding = "utf-8"
    """Character set of messages that declare none (MSH-18); a message whose bytes do not fit is refused."""

    processing_ids: tuple[str, ...] = ("P",)
    """Processing IDs that are taken (MSH-11): production; add ``T`` to take tests, too."""

    surgeon_roles: tuple[Word, ...] = ("surgeon", "surg", "operateur", "chirurg", "ppr", "pprf", "sprf")
    """Beginnings of the role (AIP-4, code or text) of somebody who operates; one without a role counts as surgeon, too."""

    max_message_mb: float = Field(default=1.0, gt=0)
    """A message that is larger is refused, and the connection ends."""

    timeout_s: float = Field(default=60.0, gt=0)
    """A message that has begun must be complete within this time; between messages a connection may rest."""

    max_connections: int = Field(default=20, ge=1)
    """Connections served at the same time; one more is closed at once."""

    @model_validator(mode="after")
    def _tls_is_complete(self) -> Self:
        if bool(self.certificate_file) != bool(self.key_file):
            raise ValueError("certificate_file and key_file go together: set both or neither")
        if self.client_ca_file and not self.certificate_file:
            raise ValueError("client_ca_file asks for certificate_file and key_file")
        return self


class PlanFhirSettings(Section):
    """Appointments and ServiceRequests of a FHIR server (R4 or R4B)."""

    base_url: WebAddressOrNone = ""
    """Base address of the server; empty: none is asked."""

    token_file: str = ""
    """File that holds a bearer token and nothing else; read before every search, so that it may be renewed. Empty: none."""

    ca_file: str = ""
    """PEM file with the authorities that may have signed the server's certificate; empty: those of the system."""

    appointments: str = ""
    """Search parameters that single out operations among appointments, as ``service-type=…``; empty: all appointments."""

    service_requests: str = "category=http://snomed.info/sct|387713003"
    """Search parameters that single out operations among service requests (default: those of the category surgical
    procedure)."""

    resources: tuple[Literal["Appointment", "ServiceRequest"], ...] = ("Appointment", "ServiceRequest")
    """What is searched."""

    poll_s: float = Field(default=300.0, gt=0)
    """Seconds between two searches."""

    first_days: float = Field(default=30.0, ge=0)
    """The first search looks for what was changed in so many days."""

    verify_s: float = Field(default=900.0, gt=0)
    """Seconds between two looks whether the operations to come are still on the server: one that was deleted is found by no
    search for changes. An assumption."""

    page_size: int = Field(default=100, ge=1)
    """Entries asked for per page."""

    timeout_s: float = Field(default=30.0, gt=0)
    """Network time-out of one answer."""

    hook_port: int = Field(default=0, ge=0, le=65535)
    """TCP port for notifications of a Subscription (rest-hook): each of them makes the node search at once. 0: none."""

    hook_host: str = "127.0.0.1"
    """Address on which notifications are taken."""

    hook_token_file: str = ""
    """File that holds the bearer token that the server must send with a notification (Subscription.channel.header)."""

    @model_validator(mode="after")
    def _token_is_not_sent_in_clear(self) -> Self:
        parts = urlsplit(self.base_url)
        if self.token_file and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError("token_file would be sent in clear: write base_url with https")
        return self

    @model_validator(mode="after")
    def _hook_is_protected(self) -> Self:
        if self.hook_port and not self.hook_token_file:
            raise ValueError("hook_port is set, so hook_token_file must be set, too")
        return self


class PlanListSettings(Section):
    """A theatre list as CSV in a watched folder. Columns are named as the first line of a file has them; empty: none."""

    folder: str = ""
    """Folder in which the files (``*.csv``, ``*.txt``) are put; empty: none. What was read is moved to ``read`` in it, what
    cannot be read to ``refused``."""

    name: str = Field(default="theatre list", min_length=1, max_length=100)
    """Name of the list, in records."""

    encoding: Encoding = "utf-8-sig"
    """Character set of the files; ``cp1252`` for one written by Windows."""

    delimiter: str = Field(default=";", min_length=1, max_length=1)
    """Sign between two columns."""

    date_format: str = "%d.%m.%Y"
    """How dates are written, as ``%d.%m.%Y``, ``%Y-%m-%d`` or ``%m/%d/%Y``."""

    time_format: str = "%H:%M"
    """How times are written."""

    operation_id: str = "operation_id"
    """Column with the number of the operation: the same one each time that the list names it."""

    date: str = "date"
    """Column with the day."""

    time: str = "time"
    """Column with the time."""

    patient_id: str = "patient_id"
    """Column with the patient ID."""

    patient_id_issuer: str = ""
    """Column with the issuer of the patient ID."""

    issuer: str = ""
    """Issuer of all patient IDs of the list, where no column names it."""

    family_name: str = "family_name"
    """Column with the family name, or with the whole name if ``given_name`` is empty."""

    given_name: str = "given_name"
    """Column with the given name."""

    birth_date: str = "birth_date"
    """Column with the birth date."""

    sex: str = ""
    """Column with the sex: M or F, in German W; anything else says nothing."""

    procedure_code: str = ""
    """Column with the code of the procedure."""

    coding_system: str = ""
    """Coding system of the codes, as ``OPS``."""

    procedure: str = "procedure"
    """Column with the procedure in words."""

    surgeon: str = "surgeon"
    """Column with the surgeon's name."""

    surgeon_id: str = ""
    """Column with the surgeon's number."""

    place: str = ""
    """Column with the operating theatre."""

    cancelled: str = ""
    """Column that says, with anything but 0, n, no or nein, that the operation was cancelled."""

    is_full: bool = False
    """Every file is the whole plan of each day that it names: an operation of such a day that it no longer names counts as
    cancelled, unless a line of the file could not be read. Not set: a line that vanished says nothing."""

    poll_s: float = Field(default=10.0, gt=0)
    """Seconds between two looks into the folder."""

    settle_s: float = Field(default=5.0, ge=0)
    """A file is read once it has not been written to for so long."""

    @model_validator(mode="after")
    def _columns_are_named(self) -> Self:
        missing = [name for name in ("operation_id", "date", "patient_id") if not getattr(self, name)]
        if missing:
            raise ValueError(f"{' and '.join(missing)}: without this column no line can be used")
        return self
