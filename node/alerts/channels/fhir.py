"""Alerts as FHIR R4B resources, in one transaction (http.html#transaction).

A first message creates a DiagnosticReport with its Observations, a Flag and a Communication, each only if there is none with
its identifier, so that a repeat creates nothing. A correction updates report, observations and flag by their identifiers. A
withdrawal ends the flag, and marks report and observations as entered in error if they were wrong. Each message has its own
Communication.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import ssl
import uuid
from dataclasses import dataclass, field

from pydicom.sr.coding import Code

from node.alerts.channels import concepts
from node.alerts.channels.channel import Endpoint, setting_of
from node.alerts.channels.concepts import ALERT_SYSTEM, SCHEME_URI
from node.alerts.channels.http import Answer, endpoint_of, post
from node.alerts.values import Alert, AlertKind, LevelValue, Message
from node.clinical.identity import PatientIdentity
from node.common.errors import RejectedError
from node.common.http_errors import refusal
from node.model import MEASURED_LEVELS, codes
from node.model.rounding import rounded_interval
from node.settings.alert import AlertSettings, FhirReceiver
from node.settings.files import ascii_secret, trusting

log = logging.getLogger(__name__)

Json = dict[str, object]

_UCUM = "http://unitsofmeasure.org"
_FHIR_JSON = "application/fhir+json"
_STATUS = {AlertKind.NEW: "preliminary", AlertKind.CORRECTION: "corrected", AlertKind.WITHDRAWAL: "entered-in-error"}


@dataclass(frozen=True, slots=True)
class FhirChannel:
    """Posts each alert as one transaction; made by :meth:`from_settings`."""

    settings: FhirReceiver
    token: str = field(repr=False)
    context: ssl.SSLContext
    timeout_s: float

    @classmethod
    def from_settings(cls, settings: FhirReceiver, alert: AlertSettings) -> FhirChannel:
        """Read the files that the settings name.

        Raises:
            ConfigurationError: one of them cannot be used.
        """
        token = ascii_secret(settings.token_file, f"{setting_of(settings.name)}.token_file")
        context = trusting(settings.ca_file, f"{setting_of(settings.name)}.ca_file")
        return cls(settings, token, context, alert.timeout_s)

    @property
    def name(self) -> str:
        """Name in logs and records."""
        return self.settings.name

    @property
    def endpoint(self) -> Endpoint:
        """Where it connects to."""
        return endpoint_of(self.settings.base_url, self.context, f"{setting_of(self.name)}.base_url")

    def send(self, alert: Alert, message: Message, patient: PatientIdentity) -> str:
        """Post an alert.

        Raises:
            TransportError: no connection, a time-out, or an answer that may change (409, 429, 5xx).
            RejectedError: any other refusal, or no system for the patient's identifier.
            ConfigurationError: a certificate that is not trusted, 401, 403, or a redirect.
        """
        setting, now = setting_of(self.name), dt.datetime.now(dt.UTC)
        body = json.dumps(transaction(alert, message, patient, self.settings, now), ensure_ascii=False)
        headers = {"content-type": f"{_FHIR_JSON}; charset=utf-8", "accept": _FHIR_JSON}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        answer = post(self.settings.base_url, body.encode(), headers, self.context, self.timeout_s, setting)
        if not answer.is_success:
            raise refusal(answer.where, answer.status, setting, _issues(answer))
        log.info("alert %s (%s) posted to the FHIR server, answer %d", alert.message_id, alert.kind, answer.status)
        return f"{answer.status}{_statuses(answer)}"


def transaction(alert: Alert, message: Message, patient: PatientIdentity, settings: FhirReceiver, now: dt.datetime) -> Json:
    """The Bundle of an alert.

    Raises:
        RejectedError: the settings name no system for the patient's identifier.
    """
    return _Resources(alert, message, _subject(patient, settings), settings, now).bundle()


class _Resources:
    def __init__(self, alert: Alert, message: Message, subject: Json, settings: FhirReceiver, now: dt.datetime) -> None:
        self._alert, self._message, self._subject, self._settings, self._now = alert, message, subject, settings, now
        self._is_first = alert.revision == 1

    def bundle(self) -> Json:
        alert = self._alert
        entries = []
        if alert.kind is not AlertKind.WITHDRAWAL or alert.wrong:
            means = [("mean", self._mean())]
            levels = {level.level: level for level in alert.result.levels}
            means += [(level.name, self._level(level.name, levels.get(level))) for level in MEASURED_LEVELS]
            entries += [self._kept(observation, part) for part, observation in means]
            entries.append(self._kept(self._report([part for part, _ in means]), "report"))
        entries += [self._kept(self._flag(), "flag"), self._created(self._communication(), f"message-{alert.revision}")]
        return {"resourceType": "Bundle", "type": "transaction", "entry": entries}

    def _kept(self, resource: Json, part: str) -> Json:
        """An entry that creates or updates the resource of this part of the alert."""
        if self._is_first:
            return self._created(resource, part)
        kind, query = resource["resourceType"], self._query(part)
        return self._entry(resource, part, {"method": "PUT", "url": f"{kind}?{query}"})

    def _created(self, resource: Json, part: str) -> Json:
        request: Json = {"method": "POST", "url": resource["resourceType"], "ifNoneExist": self._query(part)}
        return self._entry(resource, part, request)

    def _entry(self, resource: Json, part: str, request: Json) -> Json:
        identifier: Json = {"system": ALERT_SYSTEM, "value": self._value(part)}
        kind = resource.pop("resourceType")
        whole = {"resourceType": kind, "identifier": [identifier], **resource}
        return {"fullUrl": self._url(part), "resource": whole, "request": request}

    def _value(self, part: str) -> str:
        return f"{self._alert.id}-{part}"

    def _query(self, part: str) -> str:
        return f"identifier={ALERT_SYSTEM}|{self._value(part)}"

    def _url(self, part: str) -> str:
        return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, self._value(part))}"

    def _mean(self) -> Json:
        result = self._alert.result
        observation = self._observation(result.bmd_mg_cm3, result.hu_mean)
        components: list[Json] = []
        if result.interval_mg_cm3 is not None and result.bmd_mg_cm3 is not None:
            ends = zip((codes.BMD_LOWER_END, codes.BMD_UPPER_END), rounded_interval(result.interval_mg_cm3), strict=True)
            components += [{"code": _code(end), "valueQuantity": _bmd(value)} for end, value in ends]
        if result.category is not None:
            category = _code(codes.CATEGORY[result.category])
            components.append({"code": _code(codes.ACR_CATEGORY), "valueCodeableConcept": category})
        return observation | ({"component": components} if components else {})

    def _level(self, name: str, level: LevelValue | None) -> Json:
        counts = level is not None and level.usable
        observation = self._observation(
            level.bmd_mg_cm3 if level is not None and counts else None,
            level.hu_mean if level is not None and counts else None,
        )
        return observation | {"bodySite": {"text": name}}

    def _observation(self, bmd_mg_cm3: float | None, hu_mean: float | None) -> Json:
        observation: Json = {
            "resourceType": "Observation",
            "status": _STATUS[self._alert.kind],
            "code": _code(codes.TRABECULAR_BMD if bmd_mg_cm3 is not None or hu_mean is None else concepts.ATTENUATION),
            "subject": self._subject,
        }
        if self._alert.result.acquisition_date is not None:
            observation["effectiveDateTime"] = self._alert.result.acquisition_date.isoformat()
        if bmd_mg_cm3 is not None:
            return observation | {"valueQuantity": _bmd(bmd_mg_cm3)}
        if hu_mean is not None:
            return observation | {"valueQuantity": _quantity(hu_mean, "HU", codes.HOUNSFIELD.value)}
        absent = {"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "unknown"}
        return observation | {"dataAbsentReason": {"coding": [absent]}}

    def _report(self, parts: list[str]) -> Json:
        result = self._alert.result
        report: Json = {
            "resourceType": "DiagnosticReport",
            "status": _STATUS[self._alert.kind],
            "code": _code(codes.TRABECULAR_BMD),
            "subject": self._subject,
            "issued": self._now.isoformat(),
            "result": [{"reference": self._url(part)} for part in parts],
            "conclusion": self._message.subject,
            "imagingStudy": [
                {
                    "type": "ImagingStudy",
                    "identifier": {"system": "urn:dicom:uid", "value": f"urn:oid:{result.study_instance_uid}"},
                }
            ],
        }
        if result.acquisition_date is not None:
            report["effectiveDateTime"] = result.acquisition_date.isoformat()
        if result.accession_number:
            accession = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "ACSN"}]}
            order: Json = {"type": "ServiceRequest", "identifier": {"type": accession, "value": result.accession_number}}
            report["basedOn"] = [order]
        return report

    def _flag(self) -> Json:
        alert = self._alert
        status = "active"
        if alert.kind is AlertKind.WITHDRAWAL:
            status = "entered-in-error" if alert.wrong else "inactive"
        code = _code(concepts.ALERT) | {"text": self._message.subject}
        flag: Json = {"resourceType": "Flag", "status": status, "code": code, "subject": self._subject}
        starts = alert.operation.starts
        if starts is not None and status == "active":
            # after the operation the warning is void
            flag["period"] = {"end": starts.isoformat()}
        return flag

    def _communication(self) -> Json:
        alert = self._alert
        category = {"system": "http://terminology.hl7.org/CodeSystem/communication-category", "code": "alert"}
        communication: Json = {
            "resourceType": "Communication",
            "status": "completed",
            "category": [{"coding": [category]}],
            "subject": self._subject,
            "about": [{"reference": self._url("flag")}],
            "sent": self._now.isoformat(),
            "payload": [{"contentString": self._message.text}],
        }
        if self._message.of_header:
            communication["note"] = [{"text": self._message.of_header}]
        recipients = [_practitioner(id_, "", self._settings) for id_ in self._settings.recipients] or [
            _practitioner(s.id, s.name, self._settings) for s in alert.operation.surgeons if s.id or s.name
        ]
        return communication | ({"recipient": recipients} if recipients else {})


def _subject(patient: PatientIdentity, settings: FhirReceiver) -> Json:
    """A conditional reference (http.html#trules): the server finds the patient, or refuses the whole transaction."""
    for identifier in patient.identifiers:
        system = settings.patient_systems.get(identifier.issuer) or ("" if identifier.issuer else settings.patient_system)
        if system and identifier.value:
            return {"reference": f"Patient?identifier={system}|{identifier.value}"}
    raise RejectedError(
        f"{setting_of(settings.name)}.patient_systems names no system for the Issuer of Patient ID of this study: add it"
    )


def _practitioner(id_: str, name: str, settings: FhirReceiver) -> Json:
    shown = " ".join(part for part in reversed(name.split("^")[:2]) if part)
    reference: Json = {"type": "Practitioner"}
    if id_ and settings.practitioner_system:
        reference["identifier"] = {"system": settings.practitioner_system, "value": id_}
    return reference | {"display": shown or id_}


def _code(concept: Code) -> Json:
    return {"coding": [{"system": SCHEME_URI, "code": concept.value, "display": concept.meaning}]}


def _bmd(value_mg_cm3: float) -> Json:
    return _quantity(value_mg_cm3, codes.MG_CM3.value, codes.MG_CM3.value)


def _quantity(value: float, unit: str, code: str) -> Json:
    return {"value": round(value, 1), "unit": unit, "system": _UCUM, "code": code}


def _issues(answer: Answer) -> str:
    """Codes of an OperationOutcome. Its texts may name the patient and are left out."""
    try:
        outcome = json.loads(answer.body)
        codes = [str(issue["code"]) for issue in outcome["issue"]]
    except (ValueError, KeyError, TypeError):
        return ""
    return ", ".join(code for code in codes if code.isascii() and len(code) < 32)


def _statuses(answer: Answer) -> str:
    """What the server did with each resource."""
    try:
        statuses = [str(entry["response"]["status"])[:3] for entry in json.loads(answer.body)["entry"]]
    except (ValueError, KeyError, TypeError):
        return ""
    return f" ({', '.join(statuses)})"
