"""A node with a database in which every table says something of a patient."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from click.testing import CliRunner, Result
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from node.alerts.service import AlertService
from node.cli.main import main
from node.clinical.identity import PatientIdentifier, PatientIdentity
from node.clinical.planned_operation import OperationKey, PlanSource
from node.model import ContrastPhase, Level, ScanReadings
from node.receive import ReceivedStudies, import_folder, run_id_of
from node.records.alerts import NewMessage
from node.records.database import metadata, open_database
from node.records.destinations import DestinationRecords
from node.records.patient_key import PatientKeys
from node.records.planned_operations import PlannedOperations
from node.records.prior_results import DatedResult, LevelValue, PriorRecords
from node.records.recalculations import Recalculation, Recalculations
from node.records.report_versions import ReportVersions
from node.records.runs import DeliveryState, RunRecords, RunState
from node.records.scans import ScanRecords
from node.records.work import WorkKind, WorkRecords
from node.settings.tree import Destination, StudySettings, load_settings
from node.study.run_folder import folder_of, save_identity
from tests.alerts.alert_inputs import result
from tests.plans.operations import at, planned

MINE, OTHER = "PAT-4711", "PAT-0815"
PACS = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=104)


@dataclass(frozen=True)
class Study:
    """A study that was measured: ids, and the folder of its run."""

    uid: str
    run_id: str
    folder: Path


class Site:
    """A node with a database; its settings also as a file for commands."""

    def __init__(self, folder: Path, database_url: str | None) -> None:
        self.folder = folder
        self.config = folder / "bmd-node.toml"
        url = "" if database_url is None else f'database_url = "{database_url}"\n'
        self.config.write_text(f'state_dir = "{folder / "state"}"\n{url}[listener]\nmin_free_disk_mb = 0\n')
        self.settings = load_settings(self.config)
        self.n = 0

    def images(self, patient_id: str, issuer: str = "", uid: str | None = None, sop: str = "") -> str:
        """Two images arrive; returns their study."""
        self.n += 1
        folder = self.folder / f"sent-{self.n}"
        folder.mkdir()
        study = uid or generate_uid()
        for number in range(2):
            ds = Dataset()
            ds.file_meta = FileMetaDataset()
            ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
            ds.SOPInstanceUID = f"{sop}.{number}" if sop else generate_uid()
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.StudyInstanceUID, ds.SeriesInstanceUID = study, generate_uid()
            ds.PatientID, ds.PatientName, ds.PatientBirthDate = patient_id, "Grün^Anna", "19500401"
            ds.SpecificCharacterSet = "ISO_IR 192"
            if issuer:
                ds.IssuerOfPatientID = issuer
            ds.save_as(folder / f"{number}.dcm", enforce_file_format=True)
        import_folder(folder, self.settings)
        return study

    def study(self, patient_id: str, issuer: str = "", uid: str | None = None) -> Study:
        """A study arrives, is measured, delivered, compared, reissued, and its surgeon is alerted."""
        settings, uid = self.settings, self.images(patient_id, issuer, uid)
        received = ReceivedStudies.open(settings)
        [quiet] = received.quiet_studies(dt.datetime.now(dt.UTC), StudySettings(stable_after_s=0))
        run_id = run_id_of(uid, quiet.content_digest)
        received.mark_handed_over(uid, quiet.content_digest, run_id)
        self.measured(run_id, uid, patient_id, issuer)
        received.mark_run_finished(run_id)
        received.ask_for_rerun(uid)
        return Study(uid, run_id, folder_of(settings.state_dir, run_id))

    def measured(self, run_id: str, uid: str, patient_id: str, issuer: str = "") -> None:
        settings = self.settings
        folder = folder_of(settings.state_dir, run_id)
        folder.mkdir(parents=True)
        identity = PatientIdentity((PatientIdentifier(patient_id, issuer),), ("Grün^Anna",), dt.date(1950, 4, 1))
        save_identity(folder, identity)
        runs, work = RunRecords.open(settings), WorkRecords.open(settings)
        runs.queued(run_id, uid, folder)
        runs.finished(run_id, RunState.MEASURED, "")
        runs.delivery(run_id, "pacs", DeliveryState.STORED, 1, "")
        for kind, target in ((WorkKind.STUDY, ""), (WorkKind.DELIVER, "pacs")):
            work.add(kind, run_id, target)
        destinations = DestinationRecords.open(settings)
        own = generate_uid()
        destinations.stored(PACS, run_id, [("1.2.840.10008.5.1.4.1.1.88.34", own)])
        destinations.ask_for_redelivery(run_id, "pacs")
        ReceivedStudies.open(settings).record_own_instances(run_id, [own])
        ReportVersions.open(settings).enter(run_id, uid, f"identity-{self.n}", folder, float(self.n))
        Recalculations.open(settings).issue(Recalculation(f"{run_id}-r1", run_id, uid, 1, folder))
        facts = result(study=uid).facts
        assert facts is not None
        ScanRecords.open(settings).keep(run_id, facts, ScanReadings(air_hu=-1000.0))
        key = PatientKeys.open(settings).key(issuer, patient_id)
        assert key is not None
        levels = (LevelValue(Level.L1, 100.0, None),)
        unknown = (None, None, None, None, None, None)
        dated = DatedResult(uid, dt.date(2026, 1, self.n), *unknown, ContrastPhase.NONE, levels, None)
        PriorRecords.open(settings).keep(run_id, key, dated)
        alerting = AlertService(settings)
        alerting.keep_result(run_id, uid, identity, folder, folder)
        records = alerting.records
        ids = (f"m-{run_id[-12:]}", f"a-{run_id[-12:]}")
        alert = f'{{"{uid}": 1}}'
        message = NewMessage(*ids, 1, "new", "", "", False, run_id, uid, "mail", "surgeon@hospital.example", alert)
        for patient in records.due(0.0):
            of_run = [message] if any(one.run_id == run_id for one in records.results_of(patient.patient_key)) else []
            assert records.decided(patient, of_run, None)
        work.add(WorkKind.ALERT, message.message_id, "mail")
        records.begin_attempt(message.message_id)
        assert records.acknowledge(message.alert_id, "page")

    def plan(self, patient_id: str, operation: str, issuer: str = "", sent: int = 7) -> None:
        patient = PatientIdentity((PatientIdentifier(patient_id, issuer),), ("Grün^Anna",))
        key = OperationKey(PlanSource.HL7_SIU, "KIS", operation)
        PlannedOperations.open(self.settings).keep(planned(at(sent), key=key, patient=patient), f"M{operation}{sent}")

    def run(self, *arguments: str, answer: str = "") -> Result:
        return CliRunner().invoke(main, ["erase", "--config", str(self.config), *arguments], input=answer)

    def everything(self) -> str:
        """Every row of every table, and the names and contents of all files except databases."""
        state = self.settings.state_dir
        parts = []
        with open_database(self.settings).connect() as connection:
            # digests only, which are also names of folders that are gone
            for table in [one for one in metadata.sorted_tables if one.name != "erased"]:
                parts += [f"{table.name} {row}" for row in connection.execute(sa.select(table))]
        for path in state.rglob("*"):
            if path.is_file() and "sqlite" not in path.name:
                parts.append(f"{path} {path.read_bytes().decode('latin-1')}")
        return "\n".join(parts)


def traces(site: Site, *words: str) -> list[str]:
    """Lines of everything in which there is one of these words."""
    return [line for line in site.everything().splitlines() if any(word in line for word in words)]
