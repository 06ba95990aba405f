"""Read tables of others: CSV as spreadsheets write it, Excel workbooks, Parquet."""

from __future__ import annotations

import csv
import datetime as dt
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from node.cohort.table import Cell, Table
from node.common.errors import ConfigurationError, InputError

#: Names of the table of studies in a folder that ``process`` or ``export`` has written.
STUDY_TABLES = ("studies.csv", "studies.parquet", "studies.xlsx")
_DELIMITERS = (",", ";", "\t")
#: A spreadsheet that separates cells by semicolons writes decimal commas.
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")


def needs_research(error: ModuleNotFoundError) -> ConfigurationError:
    """The error for a missing library of the extra."""
    name = (error.name or "a library").partition(".")[0]
    return ConfigurationError(f"{name} is not installed: install what cohorts need with pip install 'bmd-node[research]'")


def find_studies(path: Path) -> Path:
    """The table of studies in a folder of ``bmd-node process`` or ``bmd-node export``; a file is taken for one.

    Raises:
        InputError: there is no such table in the folder, or several.
    """
    if not path.is_dir():
        return path
    found = [path / name for name in STUDY_TABLES if (path / name).is_file()]
    if not found:
        raise InputError(
            f"{path} has no table of studies ({', '.join(STUDY_TABLES)}): give the folder that process or export wrote"
        )
    if len(found) > 1:
        raise InputError(f"{path} has several tables of studies: give one of {', '.join(str(one) for one in found)}")
    return found[0]


def read_table(path: Path) -> Table:
    """Read a table with one row of column names.

    CSV may be separated by commas, semicolons (then with decimal commas) or tabs. Of a workbook the first sheet is read.

    Raises:
        InputError: the file cannot be read; the message says what to do.
        ConfigurationError: a library of the extra ``research`` is missing.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist")
    kind = path.suffix.lower()
    try:
        if kind in (".csv", ".tsv", ".txt"):
            return _csv(path)
        if kind == ".xlsx":
            return _workbook(path)
        if kind == ".parquet":
            return _parquet(path)
    except ModuleNotFoundError as error:
        raise needs_research(error) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from error
    raise InputError(f"{path}: the name must end with .csv, .xlsx or .parquet")


def _csv(path: Path) -> Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f'{path} is not UTF-8: save it as "CSV UTF-8" in the spreadsheet') from error
    head = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=head.count)
    try:
        lines = [line for line in csv.reader(text.splitlines(), delimiter=delimiter, strict=True) if any(line)]
    except csv.Error as error:
        raise InputError(f"{path} is no CSV file: {error}") from error
    if not lines:
        raise InputError(f"{path} is empty")
    rows = [[_cell(said, delimiter) for said in line] for line in lines[1:]]
    return _table(path, lines[0], rows)


def _cell(said: str, delimiter: str) -> Cell:
    said = said.strip()
    if delimiter == ";" and _DECIMAL_COMMA.fullmatch(said):
        said = said.replace(",", ".")
    return said or None


def _workbook(path: Path) -> Table:
    import zipfile

    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        lines = [line for line in book.worksheets[0].iter_rows(values_only=True) if any(cell is not None for cell in line)]
        book.close()
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError) as error:
        raise InputError(f"{path} is no workbook: save it again as .xlsx") from error
    if not lines:
        raise InputError(f"{path}: the first sheet is empty")
    names = ["" if name is None else str(name) for name in lines[0]]
    # a sheet may be wider than its head, by cells that somebody once touched
    width = max((n for n, name in enumerate(names, start=1) if name), default=0)
    # and a row ends at its last cell
    empty = (None,) * width
    return _table(path, names[:width], [[_plain(cell) for cell in (*line, *empty)[:width]] for line in lines[1:]])


def _parquet(path: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        found = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise InputError(f"{path} is no Parquet file") from error
    rows = [[_plain(row[name]) for name in found.column_names] for row in found.to_pylist()]
    return _table(path, found.column_names, rows)


def _plain(value: object) -> Cell:
    if value is None:
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return None if math.isnan(value) else float(value)
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()[:10]
    return str(value).strip() or None


def _table(path: Path, names: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    columns = tuple(name.strip() for name in names)
    if "" in columns:
        raise InputError(f"{path}: column {columns.index('') + 1} has no name in the first row")
    twice = [name for name, n in Counter(columns).items() if n > 1]
    if twice:
        raise InputError(f"{path}: two columns are called {twice[0]}")
    for n, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise InputError(f"{path}, entry {n}: {len(row)} cells, but there are {len(columns)} columns")
    return Table(path.name, columns, tuple(tuple(row) for row in rows))
