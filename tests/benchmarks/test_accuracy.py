"""The accuracy table: its design, its figures, and that the node's way stays within the wanted bias."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import accuracy
from benchmarks.accuracy import Outcome, agreement, pipeline_with_test_equation, report, run_all, run_case
from benchmarks.design import Case, design
from node.model import Orientation
from node.study.pipeline import Pipeline

CASE = Case(3, 120.0, 140.0, 2.5, "standard", 0.0, 0.0, Orientation.AXIAL, False)
NOISY = replace(CASE, density_mg_cm3=80.0, kvp=120.0, kernel="bone", noise_sd_hu=30.0, orientation=Orientation.SAGITTAL)
CASES = {"noise-free, made-up equation for 140 kVp": (CASE, 1.0), "sagittal, bone kernel, noise SD 30 HU": (NOISY, 3.0)}


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Pipeline]:
    with pipeline_with_test_equation() as made:
        yield made


@pytest.mark.parametrize("case", CASES)
def test_the_wanted_bias_is_held_on_the_way_of_the_node(pipeline: Pipeline, case: str) -> None:
    parameters, wanted = CASES[case]
    outcome = run_case(pipeline, parameters)
    assert outcome.error_mg_cm3 is not None, outcome
    assert len(outcome.level_errors_mg_cm3) >= 3
    assert abs(outcome.error_mg_cm3) <= wanted
    assert outcome.inside


def test_the_design_holds_every_level_equally_often_and_no_two_factors_go_together() -> None:
    cases = design(96)
    assert design(96) == cases
    for field in ("density_mg_cm3", "kvp", "slice_distance_mm", "kernel", "noise_sd_hu", "texture_sd_hu", "orientation"):
        counts = Counter(getattr(case, field) for case in cases)
        assert len(set(counts.values())) == 1, (field, counts)
    assert sum(case.screws for case in cases) == 24
    pairs = Counter((case.kernel, case.noise_sd_hu) for case in cases)
    assert len(pairs) == 6
    assert max(pairs.values()) - min(pairs.values()) <= 2


def _outcome(number: int, error: float | None) -> Outcome:
    case = replace(CASE, number=number)
    if error is None:
        return Outcome(case, None, None, None, {}, {"L1": ("region_too_small",)}, ("no_usable_level",), 1.0)
    return Outcome(case, 100.0 + error, 100.0, (97.0 + error, 103.0 + error), {"L1": error}, {}, (), 1.0)


def test_bias_limits_and_what_was_withheld() -> None:
    outcomes = [_outcome(n, error) for n, error in enumerate((-1.0, 1.0, 3.0, 5.0, None))]
    bias, low, high = agreement(outcomes) or (0.0, 0.0, 0.0)
    assert bias == pytest.approx(2.0)
    assert (high - low) / 2 == pytest.approx(1.96 * (20 / 3) ** 0.5)
    words = report(outcomes, "accuracy.png", dt.date(2026, 1, 2), "embedded 1")
    assert "| all |  | 5 | 1 | 1 | +2.00 | -3.1 to +7.1 | +5.0 | 75 % |" in words
    assert "Bias without noise: +2.00 mg/cm³" in words
    assert "**missed**" in words, "a bias above the wanted one is not hidden"
    assert "no BMD: " in words


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases, ran = [replace(CASE, number=n) for n in range(3)], []

    def run(_: Pipeline, case: Case) -> Outcome:
        if case.number == 2 and len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(case.number)
        return _outcome(case.number, float(case.number))

    monkeypatch.setattr(accuracy, "run_case", run)
    checkpoint = tmp_path / "part.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run_all(cases, checkpoint)
    with checkpoint.open("a") as file:
        file.write('{"code": "cut o')
    ran.append(-1)
    assert run_all(cases, checkpoint) == [_outcome(n, float(n)) for n in range(3)]
    assert ran == [0, 1, -1, 2]
