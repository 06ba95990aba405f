"""A table with named columns, as it comes out of a CSV file or a workbook."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from node.common.errors import InputError

#: A cell: text, a number, or ``None`` if it is empty. Dates are text in ISO 8601.
Cell = str | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under names.

    Attributes:
        name: for messages, such as the name of the file.
        columns: their names, each once.
        rows: one tuple per row, in the order of ``columns``.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def cells(self, column: str) -> tuple[Cell, ...]:
        """Return a column.

        Raises:
            InputError: there is no such column.
        """
        if column not in self.columns:
            raise InputError(f"{self.name} has no column {column}; its columns are {', '.join(self.columns)}")
        index = self.columns.index(column)
        return tuple(row[index] for row in self.rows)

    def texts(self, column: str) -> tuple[str, ...]:
        """Return a column as text, with empty text for empty cells.

        Raises:
            InputError: there is no such column.
        """
        return tuple(as_text(cell) for cell in self.cells(column))


def as_text(cell: Cell) -> str:
    """The text of a cell without blanks around it: a workbook stores the number 1, where a list has the text 1."""
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell.strip()
    return str(int(cell)) if float(cell).is_integer() else repr(float(cell))


def is_same(cell: Cell, wanted: str) -> bool:
    """Whether a cell says a word; capitals and blanks do not count."""
    return as_text(cell).casefold() == wanted.strip().casefold()


def as_number(cell: Cell) -> float | None:
    """The number in a cell; ``None`` if the cell is empty.

    Raises:
        ValueError: the cell holds something else.
    """
    said = as_text(cell)
    if not said:
        return None
    number = float(said)
    if not math.isfinite(number):
        raise ValueError(f"{said} is no number")
    return number


def numbers(cells: Iterable[Cell], what: str) -> tuple[float | None, ...]:
    """Return cells as numbers; ``None`` for empty ones.

    Args:
        cells: a column.
        what: the column, for the message.

    Raises:
        InputError: a cell holds something else; the message says which one, and not what it holds.
    """
    found: list[float | None] = []
    for n, cell in enumerate(cells, start=1):
        try:
            found.append(as_number(cell))
        except ValueError as error:
            raise InputError(f"column {what}, entry {n}: this is no number. Correct it, or leave it empty") from error
    return tuple(found)


def is_numeric(cells: Iterable[Cell]) -> bool:
    """Whether all cells that are not empty hold numbers, and at least one does."""
    some = False
    for cell in cells:
        try:
            some = as_number(cell) is not None or some
        except ValueError:
            return False
    return some


def date_of_cell(cell: Cell) -> dt.date | None:
    """The date in a cell (ISO 8601, or YYYYMMDD as in DICOM); ``None`` if there is none."""
    try:
        return dt.date.fromisoformat(as_text(cell)[:10])
    except ValueError:
        return None


def table_of(name: str, rows: Sequence[Mapping[str, Cell]]) -> Table:
    """A table of rows that all have the same columns."""
    columns = tuple(rows[0]) if rows else ()
    return Table(name, columns, tuple(tuple(row[column] for column in columns) for row in rows))
