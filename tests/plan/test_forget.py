"""What is over for longer than ``plans.keep_days`` is removed, with the files of what was refused."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from node.patient.planned_operation import OperationKey, PlanSource
from node.plan.intake import forget_old
from node.records.plan_refusals import FOLDER_NAME, PlanRefusals
from node.records.planned_operations import PlannedOperations
from node.settings.plans import PlanSettings
from node.settings.tree import Settings
from tests.plan.operations import planned


def test_forgets_after_keep_days(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, plans=PlanSettings(keep_days=10))
    operations, refusals = PlannedOperations.open(settings), PlanRefusals.open(settings)
    now = dt.datetime.now(dt.UTC)
    for days in (5, 15, -5):
        key = OperationKey(PlanSource.HL7_SIU, "KIS", str(days))
        operations.keep(planned(key=key, starts=now - dt.timedelta(days=days)), "1")
    refusals.keep(tmp_path / FOLDER_NAME, PlanSource.HL7_SIU, b"wrong", "100", "")
    forget_old(settings, operations, refusals)
    assert [one.key.operation_id for one in operations.current()] == ["5", "-5"]
    assert [path.read_bytes() for path in (tmp_path / FOLDER_NAME).iterdir()] == [b"wrong"]
    at_once = settings.model_copy(update={"plans": PlanSettings(keep_days=1e-9)})
    forget_old(at_once, operations, refusals)
    assert [one.key.operation_id for one in operations.current()] == ["-5"]
    assert (refusals.refusals(), list((tmp_path / FOLDER_NAME).iterdir())) == ((), [])
