"""Searches a FHIR server for changes since the last search, and stores them."""

from __future__ import annotations

import datetime as dt
import json
import logging
import time
from dataclasses import dataclass, replace

from pydantic import JsonValue

from node.clinical.planned_operation import PlannedOperation, PlanSource, PlanStatus
from node.common.errors import InputError
from node.plans.fhir_client import FhirClient
from node.plans.fhir_models import Appointment, Bundle, Reference, Resource, ServiceRequest, read_resource
from node.plans.fhir_operation import FhirContext, operation_of_appointment, operation_of_request
from node.records.fhir_cursors import FhirCursors
from node.records.plan_refusals import PlanRefusals
from node.records.planned_operations import PlannedOperations
from node.settings.tree import Settings

log = logging.getLogger(__name__)

#: Resources that the server commits late may have an earlier time; finding a resource twice is harmless. An assumption.
_OVERLAP = dt.timedelta(minutes=5)
_INCLUDED = {
    "Appointment": ("Appointment:actor", "Appointment:based-on"),
    "ServiceRequest": ("ServiceRequest:subject", "ServiceRequest:performer", "ServiceRequest:requester"),
}
#: Ids per search: a URL should stay below 2000 characters, and an id has up to 64.
_IDS_AT_ONCE = 25
#: Message id of a resource that no longer exists.
_VANISHED = "vanished"
_SOURCES = {"Appointment": PlanSource.FHIR, "ServiceRequest": PlanSource.FHIR_REQUEST}


class FhirSearch:
    """Stores changed appointments and service requests, and detects deleted ones.

    A search for changes does not find deleted resources. Every ``plans_fhir.verify_s`` all future ones are searched by id; a
    resource that a read does not find either (404, 410) has vanished.

    Raises:
        ConfigurationError: the database cannot be opened, or the CA file cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.plans_fhir
        self._zone = settings.plans.zone
        self._client = FhirClient(settings.plans_fhir)
        self._operations = PlannedOperations.open(settings)
        self._refusals = PlanRefusals.open(settings)
        self._cursors = FhirCursors.open(settings)
        self._verified_s = time.monotonic()

    def look(self) -> int:
        """Search for changes; returns the number of stored resources.

        Raises:
            TransportError: the server does not answer; the next search starts from the same time.
            RejectedError: it refuses.
            sqlalchemy.exc.SQLAlchemyError: the database does not answer.
        """
        n_taken = sum(self._search(resource_type) for resource_type in self._settings.resources)
        if time.monotonic() - self._verified_s >= self._settings.verify_s:
            self.verify()
        return n_taken

    def verify(self) -> int:
        """Search all future operations by id and store their current state; returns the number of vanished ones.

        Raises:
            TransportError, RejectedError, sqlalchemy.exc.SQLAlchemyError: as :meth:`look`.
        """
        now = dt.datetime.now(dt.UTC)
        to_come: dict[str, dict[str, PlannedOperation]] = {name: {} for name in self._settings.resources}
        for known in self._operations.current():
            resource_type, _, id_ = known.key.operation_id.partition("/")
            is_ours = known.key.source_name == self._client.name and known.key.source is _SOURCES.get(resource_type)
            may_be = known.is_active or known.status is PlanStatus.VANISHED
            if is_ours and resource_type in to_come and may_be and (known.starts is None or known.starts > now):
                to_come[resource_type][id_] = known
        n_vanished = sum(self._verify(resource_type, known, now) for resource_type, known in to_come.items())
        self._verified_s = time.monotonic()
        return n_vanished

    def _verify(self, resource_type: str, known: dict[str, PlannedOperation], now: dt.datetime) -> int:
        ids, n_vanished = sorted(known), 0
        for first in range(0, len(ids), _IDS_AT_ONCE):
            missing = dict.fromkeys(ids[first : first + _IDS_AT_ONCE])
            parameters = [("_id", ",".join(missing)), ("_count", str(_IDS_AT_ONCE))]
            parameters += [("_include", path) for path in _INCLUDED[resource_type]]
            for bundle in self._client.search(resource_type, tuple(parameters), ""):
                page = _Page(self._client, bundle)
                for found in page.found(resource_type):
                    self._take(found, page, now)
                    missing.pop(found.id, None)
            for id_ in missing:
                value = self._client.read(f"{resource_type}/{id_}")
                if value is None:
                    n_vanished += self._vanish(known[id_], now)
                else:
                    page = _Page(self._client, Bundle.model_validate(_as_bundle(value)))
                    for found in page.found(resource_type):
                        self._take(found, page, now)
        return n_vanished

    def _vanish(self, known: PlannedOperation, now: dt.datetime) -> bool:
        if known.status is PlanStatus.VANISHED:
            return False
        # also if the server's clock is ahead
        sent_at = max(now, known.sent_at)
        said = replace(known, status=PlanStatus.VANISHED, sent_at=sent_at, received_at=now)
        self._operations.keep(said, f"{known.key.operation_id}/{_VANISHED}/{sent_at.isoformat()}")
        log.warning("a planned operation (%s) is no longer on the FHIR server: vanished", known.key.source)
        return True

    def _search(self, resource_type: str) -> int:
        extra = self._settings.appointments if resource_type == "Appointment" else self._settings.service_requests
        name = f"{self._client.name} {resource_type}"[:500]
        began = dt.datetime.now(dt.UTC)
        seen_until = self._cursors.get(name)
        since = began - dt.timedelta(days=self._settings.first_days) if seen_until is None else seen_until - _OVERLAP
        parameters = [("_lastUpdated", f"ge{since:%Y-%m-%dT%H:%M:%SZ}"), ("_count", str(self._settings.page_size))]
        parameters += [("_include", path) for path in _INCLUDED[resource_type]]
        n_taken, latest = 0, seen_until or since
        for bundle in self._client.search(resource_type, tuple(parameters), extra):
            page = _Page(self._client, bundle)
            for found in page.found(resource_type):
                n_taken += self._take(found, page, began)
                if found.resource is not None and found.resource.meta.last_updated is not None:
                    latest = max(latest, found.resource.meta.last_updated)
        self._cursors.set(name, latest)
        return n_taken

    def _take(self, found: _Found, page: _Page, received_at: dt.datetime) -> bool:
        if found.resource is None:
            self._refuse(found, found.fault)
            return False
        try:
            operation = self._operation(found.resource, page, received_at)
            if operation is None:
                return False
            operation = self._completed(operation)
            self._operations.keep(operation, f"{operation.key.operation_id}/_history/{found.resource.meta.version_id}")
        except InputError as error:
            self._refuse(found, str(error))
            return False
        return True

    def _completed(self, said: PlannedOperation) -> PlannedOperation:
        """The operation, completed from the store: the patient of a stub left by a deleted resource, or a reappearance.

        Raises:
            InputError: it has no patient, and is not known.
        """
        known = self._operations.operation(said.key)
        if not said.patient.identifiers:
            if known is None:
                raise InputError("no patient with an identifier can be found")
            return replace(known, status=said.status, sent_at=said.sent_at, received_at=said.received_at)
        if known is not None and known.status is PlanStatus.VANISHED and said.sent_at <= known.sent_at:
            # the resource is back, with its old time
            return replace(said, sent_at=max(said.received_at, known.sent_at))
        return said

    def _refuse(self, found: _Found, why: str) -> None:
        log.warning("%s refused: %s", found.resource_type, why)
        content = json.dumps(found.value, sort_keys=True).encode()
        self._refusals.keep(_SOURCES[found.resource_type], content, "resource", why)

    def _operation(self, resource: Resource, page: _Page, received_at: dt.datetime) -> PlannedOperation | None:
        def resolve(reference: Reference) -> Resource | None:
            return page.resolve(reference, resource)

        context = FhirContext(self._client.name, self._zone, received_at, resolve)
        if isinstance(resource, Appointment):
            return operation_of_appointment(resource, context)
        return operation_of_request(resource, context) if isinstance(resource, ServiceRequest) else None


@dataclass(frozen=True, slots=True)
class _Found:
    """A resource of a page, raw and parsed; ``fault`` says why it could not be parsed."""

    resource_type: str
    value: JsonValue
    resource: Resource | None
    fault: str

    @property
    def id(self) -> str:
        """Id of the resource; empty if it has none."""
        return str(self.value.get("id", "")) if isinstance(self.value, dict) else ""


class _Page:
    """One page of results: matches, and the resources that they refer to."""

    def __init__(self, client: FhirClient, bundle: Bundle) -> None:
        self._client = client
        self._all = [_read(entry.resource) for entry in bundle.entry]
        read = [one.resource for one in self._all if one.resource is not None]
        self._known: dict[str, Resource | None] = {f"{one.resource_type}/{one.id}": one for one in read}

    def found(self, resource_type: str) -> list[_Found]:
        """Resources of a type."""
        return [one for one in self._all if one.resource_type == resource_type]

    def resolve(self, reference: Reference, of: Resource) -> Resource | None:
        """The resource of a reference: contained, on this page, or read from the server."""
        text = reference.reference
        if text.startswith("#"):
            return self._contained(text[1:], of)
        if not text or text.startswith("urn:"):
            return None
        if text not in self._known:
            value = self._client.read(text)
            self._known[text] = None if value is None else _read(value).resource
        return self._known[text]

    def _contained(self, contained_id: str, of: Resource) -> Resource | None:
        read = (_read(value).resource for value in of.contained)
        return next((one for one in read if one is not None and one.id == contained_id), None)


def _as_bundle(value: JsonValue) -> dict[str, JsonValue]:
    return {"resourceType": "Bundle", "entry": [{"resource": value}]}


def _read(value: JsonValue) -> _Found:
    resource_type = str(value.get("resourceType")) if isinstance(value, dict) else ""
    try:
        return _Found(resource_type, value, read_resource(value), "")
    except ValueError as error:
        return _Found(resource_type, value, None, str(error))
