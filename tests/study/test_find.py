"""What became of a study, by a number that people know."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from pydicom.dataset import Dataset

from node.cli.main import main
from node.receive.header import read_header
from node.receive.index import InstanceIndex
from node.receive.storage import InstanceStore
from node.records.engine import connect
from node.records.runs import DeliveryState, RunRecords, RunState
from node.records.study_keys import Number
from node.settings.tree import Settings
from node.study.find import StudyFinder
from node.study.run_folder import save_headers
from tests.receive.listener_process import ct_series, write_series

ACCESSION, PATIENT = "A-4711", "Pat 0815"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state")


def receive(settings: Settings, folder: Path, study: str, accession: str = ACCESSION, patient: str = PATIENT) -> None:
    """Images of a study, as the listener stores them."""
    index = InstanceIndex.open(settings)
    store = InstanceStore(settings.state_dir, index, 0)
    series = ct_series(2)
    for ds in series:
        ds.StudyInstanceUID, ds.AccessionNumber, ds.PatientID = study, accession, patient
        ds.SOPInstanceUID = f"{study}.{ds.InstanceNumber}"
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    for path in write_series(folder / study, series):
        store.take(path, None)


def status(settings: Settings, *arguments: str) -> tuple[int, str]:
    config = settings.state_dir.parent / "bmd-node.toml"
    config.write_text(f'state_dir = "{settings.state_dir}"\n')
    result = CliRunner().invoke(main, ["status", *arguments, "--config", str(config)])
    return result.exit_code, result.output.strip()


def test_a_study_is_followed_from_its_arrival_to_the_pacs(settings: Settings, tmp_path: Path) -> None:
    runs = RunRecords.open(settings)
    by_accession = ("--accession", ACCESSION)
    assert status(settings, *by_accession) == (
        1,
        "Never received: no image with this accession number has reached the node.",
    )
    receive(settings, tmp_path, "1.2.3")
    code, said = status(settings, *by_accession)
    assert code == 0
    assert said.startswith("1.2.3: Received (2 images, the last at ")
    assert said.endswith("and waiting until no more images come.")
    folder = tmp_path / "run"
    folder.mkdir()
    runs.queued("run", "1.2.3", folder)
    assert "Waiting to be measured since" in status(settings, *by_accession)[1]
    runs.at_step("run", "segment")
    assert "now at the step segment." in status(settings, *by_accession)[1]
    runs.finished("run", RunState.NOT_MEASURED, "Slices are 7.5 mm apart.")
    assert status(settings, *by_accession) == (0, "1.2.3: Not measured: Slices are 7.5 mm apart.")
    runs.finished("run", RunState.FAILED, "out of memory")
    assert "bmd-node rerun 1.2.3 tries again." in status(settings, *by_accession)[1]
    runs.finished("run", RunState.MEASURED, "")
    assert "the file of the result cannot be read" in status(settings, *by_accession)[1]
    values = {"bmd_mg_cm3": 79.96, "hu_mean": 101.2, "category": "osteoporosis"}
    (folder / "result.json").write_text(json.dumps(values))
    runs.delivery("run", "archive", DeliveryState.STORED, 1, "")
    said = status(settings, *by_accession)[1]
    assert "mean BMD 79.96 mg/cm³, ACR category osteoporosis; stored in archive." in said
    (folder / "result.json").write_text(json.dumps(values | {"bmd_mg_cm3": None, "category": None}))
    assert "mean attenuation 101 HU, no BMD; stored" in status(settings, *by_accession)[1]


def test_numbers_are_compared_as_people_type_them_and_each_is_of_its_kind(settings: Settings, tmp_path: Path) -> None:
    receive(settings, tmp_path, "1.2.3")
    receive(settings, tmp_path, "1.2.4", accession="A-4712")
    receive(settings, tmp_path, "1.2.5", accession="", patient="another")
    finder = StudyFinder.open(settings)

    def found(kind: Number, number: str) -> list[str]:
        return sorted(study.study_instance_uid for study in finder.find(kind, number).studies)

    assert found(Number.PATIENT_ID, " pat 0815 ") == ["1.2.3", "1.2.4"]
    assert found(Number.ACCESSION, "a-4711") == ["1.2.3"]
    assert found(Number.ACCESSION, PATIENT) == []
    assert found(Number.ACCESSION, "") == found(Number.ACCESSION, "%") == found(Number.PATIENT_ID, "Pat") == []
    assert found(Number.STUDY, "1.2.5") == ["1.2.5"]
    assert found(Number.STUDY, "1.2.6") == []


def test_the_database_holds_no_number(settings: Settings, tmp_path: Path) -> None:
    receive(settings, tmp_path, "1.2.3")
    tables = sa.MetaData()
    engine = connect(settings)
    tables.reflect(engine)
    with engine.connect() as connection:
        text = repr([connection.execute(table.select()).all() for table in tables.sorted_tables])
    assert "1.2.3" in text
    assert ACCESSION.lower() not in text.lower()
    assert PATIENT.lower() not in text.lower()
    assert PATIENT not in repr(read_header(next((settings.state_dir / "received").rglob("*.dcm")))), "nor would a log"


def test_studies_of_an_earlier_version_are_looked_at(settings: Settings, tmp_path: Path) -> None:
    """One whose images are still there, and one of which only the folder of the run is left."""
    receive(settings, tmp_path, "1.2.3", accession="with images")
    receive(settings, tmp_path, "1.2.4", accession="without images")
    for path in InstanceIndexPaths(settings).of("1.2.4"):
        (settings.state_dir / path).unlink()
    folder = tmp_path / "run"
    folder.mkdir()
    RunRecords.open(settings).queued("run", "1.2.4", folder)
    header = Dataset()
    header.AccessionNumber, header.PatientID = "without images", PATIENT
    save_headers(folder, json.dumps([header.to_json_dict()]))
    with connect(settings).begin() as connection:
        connection.exec_driver_sql("DELETE FROM study_keys")
    finder = StudyFinder.open(settings)
    found = finder.find(Number.ACCESSION, "with images", look_at=1)
    assert (found.studies, found.n_not_looked_at) == ((), 1)
    assert "1 studies of an earlier version have not been looked at yet" in found.never, "not: never received"
    assert [study.study_instance_uid for study in finder.find(Number.ACCESSION, "with images").studies] == ["1.2.3"]
    assert [study.study_instance_uid for study in finder.find(Number.ACCESSION, "without images").studies] == ["1.2.4"]
    assert "Never received" in finder.find(Number.ACCESSION, "another").never


class InstanceIndexPaths:
    """Paths of the images of a study."""

    def __init__(self, settings: Settings) -> None:
        self._engine = connect(settings)

    def of(self, study: str) -> list[Path]:
        query = sa.text("SELECT path FROM received_instances WHERE study_instance_uid = :study")
        with self._engine.connect() as connection:
            return [Path(path) for path in connection.execute(query, {"study": study}).scalars()]


def test_wrong_usage_is_refused(settings: Settings) -> None:
    RunRecords.open(settings)
    for arguments in (["--accession", "1", "--study", "1.2"], ["--study", "A-4711"], ["--accession", " "]):
        assert status(settings, *arguments)[0] == 2


def test_the_command_and_the_pages_load_no_network() -> None:
    program = (
        "import sys, node.study.find, node.web; print([m for m in ('torch', 'highdicom', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
