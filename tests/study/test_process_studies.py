"""``bmd-node process`` on several studies, and the order in which series are tried."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from node.cli.main import main
from node.common.errors import ConfigurationError, InputError
from node.language.phrase import Phrase
from node.model import Candidate, Level, Selection, VertebralBody
from node.settings.tree import SelectSettings, Settings
from node.study import process
from node.study.pipeline import Pipeline
from node.study.stages import SegmentOutcome, SelectOutcome, StudyInput
from tests.alerts.alert_inputs import result
from tests.select.ct_series import bend, make_series, write

NIFTI = process.NiftiHeader(None, None, None)


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], list[StudyInput]]:
    """Replace the pipeline by one that says of each study what the test wants: a status, or ``broken``."""
    runs: list[StudyInput] = []

    class Stub:
        def __init__(self, *_: object) -> None: ...

        def load(self) -> None: ...

    def install(status_of: dict[str, str]) -> list[StudyInput]:
        def run(_: object, study: StudyInput) -> tuple[object, None]:
            runs.append(study)
            uid = process.ct_studies(study.paths)[0].study_instance_uid
            if status_of[uid] == "broken":
                raise InputError("cannot be read")
            (study.folder / "result.json").write_text(uid)
            return SimpleNamespace(result=result(100.0, status=status_of[uid], study=uid)), None

        monkeypatch.setattr(process, "Pipeline", Stub)
        monkeypatch.setattr(process, "run_study", run)
        return runs

    return install


def studies(folder: Path, count: int) -> list[str]:
    uids = [f"1.2.3.{n}" for n in range(count)]
    for uid in uids:
        write(folder / uid, make_series(4, study_uid=uid))
    return uids


def run(path: Path, out: Path, progress: list[str] | None = None, labels: Path | None = None) -> process.ProcessOutcome:
    return process.process_path(path, out, Settings(), NIFTI, labels, (progress if progress is not None else []).append)


def rows(path: Path) -> Sequence[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_one_study_is_written_as_ever(tmp_path: Path, measure: Callable[[dict[str, str]], list[StudyInput]]) -> None:
    (uid,) = studies(tmp_path / "in", 1)
    write(tmp_path / "in" / "report", bend(make_series(1, study_uid="9.9"), Modality="SR"))
    runs = measure({uid: "measured"})
    outcome = run(tmp_path / "in", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["result.json"]
    assert (outcome.status, len(runs[0].paths)) == ("measured", 5)
    assert json.loads(outcome.json_text)["status"] == "measured"


def test_each_of_several_studies(tmp_path: Path, measure: Callable[[dict[str, str]], list[StudyInput]]) -> None:
    uids = studies(tmp_path / "in", 3)
    measure(dict(zip(uids, ("not_measured", "broken", "measured"), strict=True)))
    said: list[str] = []
    outcome = run(tmp_path / "in", tmp_path / "out", said)
    assert outcome.status == "measured"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [*uids, "levels.csv", "studies.csv"]
    assert [(tmp_path / "out" / uid / "result.json").exists() for uid in uids] == [True, False, True]
    table = rows(tmp_path / "out" / "studies.csv")
    assert [(row["folder"], row["status"], row["error"]) for row in table] == [
        (uids[0], "not_measured", ""),
        (uids[1], "failed", "cannot be read"),
        (uids[2], "measured", ""),
    ]
    assert table[2]["bmd_mg_cm3"] == "100.0"
    assert {row["study_instance_uid"] for row in rows(tmp_path / "out" / "levels.csv")} <= {uids[0], uids[2]}
    printed = json.loads(outcome.json_text)
    assert [(one["folder"], one["status"]) for one in printed] == list(
        zip(uids, ("not_measured", "failed", "measured"), strict=True)
    )
    assert any("study 3 of 3" in line for line in said)


def test_none_measured(tmp_path: Path, measure: Callable[[dict[str, str]], list[StudyInput]]) -> None:
    uids = studies(tmp_path / "in", 2)
    measure(dict.fromkeys(uids, "not_measured"))
    arguments = ["process", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--json"]
    ran = CliRunner().invoke(main, arguments)
    assert ran.exit_code == 3
    measure({uids[0]: "not_measured", uids[1]: "measured"})
    assert CliRunner().invoke(main, arguments).exit_code == 0


def test_one_label_map_is_for_one_study(tmp_path: Path, measure: Callable[[dict[str, str]], list[StudyInput]]) -> None:
    measure(dict.fromkeys(studies(tmp_path / "in", 2), "measured"))
    with pytest.raises(ConfigurationError, match="--labels-out is for one study"):
        run(tmp_path / "in", tmp_path / "out", labels=tmp_path / "labels.nii.gz")


@pytest.mark.parametrize(
    ("found", "tried", "measured"),
    [
        ([0, 0, 0, 4, 0], 4, 3),
        ([0, 2, 0, 4, 0], 3, 1),
        ([4, 0, 0, 0, 0], 1, 0),
        ([0, 0, 0, 0, 0], 5, 0),
        ([0, 0, 0, 0, 1], 5, 4),
    ],
)
def test_the_next_series_is_tried_while_none_is_lumbar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: list[int], tried: int, measured: int
) -> None:
    series = [
        Candidate((), result(100.0, study=str(n)).facts, Phrase(f"{n}", {}))  # type: ignore[arg-type]
        for n in range(len(found))
    ]
    asked: list[int] = []

    def segment_one(_: Pipeline, candidate: Candidate, __: StudyInput, ___: str) -> SegmentOutcome:
        number = int(str(candidate.why))
        asked.append(number)
        levels = [Level.L1, Level.L2, Level.L3, Level.L4][: found[number]]
        bodies = tuple(VertebralBody(level, (0, 0, 0), 1.0, "made up") for level in levels)
        return SegmentOutcome(candidate, "", None, bodies, (), (), 0.0)

    monkeypatch.setattr(Pipeline, "_segment_one", segment_one)
    pipeline = Pipeline(Settings(select=SelectSettings(max_series_tried=3)), lambda _: None)
    outcome = pipeline.segment(StudyInput((), tmp_path), SelectOutcome(Selection(tuple(series), ()), 0.0))
    assert (len(asked), str(outcome.candidate.why if outcome.candidate else "")) == (tried, str(measured))
