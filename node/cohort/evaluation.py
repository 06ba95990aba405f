"""The evaluation: everything that the report of a cohort shows, as values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from node.cohort import agreement, roc
from node.cohort.assemble import Cohort, assemble, pairs_of, study_rows, values_of_subjects
from node.cohort.describe import Summary, counts, summary
from node.cohort.group_tests import (
    CountsTest,
    NumbersTest,
    PairedTest,
    compare_counts,
    compare_numbers,
    compare_pairs,
)
from node.cohort.logistic import LogisticModel, fit
from node.cohort.plan import MethodPlan, Plan, RepeatsPlan
from node.cohort.table import Cell, Table, as_text, is_same, numbers
from node.common.errors import InputError
from node.model import AcrCategory

#: Size of a group below which its figures are hardly an estimate; an assumption.
SMALL_GROUP = 20


@dataclass(frozen=True, slots=True)
class NumbersRow:
    """A column of numbers in two groups, and the test; a text says why there is none."""

    name: str
    groups: tuple[Summary, Summary]
    test: NumbersTest | str


@dataclass(frozen=True, slots=True)
class CountsRow:
    """A column of words in two groups.

    Attributes:
        entries: each entry with its count in both groups.
        n_missing: patients of both groups without an entry.
    """

    name: str
    entries: tuple[tuple[str, tuple[int, int]], ...]
    n_missing: tuple[int, int]
    test: CountsTest | str


@dataclass(frozen=True, slots=True)
class GroupedRow:
    """The value between the two entries of a column."""

    name: str
    entries: tuple[str, str]
    groups: tuple[Summary, Summary]
    test: NumbersTest | str


@dataclass(frozen=True, slots=True, eq=False)
class RocAnalysis:
    """ROC analysis of the value."""

    curve: roc.Curve
    auc: roc.Auc
    best: roc.BestThreshold
    fixed: tuple[roc.OperatingPoint, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Cases against controls.

    Attributes:
        value: the value under test in cases and controls.
        values: the values themselves, of cases and of controls.
        paired: paired test of one-to-one matches; ``None`` without.
        classes: the three ACR classes against each other, then each against the other two; ``None`` without classes.
        crude, adjusted: logistic regression without and with covariates.
    """

    table1_numbers: tuple[NumbersRow, ...]
    table1_counts: tuple[CountsRow, ...]
    value: NumbersRow
    values: tuple[tuple[float, ...], tuple[float, ...]]
    paired: PairedTest | str | None
    by: tuple[GroupedRow, ...]
    classes: CountsRow | None
    each_class: tuple[CountsRow, ...]
    roc: RocAnalysis | str
    crude: LogisticModel | str
    adjusted: LogisticModel | str | None


@dataclass(frozen=True, slots=True)
class MethodComparison:
    """The node against another method, or first against second scan. A text says why there is no value.

    Attributes:
        pairs: (node, other).
        bland_altman, icc: ``None`` if the units differ.
    """

    name: str
    pairs: tuple[tuple[float, float], ...]
    same_unit: bool
    bland_altman: agreement.BlandAltman | str | None
    icc: agreement.Icc | str | None
    deming: agreement.Deming | str


@dataclass(frozen=True, slots=True)
class Repeats:
    """Repeat scans: precision of all, agreement of the first two of each subject."""

    precision: agreement.Precision | str
    first_two: MethodComparison


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Everything that a report shows.

    Attributes:
        cohort: ``None`` if only repeats are evaluated.
        outcome: ``None`` if there are no cases and controls.
        warnings: what a reader must know before the figures.
    """

    plan: Plan
    cohort: Cohort | None
    outcome: Outcome | None
    methods: tuple[MethodComparison, ...]
    repeats: Repeats | None
    warnings: tuple[str, ...]


def evaluate(results: Table, outcomes: Table | None, plan: Plan) -> Evaluation:
    """Evaluate results of the node and a table of outcomes.

    Raises:
        InputError: a column is missing or wrong, or nobody is left to analyse.
    """
    if outcomes is None and plan.outcomes.column:
        raise InputError("the plan names an outcome: give the table that contains it with --outcomes")
    cohort = None if outcomes is None else assemble(outcomes, results, plan)
    joined = study_rows(results) if cohort is None else cohort.joined
    outcome = None
    if cohort is not None and plan.outcomes.column:
        n_cases = sum(patient.is_case for patient in cohort.patients)
        if n_cases < 2 or len(cohort.patients) - n_cases < 2:
            flow = "; ".join(f"{step.reason}: {step.n}" for step in cohort.steps if step.n)
            raise InputError(
                f"{n_cases} cases and {len(cohort.patients) - n_cases} controls are left of {cohort.n_outcomes} patients: "
                f"too few for any statistics. {flow or 'All others are without a match'}"
            )
        outcome = _outcome(cohort, plan)
    rows = None if cohort is None else [patient.row for patient in cohort.patients]
    methods = tuple(_method(joined, rows, plan, method) for method in plan.methods)
    repeats = None if plan.repeats is None else _repeats(results, plan, plan.repeats)
    return Evaluation(plan, cohort, outcome, methods, repeats, _warnings(cohort, outcome))


def _outcome(cohort: Cohort, plan: Plan) -> Outcome:
    is_case = np.array([patient.is_case for patient in cohort.patients])
    values = np.array([patient.value for patient in cohort.patients])
    name, unit = plan.results.value, plan.results.unit
    numeric = tuple(_numbers_row(column, cohort.column(column), is_case) for column in plan.tables.numbers)
    counted = tuple(_counts_row(column, cohort.column(column), is_case) for column in plan.tables.counts)
    classes = None
    each: tuple[CountsRow, ...] = ()
    if plan.results.category and f"results.{plan.results.category}" in cohort.joined.columns:
        said = cohort.column(f"results.{plan.results.category}")
        order = [category.value for category in AcrCategory]
        classes = _counts_row("ACR class", said, is_case, order)
        each = tuple(_one_against_rest(entry, said, is_case) for entry in order)
    covariates = {} if plan.model is None else {column: cohort.column(column) for column in plan.model.covariates}
    per = 10.0 if plan.model is None else plan.model.per
    model = (values.tolist(), is_case.tolist())
    return Outcome(
        table1_numbers=numeric,
        table1_counts=counted,
        value=_numbers_row(name, values.tolist(), is_case),
        values=(tuple(values[is_case].tolist()), tuple(values[~is_case].tolist())),
        paired=_paired(cohort),
        by=tuple(_by(column, cohort.column(column), values) for column in plan.tables.value_by),
        classes=classes,
        each_class=each,
        roc=_roc(values, is_case, plan),
        crude=fit(*model, {}, per, name, unit),
        adjusted=None if plan.model is None else fit(*model, covariates, per, name, unit),
    )


def _numbers_row(name: str, cells: Sequence[Cell], is_case: np.ndarray) -> NumbersRow:
    values = numbers(cells, name)
    groups = tuple([v for v, case in zip(values, is_case, strict=True) if case == wanted] for wanted in (True, False))
    known = [[v for v in group if v is not None] for group in groups]
    return NumbersRow(name, (summary(groups[0]), summary(groups[1])), compare_numbers(known[0], known[1]))


def _counts_row(name: str, cells: Sequence[Cell], is_case: np.ndarray, order: Sequence[str] | None = None) -> CountsRow:
    groups = tuple([c for c, case in zip(cells, is_case, strict=True) if case == wanted] for wanted in (True, False))
    counted = [counts(group) for group in groups]
    entries = order if order is not None else sorted(counted[0].keys() | counted[1].keys())
    table = tuple((entry, (counted[0].get(entry, 0), counted[1].get(entry, 0))) for entry in entries)
    missing = (len(groups[0]) - sum(counted[0].values()), len(groups[1]) - sum(counted[1].values()))
    return CountsRow(name, table, missing, compare_counts([pair for _, pair in table]))


def _one_against_rest(entry: str, cells: Sequence[Cell], is_case: np.ndarray) -> CountsRow:
    rest = "other classes"
    said = [None if not (text := as_text(cell)) else entry if text == entry else rest for cell in cells]
    return _counts_row(entry, said, is_case, (entry, rest))


def _by(name: str, cells: Sequence[Cell], values: np.ndarray) -> GroupedRow:
    said = [as_text(cell) for cell in cells]
    found = sorted(set(said) - {""})
    if len(found) != 2:
        reason = f"{len(found)} entries, not two"
        names = (found[0] if found else "", "other")
        return GroupedRow(name, names, (summary([]), summary([])), reason)
    first, second = ([float(v) for v, s in zip(values, said, strict=True) if s == entry] for entry in found)
    return GroupedRow(
        name, (found[0], found[1]), (summary(list(first)), summary(list(second))), compare_numbers(first, second)
    )


def _paired(cohort: Cohort) -> PairedTest | str | None:
    if cohort.matching is None or any(len(match.controls) != 1 for match in cohort.matching.matches):
        return None
    pairs = [(cohort.eligible[m.case].value, cohort.eligible[m.controls[0]].value) for m in cohort.matching.matches]
    return compare_pairs([case for case, _ in pairs], [control for _, control in pairs])


def _roc(values: np.ndarray, is_case: np.ndarray, plan: Plan) -> RocAnalysis | str:
    if np.ptp(values) == 0:
        return "all values are the same"
    wanted = plan.roc
    return RocAnalysis(
        roc.curve(values, is_case, wanted.low_is_case),
        roc.auc(values, is_case, wanted.low_is_case),
        roc.best_threshold(values, is_case, wanted.low_is_case, wanted.resamples, wanted.seed),
        tuple(roc.operating_point(values, is_case, wanted.low_is_case, threshold) for threshold in wanted.thresholds),
    )


def _method(joined: Table, rows: Sequence[int] | None, plan: Plan, method: MethodPlan) -> MethodComparison:
    if rows is not None:
        joined = Table(joined.name, joined.columns, tuple(joined.rows[row] for row in rows))
    pairs = pairs_of(joined, method.value or plan.results.value, method.column)
    return _compared(method.name, pairs, method.same_unit, method.variance_ratio)


def _compared(name: str, pairs: tuple[tuple[float, float], ...], same_unit: bool, variance_ratio: float) -> MethodComparison:
    if len(pairs) < agreement.MIN_PAIRS:
        few = f"{len(pairs)} pairs are too few"
        return MethodComparison(name, pairs, same_unit, few if same_unit else None, few if same_unit else None, few)
    first, second = np.array(pairs).T
    return MethodComparison(
        name,
        pairs,
        same_unit,
        agreement.bland_altman(first, second) if same_unit else None,
        agreement.icc(first, second) if same_unit else None,
        agreement.deming(first, second, variance_ratio),
    )


def _repeats(results: Table, plan: Plan, wanted: RepeatsPlan) -> Repeats:
    values = values_of_subjects(results, wanted.subject, wanted.same, wanted.value or plan.results.value, wanted.max_days)
    firsts = tuple((scans[0], scans[1]) for scans in values.values() if len(scans) > 1)
    return Repeats(agreement.precision(values), _compared("first and second scan", firsts, True, 1.0))


def _warnings(cohort: Cohort | None, outcome: Outcome | None) -> tuple[str, ...]:
    said = []
    if outcome is not None and cohort is not None:
        sizes = [group.n for group in outcome.value.groups]
        for size, name in zip(sizes, ("cases", "controls"), strict=True):
            if size < SMALL_GROUP:
                said.append(f"Only {size} {name}: every figure below is uncertain; read its interval, not the figure alone.")
        if isinstance(outcome.roc, RocAnalysis):
            best = outcome.roc.best
            said.append(
                "The best threshold was chosen on the same patients on which its sensitivity and specificity are counted. "
                "They are too good for new patients; only other data can show how well it works there."
            )
            if best.equally_good:
                others = ", ".join(f"{t:.1f}" for t in best.equally_good)
                said.append(f"Other thresholds have the same Youden index: {others}.")
            if outcome.roc.auc.p is None:
                said.append("Cases and controls are separated completely: the AUC has no usable interval.")
        n_tests = _count_tests(outcome)
        if n_tests > 1:
            said.append(
                f"{n_tests} tests were computed, and no p is corrected for this: one of 20 tests is below 0.05 by chance."
            )
        if cohort.matching is not None:
            said.append(
                "Cases and controls were matched, but t-tests, counts, ROC and regression compare the groups as if they "
                "were independent, as the study did. The paired test respects the pairs."
                if outcome.paired is not None
                else "Cases and controls were matched, but the tests compare the groups as if they were independent."
            )
        n_withheld = 0 if outcome.classes is None else sum(outcome.classes.n_missing)
        if n_withheld:
            said.append(f"{n_withheld} patients have a value but no ACR class, because the node withheld it.")
    if cohort is not None and "results.in_conflict" in cohort.joined.columns:
        n_conflicts = sum(is_same(cell, "yes") for cell in cohort.column("results.in_conflict"))
        if n_conflicts:
            said.append(f"{n_conflicts} patients have a study whose images are in conflict (bmd-node conflicts list).")
    if cohort is not None and cohort.n_results_without_outcome:
        said.append(f"{cohort.n_results_without_outcome} studies have no row in the outcomes and are not used.")
    return tuple(said)


def _count_tests(outcome: Outcome) -> int:
    tests: list[NumbersTest | CountsTest | str] = [row.test for row in (*outcome.table1_numbers, outcome.value)]
    tests += [row.test for row in outcome.by]
    tests += [row.test for row in (*outcome.table1_counts, *outcome.each_class)]
    if outcome.classes is not None:
        tests.append(outcome.classes.test)
    models = [model for model in (outcome.crude, outcome.adjusted) if isinstance(model, LogisticModel)]
    n_roc = 0 if isinstance(outcome.roc, str) else 1
    return sum(not isinstance(test, str) for test in tests) + n_roc + sum(len(model.terms) for model in models)
