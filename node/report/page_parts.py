"""Parts of the summary page: pictures with outlines, bars, columns of text. Drawn on a matplotlib figure, in pixels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from node.model import Level, LevelMeasurement, StudyResult
from node.report.page_views import Outline, View
from node.report.palette import LEVEL_RGB
from node.report.rounding import ACR_THRESHOLDS_MG_CM3, finite, rounded, rounded_bmd, text
from node.report.wording import level_bmd

WIDTH_PX, HEIGHT_PX = 1280, 1024
BACKGROUND, PANEL = "#000000", "#15191d"
WHITE, GREY, DIM = "#f2f2f2", "#b8bec4", "#6b737b"
_FONT = "DejaVu Sans"  # comes with matplotlib: the same page on every machine
#: Width of a character of that font as a part of its size: above the mean, since a line of wide ones must not leave its box.
_CHARACTER = 0.58
#: Soft tissue is still told from air, and trabecular bone from cortex.
_WINDOW_HU = (-150.0, 650.0)
_EDGE = [effects.withStroke(linewidth=2.5, foreground="black")]

Color = str | tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A place on the page in pixels; y counts from the top."""

    x: float
    y: float
    width: float
    height: float


def level_color(level: Level) -> Color:
    """Colour of a level, for matplotlib."""
    red, green, blue = LEVEL_RGB[level]
    return (red / 255, green / 255, blue / 255)


def put_text(
    figure: Figure, x: float, y: float, words: str, size_px: float, color: Color = WHITE, *, bold: bool = False
) -> None:
    """Write with the upper left corner at (x, y) px."""
    figure.text(
        x / WIDTH_PX,
        1 - y / HEIGHT_PX,
        words,
        fontsize=size_px * 0.72,
        color=color,
        weight="bold" if bold else "normal",
        family=_FONT,
        va="top",
        parse_math=False,
    )


def put_column(
    figure: Figure, box: Box, heading: str, paragraphs: Sequence[str], size_px: float = 15.0, color: Color = GREY
) -> None:
    """A heading with wrapped paragraphs below; says so where not all of it fits."""
    line_px = size_px * 1.28
    put_text(figure, box.x, box.y, heading, size_px + 1, WHITE, bold=True)
    lines: list[str] = []
    for paragraph in paragraphs:
        lines += textwrap.wrap(paragraph, max(8, int(box.width / (size_px * _CHARACTER)))) or [""]
    room = int((box.height - line_px * 1.3) / line_px)
    if len(lines) > room:
        lines = [*lines[: room - 1], "… and more"]
    for n, line in enumerate(lines):
        put_text(figure, box.x, box.y + line_px * (n + 1.3), line, size_px, color)


def panel_axes(figure: Figure, box: Box, color: str = BACKGROUND) -> Axes:
    """Axes that fill a box."""
    axes = figure.add_axes(
        (box.x / WIDTH_PX, 1 - (box.y + box.height) / HEIGHT_PX, box.width / WIDTH_PX, box.height / HEIGHT_PX)
    )
    axes.set_facecolor(color)
    return axes


def put_view(
    figure: Figure, box: Box, view: View, sides: tuple[str, str], *, title: str = "", excluded: Sequence[Level] = ()
) -> None:
    """A picture with outlines, isotropic in mm; the letters say what lies at its left and right."""
    axes = panel_axes(figure, box)
    extent = (view.left_mm, view.right_mm, view.bottom_mm, view.top_mm)
    axes.imshow(
        view.hu, cmap="gray", vmin=_WINDOW_HU[0], vmax=_WINDOW_HU[1], extent=extent, interpolation="bilinear", aspect="equal"
    )
    for outline in view.bodies:
        _contour(axes, outline, extent, 1.7, "dashed" if outline.level in excluded else "solid")
    for outline in view.regions:
        _contour(axes, outline, extent, 1.3, "dashed" if outline.level in excluded else "solid")
    axes.set_axis_off()
    for at, letter, side in ((0.02, sides[0], "left"), (0.98, sides[1], "right")):
        _note(axes, at, 0.5, letter, side, "center")
    if title:
        _note(axes, 0.02, 0.985, title, "left", "top")


def _note(axes: Axes, x: float, y: float, words: str, side: str, height: str) -> None:
    axes.text(
        x,
        y,
        words,
        fontsize=11,
        ha=side,
        va=height,
        color=WHITE,
        family=_FONT,
        path_effects=_EDGE,
        transform=axes.transAxes,
    )


def put_scale(figure: Figure, view: View) -> None:
    """A bar of 5 cm in the picture drawn last."""
    axes = figure.axes[-1]
    x, y = view.left_mm + 6, view.bottom_mm + 6
    axes.plot([x, x + 50], [y, y], color=WHITE, lw=2.2, solid_capstyle="butt", path_effects=_EDGE)
    axes.text(x + 25, y + 2, "5 cm", color=WHITE, fontsize=9.5, ha="center", family=_FONT, path_effects=_EDGE)
    axes.set_xlim(view.left_mm, view.right_mm)
    axes.set_ylim(view.bottom_mm, view.top_mm)


def put_names(figure: Figure, view: View, excluded: Sequence[Level]) -> None:
    """Names of the bodies beside them, in the picture drawn last."""
    axes = figure.axes[-1]
    rows, columns = view.hu.shape
    for outline in view.bodies:
        row, column = np.nonzero(outline.mask > 0.5)
        x = view.left_mm + (column.max() + 1) / columns * (view.right_mm - view.left_mm)
        y = view.top_mm + (row.mean() + 0.5) / rows * (view.bottom_mm - view.top_mm)
        color = level_color(outline.level)
        axes.text(
            x + 3,
            y,
            outline.level.name,
            fontsize=12,
            color=color,
            weight="bold",
            family=_FONT,
            va="center",
            path_effects=_EDGE,
        )
        if outline.level in excluded:
            below = y - 5.5 if view.top_mm > view.bottom_mm else y + 5.5
            axes.text(x + 3, below, "excluded", fontsize=9, color=color, family=_FONT, va="center", path_effects=_EDGE)


def _contour(axes: Axes, outline: Outline, extent: tuple[float, float, float, float], width: float, style: str) -> None:
    axes.contour(
        outline.mask,
        levels=[0.5],
        colors=[level_color(outline.level)],
        linewidths=width,
        linestyles=style,
        extent=extent,
        origin="upper",
    )


def put_bars(figure: Figure, box: Box, result: StudyResult) -> None:
    """BMD per level and the mean with its interval against 80 and 120 mg/cm3; without an equation HU, and no thresholds."""
    with_bmd = result.bmd.bmd_mg_cm3 is not None
    places = len(result.levels) + 1
    axes = panel_axes(figure, Box(box.x + 52, box.y + 34, box.width - 62, box.height - 64), PANEL)
    heights = [_height(level, result, with_bmd) for level in result.levels]
    mean = result.bmd.bmd_mg_cm3 if with_bmd else finite(result.hu_mean)
    interval = result.bmd.interval_mg_cm3 if with_bmd else None
    tallest = max([h for h in heights if h is not None] + [mean or 0.0, interval[1] if interval else 0.0])
    top = max(tallest * 1.18, 160.0 if with_bmd else 200.0)
    lowest = min([h for h in heights if h is not None] + [0.0, interval[0] if interval else 0.0])
    axes.set_ylim(lowest * 1.18, top)
    axes.set_xlim(-0.6, places - 0.4 + (1.15 if with_bmd else 0.0))
    for place, (level, height) in enumerate(zip(result.levels, heights, strict=True)):
        if height is None:
            axes.text(place, top * 0.04, "no value", color=GREY, fontsize=10, ha="center", family=_FONT)
            continue
        color = level_color(level.level)
        if level.usable:
            axes.bar(place, height, width=0.62, color=color)
        else:
            axes.bar(place, height, width=0.62, facecolor=PANEL, edgecolor=color, hatch="///", linestyle="--")
        label = text(rounded_bmd(height) if with_bmd else rounded(height)) + ("" if level.usable else "\nexcluded")
        _bar_label(axes, place, max(height, 0.0), label)
    if mean is not None:
        axes.bar(places - 1, mean, width=0.8, color=WHITE)
        if interval is not None:
            spread = [[max(mean - interval[0], 0.0)], [max(interval[1] - mean, 0.0)]]
            axes.errorbar(places - 1, mean, yerr=spread, color="#e07b00", capsize=9, lw=2.6, capthick=2.6)
        axes.text(
            places - 1,
            top * 0.03,
            text(rounded_bmd(mean) if with_bmd else rounded(mean)),
            color="black",
            fontsize=13,
            weight="bold",
            ha="center",
            family=_FONT,
        )
    axes.axhline(0.0, color=DIM, lw=0.8)
    if with_bmd:
        _thresholds(axes, places)
    axes.set_xticks(range(places), [level.level.name for level in result.levels] + ["mean"])
    axes.tick_params(colors=GREY, labelsize=11, length=0, labelfontfamily=_FONT)
    for spine in axes.spines.values():
        spine.set_visible(False)
    unit = "Trabecular BMD, mg/cm³" if with_bmd else "Trabecular attenuation, HU"
    note = "   (bar: mean, line: interval)" if interval is not None else ""
    put_text(figure, box.x + 4, box.y + 6, unit + note, 16, WHITE, bold=True)


def _height(level: LevelMeasurement, result: StudyResult, with_bmd: bool) -> float | None:
    return level_bmd(result.bmd, level.level) if with_bmd else finite(level.hu_mean)


def _bar_label(axes: Axes, x: float, y: float, words: str) -> None:
    axes.annotate(
        words,
        (x, y),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color=WHITE,
        fontsize=11,
        family=_FONT,
        path_effects=_EDGE,
    )


def _thresholds(axes: Axes, places: int) -> None:
    low, high = ACR_THRESHOLDS_MG_CM3
    for value in (low, high):
        axes.axhline(value, color=WHITE, lw=1.3, ls=(0, (6, 4)))
    zones = (("osteoporosis\nrange", low / 2), ("low bone\nmass range", (low + high) / 2), ("normal\nrange", high + 20))
    for words, y in zones:
        axes.text(places - 0.42, y, words, color=GREY, fontsize=10, va="center", family=_FONT)
    ticks = [0.0, low, high]
    axes.set_yticks(ticks, [f"{tick:.0f}" for tick in ticks])
