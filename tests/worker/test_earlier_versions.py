"""Unfinished workflows of earlier versions of the node, by their ids."""

from __future__ import annotations

from pathlib import Path

from node.records.work import WorkKind, WorkRecords, WorkState
from node.settings.tree import Settings
from node.worker.reconcile import enter_work_of_0_1_0


def test_work_of_0_1_0_gets_a_row_and_that_of_later_versions_has_one(tmp_path: Path) -> None:
    """A delivery of a later version that is under way during an upgrade must not stop the worker from starting."""
    work = WorkRecords.open(Settings(state_dir=tmp_path))
    for kind, target in ((WorkKind.DELIVER, "pacs"), (WorkKind.STUDY, ""), (WorkKind.ALERT, "mail")):
        work_id = work.add(kind, f"run-{kind}", target, 1 if kind is WorkKind.DELIVER else 0)
        enter_work_of_0_1_0(f"DurableNode.{kind}", f"{work_id}#1", work)
    assert len(work.in_state(WorkState.WAITING)) == 3, "no row more"
    enter_work_of_0_1_0("DurableNode.deliver", "run-0>archive>2", work)
    enter_work_of_0_1_0("DurableNode.study", "run-0", work)
    found = {(one.kind, one.subject, one.target) for one in work.in_state(WorkState.WAITING)}
    assert {(WorkKind.DELIVER, "run-0", "archive"), (WorkKind.STUDY, "run-0", "")} <= found
