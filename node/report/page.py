"""The summary page: what a radiologist wants to know of a study in five seconds.

The page carries no patient name, number or date in its pixels. Viewers show those from the header.
"""

from __future__ import annotations

import textwrap

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from node.model import AcrCategory, LabelArray, Level, StudyResult, Volume
from node.report.page_parts import (
    BACKGROUND,
    DIM,
    GREY,
    HEIGHT_PX,
    PANEL,
    WHITE,
    WIDTH_PX,
    Box,
    level_color,
    put_bars,
    put_column,
    put_names,
    put_scale,
    put_text,
    put_view,
)
from node.report.page_views import PageViews, Reformatter
from node.report.rounding import finite, rounded, text
from node.report.wording import (
    CATEGORY_LIMITS,
    NORMAL_CAVEAT,
    NOT_MEASURED_CAVEAT,
    SCREENING,
    all_reasons,
    borderline_text,
    caveats,
    equation_text,
    findings_text,
    headline,
    hu_reference,
    level_bmd,
    scanner_text,
    value_text,
)

RgbImage = npt.NDArray[np.uint8]

_DPI = 100
#: Accent of the headline. The words say it; the colour only repeats it, in steps of lightness too.
_ACCENT = {AcrCategory.OSTEOPOROSIS: "#d55e00", AcrCategory.LOW_BONE_MASS: "#e8c200", AcrCategory.NORMAL: "#56b4e9"}
_PICTURE = Box(12, 130, 322, 684)
_CORONAL = Box(344, 130, 322, 684)
_AXIALS = Box(676, 130, 300, 300)
_NOT_MEASURED_PICTURE = Box(12, 132, 470, 880)
_MM_PER_PX, _NOT_MEASURED_MM_PER_PX = 0.37, 0.45
_AXIAL_MM = 66.0
#: Axial pictures fit for this many levels.
_N_AXIALS = 4


def render_summary(
    volume: Volume | None, labels: LabelArray | None, regions: LabelArray | None, result: StudyResult
) -> RgbImage:
    """Draw the page.

    Args:
        volume: the measured series, or the one that came nearest to it; ``None`` if none could be read.
        labels: uint8, (slices, rows, columns), bodies on its grid; ``None`` if nothing was segmented.
        regions: the measured regions, likewise.
        result: of the study, measured or not.

    Returns:
        uint8, (1024, 1280, 3), RGB; the same for the same input.
    """
    return render_page(take_views(volume, labels, regions, result), result)


def take_views(
    volume: Volume | None, labels: LabelArray | None, regions: LabelArray | None, result: StudyResult
) -> PageViews | None:
    """The pictures of the page, which do not depend on the calibration; arguments as for :func:`render_summary`.

    Returns:
        ``None`` without a volume.
    """
    if volume is None:
        return None
    reformatter = Reformatter(volume, labels, regions, result.bodies)
    if result.status == "not_measured":
        box, scale = _NOT_MEASURED_PICTURE, _NOT_MEASURED_MM_PER_PX
        return PageViews(reformatter.sagittal(box.height * scale, box.width * scale))
    height_mm, width_mm = _PICTURE.height * _MM_PER_PX, _PICTURE.width * _MM_PER_PX
    return PageViews(
        reformatter.sagittal(height_mm, width_mm),
        reformatter.coronal(height_mm, width_mm),
        tuple(reformatter.axial(level.centroid_lps_mm, _AXIAL_MM) for level in result.levels[:_N_AXIALS]),
    )


def render_page(views: PageViews | None, result: StudyResult) -> RgbImage:
    """Draw the page from its pictures and the result; returns what :func:`render_summary` does."""
    figure = page_figure(views, result)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels: RgbImage = np.asarray(canvas.buffer_rgba(), dtype=np.uint8)  # type: ignore[no-untyped-call]
    return pixels[:, :, :3].copy()


def summary_figure(
    volume: Volume | None, labels: LabelArray | None, regions: LabelArray | None, result: StudyResult
) -> Figure:
    """The page as a figure, before it becomes pixels; arguments as for :func:`render_summary`."""
    return page_figure(take_views(volume, labels, regions, result), result)


def page_figure(views: PageViews | None, result: StudyResult) -> Figure:
    """The page as a figure; arguments as for :func:`render_page`."""
    figure = Figure(figsize=(WIDTH_PX / _DPI, HEIGHT_PX / _DPI), dpi=_DPI, facecolor=BACKGROUND)
    _headline(figure, result)
    if result.status == "measured":
        _measured(figure, views, result)
    else:
        _not_measured(figure, views, result)
    return figure


def _headline(figure: Figure, result: StudyResult) -> None:
    # a study that was not measured shows no value, whatever else is known of it
    category = result.bmd.category if result.status == "measured" else None
    _block(figure, Box(0, 0, WIDTH_PX, 122), PANEL)
    _block(figure, Box(0, 0, 12, 122), _ACCENT[category] if category is not None else DIM)
    limits = f"  (ACR, {_units(CATEGORY_LIMITS[category])})" if category is not None else ""
    put_text(figure, 30, 12, headline(result) + limits, 32, WHITE, bold=True)
    value = _units(value_text(result))
    put_text(figure, 30, 56, value[:1].upper() + value[1:], 22, WHITE)
    note: str = NOT_MEASURED_CAVEAT if result.status == "not_measured" else SCREENING
    if category is AcrCategory.NORMAL:
        note += f"  {NORMAL_CAVEAT}"
    put_text(figure, 30, 91, note, 17, "#ffd479", bold=category is AcrCategory.NORMAL)


def _measured(figure: Figure, views: PageViews | None, result: StudyResult) -> None:
    excluded = tuple(level.level for level in result.levels if not level.usable)
    if views is not None:
        long_views = ((_PICTURE, views.sagittal, ("A", "P"), "sagittal"), (_CORONAL, views.coronal, ("R", "L"), "coronal"))
        for box, view, sides, name in long_views:
            if view is not None:
                put_view(figure, box, view, sides, title=f"{name}, along the spine", excluded=excluded)
                put_names(figure, view, excluded)
                put_scale(figure, view)
        side = _AXIALS.width / 2
        for n, (level, axial) in enumerate(zip(result.levels, views.axials, strict=False)):
            box = Box(_AXIALS.x + side * (n % 2), _AXIALS.y + side * (n // 2), side - 4, side - 4)
            put_view(figure, box, axial, ("R", "L"), title=level.level.name, excluded=excluded)
    _levels(figure, Box(990, 130, 280, 300), result)
    put_bars(figure, Box(676, 436, 594, 380), result)
    findings = _findings(result)
    legend = "Outer line: vertebral body; inner line: measured region; dashed: excluded."
    put_column(
        figure, Box(14, 824, 400, 196), "Levels", [*(findings or ["All measured levels count for the mean."]), legend]
    )
    put_column(figure, Box(436, 824, 400, 196), "Scan and calibration", _scan(result))
    first = [sentence for sentence in (borderline_text(result.bmd), hu_reference(result)) if sentence]
    notes = [*first, *(reason.detail for reason in all_reasons(result))]
    put_column(figure, Box(858, 824, 412, 196), "Bear in mind", [_sentence(n) for n in (*notes, *caveats(result))])


def _not_measured(figure: Figure, views: PageViews | None, result: StudyResult) -> None:
    left = 30.0
    if views is not None:
        excluded: tuple[Level, ...] = tuple(level.level for level in result.levels)
        sagittal = views.sagittal
        put_view(figure, _NOT_MEASURED_PICTURE, sagittal, ("A", "P"), title="sagittal", excluded=excluded)
        put_names(figure, sagittal, excluded)
        put_scale(figure, sagittal)
        left = 510.0
    y = 146.0
    width = WIDTH_PX - left - 20
    small: list[str] = []
    for reason in all_reasons(result):
        lines = textwrap.wrap(_sentence(reason.detail), int(width / 15.5))
        if y + 36 * len(lines) > 560:
            small.append(_sentence(reason.detail))
            continue
        for line in lines:
            put_text(figure, left, y, line, 27, WHITE, bold=True)
            y += 36
        y += 14
    small += _findings(result)
    if small:
        put_column(figure, Box(left, y + 10, width, 190), "Details", small, 17)
        y += 210
    others = [f"Series {s.series_instance_uid}: {s.detail}" for s in result.series_left_out]
    if result.facts is not None:
        others.insert(0, f"Looked at: {scanner_text(result.facts)}.")
    if others:
        put_column(figure, Box(left, y + 10, width, HEIGHT_PX - y - 30), "Series of the study", others, 16)


def _levels(figure: Figure, box: Box, result: StudyResult) -> None:
    """Table of the levels."""
    columns = (0.0, 58.0, 150.0, 222.0)
    for x, words in zip(columns, ("level", "HU ± SD", "mg/cm³", "counts"), strict=True):
        put_text(figure, box.x + x, box.y + 4, words, 15, GREY)
    for n, level in enumerate(result.levels):
        y = box.y + 34 + 40 * n
        hu, sd, bmd = finite(level.hu_mean), finite(level.hu_sd), level_bmd(result.bmd, level.level)
        put_text(figure, box.x, y, level.level.name, 19, level_color(level.level), bold=True)
        spread = "" if sd is None else f" ± {rounded(sd, 0):.0f}"
        put_text(figure, box.x + columns[1], y, "–" if hu is None else f"{rounded(hu, 0):.0f}{spread}", 18)
        put_text(figure, box.x + columns[2], y, "–" if bmd is None else text(bmd), 18)
        put_text(figure, box.x + columns[3], y, "yes" if level.usable else "no", 18, WHITE if level.usable else "#ffd479")


def _findings(result: StudyResult) -> list[str]:
    """One sentence per level that is excluded or has a finding."""
    sentences = []
    for level in result.levels:
        if level.findings or not level.usable:
            words = findings_text(level) or "not usable"
            sentences.append(_sentence(f"{level.level.name}{'' if level.usable else ' excluded'}: {words}"))
    return sentences


def _scan(result: StudyResult) -> list[str]:
    lines = [] if result.facts is None else [_sentence(scanner_text(result.facts))]
    calibration = result.bmd.calibration
    if calibration is not None:
        origin = f"reference material {calibration.material} ({calibration.id}; {calibration.source})"
        lines.append(f"{_units(equation_text(result))}, {origin}.")
    lines.append(f"bmd-node {result.software.version}, segmenter {result.software.segmenter}.")
    if result.why_this_series:
        lines.append(f"Series chosen: {_sentence(result.why_this_series)}")
    return lines


def _sentence(words: str) -> str:
    return _units(words[:1].upper() + words[1:] + ("" if words.endswith(".") else "."))


def _units(words: str) -> str:
    return words.replace("mg/cm3", "mg/cm³").replace("mm3", "mm³")


def _block(figure: Figure, box: Box, color: str) -> None:
    figure.add_artist(
        Rectangle(
            (box.x / WIDTH_PX, 1 - (box.y + box.height) / HEIGHT_PX),
            box.width / WIDTH_PX,
            box.height / HEIGHT_PX,
            facecolor=color,
            edgecolor="none",
            transform=figure.transFigure,
            zorder=-1,
        )
    )
