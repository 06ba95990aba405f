"""Who may change something through the plugin, in a real Orthanc with two users: a person, and the node."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.uid import generate_uid

from node.receive.orthanc_client import OrthancClient, WrongUserError
from node.settings.orthanc import OrthancSettings
from tests.plugins.orthanc_server import PASSWORD, USER, OrthancServer, ct_series, needs_orthanc, wait_until

pytestmark = [needs_orthanc, pytest.mark.slow]

PERSON, NODE = "radiologist:of-this-test-alone", f"{USER}:{PASSWORD}"
#: What a browser sends with a form of a page of the same site, and of another site.
HERE = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": "same-origin"}
ELSEWHERE = HERE | {"Sec-Fetch-Site": "cross-site", "Origin": "https://elsewhere.example"}


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancServer]:
    name, _, password = PERSON.partition(":")
    changes = {
        "RegisteredUsers": {USER: PASSWORD, name: password},
        "StableAge": 1,
        # the images are owed and stay so: nothing of the hand-over disturbs
        "BmdNode": {"HandOver": "pull"},
    }
    server = OrthancServer(tmp_path_factory.mktemp("orthanc"), changes)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def study(orthanc: OrthancServer) -> str:
    """Study Instance UID of a study that the plugin has seen."""
    uid = generate_uid()
    orthanc.send(*ct_series(uid, slices=2))
    wait_until(lambda: orthanc.status(f"/bmd-node/studies/{uid}", NODE) == 200, "the plugin knows the study")
    wait_until(lambda: orthanc.get(f"/bmd-node/studies/{uid}")["state"] == "owed", "it is owed")
    return str(uid)


def _state(orthanc: OrthancServer, study: str) -> str:
    return str(orthanc.get(f"/bmd-node/studies/{study}")["state"])


def _token(orthanc: OrthancServer, study: str, login: str) -> bytes:
    with orthanc._open(f"/bmd-node/studies/{study}/view", login) as answer:
        assert "frame-ancestors" in answer.headers["Content-Security-Policy"]
        found = re.search(r'name="token" value="([0-9a-f]{64})"', answer.read().decode())
    assert found is not None
    return f"token={found[1]}".encode()


def test_a_page_of_another_site_cannot_ask_for_a_new_measurement(orthanc: OrthancServer, study: str) -> None:
    path = f"/bmd-node/studies/{study}/rerun"
    other = str(generate_uid())
    orthanc.send(*ct_series(other, slices=2))
    wait_until(lambda: orthanc.status(f"/bmd-node/studies/{other}", NODE) == 200, "the plugin knows the study")
    token = _token(orthanc, study, PERSON)
    forged = [
        (b"", HERE),
        (b"token=", HERE),
        (b"token=" + b"0" * 64, HERE),
        (b"token=%C3%A9", HERE),
        (_token(orthanc, study, NODE), HERE),  # of another user
        (_token(orthanc, other, PERSON), HERE),  # of another study
        (token, ELSEWHERE),
        (token, HERE | {"Sec-Fetch-Site": "same-site"}),
        (b"", ELSEWHERE | {"X-BMD-Node": "1"}),
    ]
    for body, headers in forged:
        assert orthanc.send_as(PERSON, path, body, headers) == 403, (body, headers)
    assert _state(orthanc, study) == "owed"
    assert orthanc.send_as(PERSON, path, token, HERE) == 200, "the page itself"
    assert orthanc.send_as(PERSON, path, token, {"Content-Type": HERE["Content-Type"]}) == 200, "an old browser"
    assert orthanc.send_as(PERSON, path, b"", {"X-BMD-Node": "1"}) == 200, "a program"


def test_only_the_node_reports_states_and_takes_what_is_owed(orthanc: OrthancServer, study: str) -> None:
    told = {"study_instance_uid": study, "state": "measured", "step": "", "detail": "", "updated_s": 1.0, "deliveries": []}
    body = json.dumps({"until_s": 1.0, "studies": [told]}).encode()
    [owed] = [one for one in orthanc.get("/bmd-node/owed") if one["study_instance_uid"] == study]
    series = owed["series"][0]["id"]
    for path in ("/bmd-node/states", f"/bmd-node/owed/{series}", f"/bmd-node/reruns/{owed['id']}"):
        assert orthanc.send_as(PERSON, path, body) == 403, path
        assert orthanc.send_as(NODE, path, body, ELSEWHERE) == 403, path
    for path in ("/bmd-node/plugin", "/bmd-node/owed"):
        assert orthanc.status(path, PERSON) == 403, path
    assert orthanc.get(f"/bmd-node/studies/{study}")["node"] is None
    assert orthanc.send_as(NODE, "/bmd-node/states", body) == 200
    assert orthanc.get(f"/bmd-node/studies/{study}")["node"]["state"] == "measured"
    assert f'this is for the user "{USER}"' in orthanc.log
    (password_file := orthanc.folder / "password").write_text(PERSON.partition(":")[2])
    url, person = f"http://127.0.0.1:{orthanc.http_port}", PERSON.partition(":")[0]
    with pytest.raises(WrongUserError, match='must be the user that its configuration names as "NodeUser"'):
        OrthancClient(OrthancSettings(url=url, user=person, password_file=password_file)).ask("/bmd-node/plugin")

    # nor by Orthanc's own interface
    for number in ("10432", "BmdNodeTold"):
        path = f"/studies/{owed['id']}/metadata/{number}"
        assert orthanc.send_as(PERSON, path, b"{}", method="PUT") == 403
        assert orthanc.send_as(PERSON, path, b"", method="DELETE") == 403
    assert orthanc.send_as(PERSON, f"/series/{series}/metadata/10431", b"x", method="PUT") == 403
    assert orthanc.send_as(PERSON, f"/series/{series}/metadata/1030", b"x", method="PUT") == 200, "another one is theirs"
    assert orthanc.get(f"/bmd-node/studies/{study}")["node"]["state"] == "measured"


def test_without_logins_the_log_says_that_nobody_is_known(tmp_path: Path) -> None:
    server = OrthancServer(tmp_path, {"AuthenticationEnabled": False})
    server.start()
    try:
        wait_until(lambda: server.status("/bmd-node/owed") == 200, "the plugin answers")
        assert "Orthanc checks no logins" in server.log
    finally:
        server.kill()
