"""A study is erased while the worker measures it: the worker stops, and brings nothing back."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pydicom
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from node.cli.main import main
from node.records.erased import ErasedRecords
from node.settings.tree import load_settings
from node.worker.history import History
from tests.deliver.delivery_servers import eventually
from tests.worker.running_worker import PATIENCE_S, at_step, only_run, runs_of, send_phantom, worker, write_config


def rows_with(path: Path, word: str) -> list[str]:
    """Rows of any table of an SQLite file in which there is a word."""
    engine, tables, found = sa.create_engine(f"sqlite:///{path}"), sa.MetaData(), []
    tables.reflect(engine)
    with engine.connect() as connection:
        for table in tables.sorted_tables:
            found += [f"{table.name} {row}" for row in connection.execute(sa.select(table)) if word in str(row)]
    engine.dispose()
    return found


@pytest.mark.timeout(600)
def test_a_study_that_is_erased_while_it_is_measured_leaves_nothing(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    settings = load_settings(config)
    state = settings.state_dir
    send_phantom(tmp_path, settings)
    patient_id = str(pydicom.dcmread(next((tmp_path / "ct-0").glob("*.dcm"))).PatientID)

    def erase() -> str:
        arguments = ["erase", "--patient-id", patient_id, "--yes", "--config", str(config)]
        done = CliRunner().invoke(main, arguments)
        return done.output

    with worker(config) as running:
        eventually(lambda: at_step(config, "segment"), "the study to be under way", PATIENCE_S)
        for pid in running.computing():
            os.kill(pid, signal.SIGSTOP)  # until all is erased
        run = only_run(config)
        said = erase()
        assert f"study {run.study_instance_uid}" in said
        assert "1 workflows are running at this moment" in said
        for pid in running.computing():
            os.kill(pid, signal.SIGCONT)
        eventually(lambda: running.says("was erased while this work was running"), "the worker to notice", PATIENCE_S)
        assert runs_of(config) == {}
        assert rows_with(state / "bmd-node.sqlite", run.study_instance_uid) == []
        [left] = [row for row in rows_with(state / "workflows.sqlite", run.run_id) if row.startswith("workflow_status")]
        assert "CANCELLED" in left
        assert not list((state / "received").rglob("*.dcm"))
        assert not run.folder.exists()
        running.stop()
    # nobody runs it any more
    assert "nothing is kept" in erase()
    history = History(settings)
    history.remove(history.old(time.time() + 60.0))
    assert rows_with(state / "workflows.sqlite", run.study_instance_uid) == []
    # a study that is sent again is new
    assert ErasedRecords.open(settings).digests() != ()
    send_phantom(tmp_path, settings)
    assert ErasedRecords.open(settings).digests() == ()
