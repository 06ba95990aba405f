"""The trends of a scanner as a picture: one panel per reading, in colours safe for colour blindness."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from node.scanners.stability import ScannerTrends, Trend, scanner_name

_WIDTH_IN, _PANEL_IN, _HEAD_IN = 9.0, 2.0, 0.9
_DPI = 100
#: Blue and orange are distinguishable with colour blindness; line styles and labels repeat the distinction.
_SCANS, _BASELINE, _SLOPE = "#0072b2", "#000000", "#d55e00"
_DAYS_PER_YEAR = 365.25


def stability_figure(found: ScannerTrends) -> Figure:
    """Scans, baseline with limits, and slope of every reading, on a common time axis."""
    height = _HEAD_IN + _PANEL_IN * len(found.trends)
    figure = Figure(figsize=(_WIDTH_IN, height), dpi=_DPI, facecolor="white", layout="constrained")
    figure.suptitle(scanner_name(found.scanner), fontsize=11)
    panels = figure.subplots(len(found.trends), 1, sharex=True, squeeze=False)[:, 0]
    for axes, trend in zip(panels, found.trends, strict=True):
        _panel(axes, trend)
    locator = AutoDateLocator(maxticks=8)  # type: ignore[no-untyped-call]
    panels[-1].xaxis.set_major_locator(locator)
    panels[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    panels[-1].set_xlabel("date of the scan")
    return figure


def write_plot(found: ScannerTrends, number: int, folder: Path) -> Path:
    """Write the picture as PNG to an existing folder; ``number`` distinguishes scanners with similar names."""
    name = re.sub(r"[^a-z0-9]+", "-", scanner_name(found.scanner).casefold()).strip("-")
    path = folder / f"stability-{number}-{name}.png"
    canvas = FigureCanvasAgg(stability_figure(found))
    canvas.print_png(path)  # type: ignore[no-untyped-call]
    return path


def _panel(axes: Axes, trend: Trend) -> None:
    dates = np.array(trend.dates, dtype="datetime64[D]")
    axes.plot(dates, trend.values_hu, ls="none", marker="o", ms=4, mfc="none", color=_SCANS, label="scan")
    if trend.baseline_hu is not None:
        axes.axhline(trend.baseline_hu, color=_BASELINE, lw=1.2, ls="--", label="baseline")
        if trend.limit_hu is not None:
            low, high = trend.baseline_hu - trend.limit_hu, trend.baseline_hu + trend.limit_hu
            axes.axhspan(low, high, color=_BASELINE, alpha=0.08, lw=0, label="limit")
    if trend.slope_hu_per_year is not None:
        years = np.array([(date - trend.dates[0]).days for date in trend.dates]) / _DAYS_PER_YEAR
        middle = trend.median_hu - trend.slope_hu_per_year * float(np.median(years))
        ends = np.array([years[0], years[-1]])
        axes.plot(dates[[0, -1]], middle + trend.slope_hu_per_year * ends, color=_SLOPE, lw=2, label="slope")
    verdict = f"DRIFT: {'; '.join(trend.drifts)}" if trend.drifts else ""
    axes.set_title(f"{trend.reading.name}   {verdict}", loc="left", fontsize=10, weight="bold" if verdict else "normal")
    axes.set_ylabel("HU")
    axes.grid(color="#dddddd", lw=0.6)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
