"""Alerts as HL7 v2.5.1 ORU^R01 over MLLP, in original acknowledgement mode (HL7 v2.5.1 chapters 2 and 7).

A repeat has the same message control ID (MSH-10). A correction and a withdrawal have the filler order number (OBR-3) of the
first message.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import logging
import ssl
from dataclasses import dataclass

import hl7
from hl7.exceptions import HL7Exception
from hl7.mllp import InvalidBlockError, open_hl7_connection
from pydicom.sr.coding import Code

from node.alerts.channels import concepts
from node.alerts.channels.channel import Endpoint, setting_of
from node.alerts.values import Alert, AlertKind, LevelValue, Message
from node.clinical.identity import PatientIdentity
from node.common.errors import ConfigurationError, NodeError, RejectedError, TransportError
from node.model import codes
from node.model.codes import PRIVATE_SCHEME
from node.model.rounding import rounded_interval
from node.settings.alert import AlertSettings, Hl7Receiver
from node.settings.files import show_certificate, trusting

log = logging.getLogger(__name__)

#: Control characters say nothing in a text, but VT and FS end the frame of MLLP, and CR ends a segment.
_CONTROL = {chr(code): "" for code in (*range(0x20), *range(0x7F, 0xA0))}
#: Escape sequences of the delimiters (chapter 2.7.1) and of a line break in formatted text (2.7.6).
_ESCAPES = str.maketrans(
    _CONTROL | {"|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\\": "\\E\\", "\n": "\\.br\\", "\t": " "}
)
#: Message error codes (table 0357) for an unsupported type, event or version: the same message is never accepted.
_UNSUPPORTED = frozenset({"200", "201", "202", "203"})
#: Codes for "record locked" and "internal error": the same message may be accepted later.
_MAY_PASS = frozenset({"206", "207"})
#: Longest acknowledgement that is read.
_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Hl7Channel:
    """Sends each alert over a connection of its own; made by :meth:`from_settings`.

    Attributes:
        context: ``None``: not encrypted.
        timeout_s: of the whole exchange.
    """

    settings: Hl7Receiver
    context: ssl.SSLContext | None
    timeout_s: float

    @classmethod
    def from_settings(cls, settings: Hl7Receiver, alert: AlertSettings) -> Hl7Channel:
        """Read the files that the settings name.

        Raises:
            ConfigurationError: one of them cannot be used.
        """
        setting = setting_of(settings.name)
        context = trusting(settings.ca_file, f"{setting}.ca_file") if settings.security == "tls" else None
        if context is not None and settings.client_cert_file:
            show_certificate(context, settings.client_cert_file, settings.client_key_file, f"{setting}.client_cert_file")
        return cls(settings, context, alert.timeout_s)

    @property
    def name(self) -> str:
        """Name in logs and records."""
        return self.settings.name

    @property
    def endpoint(self) -> Endpoint:
        """Where it connects to."""
        return Endpoint(self.settings.host, self.settings.port, self.context)

    def send(self, alert: Alert, message: Message, patient: PatientIdentity) -> str:
        """Send an alert and wait for its acknowledgement.

        Raises:
            TransportError: no connection, a dropped connection, a time-out, AR, or AE for a condition that may end.
            RejectedError: AE, or AR for something that the receiver does not support.
            ConfigurationError: a certificate that is not trusted.
        """
        control_id = control_id_of(alert)
        text = result_message(alert, message, patient, self.settings, dt.datetime.now(dt.UTC))
        where = f"HL7 receiver {self.settings.host}:{self.settings.port}"
        try:
            answer = asyncio.run(asyncio.wait_for(self._exchange(text), self.timeout_s))
        except ssl.SSLCertVerificationError as error:
            raise ConfigurationError(
                f"the certificate of {where} is not trusted ({error.verify_message}): set {setting_of(self.name)}.ca_file "
                f"to its authority and {setting_of(self.name)}.host to the name that it is made out to"
            ) from error
        except (OSError, EOFError, TimeoutError, InvalidBlockError, ValueError) as error:
            raise TransportError(f"{where} did not acknowledge: {type(error).__name__}") from error
        code, errors = _acknowledged(answer, control_id, where)
        if code not in ("AA", "CA"):
            raise _refusal(f"{where} answered {code}{' ' if errors else ''}{', '.join(errors)}", code, errors)
        log.info("alert %s (%s) acknowledged by %s: %s", alert.message_id, alert.kind, where, code)
        return f"{code} for message {control_id}"

    async def _exchange(self, text: str) -> bytes:
        reader, writer = await open_hl7_connection(
            self.settings.host, self.settings.port, limit=_LIMIT_BYTES, encoding="utf-8", ssl=self.context
        )
        try:
            writer.writeblock(text.encode())
            await writer.drain()
            block: bytes = await reader.readblock()
        finally:
            writer.close()
        return block


def control_id_of(alert: Alert) -> str:
    """MSH-10, at most 20 characters: unique for this message, and the same for a repeat."""
    return hashlib.sha256(alert.message_id.encode()).hexdigest()[:20].upper()


def result_message(alert: Alert, message: Message, patient: PatientIdentity, settings: Hl7Receiver, now: dt.datetime) -> str:
    """The message; every segment ends with a carriage return."""
    segments = [_msh(alert, settings, now), _pid(patient, settings), _obr(alert, settings, now), *_obx(alert, message)]
    if message.of_header:
        segments.append(f"NTE|1||{_text(message.of_header)}")
    return "".join(f"{segment}\r" for segment in segments)


def _msh(alert: Alert, settings: Hl7Receiver, now: dt.datetime) -> str:
    names = (
        settings.sending_application,
        settings.sending_facility,
        settings.receiving_application,
        settings.receiving_facility,
    )
    fields = ["MSH", "^~\\&", *(_text(name) for name in names), _time(now), "", "ORU^R01^ORU_R01", control_id_of(alert)]
    # MSH-11 and 12, then MSH-18: UTF-8 (table 0211)
    return "|".join([*fields, "P", "2.5.1", "", "", "", "", "", "UNICODE UTF-8"])


def _pid(patient: PatientIdentity, settings: Hl7Receiver) -> str:
    numbers = [
        f"{_text(one.value)}^^^{_authority(one.issuer, one.issuer_universal_id, settings)}" for one in patient.identifiers
    ]
    # a DICOM name is family^given^middle^prefix^suffix, an XPN has the suffix before the prefix
    parts = [[*name.split("^"), "", "", "", "", ""] for name in patient.names]
    names = ["^".join(_text(p) for p in (part[0], part[1], part[2], part[4], part[3])).rstrip("^") for part in parts]
    born = f"{patient.birth_date:%Y%m%d}" if patient.birth_date is not None else ""
    return "|".join(["PID", "1", "", "~".join(numbers), "", "~".join(names), "", born, _text(patient.sex)])


def _authority(issuer: str, universal_id: str, settings: Hl7Receiver) -> str:
    name = issuer or settings.assigning_authority
    return f"{_text(name)}&{_text(universal_id)}&ISO" if universal_id.replace(".", "").isdigit() else _text(name)


def _obr(alert: Alert, settings: Hl7Receiver, now: dt.datetime) -> str:
    result = alert.result
    made = f"{result.acquisition_date:%Y%m%d}" if result.acquisition_date is not None else ""
    copies = [_text(id_) for id_ in settings.result_copies_to] or [
        "^".join([_text(s.id), *(_text(p) for p in s.name.split("^")[:3])]).rstrip("^") for s in alert.operation.surgeons
    ]
    status = {AlertKind.NEW: "P", AlertKind.CORRECTION: "C", AlertKind.WITHDRAWAL: "X"}[alert.kind]
    fields = {
        1: "1",
        3: f"{alert.id}^BMDNODE",
        4: _concept(codes.TRABECULAR_BMD),
        7: made,
        18: _text(result.accession_number or ""),  # Placer Field 1 holds it in IHE's Scheduled Workflow
        22: _time(now),
        25: status,
        28: "~".join(copies),
    }
    return "|".join(["OBR", *(fields.get(n, "") for n in range(1, 29))])


def _obx(alert: Alert, message: Message) -> list[str]:
    """The text, which starts with the conclusion; then mean, interval and category; then each level (OBX-4)."""
    result = alert.result
    rows: list[tuple[str, Code, str, str, str]] = [("FT", concepts.ALERT_TEXT, "", _text(message.text), "")]
    if result.bmd_mg_cm3 is not None:
        rows.append(("NM", codes.TRABECULAR_BMD, "mean", f"{result.bmd_mg_cm3:.1f}", codes.MG_CM3.value))
        if result.interval_mg_cm3 is not None:
            ends = zip((codes.BMD_LOWER_END, codes.BMD_UPPER_END), rounded_interval(result.interval_mg_cm3), strict=True)
            rows += [("NM", end, "mean", f"{value:.1f}", codes.MG_CM3.value) for end, value in ends]
    elif result.hu_mean is not None:
        rows.append(("NM", concepts.ATTENUATION, "mean", f"{result.hu_mean:.1f}", codes.HOUNSFIELD.value))
    if result.category is not None:
        rows.append(("CE", codes.ACR_CATEGORY, "mean", _concept(codes.CATEGORY[result.category]), ""))
    rows += [row for level in result.levels if (row := _level_row(level)) is not None]
    status = _observation_status(alert)
    segments = []
    for number, (type_, concept, sub_id, value, unit) in enumerate(rows, start=1):
        units = f"{_text(unit)}^^UCUM" if unit else ""
        segments.append(
            "|".join(["OBX", str(number), type_, _concept(concept), sub_id, value, units, "", "", "", "", status])
        )
    return segments


def _level_row(level: LevelValue) -> tuple[str, Code, str, str, str] | None:
    if not level.usable:
        return None
    if level.bmd_mg_cm3 is not None:
        return "NM", codes.TRABECULAR_BMD, level.level.name, f"{level.bmd_mg_cm3:.1f}", codes.MG_CM3.value
    if level.hu_mean is not None:
        return "NM", concepts.ATTENUATION, level.level.name, f"{level.hu_mean:.1f}", codes.HOUNSFIELD.value
    return None


def _observation_status(alert: Alert) -> str:
    """OBX-11 (table 0085): preliminary, correction, posted as wrong, or deleted."""
    if alert.kind is AlertKind.WITHDRAWAL:
        return "W" if alert.wrong else "D"
    return "P" if alert.kind is AlertKind.NEW else "C"


def _concept(concept: Code) -> str:
    return f"{concept.value}^{_text(concept.meaning)}^{PRIVATE_SCHEME}"


def _text(text: str) -> str:
    return text.translate(_ESCAPES)


def _time(when: dt.datetime) -> str:
    return f"{when:%Y%m%d%H%M%S%z}"


def _acknowledged(block: bytes, control_id: str, where: str) -> tuple[str, list[str]]:
    """MSA-1 and the codes of ERR-3 (since v2.5) or ERR-1.4 (before). Their texts may name the patient and are left out.

    Raises:
        TransportError: the answer is not an acknowledgement of this message.
    """
    try:
        answer = hl7.parse(block.decode("utf-8", "replace"))
        msa = answer.segment("MSA")
        code, of_message = str(msa[1]), str(msa[2]) if len(msa) > 2 else ""
    except (HL7Exception, LookupError, ValueError) as error:
        raise TransportError(f"{where} sent an answer that is not an acknowledgement") from error
    if of_message != control_id:
        raise TransportError(f"{where} acknowledged another message")
    found = [str(segment) for segment in answer if str(segment[0]) == "ERR"]
    errors = []
    for segment in found:
        fields = [*segment.split("|"), "", "", "", ""]
        codes = (fields[3].split("^")[0], (fields[1].split("^") + [""] * 4)[3].split("&")[0])
        errors += [one for one in codes if one.isdigit() and len(one) == 3]
    return code, errors


def _refusal(text: str, code: str, errors: list[str]) -> NodeError:
    if code in ("AR", "CR"):
        # the reason is not in the message, so the sender may send it again (chapter 2.9.2)
        return RejectedError(text) if _UNSUPPORTED & set(errors) else TransportError(text)
    return TransportError(text) if _MAY_PASS & set(errors) else RejectedError(text)
