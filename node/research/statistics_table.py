"""Every statistic of an evaluation in full precision, one per row: for other programs, and for who checks the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from node.cohort import agreement
from node.cohort.describe import Summary
from node.cohort.evaluation import Evaluation, MethodComparison, Outcome, RocAnalysis
from node.cohort.group_tests import CountsTest, NumbersTest, PairedTest
from node.cohort.logistic import LogisticModel
from node.research.shown import column_text

_GROUPS = ("cases", "controls")


@dataclass(frozen=True, slots=True)
class Statistic:
    """One statistic; ``None`` for what it does not have.

    Attributes:
        low, high: 95 % interval.
        n: patients, pairs or scans that it rests on.
        method: how it was computed, and why so.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int | None = None
    method: str = ""


def statistics_of(found: Evaluation) -> tuple[Statistic, ...]:
    """All of them, in the order of the report."""
    rows: list[Statistic] = []
    if found.outcome is not None:
        rows += _of_outcome(found, found.outcome)
    for method in found.methods:
        rows += _of_method(method.name, method)
    if found.repeats is not None:
        rows += _of_precision(found.repeats.precision)
        rows += _of_method("repeats", found.repeats.first_two)
    return tuple(rows)


def _of_outcome(found: Evaluation, outcome: Outcome) -> Iterator[Statistic]:
    for numeric in (*outcome.table1_numbers, outcome.value):
        yield from _of_numbers(column_text(numeric.name), _GROUPS, numeric.groups, numeric.test)
    if outcome.paired is not None:
        yield from _of_paired(outcome.paired)
    for row in outcome.by:
        name = f"{column_text(found.plan.results.value)} by {column_text(row.name)}"
        yield from _of_numbers(name, row.entries, row.groups, row.test)
    counted = (*outcome.table1_counts, *(() if outcome.classes is None else (outcome.classes,)), *outcome.each_class)
    for counts in counted:
        name = column_text(counts.name)
        for entry, pair in counts.entries:
            for group, n in zip(_GROUPS, pair, strict=True):
                yield Statistic(f"{name}: {entry}, {group}", n)
        total = sum(sum(pair) for _, pair in counts.entries)
        if isinstance(counts.test, CountsTest):
            yield Statistic(f"{name}: chi-squared", counts.test.chi2, n=total, method=f"{counts.test.df} degrees of freedom")
            yield Statistic(f"{name}: p", counts.test.p, n=total, method=f"{counts.test.name}: {counts.test.why}")
    if isinstance(outcome.roc, RocAnalysis):
        yield from _of_roc(outcome.roc)
    for name, model in (("crude", outcome.crude), ("adjusted", outcome.adjusted)):
        if isinstance(model, LogisticModel):
            for term in model.terms:
                said = f"odds ratio, {name}: {column_text(term.name)} {term.unit}"
                yield Statistic(said, term.odds_ratio, *term.interval, term.p, model.n, "logistic regression, Wald")
            yield Statistic(f"likelihood ratio p, {name}", model.p, n=model.n, method="logistic regression")


def _of_numbers(
    name: str, labels: tuple[str, str], groups: tuple[Summary, Summary], test: NumbersTest | str
) -> Iterator[Statistic]:
    for label, group in zip(labels, groups, strict=True):
        parts = {"mean": group.mean, "SD": group.sd, "median": group.median, "min": group.minimum, "max": group.maximum}
        for part, value in parts.items():
            yield Statistic(f"{name}: {part}, {label}", value, n=group.n)
    if isinstance(test, NumbersTest):
        n = sum(test.n)
        yield Statistic(f"{name}: Levene's F", test.levene_f, p=test.levene_p, n=n, method="around the means")
        said = f"{test.name}: {test.why}; {test.df:.2f} degrees of freedom"
        yield Statistic(f"{name}: t", test.t, p=test.p, n=n, method=said)
        yield Statistic(f"{name}: difference of means", test.difference, *test.interval, test.p, n, test.name)
        yield Statistic(f"{name}: U", test.mann_whitney_u, p=test.mann_whitney_p, n=n, method="Mann-Whitney test")


def _of_paired(test: PairedTest | str) -> Iterator[Statistic]:
    if isinstance(test, PairedTest):
        yield Statistic("difference of pairs", test.difference, *test.interval, test.p, test.n_pairs, "paired t-test")


def _of_roc(analysis: RocAnalysis) -> Iterator[Statistic]:
    auc, best = analysis.auc, analysis.best
    n = auc.n_cases + auc.n_controls
    yield Statistic("AUC", auc.auc, *auc.interval, auc.p, n, "DeLong")
    yield Statistic("AUC: standard error", auc.se, n=n, method="DeLong")
    yield Statistic("AUC: p under the hypothesis of 0.5", auc.p_null, n=n, method="Mann-Whitney, normal approximation")
    how = f"largest Youden index; percentile bootstrap, {best.resamples} resamples, seed {best.seed}"
    yield Statistic("best threshold", best.point.threshold, *best.interval, None, n, how)
    for label, point in (("best", best.point), *((f"{p.threshold:g}", p) for p in analysis.fixed)):
        for side, share in (("sensitivity", point.sensitivity), ("specificity", point.specificity)):
            said = f"{side} at threshold {label}"
            yield Statistic(said, share.share, *share.interval, None, share.total, f"Wilson; {share.count} of {share.total}")
        yield Statistic(f"Youden index at threshold {label}", point.youden, n=n)


def _of_method(name: str, found: MethodComparison) -> Iterator[Statistic]:
    n = len(found.pairs)
    limits, icc, line = found.bland_altman, found.icc, found.deming
    if isinstance(limits, agreement.BlandAltman):
        for label, value in (("bias", limits.bias), ("lower limit", limits.lower), ("upper limit", limits.upper)):
            yield Statistic(f"{name}: {label}", value.value, *value.interval, None, n, "Bland-Altman")
        yield Statistic(f"{name}: SD of differences", limits.sd, n=n, method="Bland-Altman")
        yield Statistic(f"{name}: difference against mean, slope", limits.slope, p=limits.slope_p, n=n, method="regression")
    if isinstance(icc, agreement.Icc):
        for label, value in (("ICC(A,1)", icc.agreement), ("ICC(C,1)", icc.consistency)):
            yield Statistic(f"{name}: {label}", value.value, *value.interval, None, n, "McGraw and Wong")
    if isinstance(line, agreement.Deming):
        how = f"Deming, variance ratio {line.variance_ratio:g}; jackknife"
        for label, value in (("slope", line.slope), ("intercept", line.intercept)):
            yield Statistic(f"{name}: {label}", value.value, *value.interval, None, n, how)


def _of_precision(found: agreement.Precision | str) -> Iterator[Statistic]:
    if isinstance(found, agreement.Precision):
        how = f"Glüer; {found.n_subjects} subjects, {found.df} degrees of freedom"
        for label, value in (("RMS-SD", found.rms_sd), ("RMS-CV in percent", found.rms_cv_percent)):
            yield Statistic(label, value.value, *value.interval, None, found.n_scans, how)
        yield Statistic("least significant change", found.lsc, n=found.n_scans, method=how)
        yield Statistic("least significant change in percent", found.lsc_percent, n=found.n_scans, method=how)
