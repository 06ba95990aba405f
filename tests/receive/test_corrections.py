"""Images that come again with other content: compared, held, taken, and taken back; with real files and records."""

from __future__ import annotations

import copy
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from node.model import ContrastPhase, Level
from node.receive import Corrections, QuietStudy, ReceivedStudies, import_folder, run_id_of
from node.records.conflicts import ConflictRecords, ConflictState
from node.records.prior_results import DatedResult, LevelValue, PriorRecords
from node.select import is_same_image
from node.settings.tree import Settings
from tests.receive.listener_process import ct_series, write_series


class Node:
    """What arrives, and what the worker does with it."""

    def __init__(self, folder: Path, on_conflict: str) -> None:
        self.settings = Settings.model_validate(
            {
                "state_dir": folder / "state",
                "study": {"on_conflict": on_conflict, "stable_after_s": 0},
                "listener": {"min_free_disk_mb": 0},
            }
        )
        self.folder, self.n, self.left = folder, 0, []
        self.studies = ReceivedStudies.open(self.settings)
        self.records = ConflictRecords.open(self.settings)

    def receive(self, images: list[Dataset]) -> None:
        self.n += 1
        write_series(self.folder / str(self.n), images)
        import_folder(self.folder / str(self.n), self.settings)
        Corrections.open(self.settings, is_same_image).follow(self.left.append)

    def hand_over(self) -> list[QuietStudy]:
        """Studies that a worker measures now."""
        quiet = self.studies.quiet_studies(datetime.now(UTC), self.settings.study)
        for one in quiet:
            run_id = run_id_of(one.study_instance_uid, one.content_digest)
            self.studies.mark_handed_over(one.study_instance_uid, one.content_digest, run_id)
        again = self.studies.reruns()
        for rerun in again:
            self.studies.mark_rerun_taken(rerun)
        return [*quiet, *(rerun.study for rerun in again)]


def changed(images: list[Dataset], **values: str) -> list[Dataset]:
    images = copy.deepcopy(images)
    for ds in images:
        for keyword, value in values.items():
            setattr(ds, keyword, value)
    return images


def test_held_until_a_person_takes_it(tmp_path: Path) -> None:
    node, images = Node(tmp_path, "hold"), ct_series(3)
    node.receive(images)
    [first] = node.hand_over()
    node.receive(changed(images, PatientID="RIGHT"))
    [study] = node.records.studies()
    assert (study.study_instance_uid, study.n_images) == (images[0].StudyInstanceUID, 3)
    assert node.hand_over() == []
    assert node.records.correction_of(study.study_instance_uid) == ""

    assert node.records.decide(study.study_instance_uid, ConflictState.WANTED) == 3
    Corrections.open(node.settings, is_same_image).follow(node.left.append)
    [second] = node.hand_over()
    assert second.content_digest != first.content_digest
    assert set(second.paths).isdisjoint(first.paths)
    assert node.records.studies() == ()
    assert node.records.correction_of(study.study_instance_uid) != ""


def test_held_until_a_person_keeps_the_first(tmp_path: Path) -> None:
    node, images = Node(tmp_path, "hold"), ct_series(3)
    node.receive(images)
    node.hand_over()
    node.receive(changed(images, PatientID="OTHER"))
    assert node.records.decide(str(images[0].StudyInstanceUID), ConflictState.KEPT) == 3
    node.receive(changed(images, PatientID="OTHER"))
    assert node.records.studies() == ()
    assert node.hand_over() == []


def test_the_latest_is_taken_and_taken_back(tmp_path: Path) -> None:
    node, images = Node(tmp_path, "take_latest"), ct_series(3)
    right = changed(images, PatientID="RIGHT")
    corrections = []
    node.receive(images)
    [first] = node.hand_over()
    for content in (right, images, right):
        node.receive(content)
        [again] = node.hand_over()
        assert node.hand_over() == []
        assert again.n_instances == 3
        corrections.append(
            (again.content_digest == first.content_digest, node.records.correction_of(first.study_instance_uid))
        )
    assert [is_first for is_first, _ in corrections] == [False, True, False]
    assert len({digest for _, digest in corrections}) == 2
    assert node.records.studies() == ()


@pytest.mark.parametrize("on_conflict", ["hold", "take_latest"])
def test_another_encoding_is_no_conflict(tmp_path: Path, on_conflict: str) -> None:
    node, images = Node(tmp_path, on_conflict), ct_series(3)
    node.receive(images)
    node.hand_over()
    node.receive(changed(images, InstitutionalDepartmentName="archive"))
    assert node.records.studies() == ()
    assert node.hand_over() == []


def test_what_a_person_decides_while_it_is_compared_stands(tmp_path: Path) -> None:
    node, images = Node(tmp_path, "hold"), ct_series(1)
    node.receive(images)
    node.receive(changed(images, PatientID="RIGHT"))
    [one] = node.records.in_state([ConflictState.OPEN], 10)
    node.records.decide(one.study_instance_uid, ConflictState.WANTED)
    node.records.is_now(one, ConflictState.SAME)
    assert len(node.records.in_state([ConflictState.WANTED], 10)) == 1


def test_images_that_belong_to_another_study_leave_the_first_one(tmp_path: Path) -> None:
    node, images = Node(tmp_path, "take_latest"), ct_series(3)
    node.receive(images)
    node.hand_over()
    node.receive(changed(images, StudyInstanceUID="1.2.3.4"))
    assert node.left == [images[0].StudyInstanceUID]
    [quiet] = node.hand_over()
    assert (quiet.study_instance_uid, quiet.n_instances) == ("1.2.3.4", 3)


def test_results_of_another_patient_are_no_priors(tmp_path: Path) -> None:
    result = DatedResult(
        "1.2", date(2026, 1, 2), "Philips", "iCT", "1", None, 120.0, "B", ContrastPhase.NONE,
        (LevelValue(Level.L1, 120.0, 100.0),), None,
    )  # fmt: skip
    priors = PriorRecords.open(Settings(state_dir=tmp_path / "state"))
    priors.keep("run-1", "wrong", result)
    priors.withdraw(result.study_instance_uid, "right")
    priors.keep("run-2", "right", result)
    assert (priors.of_patient("wrong"), priors.of_patient("right")) == ((), (result,))
    priors.withdraw(result.study_instance_uid, None)
    assert priors.of_patient("right") == ()
