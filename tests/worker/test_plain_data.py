"""Values of workflows are plain data: they survive a round trip, and a pickle in the database runs nothing."""

from __future__ import annotations

import base64
import datetime as dt
import os
import pickle
from pathlib import Path

import pytest
import sqlalchemy as sa

from node.language.phrase import phrase
from node.model import Bmd, Candidate, Orientation, Reason, Selection, SeriesFacts, SourceFrame
from node.records.work import WorkKind, WorkRecords, WorkState
from node.settings.tree import load_settings
from node.study.stages import SegmentOutcome, SelectOutcome
from node.worker.plain_data import PlainData, StoredError
from node.worker.workflows import WORKFLOW_VERSION
from tests.deliver.delivery_servers import eventually
from tests.worker.running_worker import PATIENCE_S, worker, write_config

FACTS = SeriesFacts(
    study_instance_uid="1.2",
    series_instance_uid="1.2.3",
    frame_of_reference_uid=None,
    manufacturer="Philips",
    manufacturer_model_name="Brilliance 64",
    kvp=120.0,
    convolution_kernel="B",
    slice_thickness_mm=None,
    spacing_mm=(0.5, 0.5, 1.0),
    orientation=Orientation.AXIAL,
    acquisition_date=dt.date(2026, 11, 28),
    patient_age_years=61.5,
    patient_sex="F",
)
CANDIDATE = Candidate(
    (SourceFrame(Path("/ct/1.dcm"), "1.2.840.10008.5.1.4.1.1.2", "1.2.3.4"),), FACTS, phrase("{n} slices", n=3)
)
REASON = Reason("low", phrase("{hu:.1f} HU", hu=12.5))


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        2.5,
        "text",
        True,
        (),
        ("a", 1, Path("/x")),
        {"args": ("work", 1, "run"), "kwargs": {}},
        SelectOutcome(Selection((CANDIDATE,), ()), 0.5),
        SegmentOutcome(CANDIDATE, "digest", Path("/run/bodies.npz"), (), (REASON,), (), 1.0),
        Bmd(None, (), None, None, None, (REASON,)),
    ],
)
def test_what_is_written_is_read_again(value: object) -> None:
    again = PlainData().deserialize(PlainData().serialize(value))
    assert again == value
    assert type(again) is type(value)
    if isinstance(value, SegmentOutcome):
        assert again.candidate.facts.patient_age_years == 61.5, "even fields that its repr omits"
        assert again.reasons[0].detail.template == "{hu:.1f} HU"


def test_an_error_keeps_its_words() -> None:
    again = PlainData().deserialize(PlainData().serialize(ValueError("too much")))
    assert isinstance(again, StoredError)
    assert str(again) == "ValueError: too much"


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes"])
def test_what_is_not_known_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="plain data"):
        PlainData().serialize(value)


@pytest.mark.parametrize("text", ['{"type": "Popen", "value": {}}', '{"what": 1}', '{"items": 3}', "no JSON"])
def test_what_nobody_wrote_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"workflow|Expecting"):
        PlainData().deserialize(text)


class Payload:
    """What an attacker with write access to the database would store."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def _has_rows(engine: sa.Engine, table: sa.Table) -> bool:
    with engine.connect() as connection:
        return connection.execute(sa.select(table).limit(1)).first() is not None


@pytest.mark.timeout(400)
def test_a_pickle_in_the_database_runs_nothing(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    settings = load_settings(config)
    work = WorkRecords.open(settings)
    with worker(config) as running:
        running.stop()
    proof = tmp_path / "code-was-run"
    engine = sa.create_engine(f"sqlite:///{settings.state_dir / 'workflows.sqlite'}")
    tables = sa.MetaData()
    tables.reflect(engine)
    statuses = tables.tables["workflow_status"]
    assert WORKFLOW_VERSION
    work_id = work.add(WorkKind.DELIVER, "run", "pacs")
    with worker(config) as running:
        # the row of work changes before the workflow is enqueued
        eventually(lambda: _has_rows(engine, statuses), "its workflow", PATIENCE_S)
        running.kill()
    pickled = base64.b64encode(pickle.dumps({"args": (Payload(proof),), "kwargs": {}})).decode()
    values = {"status": "PENDING", "serialization": "py_pickle", "executor_id": "local"}
    with engine.begin() as connection:
        changed = connection.execute(sa.update(statuses).values(**values))
        assert changed.rowcount >= 1
        for name in ("workflow_input", "workflow_inputs"):
            if name in tables.tables:
                table = tables.tables[name]
                column = next(c for c in table.c if c.name in ("input", "inputs"))
                connection.execute(sa.update(table).values({column.name: pickled}))
        if "inputs" in statuses.c:
            connection.execute(sa.update(statuses).values(inputs=pickled))
    engine.dispose()
    with worker(config) as running:
        good = work.add(WorkKind.DELIVER, "other", "pacs")
        eventually(lambda: (found := work.work(good)) is not None and found.rounds > 0, "another workflow", PATIENCE_S)
        eventually(lambda: running.says("pickle"), "the refusal to be logged", PATIENCE_S)
        assert not proof.exists()
        assert {one.state for one in (work.work(work_id), work.work(good)) if one} <= set(WorkState)
