"""The figure of the accuracy table: difference versus truth (Bland and Altman)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.design import Case

_COLORS = {0.0: "#56b4e9", 15.0: "#e69f00", 30.0: "#d55e00"}
_MARKERS = {"standard": "o", "bone": "^"}


def draw(
    points: Sequence[tuple[Case, float | None, float | None]], limits: tuple[float, float, float] | None, path: Path
) -> None:
    """Draw differences versus truth in mg/cm3, with bias and limits of agreement. Phantoms without BMD are left out."""
    figure = Figure(figsize=(7.2, 4.4), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for kernel, marker in _MARKERS.items():
        for noise, color in _COLORS.items():
            here = [
                (t, e)
                for c, t, e in points
                if t is not None and e is not None and (c.kernel, c.noise_sd_hu) == (kernel, noise)
            ]
            if here:
                x, y = zip(*here, strict=True)
                label = f"{kernel} kernel, noise {noise:g} HU"
                axes.scatter(x, y, s=26, marker=marker, color=color, edgecolor="black", linewidth=0.4, label=label)
    axes.axhline(0.0, color="black", linewidth=0.8)
    for threshold in (80.0, 120.0):
        axes.axvline(threshold, color="grey", linewidth=0.8, linestyle=(0, (5, 4)))
    if limits is not None:
        for value, style in zip(limits, ("-", "--", "--"), strict=True):
            axes.axhline(value, color="#0072b2", linewidth=1.0, linestyle=style)
    axes.set_xlabel("true density of the used levels, mg/cm³ (dashed: limits of the ACR categories)")
    axes.set_ylabel("BMD minus truth, mg/cm³")
    figure.legend(loc="outside upper center", fontsize=7.5, ncols=3, frameon=False)
    figure.savefig(path)
