"""A FHIR server with what the node asks of one: search by _lastUpdated or _id with _include and pages, read, bearer token.

Every resource that it holds, and every bundle that it gives, is validated by ``fhir.resources`` (R4B).
"""

from __future__ import annotations

import datetime as dt
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from fhir.resources.R4B.appointment import Appointment
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.location import Location
from fhir.resources.R4B.patient import Patient
from fhir.resources.R4B.practitioner import Practitioner
from fhir.resources.R4B.practitionerrole import PractitionerRole
from fhir.resources.R4B.servicerequest import ServiceRequest

_MODELS = {
    model.__name__: model for model in (Appointment, Location, Patient, Practitioner, PractitionerRole, ServiceRequest)
}
TOKEN = "let-me-in"  # noqa: S105 - of a server that lives as long as a test


class FhirServer:
    """A server on a free port.

    Attributes:
        asked: paths with queries, in the order in which they came.
        status: given instead of an answer.
        next_page: given instead of the true address of the next page.
        knows_ids: whether a search by ``_id`` finds anything; an index that is late does not.
    """

    def __init__(self) -> None:
        self.resources: dict[str, dict[str, object]] = {}
        self.asked: list[str] = []
        self.status: int | None = None
        self.next_page: str | None = None
        self.knows_ids = True
        self._deleted: set[str] = set()
        self._searched = threading.Condition()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = server.answer(self.path, self.headers.get("Authorization"))
                self.send_response(status)
                self.send_header("Content-Type", "application/fhir+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                with server._searched:
                    server._searched.notify_all()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self._http.server_port}/fhir"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def put(self, resource: dict[str, object], updated: dt.datetime | None = None, version: int = 1) -> None:
        """Hold a resource that ``fhir.resources`` finds valid."""
        when = (updated or dt.datetime.now(dt.UTC)).isoformat(timespec="milliseconds")
        resource = {**resource, "meta": {"versionId": str(version), "lastUpdated": when}}
        _MODELS[str(resource["resourceType"])].model_validate(resource)
        self.put_unchecked(resource)

    def put_unchecked(self, resource: dict[str, object]) -> None:
        """Hold a resource as some servers do."""
        self.resources[f"{resource['resourceType']}/{resource['id']}"] = resource

    def delete(self, key: str, *, remembers: bool) -> None:
        """Remove a resource; a server that remembers it answers 410 instead of 404."""
        del self.resources[key]
        if remembers:
            self._deleted.add(key)

    def wait_for_searches(self, n: int) -> None:
        """Wait until so many searches were answered."""
        with self._searched:
            assert self._searched.wait_for(lambda: sum("?" in path for path in self.asked) >= n, 60)

    def answer(self, path: str, authorization: str | None) -> tuple[int, bytes]:
        self.asked.append(path)
        if authorization != f"Bearer {TOKEN}":
            return 401, b"{}"
        if self.status is not None:
            return self.status, b"{}"
        parts = urlsplit(path)
        key = parts.path.removeprefix("/fhir/")
        if "/" in key:
            found = self.resources.get(key)
            gone = 410 if key in self._deleted else 404
            return (200, json.dumps(found).encode()) if found else (gone, b"{}")
        return 200, json.dumps(self._search(key, parts.query)).encode()

    def _search(self, resource_type: str, query: str) -> dict[str, object]:
        asked = parse_qs(query)
        count, page = int(asked["_count"][0]), int(asked.get("page", ["0"])[-1])
        matches = [
            one
            for key, one in sorted(self.resources.items())
            if key.startswith(f"{resource_type}/") and self._matches(one, asked)
        ]
        shown = matches[page * count : (page + 1) * count]
        included = [
            self.resources[reference]
            for reference in dict.fromkeys(_references(shown))
            if reference in self.resources and "_include" in asked
        ]
        links = [{"relation": "self", "url": f"{self.base_url}/{resource_type}?{query}"}]
        if (page + 1) * count < len(matches):
            url = f"{self.base_url}/{resource_type}?{query}&page={page + 1}"
            links.append({"relation": "next", "url": self.next_page or url})
        entries = [{"resource": one, "search": {"mode": "match"}} for one in shown]
        entries += [{"resource": one, "search": {"mode": "include"}} for one in included]
        return {"resourceType": "Bundle", "type": "searchset", "total": len(matches), "link": links, "entry": entries}

    def _matches(self, resource: dict[str, object], asked: dict[str, list[str]]) -> bool:
        if "_id" in asked:
            return self.knows_ids and resource["id"] in asked["_id"][0].split(",")
        since = dt.datetime.fromisoformat(asked["_lastUpdated"][0].removeprefix("ge"))
        return dt.datetime.fromisoformat(resource["meta"]["lastUpdated"]) >= since  # type: ignore[index]


def validated(bundle: dict[str, object]) -> Bundle:
    """A bundle that ``fhir.resources`` finds valid."""
    return Bundle.model_validate(bundle)


def _references(value: object) -> list[str]:
    if isinstance(value, list):
        return [found for one in value for found in _references(one)]
    if isinstance(value, dict):
        own = [value["reference"]] if isinstance(value.get("reference"), str) else []
        return own + [found for one in value.values() for found in _references(one)]
    return []
