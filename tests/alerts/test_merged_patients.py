"""Two numbers turn out to be one person's: priors, plans and alerts of both are the surviving number's."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from node.alerts.service import AlertService
from node.clinical.identity import PatientIdentifier
from node.model import ContrastPhase, Level
from node.plans.framing import Frame
from node.plans.hl7_intake import Hl7Intake
from node.records.patient_key import PatientKeys
from node.records.prior_results import DatedResult, LevelValue, PriorRecords
from node.settings.plans import PlanSettings
from node.settings.tree import Settings
from node.study.run_folder import load_identity
from node.worker.merges import MergedPatients
from tests.alerts.test_alert_stores import BY_NAME, Site, site
from tests.plans.adt_messages import adt_text
from tests.plans.operations import PATIENT

RESULT_FIRST = BY_NAME["result first, operation planned three weeks later"]
OLD, NEW = PatientIdentifier("4711", "KIS"), PatientIdentifier("4712", "KIS")


def merged(node: Site) -> MergedPatients:
    """The message arrives that 4711 is 4712 now, and is followed."""
    answer = Hl7Intake(node.settings).answer(Frame(adt_text("A40", "4712^^^KIS", "4711^^^KIS").encode()))
    assert answer is not None
    assert b"MSA|AA" in answer
    following = MergedPatients(node.settings, node.alerting)
    following.follow()
    return following


def plan(node: Site, number: PatientIdentifier, **changes: object) -> None:
    planned = RESULT_FIRST.steps[1].planned(None)
    patient = replace(PATIENT, identifiers=(number,), **changes)  # type: ignore[arg-type]
    node.plans.keep(replace(planned, patient=patient, received_at=node.now), f"plan {node.now}")


def test_an_operation_under_the_surviving_number_is_found_and_followed(tmp_path: Path, database_url: str | None) -> None:
    node = site(tmp_path, RESULT_FIRST, database_url)
    result, planned = RESULT_FIRST.steps[:2]
    node.apply(result)
    node.decide()
    node.now = planned.when
    plan(node, NEW)
    node.decide()
    assert node.records.since(0.0) == (), "4712 is another patient, as far as is known"

    merged(node)
    assert node.decide() == ["send team osteoporosis"]
    node.deliver()
    merged(node)
    assert node.decide() == ["already_told"]
    # who the message is about is the surviving number
    [record] = node.records.since(0.0)
    known = node.records.result_of_run(record.message.run_id)
    assert known is not None
    assert load_identity(known.identity_folder).identifiers == (OLD,), "what the images say stays"
    # a later message of the theatre still has the old number
    node.now += dt.timedelta(days=1)
    cancelled = replace(planned.planned(None), status=replace(planned).status, sent_at=node.now, received_at=node.now)
    node.plans.keep(cancelled, "cancelled")
    assert node.decide()[0] == "withdraw team operation_cancelled"


def test_two_patients_with_results_become_one(tmp_path: Path, database_url: str | None) -> None:
    node = site(tmp_path, RESULT_FIRST, database_url)
    node.apply(RESULT_FIRST.steps[0])
    folder = node.settings.state_dir / "run-new"
    folder.mkdir()
    identity = replace(PATIENT, identifiers=(NEW,))
    node.alerting.keep_result("run-new", "1.2.3.99", identity, None, folder)
    keys = PatientKeys.open(node.settings)
    old, new = keys.key(None, "4711"), keys.key(None, "4712")
    assert (old is not None, new is not None) == (True, True)
    assert set(node.records.patients_since(0.0)) == {old, new}
    [patient] = [one for one in node.records.due(node.now.timestamp()) if one.patient_key == old]
    merged(node)
    assert node.records.patients_since(0.0) == (new,)
    assert {one.run_id for one in node.records.results_of(str(new))} == {"run-1", "run-new"}
    assert not node.records.decided(patient, (), None), "a decision on the old number is not kept any more"
    assert node.records.patients_with([str(old)]) == (new,)


@pytest.mark.parametrize(("issuer", "default"), [("KIS", ""), ("1.2.276.0.76.3", ""), (None, "KIS"), (None, "")])
def test_priors_of_the_old_number_are_found_under_the_new_one(tmp_path: Path, issuer: str | None, default: str) -> None:
    """However the headers write the issuer; where nobody knows it, they stay with the old number."""
    plans = PlanSettings(issuers=(("KIS", "1.2.276.0.76.3"),), default_issuer=default)
    settings = Settings(state_dir=tmp_path, plans=plans)
    priors, keys = PriorRecords.open(settings), PatientKeys.open(settings)
    levels = (LevelValue(Level.L1, 100.0, None),)
    unknown = (None, None, None, None, None, None)
    dated = DatedResult("1.2.3", dt.date(2025, 1, 1), *unknown, ContrastPhase.NONE, levels, None)
    priors.keep("1.2.3-run", str(keys.key(issuer, "4711")), dated)
    priors.keep("1.2.4-run", str(keys.key("PRAXIS", "4711")), replace(dated, study_instance_uid="1.2.4"))
    node_alerts = AlertService(settings)
    text = adt_text("A40", "4712^^^KIS", "4711^^^KIS").encode()
    Hl7Intake(settings).answer(Frame(text))
    following = MergedPatients(settings, node_alerts)
    following.follow()
    is_known = issuer is not None or bool(default)
    found = priors.of_patient(str(following.key(issuer, "4712")))
    assert found == ((dated,) if is_known else ())
    # images that still have the old number are the same person's
    assert priors.of_patient(str(following.key(issuer, "4711"))) == (dated,)
    assert len(priors.of_patient(str(keys.key("PRAXIS", "4711")))) == 1
    # recorded at the very moment of the merge, under the old number
    late = replace(dated, study_instance_uid="1.2.5")
    priors.keep("1.2.5-run", str(keys.key(issuer, "4711")), late)
    following.follow_all()
    assert len(priors.of_patient(str(following.key(issuer, "4712")))) == (2 if is_known else 0)


def test_an_update_of_the_name_is_followed_on_the_safe_side(tmp_path: Path) -> None:
    """With another name than the images nobody is sure any more; with the earlier name as an alias, all stays as it is."""
    node = site(tmp_path, RESULT_FIRST)
    result, planned = RESULT_FIRST.steps[:2]
    node.apply(result)
    node.apply(planned)
    assert node.decide() == ["send team osteoporosis"]
    node.deliver()

    def renamed(*names: str) -> list[str]:
        node.now += dt.timedelta(hours=1)
        said = replace(PATIENT, names=names)
        issuers = node.alerting.issuers
        assert node.plans.update_patient(said, PATIENT.identifiers, issuers, node.now, node.now, f"update {node.now}") == 1
        said_now = node.decide()
        node.deliver()
        return said_now

    assert "already_told" in renamed("Meier^Anna", *PATIENT.names)
    assert renamed("Meier^Anna")[0] == "withdraw team patient_in_doubt"
