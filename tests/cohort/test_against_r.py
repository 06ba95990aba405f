"""Every statistic of an evaluation against R (``r-base-core``, pROC), to four digits; and against the study."""

from __future__ import annotations

import csv
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from node.cohort import agreement, roc
from node.cohort.describe import Summary, summary
from node.cohort.evaluation import Evaluation, MethodComparison, RocAnalysis, evaluate
from node.cohort.group_tests import CountsTest, NumbersTest, PairedTest, compare_counts, compare_numbers
from node.cohort.logistic import LogisticModel
from node.cohort.table import Cell
from tests.cohort.made_cohort import category_of, outcomes, patients, plan, results

#: Unequal variances, ties, and an entry that is rare.
SMALL = {
    "case": (1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    "bmd": (20, 35, 70, 70, 81, 90, 120, 140, 55, 95, 100, 100, 98, 101, 90, 104, 99, 103, 97, 100),
    "rare": (*"aaaabbbcc", *"aabbbbbbbbc"),
}
NAMES = ("mean", "sd", "median", "q1", "q3", "min", "max")


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(results(), outcomes(), plan())


@pytest.fixture(scope="module")
def other_ratio() -> MethodComparison:
    method = {"name": "QCT", "column": "qct", "variance_ratio": 2.5}
    return evaluate(results(), outcomes(), plan(methods=[method])).methods[0]


@pytest.fixture(scope="module")
def r(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """What R computes."""
    has_r = shutil.which("Rscript") is not None
    if not has_r or subprocess.run(["Rscript", "-e", "library(pROC)"], capture_output=True, check=False).returncode:
        pytest.skip("R is not installed (Debian packages r-base-core and r-cran-proc)")
    folder = tmp_path_factory.mktemp("r")
    columns = ("age", "sex", "construct", "bmi", "qct", "bmd")
    rows: list[Sequence[Cell]] = [
        (float(p["loosening"] == "yes"), category_of(float(str(p["bmd"]))), *(p[c] for c in columns)) for p in patients()
    ]
    write(folder / "cohort.csv", ("case", "category", *columns), rows)
    cohort = evaluation.cohort
    assert cohort is not None
    assert cohort.matching is not None
    pairs = [(cohort.eligible[m.case].value, cohort.eligible[m.controls[0]].value) for m in cohort.matching.matches]
    write(folder / "pairs.csv", ("case", "control"), pairs)
    picks = roc.resampled(23, 23, 200, 3)
    write(folder / "resamples.csv", [f"i{n}" for n in range(46)], [[*(a + 1), *(b + 1)] for a, b in picks])
    write(folder / "small.csv", tuple(SMALL), zip(*SMALL.values(), strict=True))
    scans = [("twice", row) for row in results().rows if str(row[1]).startswith("twice")]
    write(folder / "repeats.csv", ("subject", "value"), [(row[1], row[6]) for _, row in scans])
    script = Path(__file__).with_name("reference.R")
    done = subprocess.run(["Rscript", str(script), str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {name: float(value) for name, value in (line.split("\t") for line in done.stdout.splitlines())}


def write(path: Path, columns: Iterable[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def same(r: dict[str, float], name: str, **values: float | None) -> None:
    """Equal to four digits, and R has each of them."""
    for part, value in values.items():
        key = f"{name}.{part.replace('__', '.')}"
        assert value == pytest.approx(r[key], rel=5e-5, abs=1e-10), key


def same_numbers(r: dict[str, float], name: str, groups: tuple[Summary, Summary], test: NumbersTest | str) -> None:
    assert isinstance(test, NumbersTest)
    same(r, name, levene_f=test.levene_f, levene_p=test.levene_p, t=test.t, df=test.df, p=test.p)
    same(r, name, low=test.interval[0], high=test.interval[1], mann_whitney_p=test.mann_whitney_p)
    for side, group in zip("ab", groups, strict=True):
        assert group.quartiles is not None
        found = (group.mean, group.sd, group.median, *group.quartiles, group.minimum, group.maximum)
        same(r, f"{name}.{side}", **dict(zip(NAMES, found, strict=True)))


def same_counts(r: dict[str, float], name: str, test: CountsTest | str) -> None:
    assert isinstance(test, CountsTest)
    same(r, name, chi2=test.chi2, p=test.p)


def same_roc(r: dict[str, float], name: str, found: roc.Auc, points: dict[str, roc.OperatingPoint]) -> None:
    same(r, name, auc=found.auc, se=found.se, low=found.interval[0], high=found.interval[1], p=found.p, p_null=found.p_null)
    same(r, name, threshold=points["best"].threshold)
    for which, point in points.items():
        for side in ("sensitivity", "specificity"):
            share: roc.Proportion = getattr(point, side)
            same(r, f"{name}.{which}.{side}", share=share.share, low=share.interval[0], high=share.interval[1])


def same_model(r: dict[str, float], name: str, model: LogisticModel | str | None) -> None:
    assert isinstance(model, LogisticModel)
    same(r, name, p=model.p)
    for n, term in enumerate(model.terms, start=1):
        same(r, f"{name}.{n}", coefficient=term.coefficient, se=term.se, p=term.p)
        same(r, f"{name}.{n}", **{"or": term.odds_ratio, "low": term.interval[0], "high": term.interval[1]})


def same_agreement(r: dict[str, float], name: str, found: MethodComparison) -> None:
    limits, icc, line = found.bland_altman, found.icc, found.deming
    assert isinstance(limits, agreement.BlandAltman)
    assert isinstance(icc, agreement.Icc)
    assert isinstance(line, agreement.Deming)
    same(r, name, bias=limits.bias.value, bias__low=limits.bias.interval[0], bias__high=limits.bias.interval[1])
    same(r, name, sd=limits.sd, slope=limits.slope, slope_p=limits.slope_p)
    same(r, name, lower=limits.lower.value, lower__low=limits.lower.interval[0])
    same(r, name, upper=limits.upper.value, upper__high=limits.upper.interval[1])
    for kind, value in (("icc_a", icc.agreement), ("icc_c", icc.consistency)):
        same(r, name, **{kind: value.value, f"{kind}__low": value.interval[0], f"{kind}__high": value.interval[1]})
    for kind, value in (("slope_d", line.slope), ("intercept", line.intercept)):
        same(r, name, **{kind: value.value, f"{kind}__low": value.interval[0], f"{kind}__high": value.interval[1]})


def test_groups(r: dict[str, float], evaluation: Evaluation) -> None:
    outcome = evaluation.outcome
    assert outcome is not None
    same_numbers(r, "bmd", outcome.value.groups, outcome.value.test)
    same_numbers(r, "age", outcome.table1_numbers[0].groups, outcome.table1_numbers[0].test)
    same_numbers(r, "by_sex", outcome.by[0].groups, outcome.by[0].test)
    for name, row in zip(("sex", "construct"), outcome.table1_counts, strict=True):
        same_counts(r, name, row.test)
    assert outcome.classes is not None
    same_counts(r, "classes", outcome.classes.test)
    for row in outcome.each_class:
        same_counts(r, row.name, row.test)
    assert isinstance(outcome.paired, PairedTest)
    low, high = outcome.paired.interval
    same(r, "paired", difference=outcome.paired.difference, low=low, high=high, t=outcome.paired.t, p=outcome.paired.p)


def test_roc(r: dict[str, float], evaluation: Evaluation) -> None:
    assert evaluation.outcome is not None
    found = evaluation.outcome.roc
    assert isinstance(found, RocAnalysis)
    same_roc(r, "roc", found.auc, {"best": found.best.point, "acr": found.fixed[0]})
    # over the same resamples, whose values are in rising order
    same(r, "roc.threshold", low=found.best.interval[0], high=found.best.interval[1])


def test_regression(r: dict[str, float], evaluation: Evaluation) -> None:
    assert evaluation.outcome is not None
    same_model(r, "crude", evaluation.outcome.crude)
    same_model(r, "adjusted", evaluation.outcome.adjusted)


def test_unequal_variances_ties_and_rare_entries(r: dict[str, float]) -> None:
    is_case = np.array(SMALL["case"]) == 1
    values = np.array(SMALL["bmd"], dtype=float)
    test = compare_numbers(values[is_case].tolist(), values[~is_case].tolist())
    assert isinstance(test, NumbersTest)
    assert test.name == "Welch's t-test"
    groups = summary(values[is_case].tolist()), summary(values[~is_case].tolist())
    same_numbers(r, "small", groups, test)
    rare = np.array(SMALL["rare"])
    table = [(int(((rare == e) & is_case).sum()), int(((rare == e) & ~is_case).sum())) for e in "abc"]
    for name, rows in (("rare", table), ("rare_two", [table[0], (table[1][0] + table[2][0], table[1][1] + table[2][1])])):
        counted = compare_counts(rows)
        assert isinstance(counted, CountsTest)
        assert counted.name == "Fisher's exact test"
        same_counts(r, name, counted)
    points = {
        "best": roc.best_threshold(values, is_case, True, 100, 1).point,
        "acr": roc.operating_point(values, is_case, True, 80.0),
    }
    same_roc(r, "small_roc", roc.auc(values, is_case, True), points)


def test_agreement(r: dict[str, float], evaluation: Evaluation, other_ratio: MethodComparison) -> None:
    same_agreement(r, "qct", evaluation.methods[0])
    same_agreement(r, "qct2", other_ratio)
    assert evaluation.repeats is not None
    found = evaluation.repeats.precision
    assert isinstance(found, agreement.Precision)
    cv = found.rms_cv_percent
    same(r, "repeats", rms_sd=found.rms_sd.value, df=found.df, rms_cv=cv.value, lsc_percent=found.lsc_percent)
    same(r, "repeats", rms_cv__low=cv.interval[0], rms_cv__high=cv.interval[1])


def test_the_figures_of_the_study(evaluation: Evaluation) -> None:
    outcome = evaluation.outcome
    assert outcome is not None
    cases, controls = outcome.value.groups
    said = [f"{g.mean:.1f} ± {g.sd:.1f} (n = {g.n})" for g in (cases, controls)]
    assert said == ["86.5 ± 29.5 (n = 23)", "118.2 ± 32.9 (n = 23)"]
    assert isinstance(outcome.value.test, NumbersTest)
    assert (outcome.value.test.name, f"{outcome.value.test.p:.3f}") == ("Student's t-test", "0.001")
    classes = {row.name: (row.entries[0][1], row.test) for row in outcome.each_class}
    counted = {name: (pair, f"{test.p:.3f}") for name, (pair, test) in classes.items() if isinstance(test, CountsTest)}
    assert counted["osteoporosis"] == ((11, 2), "0.003")
    assert counted["normal"] == ((3, 10), "0.022")
    assert sum(counted["low_bone_mass"][0]) == 20
    women, men = outcome.by[0].groups
    assert [f"{g.mean:.1f} ± {g.sd:.1f} (n = {g.n})" for g in (women, men)] == [
        "98.6 ± 37.0 (n = 28)",
        "108.3 ± 31.3 (n = 18)",
    ]
    ages = outcome.table1_numbers[0].groups
    assert [(f"{g.mean:.1f}", f"{g.sd:.1f}") for g in ages] == [("68.5", "8.1"), ("71.4", "10.0")]
    assert dict(outcome.table1_counts[1].entries) == {
        "L1-L5": (1, 1), "L2-L5": (8, 8), "L2-S1": (4, 4), "L3-S1": (9, 9), "L4-S1": (1, 1),
    }  # fmt: skip
    found = outcome.roc
    assert isinstance(found, RocAnalysis)
    low, high = found.auc.interval
    assert [f"{v:.3f}" for v in (found.auc.auc, low, high, found.auc.p_null)] == ["0.769", "0.634", "0.905", "0.002"]
    point = found.best.point
    assert (f"{point.threshold:.1f}", f"{point.youden:.3f}", found.best.equally_good) == ("81.8", "0.478", ())
    # the article prints these two the other way round
    assert (point.sensitivity.count, point.specificity.count) == (13, 21)
    assert f"{100 * point.sensitivity.share:.1f} {100 * point.specificity.share:.1f}" == "56.5 91.3"
