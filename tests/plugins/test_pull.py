"""The node reads what Orthanc owes, over REST or from the storage that both see; the list of what is owed is Orthanc's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from node.errors import TransportError
from node.receive import OrthancSource, ReceivedStudies
from node.settings.tree import OrthancSettings, Settings
from tests.plugins.orthanc_server import PASSWORD, USER, OrthancServer, ct_series, needs_orthanc, results, wait_until

pytestmark = needs_orthanc


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[OrthancServer]:
    plugin = {"HandOver": "pull", "Rules": [{"Modality": "CT", "RemoteAET": "STORESCU"}]}
    server = OrthancServer(tmp_path, {"StableAge": 1, "RegisteredUsers": {USER: PASSWORD}, "BmdNode": plugin})
    server.start()
    yield server
    server.kill()


def _settings(orthanc: OrthancServer, folder: Path, storage_dir: Path | None = None) -> Settings:
    password_file = folder / "password"
    password_file.write_text(PASSWORD)
    url = f"http://127.0.0.1:{orthanc.http_port}"
    source = OrthancSettings(url=url, user=USER, password_file=password_file, pull=True, storage_dir=storage_dir)
    return Settings(state_dir=folder / "state", orthanc=source)


def _received(settings: Settings) -> dict[str, int]:
    """Instances of each study that the node would begin with."""
    later = datetime.now(UTC) + timedelta(days=1)
    studies = ReceivedStudies.open(settings).quiet_studies(later, settings.study)
    return {study.study_instance_uid: study.n_instances for study in studies}


def _wait_until_stable(orthanc: OrthancServer, studies: int) -> None:
    wait_until(lambda: [s["IsStable"] for s in orthanc.get("/studies?expand")] == [True] * studies, "all is stable")


@pytest.mark.parametrize("shared", [False, True])
def test_what_is_owed_is_read_once(orthanc: OrthancServer, tmp_path: Path, shared: bool) -> None:
    first, second = ct_series(generate_uid()), ct_series(generate_uid())
    orthanc.send(*first, *results(first[0].StudyInstanceUID), *second)
    _wait_until_stable(orthanc, 2)
    settings = _settings(orthanc, tmp_path, tmp_path / "storage" if shared else None)

    assert OrthancSource(settings).pull() == 2
    assert _received(settings) == {_study_of(first): 4, _study_of(second): 4}
    ours = sorted((tmp_path / "state" / "received").rglob("*.dcm"))
    assert [path.stat().st_nlink for path in ours] == [2 if shared else 1] * 8, "no second copy of a file that both see"
    assert OrthancSource(settings).pull() == 0
    wait_until(lambda: orthanc.get("/bmd-node/owed") == [], "nothing is owed")

    late = ct_series(_study_of(first))
    orthanc.send(*late)
    _wait_until_stable(orthanc, 2)
    wait_until(lambda: OrthancSource(settings).pull() == 1, "the late series is owed")
    assert _received(settings)[_study_of(first)] == 8


def test_what_was_not_read_is_still_owed_after_a_kill_of_orthanc(orthanc: OrthancServer, tmp_path: Path) -> None:
    ct = ct_series(generate_uid())
    orthanc.send(*ct)
    _wait_until_stable(orthanc, 1)
    settings = _settings(orthanc, tmp_path)
    orthanc.kill()
    with pytest.raises(TransportError, match="does not answer"):
        OrthancSource(settings).pull()
    orthanc.start()
    wait_until(lambda: OrthancSource(settings).pull() == 1, "the series is read")
    assert _received(settings) == {_study_of(ct): 4}


def test_a_study_that_a_person_asks_for_is_measured_again(orthanc: OrthancServer, tmp_path: Path) -> None:
    ct = ct_series(generate_uid())
    orthanc.send(*ct)
    _wait_until_stable(orthanc, 1)
    settings = _settings(orthanc, tmp_path)
    wait_until(lambda: OrthancSource(settings).pull() == 1, "the series is read")
    studies = ReceivedStudies.open(settings)
    assert studies.reruns() == []

    orthanc.post(f"/bmd-node/studies/{_study_of(ct)}/rerun")
    wait_until(lambda: OrthancSource(settings).pull() == 1, "the series is owed again")
    assert [rerun.study.study_instance_uid for rerun in studies.reruns()] == [_study_of(ct)]
    assert OrthancSource(settings).pull() == 0


def test_a_storage_that_is_another_is_named(orthanc: OrthancServer, tmp_path: Path) -> None:
    orthanc.send(*ct_series(generate_uid()))
    wait_until(lambda: len(orthanc.get("/bmd-node/owed")) == 1, "the study is owed")
    with pytest.raises(TransportError, match="storage_dir does not hold"):
        OrthancSource(_settings(orthanc, tmp_path, tmp_path)).pull()
    assert len(orthanc.get("/bmd-node/owed")) == 1


def test_the_node_reads_by_itself_until_it_is_stopped(orthanc: OrthancServer, tmp_path: Path) -> None:
    settings = _settings(orthanc, tmp_path)
    config = tmp_path / "bmd-node.toml"
    config.write_text(
        f"state_dir = {json.dumps(str(settings.state_dir))}\n[orthanc]\npull = true\npoll_s = 0.5\n"
        f"url = {json.dumps(settings.orthanc.url)}\nuser = {json.dumps(USER)}\n"
        f"password_file = {json.dumps(str(settings.orthanc.password_file))}\n"
    )
    ct = ct_series(generate_uid())
    with subprocess.Popen([sys.executable, "-m", "node.cli", "puller", "--config", str(config)]) as puller:
        orthanc.send(*ct)
        wait_until(lambda: _received(settings) == {_study_of(ct): 4}, "the study is here")
        wait_until(lambda: orthanc.get("/bmd-node/owed") == [], "nothing is owed")
        puller.terminate()
        assert puller.wait(30) == 0


def _study_of(series: list[Dataset]) -> str:
    return str(series[0].StudyInstanceUID)
