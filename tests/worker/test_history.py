"""The history of workflows, in the tables that DBOS makes: counted, removed by age, and of a patient."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from node.records.database import open_database
from node.records.erased import mark_erased
from node.settings.tree import Settings
from node.worker import history
from node.worker.history import History, Removed, workflow_database
from tests.alerts.conftest import database_url, postgres_url

__all__ = ["database_url", "postgres_url"]

RUN, OTHER = "1.2.3-0123456789abcdef", "1.2.4-0123456789abcdef"
OF_RUN = [f"study>{RUN}#1", f"deliver>{RUN}>pacs#3", f"commit>{RUN}>pacs#1", f"{RUN}>old"]
IDS = [*OF_RUN, "alert>m1#1", "follow_up>1.2.3>0a1b#1", f"study>{RUN}0#1", f"study>{OTHER}#1"]
PROGRAM = """
import sys
from dbos import DBOS, SetWorkflowID
from node.worker.plain_data import PlainData

DBOS(config={"name": "bmd-node", "system_database_url": sys.argv[1], "serializer": PlainData(), "log_level": "WARNING"})

@DBOS.workflow()
def work(word: str) -> str:
    return DBOS.run_step({"name": "step"}, lambda: word)

DBOS.launch()
for id_ in sys.argv[2:]:
    with SetWorkflowID(id_):
        work("1.2.3")
DBOS.destroy()
"""


def test_workflows_of_a_patient_and_old_ones_go(
    tmp_path: Path, database_url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(state_dir=tmp_path, database_url=database_url)
    engine = open_database(settings)
    known = History(settings)
    assert (known.count_of([RUN]), known.old(time.time()), known.erase([RUN])) == (0, (), Removed(0, 0)), "no worker yet"
    subprocess.run([sys.executable, "-c", PROGRAM, workflow_database(settings), *IDS], check=True, timeout=300)
    assert known.count_of([RUN, "m1", "1.2.3"]) == 6
    assert known.old(time.time() - 3600.0) == ()
    assert set(known.old(time.time() + 60.0)) == set(IDS)
    assert known.erase([RUN, "m1", "1.2.3"]) == Removed(6, 0)
    assert set(known.old(time.time() + 60.0)) == {f"study>{RUN}0#1", f"study>{OTHER}#1"}
    # left by an erasure that was interrupted
    with engine.begin() as connection:
        mark_erased(connection, ["1.2.4"], [])
    assert known.remove_erased() == 0, "a step may still be running"
    monkeypatch.setattr(history, "_AFTER_ERASURE_S", -60.0)
    assert known.remove_erased() == 1
    known.remove(known.old(time.time() + 60.0))
    assert known.old(time.time() + 60.0) == ()
