"""Write tables as CSV, Parquet or an Excel workbook."""

from __future__ import annotations

import io
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from node.common.errors import ConfigurationError
from node.common.files import whole_file
from node.report import Kind, csv_text
from node.research.export import ExportTable
from node.research.read_tables import needs_research


class Format(StrEnum):
    """A format of tables."""

    CSV = "csv"
    PARQUET = "parquet"
    XLSX = "xlsx"


def write_tables(tables: Sequence[ExportTable], form: Format, out: Path) -> tuple[Path, ...]:
    """Write each table into a file of its own; existing ones are replaced.

    Raises:
        ConfigurationError: the folder cannot be written, or a library of the extra ``research`` is missing.
    """
    write = {Format.CSV: _csv, Format.PARQUET: _parquet, Format.XLSX: _workbook}[form]
    try:
        contents = {out / f"{table.name}.{form}": write(table) for table in tables}
        out.mkdir(parents=True, exist_ok=True)
        for path, content in contents.items():
            with whole_file(path) as file:
                file.write(content)
    except ModuleNotFoundError as error:
        raise needs_research(error) from error
    except OSError as error:
        raise ConfigurationError(f"{out} cannot be written: {error.strerror}") from error
    return tuple(contents)


def _csv(table: ExportTable) -> bytes:
    return csv_text(table.columns, table.rows).encode()


def _parquet(table: ExportTable) -> bytes:
    import pyarrow
    import pyarrow.parquet

    types = {
        Kind.TEXT: pyarrow.string(),
        Kind.NUMBER: pyarrow.float64(),
        Kind.WHOLE: pyarrow.int64(),
        Kind.DATE: pyarrow.date32(),
        Kind.YES_NO: pyarrow.bool_(),
    }
    schema = pyarrow.schema([(name, types[kind]) for name, kind in zip(table.columns, table.kinds, strict=True)])
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    arrays = [pyarrow.array(column, types[kind]) for column, kind in zip(columns, table.kinds, strict=True)]
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_arrays(arrays, schema=schema), file)
    return file.getvalue()


def _workbook(table: ExportTable) -> bytes:
    import openpyxl
    from openpyxl.cell import WriteOnlyCell

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet(table.name)
    sheet.freeze_panes = "A2"
    sheet.append(table.columns)
    for row in table.rows:
        cells = []
        for value in row:
            cell = WriteOnlyCell(sheet, value=value)
            if isinstance(value, str):
                # a text that begins with = is text, not a formula of whoever typed a Patient ID
                cell.data_type = "s"
            cells.append(cell)
        sheet.append(cells)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()
