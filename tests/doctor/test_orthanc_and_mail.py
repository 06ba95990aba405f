"""The doctor asks a real Orthanc with the plugin, a web server whose clock is wrong, and mail servers."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from node.doctor import Outcome
from node.doctor.alerts import check_alerts
from node.doctor.clock import check_clock
from node.doctor.finding import Finding
from node.doctor.orthanc import check_dicomweb, check_link, check_orthanc
from node.settings.orthanc import DicomWebSettings, OrthancSettings
from node.settings.tree import AlertSettings, ListenerSettings, Settings
from tests.alerts.conftest import StartServer, certificate, server_context, start_server
from tests.alerts.mail_servers import Inbox, knows_one_user
from tests.doctor.web_server import answers_with
from tests.plugins.orthanc_server import PASSWORD, USER, OrthancServer, needs_orthanc
from tests.receive.listener_process import Listener, free_port

__all__ = ["certificate", "server_context", "start_server"]


def asked(settings: Settings, **changes: object) -> Finding:
    orthanc = OrthancSettings.model_validate(settings.orthanc.model_dump() | changes)
    [found] = check_orthanc(settings.model_copy(update={"orthanc": orthanc}))
    return found


@needs_orthanc
def test_orthanc_with_the_plugin_and_what_may_be_wrong_with_it(tmp_path: Path) -> None:
    password, wrong = tmp_path / "password", tmp_path / "wrong"
    password.write_text(PASSWORD)
    wrong.write_text("guessed")
    listener = ListenerSettings(host="127.0.0.1", port=free_port())
    server = OrthancServer(tmp_path, {"RegisteredUsers": {USER: PASSWORD}})
    server.point_plugin_to(listener.port)
    settings = Settings(
        state_dir=tmp_path / "state",
        listener=listener,
        orthanc=OrthancSettings(url=f"http://127.0.0.1:{server.http_port}", user=USER, password_file=password),
    )
    running = Listener(settings, tmp_path / "listener.log")
    server.start()
    try:
        running.start()
        found = asked(settings)
        assert found.outcome is Outcome.OK, found
        assert found.detail.endswith("its C-ECHO reaches the node as bmd-node")
        [clock] = check_clock(settings)
        assert clock.outcome is Outcome.OK
        assert "s from Orthanc" in clock.detail

        assert "refuses the login (401)" in asked(settings, password_file=wrong).detail
        assert "orthanc.password_file" in asked(settings, password_file=tmp_path / "none").detail
        [link] = check_link(settings)
        assert (link.outcome, link.what_to_do) == (Outcome.WARNING, "start it: bmd-node serve, or bmd-node puller")
        found = asked(settings, pull=True)
        assert (found.outcome, "tries to pull" in found.detail) == (Outcome.WARNING, True)
        dicomweb = DicomWebSettings(url=f"{settings.orthanc.url}/dicom-web", user=USER, password_file=password)
        [found] = check_dicomweb(settings.model_copy(update={"dicomweb": dicomweb}))
        assert found.outcome is Outcome.OK, found
        dicomweb = dicomweb.model_copy(update={"password_file": wrong})
        [found] = check_dicomweb(settings.model_copy(update={"dicomweb": dicomweb}))
        assert "it refuses the login" in found.detail
        renamed = settings.model_copy(update={"listener": listener.model_copy(update={"ae_title": "BMD2"})})
        assert "has no modality with AE title BMD2" in asked(renamed).detail
        running.stop()
        found = asked(settings)
        assert found.outcome is Outcome.ERROR
        assert f"does not reach the node at 127.0.0.1:{listener.port} by C-ECHO" in found.detail
    finally:
        running.stop()
        server.stop()


def test_a_clock_that_goes_wrong_and_an_orthanc_without_the_python_plugin(tmp_path: Path) -> None:
    answers = {"/system": b'{"Version": "1.12.1"}', "/plugins": b'["dicom-web"]', "/tools/now": b"19941106T084937"}
    with answers_with(answers) as url:
        settings = Settings(state_dir=tmp_path, orthanc=OrthancSettings(url=url))
        [clock] = check_clock(settings)
        plugin = asked(settings)
    assert clock.outcome is Outcome.WARNING
    assert "s from Orthanc" in clock.detail
    assert "NTP" in clock.what_to_do
    assert plugin.outcome is Outcome.ERROR
    assert plugin.detail == "1.12.1 answers, but has no Python plugin"


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        (b'{"protocol": 1, "hand_over": "store", "told_s": 0, "reruns": []}', "has another version than this node"),
        (b"[]", "does not answer like the plugin of this node"),
        (b'{"protocol": 2, "hand_over": "pull", "told_s": 0, "reruns": []}', "this node does not pull"),
    ],
)
def test_a_plugin_that_does_not_fit(tmp_path: Path, plugin: bytes, words: str) -> None:
    answers = {"/system": b'{"Version": "1.12.1"}', "/plugins": b'["python"]', "/bmd-node/plugin": plugin}
    with answers_with(answers) as url:
        found = asked(Settings(state_dir=tmp_path, orthanc=OrthancSettings(url=url)))
    assert found.outcome is Outcome.ERROR
    assert words in found.detail


def test_a_web_server_that_is_no_orthanc(tmp_path: Path) -> None:
    with answers_with({"/system": b"[]"}) as url:
        settings = Settings(state_dir=tmp_path, orthanc=OrthancSettings(url=url))
        assert asked(settings).detail == f"{url} is not an Orthanc server"
        [clock] = check_clock(settings)
    assert "not compared" in clock.detail


@pytest.mark.parametrize(("password", "outcome", "words"), [("right", "ok", "nothing was sent"), ("bad", "error", "login")])
def test_a_mail_server_that_takes_the_login_or_refuses_it(
    tmp_path: Path,
    start_server: StartServer,
    server_context: ssl.SSLContext,
    certificate: tuple[Path, Path],
    password: str,
    outcome: str,
    words: str,
) -> None:
    server = start_server(Inbox(), tls_context=server_context, auth_required=True, authenticator=knows_one_user)
    (tmp_path / "password").write_text(password)
    alert = AlertSettings(
        smtp_host="localhost",
        smtp_port=server.port,
        ca_file=str(certificate[0]),
        user="node",
        password_file=str(tmp_path / "password"),
        sender="node@example.org",
        recipients=("surgeon@example.org",),
    )
    [found] = check_alerts(Settings(state_dir=tmp_path, alert=alert))
    assert found.outcome == outcome, found
    assert words in found.detail
    assert server.inbox.taken == []
