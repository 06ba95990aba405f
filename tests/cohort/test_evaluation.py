"""Who is in a cohort, who is not, and what an evaluation says when there is nothing to compute."""

from __future__ import annotations

import numpy as np
import pytest

from node.cohort import roc
from node.cohort.agreement import precision
from node.cohort.assemble import assemble, values_of_subjects
from node.cohort.evaluation import RocAnalysis, evaluate
from node.cohort.group_tests import compare_counts, compare_numbers
from node.cohort.logistic import LogisticModel, fit
from node.cohort.plan import Plan
from node.cohort.table import Cell, Table, table_of
from node.common.errors import InputError
from tests.cohort.made_cohort import outcomes, plan, results

UNMATCHED = plan(matching=None)


def simple(**changes: object) -> Plan:
    return Plan.model_validate({"outcomes": {"column": "loosening"}, **changes})


def made(*rows: tuple[Cell, ...]) -> Table:
    return table_of("outcomes.csv", [dict(zip(("accession_number", "loosening", "age"), row, strict=True)) for row in rows])


def studies(*rows: tuple[Cell, ...]) -> Table:
    names = ("accession_number", "bmd_mg_cm3", "study_date", "category")
    return table_of("studies.csv", [dict(zip(names, (*row, "normal"), strict=True)) for row in rows])


def test_the_flow_chart_counts_everybody_once() -> None:
    cohort = assemble(outcomes(), results(), plan())
    left = {step.reason: step.n for step in cohort.steps if step.n}
    assert left == {
        "outcome missing, or neither case nor control": 2,
        "no study with this key": 3,
        "not measured": 2,
        "other scanner": 6,
    }
    assert cohort.n_outcomes == sum(left.values()) + len(cohort.eligible) == 59
    assert {one.key for one in cohort.left_out} == {f"X{n:03d}" for n in range(13)}
    assert cohort.matching is not None
    assert len(cohort.matching.matches) == 23
    sex, construct = cohort.column("outcomes.sex"), cohort.column("construct")
    ages = [float(str(age)) for age in cohort.column("age")]
    for n in range(0, 46, 2):
        assert (sex[n], construct[n]) == (sex[n + 1], construct[n + 1])
        assert abs(ages[n] - ages[n + 1]) <= 12


def test_a_patient_with_several_studies() -> None:
    rows = studies(("A", 90.0, "2020-03-01"), ("A", 80.0, "2020-01-01"), ("B", 70.0, "2020-01-01"))
    people = made(("A", "yes", 1.0), ("B", "no", 2.0))

    def values(several: str, table: Table = rows) -> dict[str, float]:
        cohort = assemble(people, table, simple(results={"several": several}))
        return {patient.key: patient.value for patient in cohort.patients}

    assert values("exclude") == {"B": 70.0}
    assert values("first") == {"A": 80.0, "B": 70.0}
    assert values("last") == {"A": 90.0, "B": 70.0}
    # which one is first is not known
    for dates in (("2020-03-01", ""), ("2020-03-01", "2020-03-01")):
        assert values("first", studies(("A", 90.0, dates[0]), ("A", 80.0, dates[1]), ("B", 70.0, ""))) == {"B": 70.0}


@pytest.mark.parametrize(
    ("people", "message"),
    [
        (made(("A", "yes", 1.0), ("A", "no", 1.0)), "entries 1, 2 of column accession_number are the same"),
        (made(("A", "yes", 1.0), (None, "no", 1.0)), "entry 2 of column accession_number is empty"),
        (made(("A", "yes", "old"), ("B", "no", 1.0)), "column age, entry 1: this is no number"),
    ],
)
def test_tables_that_cannot_be_right(people: Table, message: str) -> None:
    wanted = simple(exclusions=[{"reason": "young", "column": "age", "below": 18}])
    with pytest.raises(InputError, match=message):
        assemble(people, studies(("A", 90.0, ""), ("B", 80.0, "")), wanted)


def test_columns_of_both_tables_and_of_none() -> None:
    with pytest.raises(InputError, match=r"both tables have a column sex: write outcomes\.sex or results\.sex"):
        evaluate(results(), outcomes(), plan(matching={"exact": ["sex"]}))
    with pytest.raises(InputError, match="neither table has a column weight"):
        evaluate(results(), outcomes(), plan(model={"covariates": ["weight"]}))
    with pytest.raises(InputError, match="has no column pid"):
        evaluate(results(), outcomes(), plan(outcomes={"key": "pid", "column": "loosening"}))


def test_too_few_patients_are_an_error_that_says_where_they_went() -> None:
    people = made(("A", "yes", 1.0), ("B", "no", 1.0), ("C", "no", 1.0))
    with pytest.raises(InputError, match=r"1 cases and 1 controls are left of 3 patients: .* no study with this key: 1"):
        evaluate(studies(("A", 90.0, ""), ("B", 80.0, "")), people, simple())


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ({"keep": ["b"]}, ["B", "D"]),
        ({"drop": ["B"]}, ["A", "C"]),
        ({"missing": True}, ["A", "B", "D"]),
    ],
)
def test_rules_on_words(rule: dict[str, object], left: list[str]) -> None:
    people = made(("A", "yes", "a"), ("B", "no", "b"), ("C", "no", None), ("D", "no", " B "))
    rows = studies(*((key, 90.0, "") for key in "ABCD"))
    cohort = assemble(people, rows, simple(exclusions=[{"reason": "r", "column": "age", **rule}]))
    assert [patient.key for patient in cohort.patients] == left


def test_rules_on_numbers_exclude_what_is_not_known() -> None:
    people = made(("A", "yes", 49.0), ("B", "no", 50), ("C", "no", None), ("D", "no", "90"), ("E", "no", "90.5"))
    rows = studies(*((key, 90.0, "") for key in "ABCDE"))
    rules = [{"reason": "young", "column": "age", "below": 50}, {"reason": "old", "column": "age", "above": 90}]
    cohort = assemble(people, rows, simple(exclusions=rules))
    assert [patient.key for patient in cohort.patients] == ["B", "D"]


def test_warnings_say_what_a_reader_must_know() -> None:
    found = evaluate(results(), outcomes(), plan())
    said = " ".join(found.warnings)
    for part in ("too good for new patients", "no p is corrected", "were matched", "13 studies have no row"):
        assert part in said
    assert "matched" not in " ".join(evaluate(results(), outcomes(), UNMATCHED).warnings)
    assert isinstance(found.outcome.adjusted if found.outcome else None, LogisticModel)
    few = simple(
        exclusions=[{"reason": "x", "column": "construct", "keep": ["L2-S1"]}], tables={"counts": [], "value_by": []}
    )
    assert "Only 4 cases" in " ".join(evaluate(results(), outcomes(), few).warnings)


def test_high_values_may_speak_for_a_case() -> None:
    values, is_case = np.array([1.0, 2, 3, 4, 5, 6]), np.array([False, False, True, False, True, True])
    found = roc.best_threshold(values, is_case, False, 100, 1)
    assert (found.point.threshold, found.equally_good) == (4.5, (2.5,))
    assert roc.auc(values, is_case, False).auc == pytest.approx(1 - roc.auc(values, is_case, True).auc)


def test_a_value_at_the_threshold_is_on_the_side_of_the_controls() -> None:
    point = roc.operating_point(np.array([79.9, 80.0, 80.0]), np.array([True, True, False]), True, 80.0)
    assert (point.sensitivity.count, point.specificity.count) == (1, 1)


def test_complete_separation_is_said_and_not_computed() -> None:
    value, is_case = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0], [True] * 3 + [False] * 3
    assert "separated completely" in str(fit(value, is_case, {}, 10.0, "bmd", "mg/cm3"))
    assert "too few" in str(fit(value[2:5], is_case[2:5], {"age": [1.0, 2.0, 4.0]}, 10.0, "bmd", "mg/cm3"))
    assert "depend on each other" in str(
        fit([1.0, 3.0, 2.0, 5.0, 4.0, 9.0], is_case, {"same": [2.0, 6.0, 4.0, 10.0, 8.0, 18.0]}, 1.0, "bmd", "")
    )
    people = made(*((f"P{n}", "yes" if n < 3 else "no", 1.0) for n in range(6)))
    found = evaluate(studies(*((f"P{n}", v, "") for n, v in enumerate(value))), people, simple())
    assert found.outcome is not None
    assert isinstance(found.outcome.roc, RocAnalysis)
    assert (found.outcome.roc.auc.auc, found.outcome.roc.auc.p) == (1.0, None)
    assert any("separated completely" in warning for warning in found.warnings)


def test_nothing_to_compare() -> None:
    assert isinstance(compare_numbers([1.0], [1.0, 2.0]), str)
    assert isinstance(compare_numbers([1.0, 1.0], [2.0, 2.0]), str)
    assert isinstance(compare_counts([(3, 4), (0, 0)]), str)
    assert isinstance(compare_counts([(3, 0), (4, 0)]), str)
    assert isinstance(precision({("a",): [1.0], ("b",): [2.0]}), str)


def test_repeat_scans_within_days() -> None:
    rows = table_of(
        "studies.csv",
        [
            {"patient_id": who, "study_date": date, "bmd_mg_cm3": value}
            for who, date, value in (
                ("a", "2020-03-01", 3.0),
                ("a", "2020-01-01", 1.0),
                ("a", "20200120", 2.0),
                ("b", "2020-01-01", 4.0),
                ("", "2020-01-01", 5.0),
                ("c", "", 6.0),
            )
        ],
    )
    near = values_of_subjects(rows, "patient_id", (), "bmd_mg_cm3", 30)
    assert near == {("a",): (1.0, 2.0), ("b",): (4.0,), ("c",): ()}
    assert values_of_subjects(rows, "patient_id", (), "bmd_mg_cm3", None)["a",] == (1.0, 2.0, 3.0)
    alike = values_of_subjects(rows, "patient_id", ("study_date",), "bmd_mg_cm3", None)
    assert alike["a", "2020-01-01"] == (1.0,)


def test_methods_are_compared_without_the_excluded() -> None:
    wanted = plan(outcomes={}, matching=None, model=None, repeats=None)
    found = evaluate(results(), outcomes(), wanted)
    assert found.outcome is None
    assert found.cohort is not None
    # the two without an outcome count here, the six from another scanner do not
    assert len(found.methods[0].pairs) == len(found.cohort.patients) == 48


def test_a_study_in_conflict_is_said() -> None:
    rows = studies(*((f"P{n}", 60.0 + 9 * n, "") for n in range(8)))
    marked = Table(
        rows.name, (*rows.columns, "in_conflict"), tuple((*row, "yes" if row[0] == "P3" else "no") for row in rows.rows)
    )
    people = made(*((f"P{n}", "yes" if n in (0, 2, 3, 6) else "no", 1.0) for n in range(8)))
    assert any("1 patients have a study whose images" in said for said in evaluate(marked, people, simple()).warnings)


def test_repeats_need_no_outcomes() -> None:
    found = evaluate(results(), None, Plan.model_validate({"repeats": {}}))
    assert (found.cohort, found.outcome) == (None, None)
    assert found.repeats is not None
    assert len(found.repeats.first_two.pairs) == 5
    with pytest.raises(InputError, match="--outcomes"):
        evaluate(results(), None, plan())
