"""Settings of the planned operations: their sources. All are off by default."""

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
            f"{name} is not a character set of Python: write utf-8, cp1252, iso-8859-1 or another one"
        ) from None
    return name


def _known_zone(name: str) -> str:
    try:
        if name:
            ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name} is not a time zone of this machine: write an IANA name, such as Europe/Berlin") from None
    return name


_LOOPBACK = ("localhost", "127.0.0.1", "::1")

Encoding = Annotated[str, AfterValidator(_known_encoding)]
TimeZone = Annotated[str, AfterValidator(_known_zone)]


class PlanSettings(Section):
    """Planned operations: whose they are, and how long they are kept. Their sources are in the next sections."""

    time_zone: TimeZone = ""
    """Time zone of times without one, such as ``Europe/Berlin``. Empty: the time zone of the machine."""

    issuers: tuple[tuple[str, ...], ...] = ()
    """Spellings of the issuers of patient IDs, one list per issuer: HL7 (PID-3.4), DICOM (Issuer of Patient ID) and FHIR
    (system of the identifier) name the same issuer differently. Name space or OID:
    ``[["KIS", "1.2.276.0.76.3", "SUED"]]``."""

    default_issuer: str = ""
    """Issuer of a patient ID without an issuer, on either side. Empty: such IDs are not assumed to be the same, and there is
    no alert. Set it only if all patient IDs without an issuer at this site come from one issuer."""

    keep_days: float = Field(default=90.0, gt=0)
    """Planned operations and refused messages are removed this many days after the operation, or, without a time, after they
    were last received. An assumption."""

    max_refused: int = Field(default=5000, ge=1)
    """Number of refused messages, resources and lines that are kept. If there are more, the oldest is removed, counted and
    logged. An assumption."""

    refused_samples: int = Field(default=10, ge=1)
    """Number of samples that are kept of messages that are not for the node, for each type, event, processing ID or version;
    the others are counted. An assumption."""

    @property
    def zone(self) -> dt.tzinfo:
        """The time zone in use."""
        return ZoneInfo(self.time_zone) if self.time_zone else _LocalZone()


class _LocalZone(dt.tzinfo):
    """The time zone of the machine with its summer time, which the offset of today alone does not have."""

    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        """Offset of the machine's clock at this time."""
        return (when or dt.datetime.now()).replace(tzinfo=None).astimezone().utcoffset() or dt.timedelta()

    def dst(self, _when: dt.datetime | None) -> None:
        """Unknown, except as part of the offset."""

    def fromutc(self, when: dt.datetime) -> dt.datetime:
        """The machine's time for a time in UTC."""
        return dt.datetime.fromtimestamp(when.replace(tzinfo=dt.UTC).timestamp()).replace(tzinfo=self)

    def tzname(self, when: dt.datetime | None) -> str:
        """Name of the zone on this machine."""
        return (when or dt.datetime.now()).replace(tzinfo=None).astimezone().tzname() or ""


#: A plan beyond these is a filler value. An assumption.
_FIRST_YEAR, _LAST_YEAR = 1900, 2200


def with_offset(when: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """The time in a zone, with the fixed offset at that time, so that it stays the same when it is stored and read.

    Raises:
        ValueError: it is no time of this era; some systems fill a field with 0001-01-01 or 9999-12-31, near which Python can
            neither change the zone nor add a day.
    """
    if not _FIRST_YEAR <= when.year <= _LAST_YEAR:
        raise ValueError("the year is a filler value")
    local = when.astimezone(dt.UTC).astimezone(zone)
    return local.replace(tzinfo=dt.timezone(local.utcoffset() or dt.timedelta()), fold=0)


class PlanHl7Settings(Section):
    """HL7 v2 scheduling messages (SIU), patient updates (ADT^A08) and merges (ADT^A40) over MLLP."""

    enabled: bool = False
    """Listen for messages."""

    host: str = "0.0.0.0"  # noqa: S104 - the sending system must be able to reach the node
    """Address to listen on."""

    port: Port = 2575
    """TCP port to listen on; 2575 is registered for HL7."""

    senders: tuple[IPvAnyNetwork, ...] = ()
    """Addresses or networks that may send, such as ``10.1.2.0/24``; empty: any. Apart from TLS, MLLP has no other proof of
    the sender."""

    certificate_file: str = ""
    """PEM file with the node's certificate; with ``key_file`` the node accepts only TLS. Empty: not encrypted."""

    key_file: str = ""
    """PEM file with the key of the certificate."""

    client_ca_file: str = ""
    """PEM file with the authorities that sign the senders' certificates; a sender without a certificate is rejected."""

    encoding: Encoding = "utf-8"
    """Character set of messages without MSH-18; a message with bytes that are invalid in it is refused."""

    processing_ids: tuple[str, ...] = ("P",)
    """Processing IDs (MSH-11) that are accepted: ``P`` is production; add ``T`` to accept tests as well."""

    surgeon_roles: tuple[Word, ...] = ("surgeon", "surg", "operateur", "chirurg", "ppr", "pprf", "sprf")
    """Beginnings of the role (AIP-4, code or text) of a surgeon. A person without a role counts as surgeon as well."""

    max_message_mb: float = Field(default=1.0, gt=0)
    """A larger message is refused, and the connection is closed."""

    timeout_s: float = Field(default=60.0, gt=0)
    """A message must be complete within this time after its first byte."""

    idle_timeout_s: float = Field(default=3600.0, gt=0)
    """A connection without a message for this long is closed; senders connect again. An assumption."""

    max_connections: int = Field(default=20, ge=1)
    """Connections accepted at the same time; further ones are closed immediately, unless one that has brought no message yet
    can give way."""

    @model_validator(mode="after")
    def _tls_is_complete(self) -> Self:
        if bool(self.certificate_file) != bool(self.key_file):
            raise ValueError("certificate_file and key_file go together: set both or neither")
        if self.client_ca_file and not self.certificate_file:
            raise ValueError("client_ca_file needs certificate_file and key_file: set them, too")
        return self


class PlanFhirSettings(Section):
    """Appointments and ServiceRequests of a FHIR server (R4 or R4B)."""

    base_url: WebAddressOrNone = ""
    """Base address of the server; empty: no server is searched."""

    token_file: str = ""
    """File with a bearer token and nothing else; read before every search, so that it can be renewed. Empty: none."""

    ca_file: str = ""
    """PEM file with the authorities that may have signed the server's certificate; empty: those of the system."""

    appointments: str = ""
    """Search parameters that select operations among appointments, such as ``service-type=…``; empty: all appointments."""

    service_requests: str = "category=http://snomed.info/sct|387713003"
    """Search parameters that select operations among service requests (default: the category surgical procedure)."""

    resources: tuple[Literal["Appointment", "ServiceRequest"], ...] = ("Appointment", "ServiceRequest")
    """Types of resources that are searched."""

    poll_s: float = Field(default=300.0, gt=0)
    """Seconds between searches."""

    first_days: float = Field(default=30.0, ge=0)
    """The first search finds changes of this many days."""

    verify_s: float = Field(default=900.0, gt=0)
    """Seconds between checks whether the future operations are still on the server. A search for changes does not find what
    was deleted. An assumption."""

    page_size: int = Field(default=100, ge=1)
    """Entries requested per page."""

    timeout_s: float = Field(default=30.0, gt=0)
    """Network time-out for one answer."""

    hook_port: int = Field(default=0, ge=0, le=65535)
    """TCP port for notifications of a Subscription (rest-hook): after each the node searches immediately. 0: none."""

    hook_host: str = "127.0.0.1"
    """Address on which the node listens for notifications."""

    hook_token_file: str = ""
    """File with the bearer token that the server must send with a notification (Subscription.channel.header)."""

    @model_validator(mode="after")
    def _token_is_not_sent_in_clear(self) -> Self:
        parts = urlsplit(self.base_url)
        if self.token_file and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError("token_file would be sent unencrypted: write base_url with https")
        return self

    @model_validator(mode="after")
    def _hook_is_protected(self) -> Self:
        if self.hook_port and not self.hook_token_file:
            raise ValueError("hook_port is set, so hook_token_file must be set, too")
        return self


class PlanListSettings(Section):
    """A theatre list as CSV in a watched folder. Columns are named as in the first line of a file; empty: no such column."""

    folder: str = ""
    """Folder for the files (``*.csv``, ``*.txt``); empty: none. Files that were read are moved to its subfolder ``read``,
    files that cannot be read to ``refused``."""

    name: str = Field(default="theatre list", min_length=1, max_length=100)
    """Name of the list, in records."""

    encoding: Encoding = "utf-8-sig"
    """Character set of the files; ``cp1252`` for one written by Windows."""

    delimiter: str = Field(default=";", min_length=1, max_length=1)
    """Character between two columns."""

    date_format: str = "%d.%m.%Y"
    """Format of dates, such as ``%d.%m.%Y``, ``%Y-%m-%d`` or ``%m/%d/%Y``."""

    time_format: str = "%H:%M"
    """Format of times."""

    operation_id: str = "operation_id"
    """Column with the number of the operation, which stays the same in every list."""

    date: str = "date"
    """Column with the day."""

    time: str = "time"
    """Column with the time."""

    patient_id: str = "patient_id"
    """Column with the patient ID."""

    patient_id_issuer: str = ""
    """Column with the issuer of the patient ID."""

    issuer: str = ""
    """Issuer of all patient IDs in the list, if there is no column for it."""

    family_name: str = "family_name"
    """Column with the family name, or with the whole name if ``given_name`` is empty."""

    given_name: str = "given_name"
    """Column with the given name."""

    birth_date: str = "birth_date"
    """Column with the birth date."""

    sex: str = ""
    """Column with the sex: M or F, in German W; anything else is ignored."""

    procedure_code: str = ""
    """Column with the code of the procedure."""

    coding_system: str = ""
    """Coding system of the codes, such as ``OPS``."""

    procedure: str = "procedure"
    """Column with the procedure in words."""

    surgeon: str = "surgeon"
    """Column with the surgeon's name."""

    surgeon_id: str = ""
    """Column with the surgeon's number."""

    place: str = ""
    """Column with the operating theatre."""

    cancelled: str = ""
    """Column that marks a cancelled operation with anything but 0, n, no or nein."""

    is_full: bool = False
    """Every file has the complete plan of each of its days: an operation on such a day that is no longer in the file counts
    as cancelled, unless a line of the file could not be read. Not set: a missing line means nothing."""

    poll_s: float = Field(default=10.0, gt=0)
    """Seconds between checks of the folder."""

    settle_s: float = Field(default=5.0, ge=0)
    """A file is read when it has not been written to for this many seconds."""

    @model_validator(mode="after")
    def _columns_are_named(self) -> Self:
        missing = [name for name in ("operation_id", "date", "patient_id") if not getattr(self, name)]
        if missing:
            raise ValueError(f"{' and '.join(missing)} must be set: without this column no line can be used")
        return self
