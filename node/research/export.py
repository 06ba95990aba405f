"""Results of the node as tables: one row per study, one per level, and the dictionary of their columns."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from node.common.errors import InputError
from node.records.runs import WITHDRAWN, RunRecord, RunState
from node.report import (
    LEVEL_COLUMNS,
    STUDY_COLUMNS,
    Cell,
    Kind,
    LevelColumn,
    Pseudonym,
    StudyColumn,
    StudyRow,
    WrittenHeader,
    levels_of,
)
from node.research.pseudonyms import OLDEST_AGE, Pseudonyms, patient_of
from node.study.result_folder import read_header, read_result


@dataclass(frozen=True, slots=True)
class ExportTable:
    """A table to write.

    Attributes:
        kinds: what each column holds.
    """

    name: str
    columns: tuple[str, ...]
    kinds: tuple[Kind, ...]
    rows: tuple[tuple[Cell, ...], ...]


def rows_of(runs: Iterable[RunRecord]) -> Iterator[StudyRow]:
    """Read the results of runs that have ended. What cannot be read is a row that says so."""
    for run in runs:
        measured_on = dt.datetime.fromtimestamp(run.updated_s).astimezone().date()
        uid = run.study_instance_uid
        if run.state is RunState.FAILED:
            yield StudyRow("", uid, None, WrittenHeader(), "failed", run.detail, measured_on, run.n_conflicts > 0)
        elif run.detail == WITHDRAWN:
            yield StudyRow("", uid, None, WrittenHeader(), "withdrawn", run.detail, measured_on, run.n_conflicts > 0)
        else:
            try:
                result = read_result(run.folder)
            except InputError as error:
                yield StudyRow("", uid, None, WrittenHeader(), "failed", str(error), measured_on, run.n_conflicts > 0)
            else:
                header = read_header(run.folder)
                yield StudyRow("", uid, result, header, result.status, "", measured_on, run.n_conflicts > 0)


def tables_of(rows: Sequence[StudyRow], pseudonyms: Pseudonyms | None) -> tuple[ExportTable, ExportTable]:
    """Build the tables of studies and of levels.

    Args:
        rows: of studies.
        pseudonyms: ``None``: identifiers, dates and text stay as they are.
    """
    studies = tuple(tuple(_cell(column, column.value(row), row, pseudonyms) for column in STUDY_COLUMNS) for row in rows)
    levels = tuple(
        tuple(_cell(column, column.value(one), one.study, pseudonyms) for column in LEVEL_COLUMNS) for one in levels_of(rows)
    )
    return _table("studies", STUDY_COLUMNS, studies), _table("levels", LEVEL_COLUMNS, levels)


def dictionary() -> ExportTable:
    """The data dictionary: what each column means, and what pseudonymising makes of it."""
    rows = tuple(
        (table, column.name, str(column.kind), column.unit, column.meaning, str(column.pseudonym))
        for table, columns in (("studies", STUDY_COLUMNS), ("levels", LEVEL_COLUMNS))
        for column in columns
    )
    names = ("table", "column", "kind", "unit", "meaning", "when_pseudonymised")
    return ExportTable("dictionary", names, (Kind.TEXT,) * len(names), rows)


def links_of(rows: Sequence[StudyRow], pseudonyms: Pseudonyms) -> ExportTable:
    """The table that links pseudonyms to studies."""
    names = (
        *("accession_number", "patient_id", "study_instance_uid"),
        *("pseudonym_of_accession_number", "pseudonym_of_patient_id", "pseudonym_of_study_instance_uid"),
    )
    links = tuple(
        (
            row.header.accession_number,
            row.header.patient_id,
            row.study_instance_uid,
            pseudonyms.of("accession_number", row.header.accession_number),
            pseudonyms.of("patient_id", _patient(row)) if row.header.patient_id else "",
            pseudonyms.of("study_instance_uid", row.study_instance_uid),
        )
        for row in rows
    )
    return ExportTable("links", names, (Kind.TEXT,) * len(names), links)


def _table(name: str, columns: Sequence[StudyColumn | LevelColumn], rows: tuple[tuple[Cell, ...], ...]) -> ExportTable:
    return ExportTable(name, tuple(c.name for c in columns), tuple(c.kind for c in columns), rows)


def _cell(column: StudyColumn | LevelColumn, value: Cell, row: StudyRow, pseudonyms: Pseudonyms | None) -> Cell:
    if value is None or value == "":
        return None
    if pseudonyms is None or column.pseudonym is Pseudonym.KEPT:
        return value
    if column.pseudonym is Pseudonym.DROPPED:
        return None
    if column.pseudonym is Pseudonym.SHIFTED and isinstance(value, dt.date):
        return pseudonyms.shifted(value, _patient(row))
    if column.pseudonym is Pseudonym.CAPPED and isinstance(value, int):
        return min(value, OLDEST_AGE)
    # the same number of two issuers is two patients
    return pseudonyms.of(column.name, _patient(row) if column.name == "patient_id" else str(value))


def _patient(row: StudyRow) -> str:
    return patient_of(row.header.issuer_of_patient_id, row.header.patient_id, row.study_instance_uid)
