"""Alerts as JSON to a web address, signed according to the Standard Webhooks specification 1.0 (standardwebhooks.com).

The receiver recognises a repeat by ``webhook-id``, and may answer it with 409. The JSON does not name the patient.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import json
import logging
import ssl
from dataclasses import dataclass, field

from node.alerts.channels.channel import Endpoint, setting_of
from node.alerts.channels.http import endpoint_of, post
from node.alerts.message import images_link
from node.alerts.values import Alert, Message
from node.clinical.identity import PatientIdentity
from node.common.errors import ConfigurationError
from node.common.http_errors import refusal
from node.model.fractures import fractures_in
from node.model.rounding import rounded_interval
from node.settings.alert import AlertSettings, WebhookReceiver
from node.settings.files import ascii_secret, trusting

log = logging.getLogger(__name__)

_PREFIX = "whsec_"
#: Bytes of a secret (Standard Webhooks 1.0, "Signature scheme").
_LEAST_BYTES, _MOST_BYTES = 24, 64


@dataclass(frozen=True, slots=True)
class WebhookChannel:
    """Posts each alert; made by :meth:`from_settings`."""

    settings: WebhookReceiver
    secret: bytes = field(repr=False)
    context: ssl.SSLContext
    alert_settings: AlertSettings

    @classmethod
    def from_settings(cls, settings: WebhookReceiver, alert: AlertSettings) -> WebhookChannel:
        """Read the files that the settings name.

        Raises:
            ConfigurationError: one of them cannot be used.
        """
        setting = setting_of(settings.name)
        text = ascii_secret(settings.secret_file, f"{setting}.secret_file")
        secret = _secret(text, settings.secret_file, f"{setting}.secret_file")
        return cls(settings, secret, trusting(settings.ca_file, f"{setting}.ca_file"), alert)

    @property
    def name(self) -> str:
        """Name in logs and records."""
        return self.settings.name

    @property
    def endpoint(self) -> Endpoint:
        """Where it connects to."""
        return endpoint_of(self.settings.url, self.context, f"{setting_of(self.name)}.url")

    def send(self, alert: Alert, message: Message, patient: PatientIdentity) -> str:  # noqa: ARG002 - not named here
        """Post an alert; the answer 409 means that the receiver already has it.

        Raises:
            TransportError: no connection, a time-out, or an answer that may change (408, 425, 429, 5xx).
            RejectedError: any other refusal.
            ConfigurationError: a certificate that is not trusted, 401, 403, or a redirect.
        """
        now = dt.datetime.now(dt.UTC)
        body = payload(alert, message, self.alert_settings, now).encode()
        timestamp = str(int(now.timestamp()))
        headers = {
            "content-type": "application/json",
            "webhook-id": alert.message_id,
            "webhook-timestamp": timestamp,
            "webhook-signature": f"v1,{signature(self.secret, alert.message_id, timestamp, body)}",
        }
        setting, timeout_s = setting_of(self.name), self.alert_settings.timeout_s
        answer = post(self.settings.url, body, headers, self.context, timeout_s, setting)
        known = answer.status == 409
        if not known and not answer.is_success:
            raise refusal(answer.where, answer.status, setting)
        log.info("alert %s (%s) posted, answer %d", alert.message_id, alert.kind, answer.status)
        return "409: already known" if known else str(answer.status)


def signature(secret: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 of id, time (seconds since the epoch) and body, joined by dots; in Base64."""
    signed = message_id.encode() + b"." + timestamp.encode() + b"." + body
    return base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def payload(alert: Alert, message: Message, settings: AlertSettings, now: dt.datetime) -> str:
    """The JSON: numbers for programs, subject and text for people. It does not name the patient."""
    result, operation = alert.result, alert.operation
    fractures = fractures_in((), [] if result.fractures is None else [result.fractures])
    levels = [
        {
            "level": level.level.name,
            "bmd_mg_cm3": level.bmd_mg_cm3,
            "hu_mean": level.hu_mean,
            "usable": level.usable,
            "findings": [finding.code for finding in level.findings],
        }
        for level in result.levels
    ]
    data = {
        "alert_id": alert.id,
        "revision": alert.revision,
        "kind": alert.kind,
        "escalation": alert.escalation,
        "rules": list(alert.rules),
        "because": alert.because.code if alert.because is not None else None,
        "study_instance_uid": result.study_instance_uid,
        "accession_number": result.accession_number,
        "bmd_mg_cm3": result.bmd_mg_cm3,
        "bmd_interval_mg_cm3": None if result.interval_mg_cm3 is None else rounded_interval(result.interval_mg_cm3),
        "category": result.category,
        "hu_mean": result.hu_mean,
        "fracture_found": result.fractures is not None,
        "fractures": [{"level": one.level.name, "grade": one.grade} for one in fractures],
        "levels": levels,
        "operation": {
            "source": operation.source,
            "starts": operation.starts.isoformat() if operation.starts is not None else None,
            "levels": list(operation.levels),
            "surgeons": [surgeon.id for surgeon in operation.surgeons if surgeon.id],
        },
        "images": images_link(result, settings) if settings.link_template else None,
        "subject": message.subject,
        "text": message.text,
    }
    return json.dumps({"type": f"alert.{alert.kind}", "timestamp": now.isoformat(), "data": data}, ensure_ascii=False)


def _secret(text: str, path: str, setting: str) -> bytes:
    try:
        secret = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        secret = b""
    if not text.startswith(_PREFIX) or not _LEAST_BYTES <= len(secret) <= _MOST_BYTES:
        raise ConfigurationError(f"{setting} {path} must hold {_PREFIX} and {_LEAST_BYTES} to {_MOST_BYTES} bytes in Base64")
    return secret
