"""The figures of a report: flow chart, box plot, ROC curve, agreement. In colours safe for colour blindness."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from node.cohort import agreement
from node.cohort.assemble import Cohort
from node.cohort.evaluation import Evaluation, MethodComparison, Outcome, RocAnalysis
from node.model import ACR_THRESHOLDS_MG_CM3
from node.research.shown import column_text, interval_text, p_text

_DPI = 150
#: Orange and blue are distinguishable with colour blindness; positions and labels repeat the distinction.
_CASES, _CONTROLS, _LINE, _GREY = "#d55e00", "#0072b2", "#000000", "#777777"


def figures_of(found: Evaluation) -> Iterator[tuple[str, str, bytes]]:
    """Name, caption and PNG of every figure."""
    if found.cohort is not None:
        yield "flow", "Flow chart", _png(_flow(found.cohort, found.outcome))
    if found.outcome is not None:
        name = column_text(found.plan.results.value)
        yield "box", f"{name} of cases and controls: quartiles, range and every patient", _png(_box(found, found.outcome))
        if isinstance(found.outcome.roc, RocAnalysis):
            yield "roc", "ROC curve with the threshold of the largest Youden index", _png(_roc(found, found.outcome.roc))
    for n, method in enumerate(found.methods, start=1):
        if len(method.pairs) >= agreement.MIN_PAIRS:
            yield f"method_{n}", f"The node against {method.name}", _png(_agreement(method, "node", method.name))
    if found.repeats is not None and len(found.repeats.first_two.pairs) >= agreement.MIN_PAIRS:
        drawn = _agreement(found.repeats.first_two, "first scan", "second scan")
        yield "repeats", "First and second scan of each subject", _png(drawn)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    FigureCanvasAgg(figure).print_png(file)  # type: ignore[no-untyped-call]
    return file.getvalue()


def _figure(width_in: float, height_in: float) -> Figure:
    return Figure(figsize=(width_in, height_in), dpi=_DPI, facecolor="white", layout="constrained")


def _flow(cohort: Cohort, outcome: Outcome | None) -> Figure:
    """Boxes from top to bottom, those who leave to the right (STROBE)."""
    main = [f"patients with outcomes\nn = {cohort.n_outcomes}"]
    out: list[str] = []
    left = cohort.n_outcomes
    for step in cohort.steps:
        if step.n:
            left -= step.n
            out.append(f"{step.reason}\nn = {step.n}")
            main.append(f"n = {left}")
    if cohort.matching is not None:
        unmatched = (len(cohort.matching.unmatched_cases), len(cohort.matching.unmatched_controls))
        if sum(unmatched):
            out.append(f"without a match\n{unmatched[0]} cases, {unmatched[1]} controls")
            main.append("")
    n_cases = sum(patient.is_case for patient in cohort.patients)
    groups = f"\n{n_cases} cases, {len(cohort.patients) - n_cases} controls" if outcome is not None else ""
    matched = "matched and " if cohort.matching is not None else ""
    main[-1] = f"{matched}analysed\nn = {len(cohort.patients)}{groups}"
    figure = _figure(6.5, 0.4 + 1.0 * len(main))
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(0, 2)
    axes.set_ylim(-len(main) + 0.5, 0.5)
    box = {"boxstyle": "round,pad=0.4", "fc": "white", "ec": _LINE}
    arrow = {"arrowstyle": "-|>", "color": _LINE, "shrinkA": 0, "shrinkB": 0}
    for n, said in enumerate(main):
        axes.text(0.5, -n, said, ha="center", va="center", fontsize=9, bbox=box)
        if n < len(main) - 1:
            axes.annotate("", (0.5, -n - 0.72), (0.5, -n - 0.28), arrowprops=arrow)
    for n, leaves in enumerate(out):
        axes.annotate("", (0.98, -n - 0.5), (0.5, -n - 0.5), arrowprops=arrow)
        axes.text(1.0, -n - 0.5, leaves, ha="left", va="center", fontsize=9, bbox=box | {"ec": _GREY})
    return figure


def _box(found: Evaluation, outcome: Outcome) -> Figure:
    figure = _figure(5.0, 4.5)
    axes = figure.subplots()
    colours = (_CASES, _CONTROLS)
    drawn = axes.boxplot([list(group) for group in outcome.values], widths=0.5, showfliers=False, whis=(0, 100))
    for line in (*drawn["medians"], *drawn["boxes"], *drawn["whiskers"], *drawn["caps"]):
        line.set_color(_LINE)
    for n, (group, colour) in enumerate(zip(outcome.values, colours, strict=True), start=1):
        # spread by a fixed rule: the same data give the same picture
        x = n + 0.12 * np.sin(np.arange(len(group)) * 2.4)
        axes.plot(x, sorted(group), ls="none", marker="o" if n == 1 else "s", ms=4, mfc="none", color=colour)
    if found.plan.results.unit == "mg/cm3":
        for limit in ACR_THRESHOLDS_MG_CM3:
            axes.axhline(limit, color=_GREY, lw=0.8, ls=":")
    heads = [f"{name}\nn = {len(group)}" for name, group in zip(("cases", "controls"), outcome.values, strict=True)]
    axes.set_xticks([1, 2], heads)
    axes.set_ylabel(f"{column_text(found.plan.results.value)} ({found.plan.results.unit})")
    _tidy(axes)
    return figure


def _roc(found: Evaluation, analysis: RocAnalysis) -> Figure:
    figure = _figure(5.0, 5.0)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=_GREY, lw=0.8, ls="--")
    line = analysis.curve
    axes.plot(line.false_positive_rate, line.true_positive_rate, color=_CONTROLS, lw=2)
    point = analysis.best.point
    place = (1 - point.specificity.share, point.sensitivity.share)
    axes.plot(*place, marker="o", ms=8, color=_CASES)
    side = "<" if found.plan.roc.low_is_case else ">"
    said = f"{side} {point.threshold:.1f} {found.plan.results.unit}\nYouden {point.youden:.3f}"
    axes.annotate(said, place, (place[0] + 0.06, place[1] - 0.1), fontsize=9)
    auc = analysis.auc
    said = f"AUC {auc.auc:.3f} ({interval_text(auc.interval, 3)})\np {p_text(auc.p)} (DeLong)"
    axes.text(0.98, 0.04, said, ha="right", fontsize=9)
    axes.set_xlabel("1 - specificity")
    axes.set_ylabel("sensitivity")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    _tidy(axes)
    return figure


def _agreement(method: MethodComparison, first_name: str, second_name: str) -> Figure:
    first, second = np.array(method.pairs).T
    limits = method.bland_altman if isinstance(method.bland_altman, agreement.BlandAltman) else None
    figure = _figure(9.5 if limits else 5.0, 4.5)
    panels = figure.subplots(1, 2 if limits else 1, squeeze=False)[0]
    axes = panels[0]
    axes.plot(first, second, ls="none", marker="o", ms=4, mfc="none", color=_CONTROLS)
    ends = np.array([first.min(), first.max()])
    if method.same_unit:
        axes.plot(ends, ends, color=_GREY, lw=0.8, ls="--", label="equal")
    if isinstance(method.deming, agreement.Deming):
        slope, intercept = method.deming.slope.value, method.deming.intercept.value
        axes.plot(ends, intercept + slope * ends, color=_CASES, lw=2, label=f"Deming: {intercept:.1f} + {slope:.3f} x")
    axes.set_xlabel(first_name)
    axes.set_ylabel(second_name)
    axes.legend(fontsize=8, frameon=False)
    _tidy(axes)
    if limits is not None:
        axes = panels[1]
        axes.plot((first + second) / 2, first - second, ls="none", marker="o", ms=4, mfc="none", color=_CONTROLS)
        for estimate, style in ((limits.bias, "-"), (limits.lower, "--"), (limits.upper, "--")):
            axes.axhline(estimate.value, color=_CASES, lw=1.5, ls=style, label=f"{estimate.value:.1f}")
            axes.axhspan(*estimate.interval, color=_CASES, alpha=0.10, lw=0)
        axes.set_xlabel(f"mean of {first_name} and {second_name}")
        axes.set_ylabel(f"{first_name} minus {second_name}")
        axes.legend(fontsize=8, frameon=False, title="bias and limits", title_fontsize=8)
        _tidy(axes)
    return figure


def _tidy(axes: Axes) -> None:
    axes.grid(color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
