"""Reissued reports with another equation: with a real worker, database, storage SCP and mail server."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from click.testing import CliRunner, Result
from PIL import Image
from pydicom.dataset import Dataset

from node.cli.main import main
from node.common.errors import InputError
from node.common.uids import derived_uid
from node.model import Level
from node.phantom import NARROW_SPINE, PhantomParameters, Scanner, make_phantom, write_series
from node.receive import import_folder
from node.records.prior_results import PriorRecords
from node.records.recalculations import Recalculations
from node.records.runs import DeliveryState, RunRecord, RunRecords, RunState
from node.records.scans import ScanRecords
from node.settings.tree import Settings, load_settings
from node.study.pipeline import Pipeline
from node.study.recalculation import Recalculator
from node.worker.loop import run_worker
from tests.deliver.delivery_servers import eventually, free_port, storage_scp
from tests.report.tools import iod_errors, run_tool

PATIENCE_S = 200.0
DENSITIES = ((Level.L1, 105.0), (Level.L2, 100.0), (Level.L3, 95.0), (Level.L4, 100.0))
#: Slopes in mg/cm3 per HU: about 100 mg/cm3 with the first, about 72 with the second.
SLOPE_A, SLOPE_B = 0.78, 0.56
EQUATION = """
[[equation]]
id = "ours"
manufacturer = ["Testmaker"]
model = ["Unit 1"]
kvp = 120
device_serial_number = "PHANTOM"
slope = {slope}
intercept = 0.0
material = "HA"
source = "own phantom"
status = "{status}"
message = "withdrawn"
approved_by = "A. Physicist"
approved_on = 2026-01-01
"""
FIRST, SECOND = "20260102", "20261102"


class Inbox(Message):
    """Stores the received mails."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[str] = []

    def handle_message(self, message: object) -> None:
        self.mails.append(str(message))


@dataclass
class Node:
    """A worker with two measured studies of one patient, the received objects, and the mails."""

    folder: Path
    received: list[Dataset]
    inbox: Inbox

    @property
    def config(self) -> Path:
        return self.folder / "bmd-node.toml"

    @property
    def settings(self) -> Settings:
        return load_settings(self.config)

    def use_equation(self, slope: float, status: str = "active") -> None:
        (self.folder / "equations.toml").write_text(EQUATION.format(slope=slope, status=status))

    def runs(self) -> dict[str, RunRecord]:
        """Return runs by study date, measured ("20260102") or recalculated ("20260102 r")."""
        again = Recalculations.open(self.settings).run_ids()
        date_of = {study_uid(date): date for date in (FIRST, SECOND)}
        runs = RunRecords.open(self.settings).runs()
        return {f"{date_of[run.study_instance_uid]}{' r' if run.run_id in again else ''}": run for run in runs}

    def command(self, *arguments: str, since: str = "2020-01-01") -> Result:
        return CliRunner().invoke(main, ["recalculate", "--config", str(self.config), "--since", since, *arguments])

    def of_class(self, modality: str) -> list[Dataset]:
        return [ds for ds in self.received if ds.Modality == modality]


def study_uid(date: str) -> str:
    return derived_uid("test of recalculation", date)


def write_study(folder: Path, date: str) -> None:
    """Write a study of the same patient and the same spine on a given day."""
    parameters = PhantomParameters(
        level_densities_mg_cm3=DENSITIES,
        field_of_view=NARROW_SPINE,
        pixel_spacing_mm=1.2,
        slice_distance_mm=2.5,
        scanner=Scanner("Testmaker", "Unit 1", 120.0),
    )
    for path in write_series(make_phantom(parameters), folder):
        ds = pydicom.dcmread(path)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study_uid(date), derived_uid("series", date)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = derived_uid("image", date, str(ds.SOPInstanceUID))
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = date
        ds.StudyDescription = "CT lumbar spine, planning TLIF L4/5"
        ds.AccessionNumber, ds.IssuerOfPatientID = f"A-{date}", "HOSPITAL"
        ds.save_as(path)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Two studies, measured with equation A and delivered; their images are removed, and the worker keeps running."""
    folder = tmp_path_factory.mktemp("recalculate")
    inbox, smtp_port = Inbox(), free_port()
    smtp = Controller(inbox, hostname="127.0.0.1", port=smtp_port)
    smtp.start()
    stop = threading.Event()
    with storage_scp() as (port, received):
        made = Node(folder, received, inbox)
        made.use_equation(SLOPE_A)
        made.config.write_text(
            f'state_dir = "{folder / "state"}"\n[study]\nstable_after_s = 0\nstable_after_release_s = 0\n'
            f'[listener]\nmin_free_disk_mb = 0\n[calibrate]\nsite_equations = "{folder / "equations.toml"}"\n'
            f'[[destinations]]\nname = "pacs"\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {port}\n'
            f'[alert]\nsmtp_host = "127.0.0.1"\nsmtp_port = {smtp_port}\nsmtp_security = "none"\n'
            'sender = "node@hospital.example"\nrecipients = ["surgeon@hospital.example"]\n'
            # so that the orders of these studies are open on any day
            "days_ahead = 36500\nmax_result_age_days = 36500\n"
        )
        worker = threading.Thread(target=run_worker, args=(made.settings, stop))
        try:
            # in this order: a worker takes one study at a time, the longest waiting first
            for date in (FIRST, SECOND):
                write_study(folder / date, date)
                import_folder(folder / date, made.settings)
            worker.start()
            eventually(lambda: len(delivered(made)) == 2, "both studies to be delivered", PATIENCE_S)
            eventually(lambda: len(inbox.mails) == 1, "a mail: both orders are about one operation")
            shutil.rmtree(folder / "state" / "received")
            yield made
        finally:
            stop.set()
            worker.join(60)
            smtp.stop()


def delivered(node: Node) -> list[RunRecord]:
    return [
        run
        for run in RunRecords.open(node.settings).runs()
        if any(d.destination == "pacs" and d.state is DeliveryState.STORED for d in run.deliveries)
    ]


@pytest.fixture
def copy(node: Node, tmp_path: Path) -> Node:
    """The same records and settings in another folder, without a worker."""
    shutil.copytree(node.folder / "state", tmp_path / "state")
    text = node.config.read_text().replace(str(node.folder), str(tmp_path))
    (tmp_path / "bmd-node.toml").write_text(text)
    made = Node(tmp_path, [], Inbox())
    made.use_equation(SLOPE_A)
    return made


def result_of(run: RunRecord) -> dict[str, object]:
    return result_of_folder(run.folder)


def result_of_folder(folder: Path) -> dict[str, object]:
    value: dict[str, object] = json.loads((folder / "result.json").read_text())
    return value


def texts(ds: Dataset) -> str:
    return " | ".join(str(element.value) for element in ds.iterall() if element.keyword == "TextValue")


def test_the_second_study_shows_the_first_one(node: Node) -> None:
    runs = node.runs()
    first, second = result_of(runs[FIRST]), result_of(runs[SECOND])
    assert first["prior"] is None
    prior = second["prior"]
    assert isinstance(prior, dict)
    assert prior["study_instance_uid"] == study_uid(FIRST)
    assert prior["acquisition_date"] == "2026-01-02"
    assert prior["days_before"] == 304
    assert prior["prior_bmd_mg_cm3"] == first["bmd_mg_cm3"] == pytest.approx(100.0, abs=4.0)
    [report] = [ds for ds in node.of_class("SR") if study_uid(SECOND) == ds.StudyInstanceUID]
    assert "Prior study, 10 months earlier: " in texts(report)


def test_no_table_names_the_patient(node: Node) -> None:
    patient_id = str(node.received[0].PatientID)
    assert patient_id.startswith("PHANTOM-")
    database = (node.folder / "state" / "bmd-node.sqlite").read_bytes()
    wal = node.folder / "state" / "bmd-node.sqlite-wal"
    assert patient_id.encode() not in database + (wal.read_bytes() if wal.exists() else b"")


def test_the_scans_are_known_to_the_scanner_if_they_say_anything(node: Node) -> None:
    readings = [result_of(run)["scan"] for run in node.runs().values()]
    said = [reading for reading in readings if isinstance(reading, dict) and any(v is not None for v in reading.values())]
    assert len(ScanRecords.open(node.settings).scans()) == len(said)


def test_equations_as_they_were_change_nothing(copy: Node) -> None:
    run = copy.command()
    assert run.exit_code == 0, run.output
    assert run.output.splitlines()[-1].startswith("0 reports reissued")
    assert "2 unchanged" in run.output
    # another approver with the same numbers changes nothing for a reader
    path = copy.folder / "equations.toml"
    path.write_text(path.read_text().replace("A. Physicist", "B. Physicist"))
    assert "0 reports reissued" in copy.command().output


def test_a_dry_run_lists_and_leaves_everything_as_it_is(copy: Node) -> None:
    copy.use_equation(SLOPE_B)
    before = sorted(copy.folder.rglob("*"))
    run = copy.command("--dry-run")
    assert run.exit_code == 0, run.output
    lines = [line for line in run.output.splitlines() if line.startswith("2.25.")]
    assert [line.split(":")[0] for line in lines] == [study_uid(FIRST), study_uid(SECOND)], "earlier CTs first"
    assert all("ours -> ours" in line and "low_bone_mass -> osteoporosis" in line for line in lines)
    assert [path for path in sorted(copy.folder.rglob("*")) if "sqlite" not in path.name] == [
        path for path in before if "sqlite" not in path.name
    ]
    assert len(RunRecords.open(copy.settings).runs()) == 2


def test_only_what_is_meant(copy: Node) -> None:
    copy.use_equation(SLOPE_B)
    assert "2 reports would be" in copy.command("--dry-run", "--equation", "ours").output
    assert "0 reports would be" in copy.command("--dry-run", "--equation", "another").output
    assert "0 reports would be" in copy.command("--dry-run", since="2100-01-01").output


def test_an_issue_that_was_cut_short_is_finished_by_the_next_one_and_never_written_anew(copy: Node) -> None:
    copy.use_equation(SLOPE_B)
    recalculator = Recalculator(copy.settings, Pipeline(copy.settings))
    change = recalculator.plan(dt.datetime(2020, 1, 1).astimezone()).changes[0]
    recalculator.issue(change)
    report = (change.recalculation.folder / "sr.dcm").read_bytes()
    recalculator.issue(change)
    assert (change.recalculation.folder / "sr.dcm").read_bytes() == report
    [waiting] = Recalculations.open(copy.settings).waiting()
    assert waiting == change.recalculation
    assert copy.runs()[FIRST].said.endswith("replaced by a later report")
    later = recalculator.plan(dt.datetime(2020, 1, 1).astimezone())
    assert [one.recalculation.study_instance_uid for one in later.changes] == [study_uid(SECOND)]


def test_a_withdrawn_equation_leaves_hu_and_says_so(copy: Node, tmp_path: Path) -> None:
    before = result_of(copy.runs()[FIRST])
    copy.use_equation(SLOPE_A, "off")
    run = copy.command()
    assert run.exit_code == 0, run.output
    assert "ours -> no equation, BMD 1" in run.output
    assert "low_bone_mass -> no category" in run.output
    again = copy.runs()[f"{FIRST} r"]
    result = result_of(again)
    assert (result["bmd_mg_cm3"], result["category"], result["calibration"]) == (None, None, None)
    assert result["hu_mean"] == before["hu_mean"]
    report = pydicom.dcmread(again.folder / "sr.dcm")
    assert "Attenuation only, no BMD" in texts(report)
    assert "the equation ours no longer applies" in texts(report)
    assert iod_errors(again.folder / "sr.dcm") == []
    # going back gives a third version, not the first one again
    copy.use_equation(SLOPE_A)
    assert "no equation -> ours" in copy.command().output
    latest = Recalculations.open(copy.settings).latest()
    assert {one.version for one in latest.values()} == {2}
    third = pydicom.dcmread(latest[copy.runs()[FIRST].run_id].folder / "sr.dcm")
    assert predecessors(third) == [report.SOPInstanceUID]
    assert result_of_folder(latest[copy.runs()[FIRST].run_id].folder)["bmd_mg_cm3"] == before["bmd_mg_cm3"]


def test_a_withdrawn_prior_leaves_the_follow_up_and_the_equation_stays(copy: Node) -> None:
    priors = PriorRecords.open(copy.settings)
    key = priors.patient_key_of(copy.runs()[FIRST].run_id)
    assert key is not None
    assert priors.compared_with(study_uid(FIRST)) == (), "nothing was withdrawn"
    recalculator = Recalculator(copy.settings, Pipeline(copy.settings))
    assert recalculator.without_withdrawn_prior(study_uid(SECOND)) is None
    priors.withdraw(study_uid(FIRST), "another patient")
    assert priors.compared_with(study_uid(FIRST)) == (study_uid(SECOND),)

    # bmd-node recalculate says it as well
    dry = copy.command("--dry-run").output
    assert dry.startswith(study_uid(SECOND))
    assert "1 reports would be reissued; 1 unchanged" in dry
    copy.use_equation(SLOPE_B)
    change = Recalculator(copy.settings, Pipeline(copy.settings)).without_withdrawn_prior(study_uid(SECOND))
    assert change is not None
    recalculator.issue(change)
    before, after = result_of_folder(change.previous_folder), result_of_folder(change.recalculation.folder)
    assert before["prior"] is not None
    assert after["prior"] is None
    assert after["bmd_mg_cm3"] == before["bmd_mg_cm3"], "the equation of the report, not the current one"
    report = pydicom.dcmread(change.recalculation.folder / "sr.dcm")
    assert "the earlier result that it was compared with was withdrawn" in texts(report)
    assert "Prior study" not in texts(report)
    assert recalculator.without_withdrawn_prior(study_uid(SECOND)) is None, "the second time there is nothing to do"


def test_a_follow_up_that_cannot_be_read_is_an_error_that_says_so(copy: Node) -> None:
    PriorRecords.open(copy.settings).withdraw(study_uid(FIRST), None)
    kept = copy.runs()[SECOND].folder / "kept.json"
    saved = kept.read_bytes()
    kept.write_bytes(b"{")
    try:
        with pytest.raises(InputError, match=r"kept\.json cannot be read"):
            Recalculator(copy.settings, Pipeline(copy.settings)).without_withdrawn_prior(study_uid(SECOND))
    finally:
        kept.write_bytes(saved)


def test_a_run_that_kept_too_little_is_named_and_the_others_go_on(copy: Node) -> None:
    """For example, a run of an earlier version of the node, or a damaged file."""
    copy.use_equation(SLOPE_B)
    original = copy.runs()[FIRST].folder
    kept = original / "views.npz"
    saved = kept.read_bytes()
    kept.write_bytes(saved[: len(saved) // 2])
    try:
        run = copy.command()
    finally:
        kept.write_bytes(saved)
    assert run.exit_code == 1, run.output
    assert "views.npz cannot be read" in run.output
    assert "1 reports reissued" in run.output
    assert set(copy.runs()) == {FIRST, SECOND, f"{SECOND} r"}
    assert "1 reports reissued" in copy.command().output, "a repaired run is recalculated the next time"


def test_rods_in_scans_that_were_removed_cannot_be_read_again_and_that_is_said(
    copy: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy.use_equation(SLOPE_B)
    monkeypatch.setenv("BMD_NODE_CALIBRATE__SIMULTANEOUS", "QRM-BDC-3")
    run = copy.command()
    assert run.exit_code == 1, run.output
    assert "0 reports reissued" in run.output
    assert "0 unchanged; 2 cannot be recalculated" in run.output
    assert all(study_uid(date) in run.output for date in (FIRST, SECOND))
    assert set(copy.runs()) == {FIRST, SECOND}


def test_a_corrected_equation_reaches_the_pacs_and_the_surgeon(node: Node, tmp_path: Path) -> None:
    old = {str(ds.StudyInstanceUID): ds for ds in node.of_class("SR")}
    segmentations = {str(ds.StudyInstanceUID): ds.SOPInstanceUID for ds in node.of_class("SEG")}
    n_received = len(node.received)
    before = {date: result_of(node.runs()[date]) for date in (FIRST, SECOND)}
    node.use_equation(SLOPE_B)

    run = node.command()
    assert run.exit_code == 0, run.output
    assert "2 reports reissued" in run.output
    eventually(lambda: len(delivered(node)) == 4, "the new reports to be delivered", PATIENCE_S)
    eventually(lambda: len(node.inbox.mails) == 2, "a correction: the category became worse")
    assert "Correction: Mean BMD" in node.inbox.mails[1].replace("\n ", " ")

    new = node.received[n_received:]
    assert sorted(ds.Modality for ds in new) == ["OT", "OT", "SR", "SR"], "the segmentations are already there"
    for report in (ds for ds in new if ds.Modality == "SR"):
        previous = old[str(report.StudyInstanceUID)]
        date = str(report.StudyDate)
        assert report.SOPInstanceUID != previous.SOPInstanceUID
        assert (report.ContentDate + report.ContentTime) > (previous.ContentDate + previous.ContentTime)
        assert predecessors(report) == [previous.SOPInstanceUID]
        assert segmentations[str(report.StudyInstanceUID)] in {
            item.ReferencedSOPInstanceUID
            for element in report.iterall()
            if element.keyword == "ReferencedSOPSequence"
            for item in element.value
        }
        for keyword in ("PatientID", "PatientName", "AccessionNumber", "StudyDate", "IssuerOfPatientID"):
            assert report.get(keyword) == previous.get(keyword), keyword
        result = result_of(node.runs()[f"{date} r"])
        assert result["bmd_mg_cm3"] == pytest.approx(before[date]["bmd_mg_cm3"] * SLOPE_B / SLOPE_A, abs=0.1)  # type: ignore[operator]
        assert result["category"] == "osteoporosis"
        assert result["hu_mean"] == before[date]["hu_mean"]
        assert "the equation ours was corrected" in texts(report)
        assert f"mean trabecular BMD {result['bmd_mg_cm3']} mg/cm3" in texts(report)
        assert str(before[date]["bmd_mg_cm3"]) not in texts(report)
        path = tmp_path / f"{date}.dcm"
        report.save_as(path, enforce_file_format=True)
        assert iod_errors(path) == []
        assert "Predecessor" in run_tool("dsrdump", path)
    prior = result_of(node.runs()[f"{SECOND} r"])["prior"]
    assert isinstance(prior, dict)
    assert prior["prior_bmd_mg_cm3"] == result_of(node.runs()[f"{FIRST} r"])["bmd_mg_cm3"], "corrected, too"
    for page in (ds for ds in new if ds.Modality == "OT"):
        path = tmp_path / "page.dcm"
        page.save_as(path, enforce_file_format=True)
        assert iod_errors(path) == []
        assert_same_pictures_other_numbers(page, node.runs()[str(page.StudyDate)].folder / "summary.png")

    assert all(run.state is RunState.MEASURED for run in node.runs().values())
    assert "replaced by a later report" in node.runs()[FIRST].said
    # recalculation is idempotent, for PACS and surgeon alike
    assert "0 reports reissued" in node.command().output
    assert len(RunRecords.open(node.settings).runs()) == 4

    # a third report refers to the second one; the finding is the same, but not the number sent to the surgeon
    node.use_equation(SLOPE_B - 0.01)
    assert "2 reports reissued" in node.command().output
    eventually(lambda: len(delivered(node)) == 6, "the third reports to be delivered", PATIENCE_S)
    third = [ds for ds in node.received[n_received + 4 :] if ds.Modality == "SR"]
    assert {uid for ds in third for uid in predecessors(ds)} == {ds.SOPInstanceUID for ds in new if ds.Modality == "SR"}
    eventually(lambda: len(node.inbox.mails) == 3, "a correction of the number")
    assert all(run.state is RunState.MEASURED for run in node.runs().values())


def predecessors(report: Dataset) -> list[str]:
    return [
        str(item.ReferencedSOPInstanceUID)
        for study in report.PredecessorDocumentsSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]


def assert_same_pictures_other_numbers(page: Dataset, old_picture: Path) -> None:
    """The pictures, drawn from kept data, are unchanged; headline, table and bars are not."""
    now = page.pixel_array.astype(int)
    with Image.open(old_picture) as image:
        old = np.asarray(image.convert("RGB")).astype(int)
    differs = np.abs(now - old).max(axis=2)
    assert np.percentile(differs[150:426, 680:970], 99.9) <= 4, "axial pictures"
    # one more line of notes leaves them less room
    assert now[150:700, 12:666].std() > 20, "sagittal and coronal picture"
    assert differs[0:122].max() > 100, "headline"
    assert differs[130:430, 990:1270].max() > 100, "table of levels"
    assert differs[436:816, 676:1270].max() > 100, "bars"


def test_late_images_make_a_report_that_replaces_the_latest_one(node: Node) -> None:
    """Two recalculations came before; the worker still has equation A."""
    latest = Recalculations.open(node.settings).latest()[node.runs()[FIRST].run_id]
    before = pydicom.dcmread(latest.folder / "sr.dcm")
    runs = {run.run_id for run in RunRecords.open(node.settings).runs()}
    n_received = len(node.received)
    import_folder(node.folder / FIRST, node.settings)  # its images were removed, the content is the same
    scout = pydicom.dcmread(next((node.folder / FIRST).glob("*.dcm")))
    scout.SOPInstanceUID = scout.file_meta.MediaStorageSOPInstanceUID = derived_uid("late image")
    scout.SeriesInstanceUID, scout.ImageType = derived_uid("late series"), ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    (node.folder / "late").mkdir()
    scout.save_as(node.folder / "late" / "scout.dcm")
    import_folder(node.folder / "late", node.settings)

    def late() -> list[RunRecord]:
        return [run for run in delivered(node) if run.run_id not in runs]

    eventually(lambda: len(late()) == 1, "the study with its late image", PATIENCE_S)
    [run] = late()
    new = node.received[n_received:]
    assert sorted(ds.Modality for ds in new) == ["OT", "SR"], "the same images were measured: the segmentation is there"
    [report] = [ds for ds in new if ds.Modality == "SR"]
    assert predecessors(report) == [before.SOPInstanceUID]
    assert report.ContentDate + report.ContentTime > before.ContentDate + before.ContentTime
    assert "replaces an earlier report of this study: its images" in texts(report)
    assert report.SOPInstanceUID not in {ds.SOPInstanceUID for ds in node.received[:n_received]}
    assert iod_errors(run.folder / "sr.dcm") == []
    replaced = RunRecords.open(node.settings).run(latest.run_id)
    assert replaced is not None
    assert replaced.said.endswith("replaced by a later report")


def test_a_dry_run_loads_no_network(copy: Node) -> None:
    """It must run even if there is no memory for a second network beside the worker."""
    copy.use_equation(SLOPE_B)
    code = (
        "import sys\nfrom node.cli.main import main\n"
        "main(sys.argv[1:], standalone_mode=False)\n"
        "print('torch' in sys.modules, 'node.segment.embedded' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, "recalculate", "--config", str(copy.config), "--since", "2020-01-01", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    *lines, loaded = done.stdout.splitlines()
    assert loaded == "False False"
    assert lines[-1].startswith("2 reports would be reissued"), "it has something to do"


def test_the_follow_up_of_a_study_of_another_patient_is_reissued_by_the_worker(node: Node) -> None:
    """The last test with this worker: the patient of the first study is corrected."""
    reports = len([ds for ds in node.of_class("SR") if ds.StudyInstanceUID == study_uid(SECOND)])
    # with the image that came late, if that test ran: the series of a study must be of one patient
    for folder in (node.folder / FIRST, node.folder / "late"):
        for path in folder.glob("*.dcm"):
            ds = pydicom.dcmread(path)
            ds.PatientID, ds.PatientName, ds.PatientBirthDate = "RIGHT-1", "RIGHT^PERSON", "19480808"
            ds.save_as(path)
        if folder.exists():
            import_folder(folder, node.settings)
    taken = CliRunner().invoke(main, ["conflicts", "take", "--config", str(node.config), study_uid(FIRST)])
    assert taken.exit_code == 0, taken.output

    def of_second() -> list[Dataset]:
        return [ds for ds in node.of_class("SR") if ds.StudyInstanceUID == study_uid(SECOND)]

    eventually(lambda: len(of_second()) > reports, "the follow-up without its prior", PATIENCE_S)
    *earlier, report = of_second()
    assert len(earlier) == reports
    assert "Prior study" in texts(earlier[-1])
    assert "Prior study" not in texts(report)
    assert "the earlier result that it was compared with was withdrawn" in texts(report)
    assert predecessors(report) == [earlier[-1].SOPInstanceUID]
    assert report.PatientID == earlier[-1].PatientID != "RIGHT-1"
