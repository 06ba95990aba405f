"""The tables of the report as text, for the page and for CSV files alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from node.cohort import agreement
from node.cohort.describe import Summary
from node.cohort.evaluation import (
    CountsRow,
    Evaluation,
    GroupedRow,
    MethodComparison,
    NumbersRow,
    Outcome,
    RocAnalysis,
)
from node.cohort.group_tests import CountsTest, NumbersTest
from node.cohort.logistic import LogisticModel
from node.cohort.roc import OperatingPoint, Proportion
from node.model import AcrCategory

Interval = tuple[float, float]
_NONE = "–"
_CLASSES = {
    AcrCategory.OSTEOPOROSIS.value: "osteoporosis range (below 80)",
    AcrCategory.LOW_BONE_MASS.value: "low bone mass range (80 to 120)",
    AcrCategory.NORMAL.value: "normal range (above 120)",
}


@dataclass(frozen=True, slots=True)
class ShownTable:
    """A table of text.

    Attributes:
        name: of its CSV file.
        notes: sentences below it.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def p_text(p: float | None) -> str:
    """A p value to three decimals."""
    if p is None:
        return _NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def column_text(name: str) -> str:
    """A column without the table that it is from."""
    return name.removeprefix("outcomes.").removeprefix("results.")


def interval_text(interval: Interval, digits: int) -> str:
    """An interval in words: a minus sign is not mistaken for a dash."""
    return f"{fixed(interval[0], digits)} to {fixed(interval[1], digits)}"


def fixed(value: float, digits: int) -> str:
    """A number with this many decimals, and no minus sign before zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def tables_of(found: Evaluation) -> tuple[ShownTable, ...]:
    """Every table of a report, in its order."""
    tables: list[ShownTable] = []
    if found.outcome is not None:
        tables += [_table1(found.outcome), _table2(found, found.outcome), *_by(found, found.outcome)]
        tables += _roc(found, found.outcome)
        tables += _models(found.outcome)
    tables += [_method(method, f"method_{n}") for n, method in enumerate(found.methods, start=1)]
    if found.repeats is not None:
        tables += [_precision(found), _method(found.repeats.first_two, "repeats")]
    return tuple(tables)


def _heads(outcome: Outcome) -> tuple[str, str]:
    cases, controls = outcome.value.groups
    return f"cases (n = {cases.n + cases.n_missing})", f"controls (n = {controls.n + controls.n_missing})"


def _table1(outcome: Outcome) -> ShownTable:
    rows: list[tuple[str, ...]] = []
    for numeric in outcome.table1_numbers:
        rows += _numbers(numeric)
    for counted in outcome.table1_counts:
        rows += _counts(counted)
    return ShownTable("table1", "Table 1. Patients", ("", *_heads(outcome), "p", "test"), tuple(rows))


def _table2(found: Evaluation, outcome: Outcome) -> ShownTable:
    rows = _numbers(outcome.value, found.plan.results.unit)
    if isinstance(outcome.value.test, NumbersTest):
        test = outcome.value.test
        rows.append(
            ("mean difference (95 % interval)", f"{test.difference:.1f} ({interval_text(test.interval, 1)})", "", "", "")
        )
        rows.append(("", "", "", p_text(test.mann_whitney_p), "Mann-Whitney test"))
    if outcome.paired is not None and not isinstance(outcome.paired, str):
        paired = outcome.paired
        said = f"{paired.difference:.1f} ({interval_text(paired.interval, 1)})"
        rows.append(("mean difference of pairs", said, "", p_text(paired.p), f"paired t-test, {paired.n_pairs} pairs"))
    if outcome.classes is not None:
        rows.append(("ACR class", "", "", p_text(_p(outcome.classes.test)), _test(outcome.classes.test)))
        for (entry, pair), row in zip(outcome.classes.entries, outcome.each_class, strict=True):
            cells = [_share(n, sum(k for _, k in totals)) for n, totals in zip(pair, _columns(outcome.classes), strict=True)]
            rows.append((f"  {_CLASSES[entry]}", *cells, p_text(_p(row.test)), f"against the others: {_test(row.test)}"))
        if sum(outcome.classes.n_missing):
            rows.append(("  without a class", *(str(n) for n in outcome.classes.n_missing), "", ""))
    title = "Table 2. Bone density by outcome" if found.plan.results.unit == "mg/cm3" else "Table 2. The value by outcome"
    return ShownTable("table2", title, ("", *_heads(outcome), "p", "test"), tuple(rows))


def _columns(row: CountsRow) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    return [(entry, pair[0]) for entry, pair in row.entries], [(entry, pair[1]) for entry, pair in row.entries]


def _by(found: Evaluation, outcome: Outcome) -> list[ShownTable]:
    name, unit = column_text(found.plan.results.value), found.plan.results.unit
    return [
        ShownTable(
            f"by_{column_text(row.name)}",
            f"{name} by {column_text(row.name)}",
            ("", *(f"{entry} (n = {group.n})" for entry, group in zip(row.entries, row.groups, strict=True)), "p", "test"),
            tuple(_numbers(NumbersRow(name, row.groups, row.test), unit)) if _is_told(row) else (),
            () if _is_told(row) else (f"Not compared: {row.test}.",),
        )
        for row in outcome.by
    ]


def _is_told(row: GroupedRow) -> bool:
    return row.groups[0].n > 0


def _numbers(row: NumbersRow, unit: str = "") -> list[tuple[str, ...]]:
    name = column_text(row.name) + (f" ({unit})" if unit else "")
    said = [
        (f"{name}, mean ± SD", *(_mean(group) for group in row.groups), p_text(_p(row.test)), _test(row.test)),
        ("  median (range)", *(_median(group) for group in row.groups), "", ""),
    ]
    if any(group.n_missing for group in row.groups):
        said.append(("  not known", *(str(group.n_missing) for group in row.groups), "", ""))
    return said


def _counts(row: CountsRow) -> list[tuple[str, ...]]:
    said: list[tuple[str, ...]] = [(column_text(row.name), "", "", p_text(_p(row.test)), _test(row.test))]
    totals = [sum(n for _, n in column) for column in _columns(row)]
    for entry, pair in row.entries:
        said.append((f"  {entry}", *(_share(n, total) for n, total in zip(pair, totals, strict=True)), "", ""))
    if sum(row.n_missing):
        said.append(("  not known", *(str(n) for n in row.n_missing), "", ""))
    return said


def _mean(group: Summary) -> str:
    if group.mean is None:
        return _NONE
    return f"{group.mean:.1f}" if group.sd is None else f"{group.mean:.1f} ± {group.sd:.1f}"


def _median(group: Summary) -> str:
    if group.median is None or group.minimum is None or group.maximum is None:
        return _NONE
    return f"{group.median:.1f} ({group.minimum:.1f} to {group.maximum:.1f})"


def _share(n: int, total: int) -> str:
    return f"{n} ({100 * n / total:.0f} %)" if total else str(n)


def _p(test: NumbersTest | CountsTest | str) -> float | None:
    return None if isinstance(test, str) else test.p


def _test(test: NumbersTest | CountsTest | str) -> str:
    return f"none: {test}" if isinstance(test, str) else f"{test.name} ({test.why})"


def _roc(found: Evaluation, outcome: Outcome) -> list[ShownTable]:
    if isinstance(outcome.roc, str):
        return [ShownTable("roc", "ROC analysis", ("",), (), (f"None: {outcome.roc}.",))]
    analysis, unit = outcome.roc, found.plan.results.unit
    auc = analysis.auc
    best = analysis.best
    area = (
        ("area under the curve", f"{auc.auc:.3f}", interval_text(auc.interval, 3), p_text(auc.p), "DeLong"),
        ("", "", "", p_text(auc.p_null), "Mann-Whitney, normal approximation (as SPSS)"),
        (
            f"best threshold ({unit})",
            f"{best.point.threshold:.1f}",
            interval_text(best.interval, 1),
            "",
            f"Youden; bootstrap of {best.resamples} resamples, seed {best.seed}",
        ),
    )
    side = "below" if found.plan.roc.low_is_case else "above"
    points = [(best.point, "best here; too good for new patients")]
    points += [(point, "fixed beforehand") for point in analysis.fixed]
    rows = tuple(
        (
            f"{side} {point.threshold:.1f}",
            _proportion(point.sensitivity),
            _proportion(point.specificity),
            f"{point.youden:.3f}",
            note,
        )
        for point, note in points
    )
    header = (unit, "sensitivity (95 % interval)", "specificity (95 % interval)", "Youden index", "")
    return [
        ShownTable("roc", "ROC analysis", ("", "value", "95 % interval", "p", "method"), area),
        ShownTable("thresholds", "Thresholds", header, rows, _study_note(found, analysis)),
    ]


def _study_note(found: Evaluation, analysis: RocAnalysis) -> tuple[str, ...]:
    shown: list[OperatingPoint] = [analysis.best.point, *analysis.fixed]
    if found.plan.results.unit != "mg/cm3" or not any(round(point.threshold, 1) == 81.8 for point in shown):
        return ()
    return (
        "BMD below 81.8 mg/cm3 best separated screw loosening in Löffler et al., Front Endocrinol 2021;11:552719: AUC "
        "0.769, 95 % interval 0.634 to 0.905. The article prints a sensitivity of 91.3 % and a specificity of 56.5 % for "
        "this threshold. Its own counts say the reverse: 13 of 23 cases and 2 of 23 controls are below it: sensitivity "
        "56.5 %, specificity 91.3 %.",
    )


def _proportion(share: Proportion) -> str:
    low, high = share.interval
    return f"{100 * share.share:.1f} % ({100 * low:.1f} to {100 * high:.1f}), {share.count} of {share.total}"


def _models(outcome: Outcome) -> list[ShownTable]:
    tables = [_model("regression_crude", "Logistic regression, value alone", outcome.crude)]
    if outcome.adjusted is not None:
        tables.append(_model("regression_adjusted", "Logistic regression with covariates", outcome.adjusted))
    return tables


def _model(name: str, title: str, model: LogisticModel | str) -> ShownTable:
    header = ("", "", "odds ratio", "95 % interval (Wald)", "p")
    if isinstance(model, str):
        return ShownTable(name, title, header, (), (f"None: {model}.",))
    rows = tuple(
        (column_text(t.name), t.unit, f"{t.odds_ratio:.2f}", interval_text(t.interval, 2), p_text(t.p)) for t in model.terms
    )
    said = f"{model.n} patients, {model.n_cases} cases; likelihood ratio test of all terms: p {_equals(model.p)}."
    return ShownTable(name, title, header, rows, (said, *(f"{warning}." for warning in model.warnings)))


def _equals(p: float) -> str:
    return p_text(p) if p < 0.001 else f"= {p_text(p)}"


def _method(method: MethodComparison, name: str) -> ShownTable:
    rows: list[tuple[str, ...]] = []
    notes: list[str] = []
    for part in (method.bland_altman, method.icc, method.deming):
        if isinstance(part, str):
            notes.append(f"Not computed: {part}.")
        elif isinstance(part, agreement.BlandAltman):
            rows += [
                _estimate("bias (first minus second)", part.bias, 2),
                _estimate("lower limit of agreement", part.lower, 2),
                _estimate("upper limit of agreement", part.upper, 2),
                ("difference against mean, slope", f"{part.slope:.3f}", f"p {_equals(part.slope_p)}"),
            ]
        elif isinstance(part, agreement.Icc):
            rows += [
                _estimate("ICC(A,1), absolute agreement", part.agreement, 3),
                _estimate("ICC(C,1), consistency", part.consistency, 3),
            ]
        elif isinstance(part, agreement.Deming):
            ratio = f"variance ratio {part.variance_ratio:g}"
            rows += [
                _estimate(f"Deming slope ({ratio})", part.slope, 3),
                _estimate("Deming intercept", part.intercept, 2),
            ]
    if not method.same_unit:
        notes.append("The units differ, so there are no differences and no agreement.")
    title = f"Agreement: {method.name}" if name == "repeats" else f"Agreement of the node with {method.name}"
    few = (f"Only {len(method.pairs)} pairs: limits and intervals are uncertain.",) if len(method.pairs) < 30 else ()
    header = (f"n = {len(method.pairs)} pairs", "value", "95 % interval")
    return ShownTable(name, title, header, tuple(rows), (*few, *dict.fromkeys(notes)))


def _precision(found: Evaluation) -> ShownTable:
    title, unit = "Precision of repeat scans", found.plan.results.unit
    precision = "no subject was scanned twice" if found.repeats is None else found.repeats.precision
    if isinstance(precision, str):
        return ShownTable("precision", title, ("",), (), (f"None: {precision}.",))
    rows = (
        _estimate(f"RMS-SD ({unit})", precision.rms_sd, 2),
        _estimate("RMS-CV (%)", precision.rms_cv_percent, 2),
        (f"least significant change ({unit})", f"{precision.lsc:.1f}", ""),
        ("least significant change (%)", f"{precision.lsc_percent:.1f}", ""),
    )
    few = f"{precision.df} degrees of freedom; Glüer (Osteoporos Int 1995;5:262) asks for at least 27."
    notes = (few,) if precision.df < 27 else ()
    head = f"{precision.n_subjects} subjects, {precision.n_scans} scans"
    return ShownTable("precision", title, (head, "value", "95 % interval"), rows, notes)


def _estimate(name: str, estimate: agreement.Estimate, digits: int) -> tuple[str, ...]:
    return name, fixed(estimate.value, digits), interval_text(estimate.interval, digits)


def flow_lines(found: Evaluation) -> Sequence[str]:
    """The flow chart in words."""
    cohort = found.cohort
    if cohort is None:
        return ()
    lines = [f"{cohort.n_outcomes} rows of outcomes"]
    lines += [f"{step.n} excluded: {step.reason}" for step in cohort.steps if step.n]
    lines.append(f"{len(cohort.eligible)} eligible")
    if cohort.matching is not None:
        lines.append(f"{len(cohort.matching.unmatched_cases)} cases without a match")
        lines.append(f"{len(cohort.matching.unmatched_controls)} controls without a match")
        lines.append(f"{len(cohort.matching.matches)} matched cases (seed {cohort.matching.seed})")
    lines.append(f"{len(cohort.patients)} analysed")
    return lines
