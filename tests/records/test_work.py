"""Rows of work and deliveries when workflows are resumed late, or are resumed after their end."""

from __future__ import annotations

from pathlib import Path

from node.receive import ReceivedStudies
from node.records.runs import DeliveryState, RunRecords
from node.records.work import WorkKind, WorkRecords, WorkState
from node.settings.tree import Settings


def test_a_workflow_that_is_resumed_too_late_counts_no_attempt(tmp_path: Path) -> None:
    """Killed between the outcome in its row and its own end: by then the next round may run."""
    work = WorkRecords.open(Settings(state_dir=tmp_path))
    work_id = work.add(WorkKind.DELIVER, "run", "pacs")
    for number in (1, 2):
        [due] = work.due(600)
        assert work.started(due)
        begun = work.begin(work_id, number)
        assert begun is not None
        assert begun.begun == 1
        if number == 1:
            work.again(work_id, 0.0, "refused", failures=1, refusals=1)
            assert work.begin(work_id, 1) is None, "its outcome is already recorded"
    assert work.begin(work_id, 1) is None
    found = work.work(work_id)
    assert found is not None
    assert (found.state, found.rounds, found.begun) == (WorkState.RUNNING, 2, 1)


def test_work_that_has_begun_in_the_meantime_is_not_started_a_second_time(tmp_path: Path) -> None:
    """Another worker enqueues its workflow between the two queries of the comparison."""
    work = WorkRecords.open(Settings(state_dir=tmp_path))
    work_id = work.add(WorkKind.STUDY, "run")
    [due] = work.due(600)
    assert work.started(due)
    [seen] = work.in_state(WorkState.RUNNING)
    assert work.begin(work_id, 1) is not None
    assert not work.again_unless_ended(seen)
    [seen] = work.in_state(WorkState.RUNNING)
    assert work.again_unless_ended(seen), "its workflow is gone"


def test_a_study_that_is_resumed_does_not_reopen_a_delivery_that_is_over(tmp_path: Path) -> None:
    records = RunRecords.open(Settings(state_dir=tmp_path))
    records.queued("run", "1.2.3", tmp_path)
    for state in (DeliveryState.PENDING, DeliveryState.STORED):
        records.delivery_waits("run", "pacs")
        run = records.run("run")
        assert run is not None
        assert run.deliveries[0].state is state
        records.delivery("run", "pacs", DeliveryState.STORED, 1, "stored 3 objects")


def test_objects_of_another_version_are_delivered_although_those_of_the_first_round_were(tmp_path: Path) -> None:
    """A study that is given up after its delivery, and retried after an upgrade, has objects with other UIDs."""
    settings = Settings(state_dir=tmp_path)
    studies, work = ReceivedStudies.open(settings), WorkRecords.open(settings)
    work_id = work.add(WorkKind.DELIVER, "run", "pacs")
    assert not work.reopen(work_id, 0.0, ""), "it waits"
    assert studies.record_own_instances("run", ["1.2.3"])
    work.finished(work_id)
    assert not studies.record_own_instances("run", ["1.2.3"]), "the same objects again"
    assert studies.record_own_instances("run", ["1.2.3", "1.2.4"])
    assert work.reopen(work_id, 0.0, "")
    [due] = work.due(600)
    assert due.work_id == work_id
