"""The shipped ``orthanc.json`` in Debian's Orthanc; only the two ports are others, to disturb no Orthanc that runs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
from pydicom.uid import generate_uid

from node.settings.tree import ListenerSettings
from tests.plugins.orthanc_server import PASSWORD, REPOSITORY, USER, OrthancServer, ct_series, needs_orthanc, results

SHIPPED = json.loads((REPOSITORY / "orthanc.json").read_text(encoding="utf-8"))


@pytest.fixture
def shipped(tmp_path: Path) -> Iterator[OrthancServer]:
    server = OrthancServer(tmp_path, {})
    server.start()
    yield server
    server.kill()


@pytest.fixture
def with_user(tmp_path: Path) -> Iterator[OrthancServer]:
    server = OrthancServer(tmp_path, {"RegisteredUsers": {USER: PASSWORD}})
    server.start()
    yield server
    server.kill()


def test_ports_and_titles_fit_the_defaults_of_the_node() -> None:
    listener = ListenerSettings()
    alias = SHIPPED["BmdNode"]["Modality"]
    assert SHIPPED["DicomModalities"][alias] == {"AET": listener.ae_title, "Host": "127.0.0.1", "Port": listener.port}
    assert (SHIPPED["DicomAet"], SHIPPED["DicomPort"], SHIPPED["HttpPort"]) == ("ORTHANC", 4242, 8042)


def test_the_button_of_orthanc_explorer_2_leads_to_the_plugin() -> None:
    """Debian has no Orthanc Explorer 2: what its default configuration says of addresses is checked, not a click."""
    [button] = SHIPPED["OrthancExplorer2"]["UiOptions"]["CustomButtons"]["study"]
    assert urljoin("/ui/app/", button["Url"]) == "/bmd-node/studies/{UUID}/view"
    assert (button["HttpMethod"], button["Target"]) == ("GET", "_blank")


def test_remote_access_stays_off_while_there_is_no_user() -> None:
    """Orthanc 1.10 makes a user "orthanc" with the password "orthanc" if remote access is on and nobody is registered."""
    assert SHIPPED["AuthenticationEnabled"] is True
    assert SHIPPED["RegisteredUsers"] == {}
    assert SHIPPED["RemoteAccessAllowed"] is False


@needs_orthanc
def test_nobody_gets_in_before_a_user_was_added(shipped: OrthancServer) -> None:
    for path in ("/system", "/studies", "/dicom-web/studies", "/app/explorer.html", "/webdav/"):
        for login in (None, "orthanc:orthanc", "admin:admin", ":"):
            assert shipped.status(path, login) == 401, f"{path} as {login}"
    assert "what matches the rules goes to the modality" in shipped.log
    echo = ["echoscu", "-aec", "ORTHANC", "127.0.0.1", str(shipped.dicom_port)]
    assert subprocess.run(echo, timeout=30, check=False).returncode == 0


@needs_orthanc
def test_plugins_are_loaded_and_every_object_of_the_node_is_taken(with_user: OrthancServer) -> None:
    assert {"python", "dicom-web"} <= set(with_user.get("/plugins"))
    assert with_user.get("/system")["DicomAet"] == "ORTHANC"
    assert with_user.get("/modalities") == ["bmd-node"]
    study_uid = generate_uid()
    with_user.send(*ct_series(study_uid), *results(study_uid))
    (study,) = with_user.get("/dicom-web/studies")
    assert study["0020000D"]["Value"] == [study_uid]
    modalities = {series["MainDicomTags"]["Modality"] for series in with_user.get("/series?expand")}
    assert modalities == {"CT", "SEG", "SR", "OT"}


@needs_orthanc
def test_a_wrong_section_is_named_in_the_log(tmp_path: Path) -> None:
    server = OrthancServer(tmp_path, {"BmdNode": {"Modalty": "bmd-node"}})
    with pytest.raises(pytest.fail.Exception, match='"BmdNode" has no "Modalty"; allowed: Enable, HandOver, Modality'):
        server.start()


@needs_orthanc
def test_the_plugin_can_be_switched_off(tmp_path: Path) -> None:
    server = OrthancServer(tmp_path, {"BmdNode": {"Enable": False}})
    server.start()
    server.kill()
    assert "bmd-node: switched off" in server.log
