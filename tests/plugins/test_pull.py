"""The node reads what Orthanc owes, over REST, from the storage that both see, or by DICOMweb; the list is Orthanc's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from node.cli.main import main
from node.common.errors import RejectedError, TransportError
from node.receive import OrthancClient, OrthancSource, OrthancStates, ReceivedStudies
from node.records.runs import DeliveryState, RunRecords, RunState
from node.settings.orthanc import DicomWebSettings, OrthancSettings
from node.settings.tree import Settings, load_settings
from tests.alerts.conftest import certificate
from tests.plugins.forwarder import in_front_of
from tests.plugins.orthanc_server import PASSWORD, USER, OrthancServer, ct_series, needs_orthanc, results, wait_until

__all__ = ["certificate"]

pytestmark = needs_orthanc


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[OrthancServer]:
    plugin = {"HandOver": "pull", "Rules": [{"Modality": "CT", "RemoteAET": "STORESCU"}]}
    server = OrthancServer(tmp_path, {"StableAge": 1, "RegisteredUsers": {USER: PASSWORD}, "BmdNode": plugin})
    server.start()
    yield server
    server.kill()


def _settings(orthanc: OrthancServer, folder: Path, way: str = "rest", storage_dir: Path | None = None) -> Settings:
    password_file = folder / "password"
    password_file.write_text(PASSWORD)
    url = f"http://127.0.0.1:{orthanc.http_port}"
    source = OrthancSettings(
        url=url, user=USER, password_file=password_file, pull=True, storage_dir=storage_dir, read_by=way
    )
    dicomweb = DicomWebSettings(url=f"{url}/dicom-web", user=USER, password_file=password_file)
    return Settings(state_dir=folder / "state", orthanc=source, dicomweb=dicomweb)


def _received(settings: Settings) -> dict[str, int]:
    """Instances of each study that the node would begin with."""
    later = datetime.now(UTC) + timedelta(days=1)
    studies = ReceivedStudies.open(settings).quiet_studies(later, settings.study)
    return {study.study_instance_uid: study.n_instances for study in studies}


def _wait_until_stable(orthanc: OrthancServer, studies: int) -> None:
    wait_until(lambda: [s["IsStable"] for s in orthanc.get("/studies?expand")] == [True] * studies, "all is stable")


@pytest.mark.parametrize("way", ["rest", "shared", "dicomweb"])
def test_what_is_owed_is_read_once(orthanc: OrthancServer, tmp_path: Path, way: str) -> None:
    shared = way == "shared"
    first, second = ct_series(generate_uid()), ct_series(generate_uid())
    orthanc.send(*first, *results(first[0].StudyInstanceUID), *second)
    _wait_until_stable(orthanc, 2)
    settings = _settings(orthanc, tmp_path, "rest" if shared else way, tmp_path / "storage" if shared else None)

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


def test_orthanc_says_what_the_node_has_told(orthanc: OrthancServer, tmp_path: Path) -> None:
    """Every state of a run, what a destination refused, and a wish that cannot be granted."""
    ct, elsewhere = ct_series(generate_uid()), generate_uid()
    orthanc.send(*ct)
    _wait_until_stable(orthanc, 1)
    settings = _settings(orthanc, tmp_path)
    records, states = RunRecords.open(settings), OrthancStates(OrthancClient(settings.orthanc), settings)
    wait_until(lambda: OrthancSource(settings).pull() == 1, "the series is read")

    def said() -> tuple[str, str]:
        study = orthanc.get(f"/bmd-node/studies/{_study_of(ct)}")
        return study["state"], study["detail"]

    wait_until(lambda: said() == ("handed_over", ""), "the study is not owed any more")
    for n in range(150):  # more than one page, of studies that are not in this Orthanc
        records.queued(f"other-{n}", elsewhere, tmp_path)
    records.queued("run-1", _study_of(ct), tmp_path)
    assert states.round() == 2
    assert said() == ("waiting", "")
    records.at_step("run-1", "segment")
    assert states.round() == 1
    assert said() == ("working", "")
    records.finished("run-1", RunState.FAILED, "SegmentationError: no vertebra was found")
    states.round()
    assert said() == ("failed", "SegmentationError: no vertebra was found")
    assert states.round() == 0, "what was told is not told again"

    # another process, with an empty memory: what Orthanc keeps says how far it was told
    again = OrthancStates(OrthancClient(settings.orthanc), settings)
    records.queued("run-2", _study_of(ct), tmp_path)
    records.finished("run-2", RunState.NOT_MEASURED, "no series shows L1 to L4")
    records.delivery("run-2", "pacs", DeliveryState.REJECTED, 1, "0x0122 <b>")
    again.round()
    assert said() == ("not_measured", "no series shows L1 to L4")
    page = orthanc.text(f"/bmd-node/studies/{_study_of(ct)}/view")
    assert "Not measured." in page
    assert "Results to pacs: rejected 0x0122 &lt;b&gt;" in page

    studies = ReceivedStudies.open(settings)
    orthanc.post(f"/bmd-node/studies/{_study_of(ct)}/rerun")
    assert said()[0] in ("owed", "rerun_wanted")
    again.round()
    assert studies.reruns() == [], "the node may have removed the images: they come first"
    wait_until(lambda: OrthancSource(settings).pull() == 1, "the series is owed again")
    wait_until(lambda: again.round() >= 0 and studies.reruns() != [], "the node takes note")
    assert [rerun.study.study_instance_uid for rerun in studies.reruns()] == [_study_of(ct)]
    assert orthanc.get("/bmd-node/plugin")["reruns"] == []
    assert OrthancSource(settings).pull() == 0

    orthanc.kill()
    orthanc.start()
    path = f"/bmd-node/studies/{_study_of(ct)}"
    wait_until(lambda: orthanc.status(path, f"{USER}:{PASSWORD}") == 200, "the plugin has begun")
    assert said() == ("waiting", ""), "what the node said is kept by Orthanc"
    unknown = OrthancStates(
        OrthancClient(settings.orthanc), Settings(state_dir=tmp_path / "empty", orthanc=settings.orthanc)
    )
    orthanc.post(f"{path}/rerun")
    wait_until(lambda: OrthancSource(settings).pull() == 1, "the series is owed again")
    wait_until(lambda: unknown.round() >= 0 and said()[0] == "rerun_refused", "a node that knows nothing of it says so")
    assert "was not received" in said()[1]


def test_by_tls_a_hang_up_refusals_and_a_wrong_storage_lose_nothing(
    orthanc: OrthancServer, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    ct = ct_series(generate_uid(), slices=40)
    orthanc.send(*ct, *results(_study_of(ct)))
    _wait_until_stable(orthanc, 1)
    settings = _settings(orthanc, tmp_path, "dicomweb")

    def pulled(**changes: object) -> int:
        dicomweb = DicomWebSettings.model_validate(settings.dicomweb.model_dump() | changes)
        return OrthancSource(settings.model_copy(update={"dicomweb": dicomweb})).pull()

    wait_until(lambda: len(orthanc.get("/bmd-node/owed")) == 1, "the study is owed")
    with pytest.raises(TransportError, match="storage_dir does not contain"):
        OrthancSource(_settings(orthanc, tmp_path, storage_dir=tmp_path)).pull()
    (tmp_path / "wrong").write_text("guessed")
    with pytest.raises(RejectedError, match=r"answers 401: it refuses the login"):
        pulled(password_file=tmp_path / "wrong")
    with pytest.raises(RejectedError, match=r"dicomweb\.url is wrong"):
        pulled(url=f"{settings.orthanc.url}/dicomweb")
    with in_front_of(orthanc.http_port, cut_after_bytes=20_000) as port, pytest.raises(TransportError):
        pulled(url=f"http://127.0.0.1:{port}/dicom-web")
    with in_front_of(orthanc.http_port, certificate=certificate) as port:
        with pytest.raises(RejectedError, match=r"not trusted: set dicomweb.ca_file"):
            pulled(url=f"https://localhost:{port}/dicom-web")
        assert len(orthanc.get("/bmd-node/owed")) == 1, "after all of this it is still owed"
        assert pulled(url=f"https://localhost:{port}/dicom-web", ca_file=str(certificate[0])) == 1
    studies = ReceivedStudies.open(settings)
    assert _received(settings) == {_study_of(ct): 40}

    # over Orthanc's own interface the same images are the same: not one byte of a data set has changed
    orthanc.post(f"/bmd-node/studies/{_study_of(ct)}/rerun")
    plain = settings.model_copy(update={"orthanc": settings.orthanc.model_copy(update={"read_by": "rest"})})
    wait_until(lambda: OrthancSource(plain).pull() == 1, "the series is owed again")
    assert studies.conflicts(_study_of(ct)) == []
    assert _received(settings) == {_study_of(ct): 40}

    # a node that is told of the study by a person alone
    config = tmp_path / "other.toml"
    config.write_text(
        f'state_dir = "{tmp_path / "other"}"\n[dicomweb]\nurl = "{settings.dicomweb.url}"\nuser = "{USER}"\n'
        f'password_file = "{settings.dicomweb.password_file}"\n'
    )
    command = ["retrieve", "--config", str(config), _study_of(ct), "1.2.3"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    assert f"{_study_of(ct)}: 1 CT series with 40 images retrieved" in done.output
    assert "1.2.3: the DICOMweb server" in done.output
    assert _received(load_settings(config)) == {_study_of(ct): 40}


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
