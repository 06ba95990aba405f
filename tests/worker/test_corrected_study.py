"""The same images come again with another patient: held until a person decides, or taken, and every receiver is told."""

from __future__ import annotations

from collections.abc import Iterator
from email import message_from_string
from pathlib import Path

import pydicom
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from click.testing import CliRunner

from node.cli.main import main
from node.doctor import Outcome
from node.doctor.work import check_conflicts
from node.phantom import NARROW_SPINE, PhantomParameters, make_phantom, write_series
from node.receive import import_folder
from node.records.alerts import AlertRecords
from node.records.conflicts import ConflictRecords
from node.records.patient_key import PatientKeys
from node.records.prior_results import PriorRecords
from node.records.runs import RunRecord, RunRecords, RunState
from node.settings.tree import Settings, load_settings
from node.study.run_folder import load_identity
from node.web.metrics import ConflictsCollector, metrics_text
from tests.deliver.delivery_servers import eventually, free_port
from tests.worker.running_worker import PATIENCE_S, runs_of, worker, write_config

WRONG = {"PatientID": "WRONG-1", "PatientName": "WRONG^PERSON", "PatientBirthDate": "19560505"}
RIGHT = {"PatientID": "RIGHT-1", "PatientName": "RIGHT^PERSON", "PatientBirthDate": "19480808"}


class Inbox(Message):
    """Keeps subject and text of the mails that are sent to it."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[str] = []

    def handle_message(self, message: object) -> None:
        self.mails.append(str(message_from_string(str(message))))


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, int]]:
    found = Inbox()
    smtp = Controller(found, hostname="127.0.0.1", port=free_port())
    smtp.start()
    yield found, smtp.port
    smtp.stop()


def send_as(folder: Path, settings: Settings, patient: dict[str, str]) -> None:
    """A CT with low BMD before an operation arrives, with this patient."""
    if not folder.exists():
        parameters = PhantomParameters(
            density_mg_cm3=65.0, field_of_view=NARROW_SPINE, pixel_spacing_mm=1.2, slice_distance_mm=2.5
        )
        write_series(make_phantom(parameters), folder)
    for path in folder.glob("*.dcm"):
        ds = pydicom.dcmread(path)
        ds.StudyDescription, ds.AccessionNumber = "CT lumbar spine, planning TLIF L4/5", "A-4711"
        for keyword, value in patient.items():
            setattr(ds, keyword, value)
        ds.save_as(path)
    import_folder(folder, settings)


def measured(config: Path) -> list[RunRecord]:
    """Runs with a result, the oldest first."""
    runs = sorted(runs_of(config).values(), key=lambda run: run.queued_s)
    assert all(run.state in (RunState.QUEUED, RunState.RUNNING, RunState.MEASURED) for run in runs), runs
    return [run for run in runs if run.state is RunState.MEASURED]


def says(config: Path, *command: str) -> str:
    done = CliRunner().invoke(main, [*command, "--config", str(config)])
    assert done.exit_code in (0, 1), done.output
    return done.output


def assert_told(config: Path, inbox: Inbox, first: RunRecord, second: RunRecord) -> None:
    """The second report takes the place of the first, is the right patient's, and nothing of the wrong one is used."""
    settings = load_settings(config)
    sr, old_sr = (pydicom.dcmread(run.folder / "sr.dcm") for run in (second, first))
    seg, old_seg = (pydicom.dcmread(run.folder / "seg.dcm") for run in (second, first))
    assert (sr.PatientID, seg.PatientID, old_sr.PatientID) == ("RIGHT-1", "RIGHT-1", "WRONG-1")
    assert seg.SOPInstanceUID != old_seg.SOPInstanceUID
    [predecessor] = sr.PredecessorDocumentsSequence
    [series] = predecessor.ReferencedSeriesSequence
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == old_sr.SOPInstanceUID
    assert load_identity(second.folder).identifiers[0].value == "RIGHT-1"
    keys = PatientKeys.open(settings)
    priors = PriorRecords.open(settings)
    assert priors.of_patient(keys.key(None, "WRONG-1") or "") == ()
    eventually(lambda: len(priors.of_patient(keys.key(None, "RIGHT-1") or "")) == 1, "the prior", PATIENCE_S)
    alerts = AlertRecords.open(settings)
    eventually(lambda: len(inbox.mails) == 3, f"withdrawal and new alert: {inbox.mails}", PATIENCE_S)
    kinds = sorted(record.message.kind for record in alerts.since(0.0))
    assert kinds == ["new", "new", "withdrawal"]
    eventually(lambda: runs_of(config)[first.run_id].is_replaced, "the first report is replaced", PATIENCE_S)


def alerts_section(port: int) -> str:
    return (
        f'\n[alert]\nsmtp_host = "127.0.0.1"\nsmtp_port = {port}\nsmtp_security = "none"\n'
        'sender = "node@hospital.example"\nrecipients = ["surgeon@hospital.example"]\ndays_ahead = 36500\n'
    )


@pytest.mark.timeout(900)
def test_what_is_held_is_shown_everywhere_and_taken_when_a_person_says_so(tmp_path: Path, inbox: tuple[Inbox, int]) -> None:
    config = write_config(tmp_path, alerts_section(inbox[1]))
    settings = load_settings(config)
    conflicts = ConflictRecords.open(settings)
    send_as(tmp_path / "ct", settings, WRONG)
    with worker(config):
        eventually(lambda: len(measured(config)) == 1, "the first report", PATIENCE_S)
        eventually(lambda: len(inbox[0].mails) == 1, "the alert", PATIENCE_S)
        send_as(tmp_path / "ct", settings, RIGHT)
        eventually(lambda: "in conflict" in says(config, "status"), "the conflict", PATIENCE_S)
        [study] = conflicts.studies()
        [first] = measured(config)
        assert first.is_in_conflict
        assert first.n_conflicts == study.n_images == len(list((tmp_path / "ct").glob("*.dcm")))
        [finding] = check_conflicts(settings)
        assert (finding.outcome, "1 studies in conflict" in finding.detail) == (Outcome.WARNING, True)
        assert b"bmd_node_conflicts 1.0" in metrics_text(RunRecords.open(settings), ConflictsCollector(conflicts))
        assert study.study_instance_uid in says(config, "conflicts", "list")
        assert len(runs_of(config)) == 1, "the report stands"
        assert "RIGHT-1" not in (tmp_path / "worker.log").read_text()

        says(config, "conflicts", "take", study.study_instance_uid)
        eventually(lambda: len(measured(config)) == 2, "the second report", PATIENCE_S)
        assert_told(config, inbox[0], *measured(config))
    assert conflicts.studies() == ()
    assert check_conflicts(settings) == ()
    assert "no study is in conflict" in says(config, "conflicts", "list")


@pytest.mark.timeout(900)
def test_the_latest_is_taken_and_may_be_taken_back(tmp_path: Path, inbox: tuple[Inbox, int]) -> None:
    config = write_config(tmp_path, alerts_section(inbox[1]))
    config.write_text(config.read_text().replace("[study]", '[study]\non_conflict = "take_latest"'))
    settings = load_settings(config)
    send_as(tmp_path / "ct", settings, WRONG)
    with worker(config):
        eventually(lambda: len(measured(config)) == 1, "the first report", PATIENCE_S)
        eventually(lambda: len(inbox[0].mails) == 1, "the alert", PATIENCE_S)
    send_as(tmp_path / "ct", settings, RIGHT)
    with worker(config):
        eventually(lambda: len(measured(config)) == 2, "the second report", PATIENCE_S)
        assert_told(config, inbox[0], *measured(config))
    send_as(tmp_path / "ct", settings, WRONG)
    with worker(config):
        eventually(lambda: len(measured(config)) == 3, "the third report", PATIENCE_S)
        [first, second, third] = measured(config)
        eventually(lambda: runs_of(config)[second.run_id].is_replaced, "the second report is replaced", PATIENCE_S)
        reports = [pydicom.dcmread(run.folder / "sr.dcm") for run in (first, second, third)]
        assert [sr.PatientID for sr in reports] == ["WRONG-1", "RIGHT-1", "WRONG-1"]
        assert len({sr.SOPInstanceUID for sr in reports}) == 3
        segs = {pydicom.dcmread(run.folder / "seg.dcm").SOPInstanceUID for run in (first, second, third)}
        assert len(segs) == 3
        keys, priors = PatientKeys.open(settings), PriorRecords.open(settings)
        eventually(lambda: priors.of_patient(keys.key(None, "RIGHT-1") or "") == (), "no prior any more", PATIENCE_S)
