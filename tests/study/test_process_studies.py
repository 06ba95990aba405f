"""``bmd-node process`` on several studies, and the order in which series are tried."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.cli.main import main
from node.common.errors import ConfigurationError, InputError
from node.language.phrase import Phrase
from node.model import Candidate, Level, Selection, VertebralBody
from node.report import result_json
from node.select import ct_studies
from node.settings.tree import SelectSettings, Settings
from node.study.batch import Watch, run_batch
from node.study.pipeline import Pipeline
from node.study.process import NiftiHeader, ProcessOutcome, find_input
from node.study.stages import SegmentOutcome, SelectOutcome, StudyInput
from tests.alerts.alert_inputs import result
from tests.select.ct_series import make_series, write


class Measuring:
    """Measures nothing: writes of each study what the test wants, a status or ``broken``, and keeps what was asked for."""

    def __init__(self, status_of: dict[str, str]) -> None:
        self.status_of = status_of
        self.asked: list[str] = []

    def __call__(self, paths: tuple[Path, ...], folder: Path) -> None:
        (study,) = ct_studies(paths)
        uid = study.study_instance_uid
        self.asked.append(uid)
        if self.status_of[uid] == "broken":
            raise InputError("cannot be read")
        (folder / "seg.dcm").write_text(uid)
        (folder / "result.json").write_text(result_json(result(100.0, status=self.status_of[uid], study=uid)))


def studies(folder: Path, count: int) -> list[str]:
    uids = [f"1.2.3.{n}" for n in range(count)]
    for uid in uids:
        write(folder / uid, make_series(4, study_uid=uid))
    return uids


def run(
    path: Path, out: Path, measure: Measuring, said: list[str] | None = None, settings: str = "", workers: int = 2
) -> ProcessOutcome:
    found = find_input(path, out, NiftiHeader(None, None, None), lambda _: None)
    watch = Watch((said if said is not None else []).append, lambda _: None, threading.Event())
    return run_batch(found.studies, out, measure, settings, workers, watch)


def rows(path: Path) -> Sequence[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_each_of_several_studies(tmp_path: Path) -> None:
    uids = studies(tmp_path / "in", 3)
    said: list[str] = []
    measure = Measuring(dict(zip(uids, ("not_measured", "broken", "measured"), strict=True)))
    outcome = run(tmp_path / "in", tmp_path / "out", measure, said)
    assert outcome.status == "measured"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [*uids, "levels.csv", "studies.csv"]
    assert [(tmp_path / "out" / uid / "result.json").exists() for uid in uids] == [True, False, True]
    table = rows(tmp_path / "out" / "studies.csv")
    assert [(row["folder"], row["status"], row["error"]) for row in table] == [
        (uids[0], "not_measured", ""),
        (uids[1], "failed", "cannot be read"),
        (uids[2], "measured", ""),
    ]
    assert (table[2]["bmd_mg_cm3"], table[2]["levels_used"], table[2]["findings"]) == ("100.0", "L1 L2 L4", "L3:fracture")
    levels = rows(tmp_path / "out" / "levels.csv")
    assert {row["folder"] for row in levels} == {uids[0], uids[2]}
    assert [row["usable"] for row in levels[:4]] == ["yes", "yes", "no", "yes"]
    printed = json.loads(outcome.json_text)
    assert [(one["folder"], one["status"]) for one in printed] == list(
        zip(uids, ("not_measured", "failed", "measured"), strict=True)
    )
    assert "1 of 3 studies measured, 1 not, 1 failed" in said[-2]
    assert "tries the failed ones again" in said[-1]


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    uids = studies(tmp_path / "in", 4)
    measure = Measuring(dict.fromkeys(uids, "measured") | {uids[1]: "broken"})
    first = run(tmp_path / "in", tmp_path / "out", measure)
    out = tmp_path / "out"
    # killed between result.json and the last file; files of a killed run lie about
    (out / uids[2] / "batch.json").unlink()
    (out / ".measuring-left").mkdir()
    (out / ".measuring-left" / "seg.dcm").write_text("half")
    write(tmp_path / "in" / uids[3], make_series(5, study_uid=uids[3]))
    again = Measuring(dict.fromkeys(uids, "measured"))
    outcome = run(tmp_path / "in", out, again)
    assert sorted(again.asked) == uids[1:]
    assert len(json.loads(outcome.json_text)) == len(rows(out / "studies.csv")) == 4
    assert first.json_text != outcome.json_text
    assert not list(out.glob(".measuring-*"))
    nothing = Measuring({})
    assert run(tmp_path / "in", out, nothing).json_text == outcome.json_text
    assert nothing.asked == []
    other_settings = Measuring(dict.fromkeys(uids, "not_measured"))
    assert run(tmp_path / "in", out, other_settings, settings="other").status == "not_measured"
    assert sorted(other_settings.asked) == uids


def test_a_study_that_fails_leaves_no_older_result(tmp_path: Path) -> None:
    uids = studies(tmp_path / "in", 2)
    run(tmp_path / "in", tmp_path / "out", Measuring(dict.fromkeys(uids, "measured")))
    run(tmp_path / "in", tmp_path / "out", Measuring(dict.fromkeys(uids, "broken")), settings="other")
    assert [row["status"] for row in rows(tmp_path / "out" / "studies.csv")] == ["failed", "failed"]
    assert not list((tmp_path / "out").glob("*/*"))


def test_stopped_after_the_studies_that_run(tmp_path: Path) -> None:
    uids = studies(tmp_path / "in", 5)
    stopped = threading.Event()

    class Stops(Measuring):
        def __call__(self, paths: tuple[Path, ...], folder: Path) -> None:
            super().__call__(paths, folder)
            stopped.set()

    said: list[str] = []
    measure = Stops(dict.fromkeys(uids, "measured"))
    found = find_input(tmp_path / "in", tmp_path / "out", NiftiHeader(None, None, None), lambda _: None)
    run_batch(found.studies, tmp_path / "out", measure, "", 1, Watch(said.append, lambda _: None, stopped))
    assert measure.asked == uids[:1]
    assert len(rows(tmp_path / "out" / "studies.csv")) == 1
    assert "4 studies are left" in said[-1]


def test_results_below_the_images_are_not_taken_for_images(tmp_path: Path) -> None:
    uids = studies(tmp_path / "in", 2)
    out = tmp_path / "in" / "results"
    run(tmp_path / "in", out, Measuring(dict.fromkeys(uids, "measured")))
    write(out / uids[0], make_series(1, study_uid=uids[0]))
    again = Measuring({})
    run(tmp_path / "in", out, again)
    assert again.asked == []
    ran = CliRunner().invoke(main, ["process", str(tmp_path / "in"), "--out", str(tmp_path / "in")])
    assert ran.exit_code == 2
    assert "results of several studies need another" in ran.stderr


def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    uids = studies(tmp_path / "in", 2)

    class Twice(Measuring):
        def __call__(self, paths: tuple[Path, ...], folder: Path) -> None:
            with pytest.raises(ConfigurationError, match="another bmd-node process"):
                run(tmp_path / "in", tmp_path / "out", Measuring({}))
            super().__call__(paths, folder)

    outcome = run(tmp_path / "in", tmp_path / "out", Twice(dict.fromkeys(uids, "measured")), workers=1)
    assert [one["status"] for one in json.loads(outcome.json_text)] == ["measured"] * 2


def test_as_many_at_a_time_as_there_are_workers(tmp_path: Path) -> None:
    uids = studies(tmp_path / "in", 4)
    both = threading.Barrier(2, timeout=30)

    class Meets(Measuring):
        def __call__(self, paths: tuple[Path, ...], folder: Path) -> None:
            both.wait()  # two are here at the same time, or it breaks
            super().__call__(paths, folder)

    outcome = run(tmp_path / "in", tmp_path / "out", Meets(dict.fromkeys(uids, "measured")))
    assert [one["status"] for one in json.loads(outcome.json_text)] == ["measured"] * 4


def test_one_label_map_is_for_one_study(tmp_path: Path) -> None:
    studies(tmp_path / "in", 2)
    arguments = ["process", str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    ran = CliRunner().invoke(main, [*arguments, "--labels-out", str(tmp_path / "labels.nii.gz")])
    assert ran.exit_code == 2
    assert "--labels-out is for one study" in ran.stderr


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
