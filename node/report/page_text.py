"""Text of the summary page: measured in the font it is drawn in, wrapped, and set in columns that hold all of it."""

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
#: Points of one pixel of the page, which is drawn with 100 pixels to the inch.
POINTS_PER_PX = 0.72
#: Sizes of running text, the largest first; the smallest is 10 px where the page is shown 1024 px wide.
_SIZES_PX = (15.0, 14.0, 13.0, 12.5)
_LINE = 1.28
#: From the base line to the top of a tall letter, as a part of the size (DejaVu Sans).
_ASCENT = 0.76
#: Drawn glyphs are fitted to whole pixels, which makes a line a little longer than its glyphs are by themselves.
_HINTING = 1.02

Color = str | tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A place on the page in pixels; y counts from the top."""

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
    """The page that is being drawn, and its language."""

    figure: Figure
    language: Language

    def say(self, text: str) -> str:
        """In the language of the page, with units as they are printed."""
        return say(text, self.language).replace("mg/cm3", "mg/cm³").replace("mm3", "mm³").replace(" cm3", " cm³")

    def sentence(self, text: str) -> str:
        """Likewise, with a capital and a full stop."""
        words = self.say(text)
        return words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".")

    def number(self, value: float, spec: str = "") -> str:
        """A number as the language writes it."""
        return self.say(Phrase(f"{{value:{spec}}}", {"value": value}))


def put_text(
    sheet: Sheet, x: float, y: float, words: str, size_px: float, color: Color = WHITE, *, bold: bool = False
) -> Text:
    """Write one line with its upper left corner at (x, y) px; the words are in the language of the page already.

    Placed by the base line: by the top, a line with Ä or ³ would hang lower than its neighbours.
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
    """Write one line, as large as it may be and fits."""
    while size_px > least_px and width_px(words, size_px, bold=bold) > box.width:
        size_px -= 1.0
    put_text(sheet, box.x, box.y, words, size_px, color, bold=bold)


def width_px(words: str, size_px: float, *, bold: bool = False) -> float:
    """Width of a line."""
    return sum(_advance(character, bold) for character in words) * size_px * _HINTING


@functools.cache
def _advance(character: str, bold: bool) -> float:
    """Width of a character as a part of the size."""
    font = get_font(findfont(FontProperties(family=FONT, weight="bold" if bold else "normal")))
    font.set_size(100, 72)
    return font.load_char(ord(character), flags=LoadFlags.NO_HINTING).linearHoriAdvance / 65536 / 100


def wrapped(words: str, size_px: float, room_px: float, *, bold: bool = False) -> list[str]:
    """Lines no longer than the room; a word that is longer, such as a UID, is broken."""
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


def put_sections(sheet: Sheet, boxes: Sequence[Sequence[Box]], sections: Sequence[Section]) -> Sequence[Box]:
    """Write all sections: one to a column where they fit, else running on from column to column.

    Args:
        boxes: columns of equal size, several ways: a later one, which gives more room, is used if the ones before do not do.

    Returns:
        The columns that were used. Where even the last ones are too small in the smallest type, the end says how many lines
        are missing.
    """
    columns, size_px, placed = _placed(boxes, sections)
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
    boxes: Sequence[Sequence[Box]], sections: Sequence[Section]
) -> tuple[Sequence[Box], float, list[list[_Line]] | None]:
    # rather a little less of the pictures than small type
    large = [(columns, size_px) for columns in boxes[:2] for size_px in _SIZES_PX[:2]]
    every = [(columns, size_px) for columns in boxes for size_px in _SIZES_PX]
    for columns, size_px in large if len(sections) <= len(boxes[0]) else ():
        apart = [_lines([section], size_px, columns[0].width) for section in sections]
        if all(len(lines) <= _rows(columns[0], size_px) for lines in apart):
            return columns, size_px, apart
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
    """Columns of so many rows; a heading does not stand alone at the end of one."""
    columns: list[list[_Line]] = [[]]
    for line in lines:
        last = columns[-1]
        if len(last) >= rows or (line.heading and len(last) == rows - 1 and not orphans):
            columns.append([])
        if line.words or columns[-1]:
            columns[-1].append(line)
    return columns
