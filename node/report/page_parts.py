"""Parts of the summary page: pictures with outlines, bars. Drawn on a matplotlib figure, in pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib.patheffects as effects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from node.language.phrase import phrase
from node.model import ACR_THRESHOLDS_MG_CM3, Level, LevelMeasurement, StudyResult
from node.model.rounding import finite, rounded, rounded_bmd
from node.report.page_text import (
    BACKGROUND,
    DIM,
    FONT,
    GREY,
    HEIGHT_PX,
    PANEL,
    POINTS_PER_PX,
    WHITE,
    WIDTH_PX,
    Box,
    Color,
    Sheet,
    put_fitted,
    width_px,
)
from node.report.page_views import Outline, View
from node.report.palette import LEVEL_RGB
from node.report.wording import level_bmd

#: Separates soft tissue from air, and trabecular bone from cortex.
_WINDOW_HU = (-150.0, 650.0)
_EDGE = [effects.withStroke(linewidth=2.5, foreground="black")]
_NAME_PX, _NOTE_PX = 17.0, 12.5
#: Distance of a name from its body, mm.
_BESIDE_MM = 3.0
_EXCLUDED = phrase("excluded")
#: Upper end of the BMD axis.
_TALLEST_MG_CM3 = 320.0


def level_color(level: Level) -> Color:
    """Colour of a level, for matplotlib."""
    red, green, blue = LEVEL_RGB[level]
    return (red / 255, green / 255, blue / 255)


def put_block(sheet: Sheet, box: Box, color: Color) -> None:
    """A filled rectangle behind everything."""
    sheet.figure.add_artist(
        Rectangle(
            (box.x / WIDTH_PX, 1 - (box.y + box.height) / HEIGHT_PX),
            box.width / WIDTH_PX,
            box.height / HEIGHT_PX,
            facecolor=color,
            edgecolor="none",
            transform=sheet.figure.transFigure,
            zorder=-1,
        )
    )


def panel_axes(sheet: Sheet, box: Box, color: str = BACKGROUND) -> Axes:
    """Axes that fill a box."""
    axes = sheet.figure.add_axes(
        (box.x / WIDTH_PX, 1 - (box.y + box.height) / HEIGHT_PX, box.width / WIDTH_PX, box.height / HEIGHT_PX)
    )
    axes.set_facecolor(color)
    return axes


def put_view(
    sheet: Sheet, box: Box, view: View, sides: tuple[str, str], *, title: str, excluded: Sequence[Level], long: bool
) -> None:
    """A picture with outlines, isotropic in mm.

    Args:
        sides: orientation letters at the left and right edge.
        title: in the language of the page.
        excluded: levels not included in the mean.
        long: a picture of the whole spine, with level names and a scale.
    """
    axes = panel_axes(sheet, box)
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
    _note(axes, 0.02, 0.985, title, "left", "top")
    if long:
        mm_per_px = max((view.right_mm - view.left_mm) / box.width, abs(view.bottom_mm - view.top_mm) / box.height)
        for outline in view.bodies:
            _name(sheet, axes, view, outline, excluded, mm_per_px)
        _scale(axes, view)


def _note(axes: Axes, x: float, y: float, words: str, side: str, height: str) -> None:
    axes.text(
        x,
        y,
        words,
        fontsize=11,
        ha=side,
        va=height,
        color=WHITE,
        family=FONT,
        path_effects=_EDGE,
        transform=axes.transAxes,
    )


def _scale(axes: Axes, view: View) -> None:
    """A bar of 5 cm."""
    x, y = view.left_mm + 6, view.bottom_mm + 6
    axes.plot([x, x + 50], [y, y], color=WHITE, lw=2.2, solid_capstyle="butt", path_effects=_EDGE)
    axes.text(x + 25, y + 2, "5 cm", color=WHITE, fontsize=9.5, ha="center", family=FONT, path_effects=_EDGE)
    axes.set_xlim(view.left_mm, view.right_mm)
    axes.set_ylim(view.bottom_mm, view.top_mm)


def _name(sheet: Sheet, axes: Axes, view: View, outline: Outline, excluded: Sequence[Level], mm_per_px: float) -> None:
    """Name of a body at its right, or left if there is no room; marked below if the level is excluded."""
    rows, columns = view.hu.shape
    row, column = np.nonzero(outline.mask > 0.5)
    mm_per_column = (view.right_mm - view.left_mm) / columns
    left, right = view.left_mm + column.min() * mm_per_column, view.left_mm + (column.max() + 1) * mm_per_column
    y = view.top_mm + (row.mean() + 0.5) / rows * (view.bottom_mm - view.top_mm)
    note = sheet.say(_EXCLUDED) if outline.level in excluded else ""
    broad_px = max(
        width_px(outline.level.name, _NAME_PX, bold=True), *(width_px(line, _NOTE_PX) for line in note.split("\n"))
    )
    at_right = right + _BESIDE_MM + broad_px * mm_per_px < view.right_mm
    x = right + _BESIDE_MM if at_right else left - _BESIDE_MM
    side: Literal["left", "right"] = "left" if at_right else "right"
    color = level_color(outline.level)
    axes.text(
        x,
        y,
        outline.level.name,
        fontsize=_NAME_PX * POINTS_PER_PX,
        color=color,
        weight="bold",
        family=FONT,
        ha=side,
        va="center",
        path_effects=_EDGE,
    )
    if note:
        axes.annotate(
            note,
            (x, y),
            xytext=(0, -7.5),
            textcoords="offset points",
            fontsize=_NOTE_PX * POINTS_PER_PX,
            color=color,
            family=FONT,
            ha=side,
            va="top",
            linespacing=1.1,
            path_effects=_EDGE,
        )


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


def put_bars(sheet: Sheet, box: Box, result: StudyResult) -> None:
    """BMD per level and mean with its interval against 80 and 120 mg/cm3; without an equation, HU without thresholds."""
    with_bmd = result.bmd.bmd_mg_cm3 is not None
    panel = Box(box.x + 52, box.y + 34, box.width - 62, box.height - 64)
    axes = panel_axes(sheet, panel, PANEL)
    bars = [_bar(sheet, level, result, with_bmd) for level in result.levels]
    mean = result.bmd.bmd_mg_cm3 if with_bmd else finite(result.hu_mean)
    interval = result.bmd.interval_mg_cm3 if with_bmd else None
    if mean is not None:
        label = sheet.number(rounded_bmd(mean) if with_bmd else rounded(mean))
        bars.append(_Bar(mean, label, max(mean, interval[1] if interval else mean), WHITE, counts=True, is_mean=True))
    lowest = min([bar.height or 0.0 for bar in bars] + [0.0, interval[0] if interval else 0.0]) * 1.18
    top = max([bar.room(panel.height, lowest) for bar in bars], default=0.0)
    # an outlier must not compress the scale: its bar is cut off, and its label shows the value
    top = min(max(top, 160.0), _TALLEST_MG_CM3) if with_bmd else max(top, 200.0)
    axes.set_ylim(lowest, top)
    axes.set_xlim(-0.6, len(bars) - 0.4 + (1.3 if with_bmd else 0.0))
    axes.set_autoscale_on(False)
    for place, bar in enumerate(bars):
        _put_bar(axes, place, bar, top - (top - lowest) * bar.label_px / panel.height)
    if mean is not None and interval is not None:
        spread = [[max(mean - interval[0], 0.0)], [max(interval[1] - mean, 0.0)]]
        axes.errorbar(len(bars) - 1, mean, yerr=spread, color="#e07b00", capsize=9, lw=2.6, capthick=2.6)
    axes.axhline(0.0, color=DIM, lw=0.8)
    if with_bmd:
        _thresholds(sheet, axes, len(bars))
    names = [*(level.level.name for level in result.levels), *([sheet.say(phrase("mean"))] if mean is not None else [])]
    axes.set_xticks(range(len(bars)), names)
    axes.tick_params(colors=GREY, labelsize=11, length=0, labelfontfamily=FONT)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if interval is not None:
        title = phrase("Trabecular BMD, mg/cm3   (bar: mean, line: interval)")
    else:
        title = phrase("Trabecular BMD, mg/cm3") if with_bmd else phrase("Trabecular attenuation, HU")
    put_fitted(sheet, Box(box.x + 4, box.y + 6, box.width - 4, 20), sheet.say(title), 16, WHITE, bold=True)


@dataclass(frozen=True, slots=True)
class _Bar:
    """One bar; ``top`` is the upper end of what is drawn below its label."""

    height: float | None
    label: str
    top: float
    color: Color
    counts: bool
    is_mean: bool = False

    @property
    def label_px(self) -> float:
        """Height of the label."""
        return 19.0 * (self.label.count("\n") + 1) + 8.0

    def room(self, panel_px: float, lowest: float) -> float:
        """Upper axis limit needed in a panel of this height."""
        part = min(self.label_px / panel_px, 0.6)
        return (self.top - part * lowest) / (1 - part)


def _bar(sheet: Sheet, level: LevelMeasurement, result: StudyResult, with_bmd: bool) -> _Bar:
    height, color = _height(level, result, with_bmd), level_color(level.level)
    if height is None:
        return _Bar(None, sheet.say(phrase("no value")), 0.0, color, level.usable)
    label = sheet.number(rounded_bmd(height) if with_bmd else rounded(height))
    label = label if level.usable else f"{label}\n{sheet.say(_EXCLUDED)}"
    return _Bar(height, label, max(height, 0.0), color, level.usable)


def _put_bar(axes: Axes, place: int, bar: _Bar, highest: float) -> None:
    """Draw a bar, and its label above it, but no higher than ``highest``."""
    if bar.height is not None and bar.counts:
        axes.bar(place, bar.height, width=0.8 if bar.is_mean else 0.62, color=bar.color)
    elif bar.height is not None:
        axes.bar(place, bar.height, width=0.62, facecolor=PANEL, edgecolor=bar.color, hatch="///", linestyle="--")
    _bar_label(axes, place, min(bar.top, highest), bar.label, bold=bar.is_mean)


def _height(level: LevelMeasurement, result: StudyResult, with_bmd: bool) -> float | None:
    return level_bmd(result.bmd, level.level) if with_bmd else finite(level.hu_mean)


def _bar_label(axes: Axes, x: float, y: float, words: str, *, bold: bool = False) -> None:
    """Label above a bar, with a background so that threshold lines do not cross the text."""
    axes.annotate(
        words,
        (x, y),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        va="bottom",
        color=WHITE,
        fontsize=13 if bold else 11,
        weight="bold" if bold else "normal",
        family=FONT,
        linespacing=1.1,
        bbox={"facecolor": PANEL, "edgecolor": "none", "pad": 1.0},
        zorder=5,
    )


def _thresholds(sheet: Sheet, axes: Axes, places: int) -> None:
    low, high = ACR_THRESHOLDS_MG_CM3
    for value in (low, high):
        axes.axhline(value, color=WHITE, lw=1.3, ls=(0, (6, 4)))
    zones = (
        (phrase("osteoporosis\nrange"), low / 2),
        (phrase("low bone\nmass range"), (low + high) / 2),
        (phrase("normal\nrange"), high + 20),
    )
    for words, y in zones:
        size = 10 if axes.get_position().height > 0.2 else 9
        axes.text(places - 0.42, y, sheet.say(words), color=GREY, fontsize=size, va="center", family=FONT, linespacing=1.1)
    ticks = [0.0, low, high]
    axes.set_yticks(ticks, [f"{tick:.0f}" for tick in ticks])
