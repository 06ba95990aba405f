"""What is over for longer than ``plans.keep_days`` is removed, with the files of what was refused; those have a limit."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from benchmarks.plan_messages import message_text
from node.clinical.planned_operation import OperationKey, PlanSource
from node.plans.framing import Frame
from node.plans.hl7_intake import Hl7Intake
from node.plans.intake import forget_old
from node.records.plan_refusals import FOLDER_NAME, PlanRefusals
from node.records.planned_operations import PlannedOperations
from node.settings.plans import PlanSettings
from node.settings.tree import Settings
from tests.plans.operations import planned


def test_forgets_after_keep_days(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, plans=PlanSettings(keep_days=10))
    operations, refusals = PlannedOperations.open(settings), PlanRefusals.open(settings)
    now = dt.datetime.now(dt.UTC)
    for days in (5, 15, -5):
        key = OperationKey(PlanSource.HL7_SIU, "KIS", str(days))
        operations.keep(planned(key=key, starts=now - dt.timedelta(days=days)), "1")
    refusals.keep(PlanSource.HL7_SIU, b"wrong", "100", "")
    forget_old(settings, operations, refusals)
    assert [one.key.operation_id for one in operations.current()] == ["5", "-5"]
    assert [path.read_bytes() for path in (tmp_path / FOLDER_NAME).iterdir()] == [b"wrong"]
    at_once = settings.model_copy(update={"plans": PlanSettings(keep_days=1e-9)})
    forget_old(at_once, operations, refusals)
    assert [one.key.operation_id for one in operations.current()] == ["-5"]
    assert (refusals.refusals(), list((tmp_path / FOLDER_NAME).iterdir())) == ((), [])


def test_of_what_is_not_for_the_node_samples_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, plans=PlanSettings(refused_samples=2))
    intake = Hl7Intake(settings)
    for number in range(5):
        for admission in ("ADT^A04", "ADT^A01", "ADT^Müller"):
            answer = intake.answer(Frame(message_text(number).replace("SIU^S12^SIU_S12", admission).encode()))
            assert answer is not None
            assert (b"|AR|" in answer, b"ERR|||201" in answer.replace(b"MSH^1^9", b"")) == (True, True)
    wrong = intake.answer(Frame(message_text(1, PID="").encode()))
    assert wrong is not None
    assert b"|AE|" in wrong
    refusals = PlanRefusals.open(settings)
    assert len(refusals.refusals()) == len(list(refusals.folder.iterdir())) == 3 * 2 + 1
    counted = {one.detail.rpartition("not ")[2]: one.times for one in refusals.only_counted()}
    assert counted == {"ADT^A04": 3, "ADT^A01": 3, "ADT^something else": 3}


def test_the_oldest_is_removed_where_there_are_too_many_and_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = PlanRefusals.open(Settings(state_dir=tmp_path, plans=PlanSettings(max_refused=3)))
    for content in (b"first", b"second", b"third", b"first", b"fourth", b"fifth"):
        refusals.keep(PlanSource.THEATRE_LIST, content, "line", f"line {content.decode()}")
    assert {path.read_bytes() for path in refusals.folder.iterdir()} == {b"first", b"fourth", b"fifth"}
    assert {one.detail for one in refusals.refusals()} == {"line first", "line fourth", "line fifth"}
    (removed,) = refusals.only_counted()
    assert (removed.was_removed, removed.times, removed.source) == (True, 2, PlanSource.THEATRE_LIST)
    assert caplog.text.count("plans.max_refused") == 2
