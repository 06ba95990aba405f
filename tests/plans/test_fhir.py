"""Appointments and ServiceRequests of a server over HTTP, valid by ``fhir.resources``, become planned operations."""

from __future__ import annotations

import datetime as dt
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from node.clinical.identity import PatientIdentifier, PatientIdentity
from node.clinical.planned_operation import CodedProcedure, Participant, PlannedOperation, PlanSource, PlanStatus, Role
from node.common.errors import ConfigurationError, RejectedError, TransportError
from node.demo.pacs import free_port
from node.plans import serve_intake
from node.plans.fhir_search import FhirSearch
from node.records.plan_refusals import PlanRefusals
from node.records.planned_operations import PlannedOperations
from node.settings.plans import PlanFhirSettings, PlanSettings
from node.settings.tree import Settings
from tests.plans.fhir_server import TOKEN, FhirServer, validated

NOW = dt.datetime.now(dt.UTC)
PATIENT: dict[str, object] = {
    "resourceType": "Patient",
    "id": "p1",
    "identifier": [
        {"system": "urn:oid:1.2.276.0.76.3", "value": "4711"},
        {"system": "urn:visit", "value": "880012", "type": {"coding": [{"code": "VN"}]}},
    ],
    "name": [{"family": "Müller", "given": ["Anna", "Maria"], "prefix": ["Dr."]}, {"use": "maiden", "text": "Anna Weiß"}],
    "birthDate": "1950-04-01",
    "gender": "female",
}
SURGEON: dict[str, object] = {
    "resourceType": "Practitioner",
    "id": "s1",
    "identifier": [{"system": "urn:staff", "value": "17"}],
    "name": [{"family": "Schraube", "given": ["Petra"]}],
    "telecom": [{"system": "email", "value": "schraube@hospital.example"}],
}
SURGEON_ROLE: dict[str, object] = {
    "resourceType": "PractitionerRole",
    "id": "r1",
    "practitioner": {"reference": "Practitioner/s1"},
}
THEATRE: dict[str, object] = {"resourceType": "Location", "id": "l1", "name": "OP 3"}
REQUEST: dict[str, object] = {
    "resourceType": "ServiceRequest",
    "id": "q1",
    "status": "active",
    "intent": "order",
    "code": {
        "coding": [{"system": "http://snomed.info/sct", "code": "55705006", "display": "Spinal arthrodesis"}],
        "text": "PLIF L4/5",
    },
    "subject": {"reference": "Patient/p1"},
    "occurrenceDateTime": "2030-01-20",
    "performer": [{"reference": "PractitionerRole/r1"}],
    "requester": {"display": "Zuweiser, Ida"},
}
APPOINTMENT: dict[str, object] = {
    "resourceType": "Appointment",
    "id": "a1",
    "status": "booked",
    "description": "Spondylodese L4-S1",
    "start": "2030-01-20T08:00:00+01:00",
    "end": "2030-01-20T11:00:00+01:00",
    "basedOn": [{"reference": "ServiceRequest/q1"}],
    "participant": [
        {"actor": {"reference": "Patient/p1"}, "status": "accepted"},
        {"actor": {"reference": "Practitioner/s1"}, "status": "accepted", "type": [{"coding": [{"code": "PPRF"}]}]},
        {"actor": {"display": "Schlaf, Otto"}, "status": "accepted", "type": [{"coding": [{"code": "ATND"}]}]},
        {"actor": {"reference": "Location/l1"}, "status": "accepted"},
    ],
}


@pytest.fixture
def server() -> Iterator[FhirServer]:
    running = FhirServer()
    for resource in (PATIENT, SURGEON, SURGEON_ROLE, THEATRE):
        running.put(resource)
    yield running
    running.stop()


Site = Callable[..., Settings]


@pytest.fixture
def site(server: FhirServer, tmp_path: Path) -> Site:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n")

    def settings(**changes: object) -> Settings:
        fhir = PlanFhirSettings.model_validate({"base_url": server.base_url, "token_file": str(token), **changes})
        return Settings(state_dir=tmp_path / "state", plans=PlanSettings(time_zone="Europe/Berlin"), plans_fhir=fhir)

    return settings


def known(settings: Settings) -> dict[str, PlannedOperation]:
    return {one.key.operation_id: one for one in PlannedOperations.open(settings).current()}


def test_reads_an_appointment(server: FhirServer, site: Site) -> None:
    server.put(REQUEST)
    server.put(APPOINTMENT, NOW)
    assert FhirSearch(site(resources=("Appointment",))).look() == 1
    operation = known(site())["Appointment/a1"]
    assert operation.key.source is PlanSource.FHIR
    assert operation.status is PlanStatus.PLANNED
    assert (operation.starts, operation.time_known) == (dt.datetime(2030, 1, 20, 7, tzinfo=dt.UTC), True)
    assert operation.patient == PatientIdentity(
        (PatientIdentifier("4711", "urn:oid:1.2.276.0.76.3"),),
        ("Müller^Anna^Maria^Dr.", "Anna Weiß"),
        dt.date(1950, 4, 1),
        "F",
    )
    assert operation.procedures == (
        CodedProcedure("55705006", "http://snomed.info/sct", "Spinal arthrodesis"),
        CodedProcedure(text="PLIF L4/5"),
        CodedProcedure(text="Spondylodese L4-S1"),
    )
    assert operation.levels == ("L4", "L5", "S1")
    assert operation.participants == (
        Participant(Role.SURGEON, "Schraube^Petra", "17", "urn:staff", "schraube@hospital.example"),
        Participant(Role.OTHER, "Schlaf, Otto"),
    )
    assert operation.place == "OP 3"


def test_reads_a_service_request(server: FhirServer, site: Site) -> None:
    server.put(REQUEST, NOW)
    FhirSearch(site()).look()
    operation = known(site())["ServiceRequest/q1"]
    assert operation.key.source is PlanSource.FHIR_REQUEST
    (asked,) = (parse_qs(urlsplit(path).query) for path in server.asked if "ServiceRequest?" in path)
    assert asked["category"] == ["http://snomed.info/sct|387713003"]
    assert "ServiceRequest:subject" in asked["_include"]
    assert (operation.starts, operation.time_known) == (dt.datetime(2030, 1, 19, 23, tzinfo=dt.UTC), False)
    assert operation.surgeons == (
        Participant(Role.SURGEON, "Schraube^Petra", "17", "urn:staff", "schraube@hospital.example"),
    )
    assert operation.participants[1:] == (Participant(Role.OTHER, "Zuweiser, Ida"),)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("pending", PlanStatus.PLANNED),
        ("booked", PlanStatus.PLANNED),
        ("fulfilled", PlanStatus.DONE),
        ("cancelled", PlanStatus.CANCELLED),
        ("noshow", PlanStatus.NO_SHOW),
        ("entered-in-error", PlanStatus.CANCELLED),
    ],
)
def test_the_status_of_an_appointment(server: FhirServer, site: Site, status: str, expected: PlanStatus) -> None:
    server.put({**APPOINTMENT, "status": status})
    FhirSearch(site()).look()
    assert known(site())["Appointment/a1"].status is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [("active", PlanStatus.PLANNED), ("revoked", PlanStatus.CANCELLED), ("completed", PlanStatus.DONE), ("draft", None)],
)
def test_the_status_of_a_service_request(server: FhirServer, site: Site, status: str, expected: PlanStatus | None) -> None:
    server.put({**REQUEST, "status": status})
    FhirSearch(site()).look()
    assert [one.status for one in known(site()).values()] == ([] if expected is None else [expected])


def test_a_change_is_found_by_the_next_search_and_only_what_changed_is_asked_for(server: FhirServer, site: Site) -> None:
    search = FhirSearch(site(resources=("Appointment",)))
    server.put(APPOINTMENT, NOW - dt.timedelta(hours=2))
    search.look()
    server.put({**APPOINTMENT, "start": "2030-01-23T08:00:00+01:00", "end": "2030-01-23T09:00:00+01:00"}, NOW, version=2)
    assert search.look() == 1
    assert FhirSearch(site(resources=("Appointment",))).look() == 1  # the overlap finds it again, which changes nothing
    operation = known(site())["Appointment/a1"]
    assert (operation.status, operation.revision) == (PlanStatus.MOVED, 2)
    asked = [parse_qs(urlsplit(path).query)["_lastUpdated"][0] for path in server.asked if "?" in path]
    starts = [dt.datetime.fromisoformat(text.removeprefix("ge")) for text in asked]
    assert starts[0] < NOW - dt.timedelta(days=29)
    assert starts[1] == (NOW - dt.timedelta(hours=2, minutes=5)).replace(microsecond=0)
    assert starts[2] == (NOW - dt.timedelta(minutes=5)).replace(microsecond=0)


def test_all_pages_are_read_with_the_query_of_the_site(server: FhirServer, site: Site) -> None:
    for number in range(5):
        server.put({**APPOINTMENT, "id": f"a{number}"})
    settings = site(page_size=2, appointments="service-type=op", resources=("Appointment",))
    assert FhirSearch(settings).look() == 5
    assert len(known(settings)) == 5
    searches = [path for path in server.asked if "?" in path]
    assert len(searches) == 3
    assert all("service-type=op" in path for path in searches)
    validated(json.loads(server.answer(searches[0], f"Bearer {TOKEN}")[1]))


def test_what_is_not_on_the_page_is_asked_for_and_contained_resources_are_found(server: FhirServer, site: Site) -> None:
    del server.resources["Location/l1"]
    contained = {key: value for key, value in SURGEON.items() if key != "meta"} | {"id": "me"}
    participants = [APPOINTMENT["participant"][0], {"actor": {"reference": "#me"}, "status": "accepted"}]  # type: ignore[index]
    participants.append({"actor": {"reference": "Location/l1", "display": "Saal 9"}, "status": "accepted"})
    server.put({**APPOINTMENT, "contained": [contained], "participant": participants})
    FhirSearch(site()).look()
    operation = known(site())["Appointment/a1"]
    assert operation.surgeons[0].name == "Schraube^Petra"
    assert operation.place == "Saal 9"
    assert "/fhir/Location/l1" in server.asked
    assert "/fhir/ServiceRequest/q1" in server.asked


def test_a_patient_by_number_alone(server: FhirServer, site: Site) -> None:
    actor = {"type": "Patient", "identifier": {"system": "KIS", "value": "4711"}}
    server.put({**APPOINTMENT, "participant": [{"actor": actor, "status": "accepted"}]})
    FhirSearch(site()).look()
    operation = known(site())["Appointment/a1"]
    assert operation.patient == PatientIdentity((PatientIdentifier("4711", "KIS"),))
    assert operation.participants == ()


def test_a_wrong_resource_is_kept_and_the_others_are_taken(server: FhirServer, site: Site) -> None:
    server.put(APPOINTMENT)
    server.put({**APPOINTMENT, "id": "a2", "participant": APPOINTMENT["participant"][1:]})  # type: ignore[index]
    wrong = {"status": "perhaps", "start": 7, "meta": {"lastUpdated": NOW.isoformat()}}
    for number, change in enumerate(({"status": "perhaps"}, {"start": 7}, {"start": "2030-01-20T99:00:00Z"})):
        server.put_unchecked({**APPOINTMENT, "id": f"b{number}", "meta": wrong["meta"], **change})
    assert FhirSearch(site(resources=("Appointment",))).look() == 1
    assert list(known(site())) == ["Appointment/a1"]
    refusals = PlanRefusals.open(site()).refusals()
    assert len(refusals) == 4
    assert not any("Müller" in one.detail or "4711" in one.detail for one in refusals)


@pytest.mark.parametrize(
    ("status", "error"), [(500, TransportError), (429, TransportError), (403, ConfigurationError), (400, RejectedError)]
)
def test_a_search_that_fails_is_done_again(server: FhirServer, site: Site, status: int, error: type[Exception]) -> None:
    server.put(APPOINTMENT)
    search = FhirSearch(site())
    server.status = status
    with pytest.raises(error):
        search.look()
    server.status = None
    assert search.look() == 1


def test_a_wrong_token_is_said(server: FhirServer, site: Site, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("other")
    with pytest.raises(ConfigurationError, match="401"):
        FhirSearch(site()).look()
    (tmp_path / "token").write_text("")
    with pytest.raises(ConfigurationError, match="token_file"):
        FhirSearch(site()).look()


@pytest.mark.parametrize("address", ["http://elsewhere.example/fhir/Appointment?x=1", None])
def test_the_token_goes_to_no_other_server(server: FhirServer, site: Site, address: str | None) -> None:
    for number in range(2):
        server.put({**APPOINTMENT, "id": f"a{number}"})
    search = FhirSearch(site(page_size=1, resources=("Appointment",)))
    if address is None:
        other = {"actor": {"reference": "http://elsewhere.example/fhir/Patient/p1"}, "status": "accepted"}
        server.put({**APPOINTMENT, "id": "a1", "participant": [other]})
        assert search.look() == 1
        assert len(PlanRefusals.open(site()).refusals()) == 1
    else:
        server.next_page = address
        with pytest.raises(RejectedError, match="another server"):
            search.look()


def test_no_server_is_said_without_the_query(site: Site) -> None:
    with pytest.raises(TransportError, match="does not answer") as error:
        FhirSearch(site(base_url=f"http://127.0.0.1:{free_port()}/fhir")).look()
    assert "?" not in str(error.value)


@pytest.mark.parametrize(("remembers", "knows_ids"), [(True, True), (False, False)])
def test_what_was_deleted_is_noticed_and_what_comes_back_as_well(
    server: FhirServer, site: Site, remembers: bool, knows_ids: bool
) -> None:
    for number in range(30):  # more than are asked for at once
        server.put({**APPOINTMENT, "id": f"a{number}"}, NOW - dt.timedelta(hours=1))
    server.put(REQUEST, NOW - dt.timedelta(hours=1))
    search = FhirSearch(site())
    search.look()
    assert search.verify() == 0
    server.knows_ids = knows_ids
    lost = {key: server.resources[key] for key in ("Appointment/a7", "ServiceRequest/q1")}
    for key in lost:
        server.delete(key, remembers=remembers)
    search.look()
    assert {one.status for one in known(site()).values()} == {PlanStatus.PLANNED}, "no search for changes finds it"
    assert search.verify() == 2
    assert search.verify() == 0, "said once"
    gone = {key for key, one in known(site()).items() if one.status is PlanStatus.VANISHED}
    assert gone == lost.keys()
    assert known(site())["Appointment/a7"].starts == dt.datetime(2030, 1, 20, 7, tzinfo=dt.UTC), "all else is kept"
    # as old as it was: the server had lost its index
    server.resources |= lost
    assert search.verify() == 0
    assert {one.status for one in known(site()).values()} == {PlanStatus.PLANNED}


def test_no_answer_is_no_deletion(server: FhirServer, site: Site) -> None:
    server.put(APPOINTMENT, NOW)
    search = FhirSearch(site(resources=("Appointment",), verify_s=0.001))
    search.look()
    server.knows_ids, server.status = False, 503
    with pytest.raises(TransportError):
        search.verify()
    assert known(site())["Appointment/a1"].status is PlanStatus.PLANNED
    server.status = None
    server.delete("Appointment/a1", remembers=True)
    search.look()
    assert known(site())["Appointment/a1"].status is PlanStatus.VANISHED, "the search looks for it by itself"


def test_what_is_over_is_not_asked_for_again(server: FhirServer, site: Site) -> None:
    server.put({**APPOINTMENT, "start": "2020-01-20T08:00:00+01:00", "end": "2020-01-20T09:00:00+01:00"}, NOW)
    server.put({**APPOINTMENT, "id": "a2", "status": "cancelled"}, NOW)
    search = FhirSearch(site(resources=("Appointment",)))
    search.look()
    assert search.verify() == 0
    assert not any("_id=" in path for path in server.asked)


@pytest.mark.parametrize("status", ["entered-in-error", "cancelled", "noshow"])
def test_a_husk_without_a_patient_ends_the_operation_that_was_known(server: FhirServer, site: Site, status: str) -> None:
    server.put(APPOINTMENT, NOW - dt.timedelta(hours=1))
    search = FhirSearch(site(resources=("Appointment",)))
    search.look()
    before = known(site())["Appointment/a1"]
    nobody = [{"actor": {"display": "-"}, "status": "declined"}]
    husk = {"resourceType": "Appointment", "id": "a1", "status": status, "participant": nobody}
    server.put(husk, NOW, version=2)
    server.put({**husk, "id": "a2"}, NOW)
    assert search.look() == 1
    after = known(site())
    assert list(after) == ["Appointment/a1"], "one that was never known stays unknown"
    assert after["Appointment/a1"].status is (PlanStatus.NO_SHOW if status == "noshow" else PlanStatus.CANCELLED)
    assert (after["Appointment/a1"].patient, after["Appointment/a1"].starts) == (before.patient, before.starts)


def test_a_notification_makes_the_node_search_at_once(server: FhirServer, site: Site, tmp_path: Path) -> None:
    (tmp_path / "hook").write_text("hook-token")
    port = free_port()
    settings = site(hook_port=port, hook_token_file=str(tmp_path / "hook"), poll_s=3600, resources=("Appointment",))
    stop, started = threading.Event(), threading.Event()
    thread = threading.Thread(target=serve_intake, args=(settings, stop, started.set))
    thread.start()
    try:
        assert started.wait(60)
        server.wait_for_searches(1)
        server.put(APPOINTMENT)
        assert notify(port, "PUT", "/Appointment/a1", "wrong") == 401
        assert notify(port, "PUT", "/Appointment/a1", "hook-token") == 200
        server.wait_for_searches(2)
        assert notify(port, "POST", "/", "hook-token") == 200
        server.wait_for_searches(3)
    finally:
        stop.set()
        thread.join(60)
    assert list(known(settings)) == ["Appointment/a1"]


def notify(port: int, method: str, path: str, token: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body=b"{}", headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status
    finally:
        connection.close()
