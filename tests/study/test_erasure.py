"""All that is kept of a patient goes, what is another patient's stays, and nothing comes back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.uid import generate_uid

from node.alerts.service import AlertService
from node.clinical.identity import Issuers, PatientIdentifier, PatientIdentity
from node.clinical.planned_operation import PlanSource
from node.common.commitment import Referenced
from node.receive import ReceivedStudies
from node.records.alerts import AlertRecords
from node.records.commitments import Commitments
from node.records.conflicts import ConflictRecords, ConflictState
from node.records.database import metadata, open_database
from node.records.erased import ErasedError
from node.records.patient_key import PatientKeys
from node.records.patient_merges import Merge, PatientMerges
from node.records.plan_refusals import PlanRefusals
from node.records.planned_operations import PlannedOperations
from node.records.runs import DeliveryState, RunRecords
from node.records.work import WorkKind, WorkRecords
from node.study.run_folder import folder_of
from tests.alerts.conftest import database_url, postgres_url
from tests.plans.operations import at
from tests.study.erasure_site import MINE, OTHER, Site, traces

__all__ = ["database_url", "postgres_url"]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path, None)


def test_all_goes_and_what_is_another_patients_stays(tmp_path: Path, database_url: str | None) -> None:
    site = Site(tmp_path, database_url)
    mine, other = site.study(MINE), site.study(OTHER)
    site.plan(MINE, "A1")
    site.plan(OTHER, "A2")
    site.plan(MINE, "A3")
    site.plan(OTHER, "A3", sent=8)
    refusals = PlanRefusals.open(site.settings)
    refusals.keep(PlanSource.HL7_SIU, f"MSH|..\rPID|1||{MINE}^^^KIS".encode(), "101", "")
    refusals.keep(PlanSource.HL7_SIU, f"MSH|..\rPID|1||{MINE}0^^^KIS".encode(), "101", "")
    keys = PatientKeys.open(site.settings)
    words = (MINE + '"', MINE + "^", mine.uid, mine.run_id, mine.folder.name, *(k for k in [keys.key(None, MINE)] if k))
    before, of_other = traces(site, *words), traces(site, other.uid, OTHER)
    tables = {line.split()[0] for line in before if line.split()[0] in metadata.tables}
    assert len(tables) >= 15, sorted(tables)

    listed = site.run("--patient-id", MINE, "--dry-run")
    assert listed.exit_code == 0, listed.output
    assert f"study {mine.uid}: 2 images" in listed.output
    assert "1 planned operations, 1 further statements" in listed.output
    assert "1 refused messages" in listed.output
    assert "1 objects that the destination pacs has stored" in listed.output
    assert "1 messages that went out on the channel mail" in listed.output
    assert "back-ups" in listed.output
    assert other.uid not in listed.output
    refused = site.run("--patient-id", MINE, answer="n\n")
    assert (refused.exit_code, traces(site, *words)) == (1, before), "asks before, and nothing has changed"

    done = site.run("--patient-id", f" {MINE.lower()}^^^X", answer="y\n")
    assert done.exit_code == 0, done.output
    assert traces(site, *words) == []
    assert not mine.folder.exists()
    # of the operation that was corrected to the other patient, only this one's statement is gone
    left = traces(site, other.uid, OTHER)
    assert [line for line in of_other if line not in left] == []
    assert [one.key.operation_id for one in PlannedOperations.open(site.settings).current()] == ["A2", "A3"]
    assert len(refusals.refusals()) == 1
    assert "nothing is kept" in site.run("--patient-id", MINE).output


def test_what_still_runs_brings_nothing_back_and_a_study_that_is_sent_again_is_new(
    tmp_path: Path, database_url: str | None
) -> None:
    site = Site(tmp_path, database_url)
    mine = site.study(MINE)
    settings = site.settings
    done = site.run("--patient-id", MINE, "--yes")
    assert done.exit_code == 0, done.output
    for run_id in (mine.run_id, f"{mine.run_id}-n2", f"{mine.run_id}-r9"):
        with pytest.raises(ErasedError):
            RunRecords.open(settings).queued(run_id, mine.uid, mine.folder)
        with pytest.raises(ErasedError):
            WorkRecords.open(settings).add(WorkKind.DELIVER, run_id, "pacs")
        with pytest.raises(ErasedError):
            RunRecords.open(settings).delivery(run_id, "pacs", DeliveryState.STORED, 1, "")
    with pytest.raises(ErasedError):
        AlertService(settings).keep_result(
            mine.run_id, mine.uid, PatientIdentity((PatientIdentifier(MINE),)), None, site.folder / "state"
        )
    with pytest.raises(ErasedError):
        ReceivedStudies.open(settings).mark_handed_over(mine.uid, "0" * 64, mine.run_id)
    (site.folder / "state" / "identity.json").unlink()
    assert traces(site, mine.uid, MINE) == []
    again = site.study(MINE, uid=mine.uid)
    assert traces(site, again.uid) != []


def test_a_kill_after_the_rows_were_removed_is_completed_by_the_next_call(site: Site, tmp_path: Path) -> None:
    mine = site.study(MINE)
    state = site.settings.state_dir
    for name in ("received", "results"):
        shutil.copytree(state / name, tmp_path / "kept" / name)
    assert site.run("--patient-id", MINE, "--yes").exit_code == 0
    for name in ("received", "results"):
        shutil.copytree(tmp_path / "kept" / name, state / name, dirs_exist_ok=True)
    assert f"study {mine.uid}: 2 images" in site.run("--patient-id", MINE, "--dry-run").output
    assert site.run("--patient-id", MINE, "--yes").exit_code == 0
    assert traces(site, mine.uid, MINE) == []
    assert not mine.folder.exists()


def test_a_study_that_only_a_person_knows_to_be_the_patients_can_be_named(site: Site) -> None:
    other = site.study(OTHER)
    named = ("--patient-id", MINE, "--study", other.uid, "--yes")
    wrong = site.run(*named)
    assert (wrong.exit_code, "name another patient" in wrong.output) == (2, True)
    assert other.folder.is_dir()
    for name in ("received", "results"):
        shutil.rmtree(site.settings.state_dir / name)
    assert site.run(*named).exit_code == 0
    assert traces(site, other.uid) == []
    assert "nothing is kept" in site.run(*named).output


def test_an_id_of_two_issuers_is_one_person_only_if_somebody_says_so(site: Site) -> None:
    kis, practice = site.study(MINE, "KIS"), site.study(MINE, "PRAXIS")
    several = site.run("--patient-id", MINE, "--yes")
    assert (several.exit_code, "several issuers" in several.output) == (2, True)
    assert "kis, praxis" in several.output
    assert site.run("--patient-id", MINE, "--issuer", "KIS", "--yes").exit_code == 0
    assert traces(site, kis.uid) == []
    assert practice.folder.exists()
    assert len(AlertRecords.open(site.settings).of_study(practice.uid)) == 1
    assert "nothing is kept" in site.run("--patient-id", MINE, "--issuer", "").output


def test_of_a_study_that_was_corrected_only_what_names_the_patient_goes(site: Site) -> None:
    sop = generate_uid(prefix="1.2.3.")[:50]
    uid = site.images(MINE, sop=sop)
    site.measured(f"{uid}-0000000000000001", uid, MINE)
    site.images(OTHER, uid=uid, sop=sop)
    conflicts = ConflictRecords.open(site.settings)
    found = conflicts.in_state([ConflictState.NEW], 10)
    files = {one.sop_instance_uid: one for one in found}
    conflicts.take([(one, {"digest": one.digest, "study_instance_uid": uid}) for one in files.values()])
    site.measured(f"{uid}-0000000000000002", uid, OTHER)
    listed = site.run("--patient-id", MINE, "--dry-run")
    assert f"run {uid}-0000000000000001: an earlier report" in listed.output
    assert "2 earlier contents of images" in listed.output
    assert site.run("--patient-id", MINE, "--yes").exit_code == 0
    assert traces(site, MINE, f"{uid}-0000000000000001") == []
    assert folder_of(site.settings.state_dir, f"{uid}-0000000000000002").is_dir()
    run = RunRecords.open(site.settings).run(f"{uid}-0000000000000002")
    assert (run is not None, len(list((site.folder / "state" / "received").rglob("*.dcm")))) == (True, 2)


def test_no_table_is_forgotten(site: Site) -> None:
    """A new table must be erased, or be named here because it is about no patient."""
    about_no_patient = {
        "alert_cursors",
        "audit",  # what was done stays
        "audit_cursors",
        "commitment_orders",  # what senders asked for: UIDs of images, until they are reported
        "destination_abilities",
        "erased",
        "login_failures",
        "plan_fhir_cursors",
        "plan_refusal_counts",
        "received_associations",
        "secrets",
        "users",
        "watch_conditions",
        "web_sessions",
        "workers",
    }
    mine = site.study(MINE, "KIS")
    site.plan(MINE, "A1", "KIS")
    merge = Merge(PatientIdentifier(MINE, "KIS"), PatientIdentifier("PAT-9", "KIS"))
    PatientMerges.open(site.settings).keep([merge], at(7), Issuers())
    PlanRefusals.open(site.settings).keep(PlanSource.HL7_SIU, f"|{MINE}|".encode(), "101", "")
    site.images(MINE, "KIS", uid=mine.uid, sop="1.2.3.4")
    site.images(MINE, "KIS", uid=mine.uid, sop="1.2.3.4")
    Commitments.open(site.settings).due("pacs", "address", mine.run_id, [Referenced("1.2", "1.2.3")])
    Commitments.open(site.settings).asked("1.2.3.9", "pacs", mine.run_id, ["1.2.3"])
    with open_database(site.settings).begin() as connection:
        for name in ("received_association_studies", "received_ignored", "received_conflicts"):
            table = metadata.tables[name]
            values = {column.name: 1.0 if isinstance(column.type, sa.Double) else "1.2.3.4.0" for column in table.columns}
            connection.execute(sa.insert(table).values({**values, "study_instance_uid": mine.uid}))
    with open_database(site.settings).connect() as connection:
        count = sa.select(sa.func.count())
        filled = {one.name for one in metadata.sorted_tables if connection.execute(count.select_from(one)).scalar_one()}
    assert filled | about_no_patient == set(metadata.tables), "fill it here"
    assert site.run("--patient-id", MINE, "--yes").exit_code == 0
    with open_database(site.settings).connect() as connection:
        left = {one.name for one in metadata.sorted_tables if connection.execute(count.select_from(one)).scalar_one()}
    assert left <= about_no_patient


def test_merged_numbers_are_one_patient(site: Site) -> None:
    first, second, other = site.study(MINE, "KIS"), site.study("PAT-9", "KIS"), site.study("PAT-9", "PRAXIS")
    merge = Merge(PatientIdentifier(MINE, "KIS"), PatientIdentifier("PAT-9", "KIS"))
    PatientMerges.open(site.settings).keep([merge], at(7), Issuers())
    listed = site.run("--patient-id", MINE, "--dry-run")
    assert "1 patient IDs that were merged with this one" in listed.output
    assert site.run("--patient-id", MINE, "--yes").exit_code == 0
    assert traces(site, first.uid, second.uid, MINE) == []
    assert other.folder.is_dir()
