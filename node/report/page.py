"""The summary page: what a radiologist needs to know about a study in five seconds.

The first line says whose page it is, if the settings want that: a printed page has no header.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from node.language.catalogue import Language
from node.language.phrase import as_phrase, joined, phrase
from node.model import AcrCategory, LabelArray, Level, LevelFindingCode, StudyResult, Volume
from node.model.fractures import fractures_of, fractures_text
from node.model.rounding import finite, rounded
from node.report.context import low_text
from node.report.notes import page_notes
from node.report.page_parts import level_color, put_bars, put_block, put_view
from node.report.page_text import (
    AMBER,
    BACKGROUND,
    DIM,
    GREY,
    HEIGHT_PX,
    PANEL,
    WHITE,
    WIDTH_PX,
    Box,
    Section,
    Sheet,
    put_fitted,
    put_sections,
    put_text,
    wrapped,
)
from node.report.page_views import PageViews, Reformatter, View
from node.report.paste import report_text
from node.report.whose import Whose, whose_text
from node.report.wording import (
    NORMAL_CAVEAT,
    SCREENING,
    all_reasons,
    category_limits,
    density_headline,
    equation_text,
    findings_text,
    level_bmd,
    material_text,
    not_measured_caveat,
    scanner_text,
    value_text,
)

RgbImage = npt.NDArray[np.uint8]

_DPI = 100
#: Accent colour of the headline. It repeats what the text says, and also differs in lightness.
_ACCENT = {AcrCategory.OSTEOPOROSIS: "#d55e00", AcrCategory.LOW_BONE_MASS: "#e8c200", AcrCategory.NORMAL: "#56b4e9"}
#: The line above the headline that says whose page it is; nothing else is drawn there.
_WHOSE = Box(30, 2, WIDTH_PX - 50, 20)
_LEAST_WHOSE_PX = 12.5
_PICTURE = Box(12, 130, 322, 684)
_CORONAL = Box(344, 130, 322, 684)
_AXIALS = Box(676, 130, 300, 300)
_TABLE = Box(990, 130, 280, 300)
_BARS = Box(676, 436, 594, 380)
_NOT_MEASURED_PICTURE = Box(12, 132, 470, 880)
_MM_PER_PX, _NOT_MEASURED_MM_PER_PX = 0.37, 0.45
_AXIAL_MM = 66.0
#: Number of axial pictures that fit.
_N_AXIALS = 4
#: Height of the text below the pictures: normal first, then larger ones that shrink the pictures.
_BELOW_PX = (196, 250, 310, 370, 430)
#: Font sizes of the reasons why nothing was measured, and their lower limit on the page.
_REASON_SIZES_PX, _REASONS_UNTIL_PX = (27.0, 22.0, 18.0, 15.0), 560.0


def render_summary(
    volume: Volume | None,
    labels: LabelArray | None,
    regions: LabelArray | None,
    result: StudyResult,
    language: Language = Language.EN,
) -> RgbImage:
    """Draw the page.

    Args:
        volume: the measured series, or the most suitable one; ``None`` if none could be read.
        labels: uint8, (slices, rows, columns), bodies on its grid; ``None`` if nothing was segmented.
        regions: the measured regions, likewise.
        result: of the study, measured or not.
        language: of the words on the page.

    Returns:
        uint8, (1024, 1280, 3), RGB; deterministic.
    """
    return render_page(take_views(volume, labels, regions, result), result, language)


def take_views(
    volume: Volume | None, labels: LabelArray | None, regions: LabelArray | None, result: StudyResult
) -> PageViews | None:
    """The pictures of the page, independent of the calibration; arguments as for :func:`render_summary`.

    Returns:
        ``None`` without a volume.
    """
    if volume is None:
        return None
    reformatter = Reformatter(volume, labels, regions, result.bodies)
    if result.status == "not_measured":
        box, scale = _NOT_MEASURED_PICTURE, _NOT_MEASURED_MM_PER_PX
        return PageViews(reformatter.sagittal(min(box.height * scale, reformatter.height_mm), box.width * scale))
    height_mm, width_mm = _PICTURE.height * _MM_PER_PX, _PICTURE.width * _MM_PER_PX
    return PageViews(
        reformatter.sagittal(height_mm, width_mm),
        reformatter.coronal(height_mm, width_mm),
        tuple(reformatter.axial(level.centroid_lps_mm, _AXIAL_MM) for level in result.levels[:_N_AXIALS]),
    )


def render_page(
    views: PageViews | None, result: StudyResult, language: Language = Language.EN, whose: Whose | None = None
) -> RgbImage:
    """Draw the page from its pictures and the result; returns the same as :func:`render_summary`.

    Args:
        whose: the patient and study in the first line; ``None``: the page does not say.
    """
    figure = page_figure(views, result, language, whose)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels: RgbImage = np.asarray(canvas.buffer_rgba(), dtype=np.uint8)  # type: ignore[no-untyped-call]
    return pixels[:, :, :3].copy()


def without_whose(page: RgbImage) -> RgbImage:
    """The same page without the line that says whose it is."""
    nameless = page.copy()
    below = int(_WHOSE.y + _WHOSE.height)
    nameless[:below, int(_WHOSE.x) :] = page[below, int(_WHOSE.x) - 1]
    return nameless


def page_figure(
    views: PageViews | None, result: StudyResult, language: Language = Language.EN, whose: Whose | None = None
) -> Figure:
    """The page as a figure, before it is rendered to pixels or PDF; arguments as for :func:`render_page`."""
    figure = Figure(figsize=(WIDTH_PX / _DPI, HEIGHT_PX / _DPI), dpi=_DPI, facecolor=BACKGROUND)
    sheet = Sheet(figure, language)
    _headline(sheet, result)
    if whose is not None:
        _put_whose(sheet, whose)
    if result.status == "measured":
        _measured(sheet, views, result)
    else:
        _not_measured(sheet, views, result)
    return figure


def _put_whose(sheet: Sheet, whose: Whose) -> None:
    """One line as large as fits; a longer one ends with an ellipsis, for the header has all of it."""
    words = sheet.say(whose_text(whose, sheet.language))
    first, *rest = wrapped(words, _LEAST_WHOSE_PX, _WHOSE.width - 2 * _LEAST_WHOSE_PX)
    put_fitted(sheet, _WHOSE, f"{first} …" if rest else words, 16, WHITE, least_px=_LEAST_WHOSE_PX)


def _headline(sheet: Sheet, result: StudyResult) -> None:
    """What was found in one line, the values in the next, what to think of them in the last. A fracture comes first."""
    # a study that was not measured shows no value
    category = result.bmd.category if result.status == "measured" else None
    fractures = fractures_of(result)
    # a fragility fracture is osteoporosis at any BMD
    accent = AcrCategory.OSTEOPOROSIS if fractures else category
    put_block(sheet, Box(0, 0, WIDTH_PX, 122), PANEL)
    put_block(sheet, Box(0, 0, 12, 122), _ACCENT[accent] if accent is not None else DIM)
    density, room = density_headline(result), WIDTH_PX - 50
    if category is not None:
        density = joined((density, phrase("(ACR, {limits})", limits=category_limits(result))), "  ")
    value, low = value_text(result), low_text(result)
    said = joined((value, low), "; ") if low else value
    # a fracture takes the large line, so that the BMD moves down
    title, lines, size_px = (fractures_text(fractures), (density, said), 18.0) if fractures else (density, (said,), 22.0)
    put_fitted(sheet, Box(30, 22, room, 40), sheet.say(title), 30 if fractures else 32, WHITE, bold=True)
    shown = [sheet.say(line) for line in lines if line]
    for line, y in zip(shown, (56, 76) if fractures else (63,), strict=False):
        put_fitted(sheet, Box(30, y, room, 28), line[:1].upper() + line[1:], size_px, WHITE)
    note = not_measured_caveat(result) if result.status == "not_measured" else SCREENING
    if category is AcrCategory.NORMAL:
        note = joined((note, NORMAL_CAVEAT), "  ")
    place, bold = Box(30, 98 if fractures else 95 if shown else 72, room, 24), category is AcrCategory.NORMAL
    put_fitted(sheet, place, sheet.say(note), 17, AMBER, bold=bold, least_px=13)


def _measured(sheet: Sheet, views: PageViews | None, result: StudyResult) -> None:
    levels = _findings(sheet, result) or (sheet.say(phrase("All measured levels are included in the mean.")),)
    sections = (
        Section(sheet.say(phrase("Levels")), levels),
        Section(sheet.say(phrase("Notes")), tuple(sheet.sentence(note) for note in page_notes(result))),
        Section(sheet.say(phrase("Scan and calibration")), _scan(sheet, result)),
    )
    columns = [[Box(14 + 422 * n, HEIGHT_PX - below - 4, 402, below) for n in range(3)] for below in _BELOW_PX]
    text = report_text(result, sheet.language)
    pasted = Section(sheet.say(phrase("For the report")), (text.findings, text.impression))
    used = put_sections(sheet, columns, sections, pasted)
    less_px = columns[0][0].y - used[0].y
    excluded = tuple(level.level for level in result.levels if not level.usable)
    if views is not None:
        _pictures(sheet, views, result, excluded, less_px)
    _levels(sheet, _TABLE, result)
    put_bars(sheet, Box(_BARS.x, _BARS.y, _BARS.width, _BARS.height - less_px), result)


def _pictures(sheet: Sheet, views: PageViews, result: StudyResult, excluded: tuple[Level, ...], less_px: float) -> None:
    sagittal, coronal = phrase("curved sagittal reformat"), phrase("curved coronal reformat")
    long_views = ((_PICTURE, views.sagittal, ("A", "P"), sagittal), (_CORONAL, views.coronal, ("R", "L"), coronal))
    for box, view, sides, name in long_views:
        if view is not None:
            place = Box(box.x, box.y, box.width, box.height - less_px)
            put_view(sheet, place, view, sides, title=sheet.say(name), excluded=excluded, long=True)
    side = _AXIALS.width / 2
    for n, (level, axial) in enumerate(zip(result.levels, views.axials, strict=False)):
        box = Box(_AXIALS.x + side * (n % 2), _AXIALS.y + side * (n // 2), side - 4, side - 4)
        put_view(sheet, box, axial, ("R", "L"), title=level.level.name, excluded=excluded, long=False)


def _not_measured(sheet: Sheet, views: PageViews | None, result: StudyResult) -> None:
    left = 30.0
    if views is not None:
        excluded: tuple[Level, ...] = tuple(level.level for level in result.levels)
        title = sheet.say(phrase("sagittal"))
        place = _filled(_NOT_MEASURED_PICTURE, views.sagittal)
        put_view(sheet, place, views.sagittal, ("A", "P"), title=title, excluded=excluded, long=True)
        left = 510.0
    room = WIDTH_PX - left - 20
    # a fracture is in the headline and among the details
    shown = [reason for reason in all_reasons(result) if reason.code != LevelFindingCode.FRACTURE]
    reasons = [sheet.sentence(reason.detail) for reason in shown]
    y, left_over = _put_reasons(sheet, Box(left, 146, room, _REASONS_UNTIL_PX - 146), reasons)
    details = (*left_over, *_findings(sheet, result))
    sections = [Section(sheet.say(phrase("Details")), details)] if details else []
    others = [phrase("Series examined: {scanner}", scanner=scanner_text(result.facts))] if result.facts is not None else []
    for why, n in Counter(series.detail for series in result.series_left_out).items():
        one = phrase("1 series excluded: {why}", why=why)
        others.append(one if n == 1 else phrase("{n} series excluded: {why}", n=n, why=why))
    if others:
        sections.append(Section(sheet.say(phrase("Series of the study")), tuple(sheet.sentence(other) for other in others)))
    put_sections(sheet, [[Box(left, y + 16, room, HEIGHT_PX - y - 26)]], sections)


def _filled(box: Box, view: View) -> Box:
    """The upper left part of a box that the picture fills, so that title and scale are on the picture."""
    width_mm, height_mm = view.right_mm - view.left_mm, abs(view.bottom_mm - view.top_mm)
    mm_per_px = max(width_mm / box.width, height_mm / box.height)
    return Box(box.x, box.y, width_mm / mm_per_px, height_mm / mm_per_px)


def _put_reasons(sheet: Sheet, box: Box, reasons: Sequence[str]) -> tuple[float, tuple[str, ...]]:
    """Write why nothing was measured, as large as fits; returns the lower end and the reasons that do not fit."""
    for size_px in _REASON_SIZES_PX:
        blocks = [wrapped(reason, size_px, box.width, bold=True) for reason in reasons]
        if sum(1.33 * len(lines) + 0.5 for lines in blocks) * size_px <= box.height:
            break
    y = box.y
    for n, lines in enumerate(blocks):
        if y + 1.33 * size_px * len(lines) > box.y + box.height:
            return y, tuple(reasons[n:])
        for line in lines:
            put_text(sheet, box.x, y, line, size_px, WHITE, bold=True)
            y += 1.33 * size_px
        y += 0.5 * size_px
    return y, ()


def _levels(sheet: Sheet, box: Box, result: StudyResult) -> None:
    """Table of the levels, with the legend of the pictures below."""
    columns = (0.0, 56.0, 164.0, 230.0)
    heads = (phrase("level"), as_phrase("HU ± SD"), as_phrase("mg/cm3"), phrase("used"))
    for x, words in zip(columns, heads, strict=True):
        put_text(sheet, box.x + x, box.y + 4, sheet.say(words), 15, GREY)
    for n, level in enumerate(result.levels):
        y = box.y + 34 + 40 * n
        hu, sd, bmd = finite(level.hu_mean), finite(level.hu_sd), level_bmd(result.bmd, level.level)
        put_text(sheet, box.x, y, level.level.name, 19, level_color(level.level), bold=True)
        spread = "" if sd is None else f" ± {rounded(sd, 0):.0f}"
        attenuation = "–" if hu is None else f"{rounded(hu, 0):.0f}{spread}"
        put_fitted(sheet, Box(box.x + columns[1], y, 102, 24), attenuation, 18, least_px=12.5)
        put_text(sheet, box.x + columns[2], y, "–" if bmd is None else sheet.number(bmd), 18)
        counts = sheet.say(phrase("yes") if level.usable else phrase("no"))
        put_text(sheet, box.x + columns[3], y, counts, 18, WHITE if level.usable else AMBER)
    legend = phrase("Outer line: vertebral body; inner line: measured region; dashed: excluded.")
    y = box.y + 34 + 40 * max(len(result.levels), 4) + 10
    for n, line in enumerate(wrapped(sheet.say(legend), 14, box.width)):
        put_text(sheet, box.x, y + 18 * n, line, 14, GREY)


def _findings(sheet: Sheet, result: StudyResult) -> tuple[str, ...]:
    """One sentence per level that is excluded or has a finding, and per fractured vertebra that is not measured."""
    sentences = []
    for level in result.levels:
        if level.findings or not level.usable:
            words = findings_text(level) or phrase("not usable")
            name = level.level.name if level.usable else phrase("{level} excluded", level=level.level.name)
            sentences.append(sheet.sentence(joined((name, words), ": ")))
    measured = {level.level for level in result.levels}
    others = [fracture for fracture in fractures_of(result) if fracture.level not in measured]
    sentences += [sheet.sentence(joined((fracture.level.name, fracture.finding), ": ")) for fracture in others]
    return tuple(sentences)


def _scan(sheet: Sheet, result: StudyResult) -> tuple[str, ...]:
    lines = [] if result.facts is None else [sheet.sentence(scanner_text(result.facts))]
    calibration = result.bmd.calibration
    if calibration is not None:
        origin = phrase(
            "{equation}, reference material {material} ({id}; {source})",
            equation=equation_text(result),
            material=material_text(calibration),
            id=calibration.id,
            source=calibration.source,
        )
        lines.append(sheet.sentence(origin))
    software = result.software
    made_by = phrase("bmd-node {version}, segmenter {segmenter}", version=software.version, segmenter=software.segmenter)
    lines.append(f"{sheet.say(made_by)}.")
    if result.why_this_series:
        lines.append(sheet.sentence(phrase("Series chosen: {why}", why=result.why_this_series)))
    return tuple(lines)
