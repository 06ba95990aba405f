"""Another worker finishes the work of one that is permanently gone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

#: One process after the other: the first dies in the middle of a workflow, the second has another name.
_WORKER = """
import os, sys
from dbos import DBOS
from node.settings.tree import Settings
from node.worker.reconcile import end_work_of_lost_workers, reconcile
from node.records.work import WorkKind, WorkRecords
from node.records.workers import Workers

folder, worker_id, what = sys.argv[1:]
settings = Settings(state_dir=folder, worker_id=worker_id)
workers = Workers.open(settings)
records = WorkRecords.open(settings)

@DBOS.step()
def in_the_middle():
    if what == "die":
        workers.beat(worker_id, stopped=True)
        print("dies", flush=True)
        os._exit(9)
    return worker_id

@DBOS.workflow()
def work():
    return in_the_middle()

DBOS(config={
    "name": "bmd-node", "system_database_url": f"sqlite:///{folder}/workflows.sqlite",
    "application_version": "1", "executor_id": worker_id,
})
DBOS.launch()
DBOS.register_queue("studies", worker_concurrency=1)
workers.beat(worker_id)
def start(work_id):
    row = records.work(work_id)
    with SetWorkflowID(f"{work_id}#{row.rounds + 1}"):
        handle = DBOS.enqueue_workflow("studies", work)
    assert records.started(row)
    return handle

from dbos import SetWorkflowID
work_id = records.add(WorkKind.STUDY, "study-1")
if what == "die":
    start(work_id).get_result()
assert reconcile(records) == 0, "a worker that may be alive is left alone"
end_work_of_lost_workers(workers, worker_id, 300.0)
assert reconcile(records) == 1
print("finished by", start(work_id).get_result())
print("known:", [one.worker_id for one in workers.known()])
DBOS.destroy()
"""


def run(folder: Path, worker_id: str, what: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", _WORKER, str(folder), worker_id, what]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_work_of_a_lost_worker_is_taken_up(tmp_path: Path) -> None:
    first = run(tmp_path, "bmd-node-worker-1", "die")
    assert (first.returncode, first.stdout) == (9, "dies\n"), first.stderr
    second = run(tmp_path, "bmd-node-worker-0", "live")
    assert second.returncode == 0, second.stderr
    assert "finished by bmd-node-worker-0" in second.stdout
    assert "known: ['bmd-node-worker-0']" in second.stdout, "the work of the lost worker is taken over only once"
