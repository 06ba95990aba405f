"""Text of the summary page: measured, wrapped and set in columns."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ft2font import LoadFlags
from matplotlib.text import Text

from node.language.catalogue import Language, say
from node.language.phrase import Phrase, phrase

WIDTH_PX, HEIGHT_PX = 1280, 1024
BACKGROUND, PANEL = "#000000", "#15191d"
WHITE, GREY, DIM, AMBER = "#f2f2f2", "#b8bec4", "#6b737b", "#ffd479"
FONT = "DejaVu Sans"  # comes with matplotlib: the same page on every machine
#: Points per pixel: the page is drawn at 100 pixels per inch.
POINTS_PER_PX = 0.72
#: Sizes of running text, largest first; the smallest is 10 px on a page shown 1024 px wide.
_SIZES_PX = (15.0, 14.0, 13.0, 12.5)
_LINE = 1.28
#: From baseline to the top of a tall letter, relative to the size (DejaVu Sans).
_ASCENT = 0.76
#: Hinting aligns glyphs to whole pixels, which makes a line slightly longer.
_HINTING = 1.02

Color = str | tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle on the page in pixels; y counts from the top."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with its paragraphs, in the language of the page."""

    heading: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sheet:
    """The page being drawn, and its language."""

    figure: Figure
    language: Language

    def say(self, text: str) -> str:
        """Translate to the language of the page, with printed units."""
        return say(text, self.language).replace("mg/cm3", "mg/cm³").replace("mm3", "mm³").replace(" cm3", " cm³")

    def sentence(self, text: str) -> str:
        """Like :meth:`say`, with a capital and a full stop."""
        words = self.say(text)
        return words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".")

    def number(self, value: float, spec: str = "") -> str:
        """A number in the notation of the language."""
        return self.say(Phrase(f"{{value:{spec}}}", {"value": value}))


def put_text(
    sheet: Sheet, x: float, y: float, words: str, size_px: float, color: Color = WHITE, *, bold: bool = False
) -> Text:
    """Write one line with its upper left corner at (x, y) px; ``words`` are already translated.

    Aligned by the baseline: aligned by the top, a line with Ä or ³ would sit lower than its neighbours.
    """
    return sheet.figure.text(
        x / WIDTH_PX,
        1 - (y + _ASCENT * size_px) / HEIGHT_PX,
        words,
        fontsize=size_px * POINTS_PER_PX,
        color=color,
        weight="bold" if bold else "normal",
        family=FONT,
        va="baseline",
        parse_math=False,
    )


def put_fitted(
    sheet: Sheet, box: Box, words: str, size_px: float, color: Color = WHITE, *, bold: bool = False, least_px: float = 15.0
) -> None:
    """Write one line as large as fits."""
    while size_px > least_px and width_px(words, size_px, bold=bold) > box.width:
        size_px -= 1.0
    put_text(sheet, box.x, box.y, words, size_px, color, bold=bold)


def width_px(words: str, size_px: float, *, bold: bool = False) -> float:
    """Width of a line."""
    return sum(_advance(character, bold) for character in words) * size_px * _HINTING


@functools.cache
def _advance(character: str, bold: bool) -> float:
    """Width of a character relative to the size."""
    font = get_font(findfont(FontProperties(family=FONT, weight="bold" if bold else "normal")))
    font.set_size(100, 72)
    return font.load_char(ord(character), flags=LoadFlags.NO_HINTING).linearHoriAdvance / 65536 / 100


def has_glyphs(words: str) -> bool:
    """Whether the font of the page has a glyph for every character."""
    font = get_font(findfont(FontProperties(family=FONT)))
    return all(font.get_char_index(ord(character)) for character in words)


def wrapped(words: str, size_px: float, room_px: float, *, bold: bool = False) -> list[str]:
    """Wrap to the width; a longer word, such as a UID, is broken."""
    lines = [""]
    for word in _short_words(words, size_px, room_px, bold):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if width_px(longer, size_px, bold=bold) <= room_px or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _short_words(words: str, size_px: float, room_px: float, bold: bool) -> Iterator[str]:
    for word in words.split():
        while width_px(word, size_px, bold=bold) > room_px and len(word) > 1:
            fitting = next(
                n for n in range(len(word) - 1, 0, -1) if n == 1 or width_px(word[:n], size_px, bold=bold) <= room_px
            )
            yield word[:fitting]
            word = word[fitting:]
        yield word


@dataclass(frozen=True, slots=True)
class _Line:
    words: str
    heading: bool = False


def put_sections(
    sheet: Sheet, boxes: Sequence[Sequence[Box]], sections: Sequence[Section], extra: Section | None = None
) -> Sequence[Box]:
    """Write all sections: one per column if they fit, otherwise continued from column to column.

    Args:
        boxes: alternative sets of columns of equal size, smallest first; a larger set is used if the text does not fit.
        extra: a section below the first one, if there is room for it in the smallest columns.

    Returns:
        The columns used. If the text does not fit even there in the smallest size, the last line states how many lines are
        missing.
    """
    columns, size_px, placed = _placed(boxes, sections, extra)
    if placed is None:
        lines = _lines(sections, size_px, columns[0].width)
        room = _rows(columns[0], size_px) * len(columns)
        more = phrase("… and {n} more lines: see the structured report or result.json", n=len(lines) - room + 1)
        placed = _run_on([*lines[: room - 1], _Line(sheet.say(more))], _rows(columns[0], size_px), orphans=True)
    for column, lines in zip(columns, placed, strict=False):
        for n, line in enumerate(lines):
            y = column.y + _LINE * size_px * n
            size, color = (size_px + 1, WHITE) if line.heading else (size_px, GREY)
            put_text(sheet, column.x, y, line.words, size, color, bold=line.heading)
    return columns


def _placed(
    boxes: Sequence[Sequence[Box]], sections: Sequence[Section], extra: Section | None
) -> tuple[Sequence[Box], float, list[list[_Line]] | None]:
    # prefer slightly smaller pictures to small type
    large = [(columns, size_px) for columns in boxes[:2] for size_px in _SIZES_PX[:2]]
    every = [(columns, size_px) for columns in boxes for size_px in _SIZES_PX]
    for columns, size_px in large if len(sections) <= len(boxes[0]) else ():
        apart = [_lines([section], size_px, columns[0].width) for section in sections]
        if all(len(lines) <= _rows(columns[0], size_px) for lines in apart):
            first = _lines([sections[0], *([] if extra is None else [extra])], size_px, columns[0].width)
            return columns, size_px, [first, *apart[1:]] if len(first) <= _rows(columns[0], size_px) else apart
    for columns, size_px in (*large, *every):
        running = _run_on(_lines(sections, size_px, columns[0].width), _rows(columns[0], size_px))
        if len(running) <= len(columns):
            return columns, size_px, running
    return boxes[-1], _SIZES_PX[-1], None


def _rows(column: Box, size_px: float) -> int:
    return int(column.height / (_LINE * size_px))


def _lines(sections: Sequence[Section], size_px: float, room_px: float) -> list[_Line]:
    lines: list[_Line] = []
    for section in sections:
        if lines:
            lines.append(_Line(""))
        lines += [_Line(words, heading=True) for words in wrapped(section.heading, size_px + 1, room_px, bold=True)]
        for paragraph in section.paragraphs:
            lines += [_Line(words) for words in wrapped(paragraph, size_px, room_px)]
    return lines


def _run_on(lines: Sequence[_Line], rows: int, *, orphans: bool = False) -> list[list[_Line]]:
    """Columns of ``rows`` lines; a column does not end with a heading."""
    columns: list[list[_Line]] = [[]]
    for line in lines:
        last = columns[-1]
        if len(last) >= rows or (line.heading and len(last) == rows - 1 and not orphans):
            columns.append([])
        if line.words or columns[-1]:
            columns[-1].append(line)
    return columns
