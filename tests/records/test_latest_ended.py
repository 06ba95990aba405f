"""Which run of a study an export takes, in both databases."""

from __future__ import annotations

import math
import time
from pathlib import Path

from node.records.runs import RunRecords, RunState
from node.settings.tree import Settings
from tests.alerts.conftest import database_url  # noqa: F401
from tests.receive.conftest import postgres_url  # noqa: F401


def of(records: RunRecords, until_s: float = math.inf) -> dict[str, str]:
    return {run.study_instance_uid: run.run_id for run in records.latest_ended(0.0, until_s)}


def test_the_result_that_stands(database_url: str | None, tmp_path: Path) -> None:  # noqa: F811
    records = RunRecords.open(Settings(state_dir=tmp_path, database_url=database_url))
    began_s = time.time()
    for run_id, uid, state in (
        ("a1", "a", RunState.NOT_MEASURED),
        ("a2", "a", RunState.MEASURED),
        ("a3", "a", RunState.FAILED),
        ("b1", "b", RunState.FAILED),
        ("c1", "c", RunState.MEASURED),
        ("c2", "c", RunState.MEASURED),
        ("c3", "c", None),
        ("d1", "d", None),
    ):
        records.queued(run_id, uid, tmp_path)
        if state is not None:
            records.finished(run_id, state, "")
    records.replaced("c1")
    assert of(records) == {"a": "a2", "b": "b1", "c": "c2"}
    assert of(records, began_s) == {}
