"""Reads a theatre list as CSV: one line per operation, column names from the settings."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field

from node.clinical.identity import PatientIdentifier, PatientIdentity
from node.clinical.planned_operation import (
    CodedProcedure,
    OperationKey,
    Participant,
    PlannedOperation,
    PlanSource,
    PlanStatus,
    Role,
)
from node.common.errors import InputError
from node.plans.levels import named_levels
from node.records.planned_operations import MAX_ID_LENGTH
from node.settings.plans import PlanListSettings, with_offset

_SAYS_NO = ("", "0", "n", "no", "nein", "false")
_SEX = {"M": "M", "F": "F", "W": "F"}


@dataclass(frozen=True, slots=True)
class ListedOperation:
    """One line: the operation, and a unique message id."""

    operation: PlannedOperation
    message_id: str


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that could not be read.

    Attributes:
        number: line number in the file; the header line is 1.
        why: for people, without the content of the line.
        content: of the line.
    """

    number: int
    why: str
    content: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TheatreList:
    """Content of a file.

    Attributes:
        id: of the file: the first digits of its SHA-256.
        days: days in the readable lines, in the zone of the site.
    """

    id: str
    operations: tuple[ListedOperation, ...]
    bad_lines: tuple[BadLine, ...]
    days: frozenset[dt.date]


class _LineError(Exception):
    """Why a line cannot be used."""


def read_list(
    content: bytes, settings: PlanListSettings, zone: dt.tzinfo, sent_at: dt.datetime, received_at: dt.datetime
) -> TheatreList:
    """Read a theatre list; unreadable lines are reported, the others are used.

    Args:
        content: of the file.
        zone: time zone of its times.
        sent_at: when the file was written.

    Raises:
        InputError: the file cannot be read: another character set, or a missing column.
    """
    try:
        text = content.decode(settings.encoding)
    except UnicodeDecodeError:
        raise InputError(f"the file is not {settings.encoding}: set plans_list.encoding, e.g. cp1252 for Windows") from None
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=settings.delimiter, strict=True)
    try:
        names = [name.strip() for name in next(rows, [])]
    except csv.Error as error:
        raise InputError(f"the first line cannot be read as CSV ({error})") from None
    columns = _Columns(settings, names)
    file_id = hashlib.sha256(content).hexdigest()[:16]
    operations: dict[str, ListedOperation] = {}
    bad = []
    for number, row, why in _lines(rows):
        if why is None and not any(value.strip() for value in row):
            continue
        try:
            _refuse(why)
            operation = columns.operation(row, zone, sent_at, received_at)
            if operation.key.operation_id in operations:
                _refuse("the operation number is also in an earlier line")
            operations[operation.key.operation_id] = ListedOperation(operation, f"{file_id}:{number}")
        except _LineError as error:
            bad.append(BadLine(number, str(error), settings.delimiter.join(row)))
    days = frozenset(one.operation.starts.date() for one in operations.values() if one.operation.starts is not None)
    return TheatreList(file_id, tuple(operations.values()), tuple(bad), days)


def _lines(rows: Iterator[list[str]]) -> Iterator[tuple[int, list[str], str | None]]:
    """Number of the line, its values, and what is wrong with it as CSV."""
    number = 1
    while True:
        number += 1
        try:
            yield number, next(rows), None
        except StopIteration:
            return
        except csv.Error as error:
            yield number, [], f"it is not valid CSV ({error})"


def _refuse(why: str | None) -> None:
    if why is not None:
        raise _LineError(why)


class _Columns:
    """The columns of one file."""

    def __init__(self, settings: PlanListSettings, names: list[str]) -> None:
        self._settings = settings
        self._names = names
        named = {
            *(settings.operation_id, settings.date, settings.time, settings.patient_id, settings.patient_id_issuer),
            *(settings.family_name, settings.given_name, settings.birth_date, settings.sex, settings.procedure_code),
            *(settings.procedure, settings.surgeon, settings.surgeon_id, settings.place, settings.cancelled),
        }
        missing = sorted(named - {""} - set(names))
        if missing:
            raise InputError(
                f"the first line has no column {', '.join(missing)}: set the column names in [plans_list], "
                "empty for columns that do not exist; or set plans_list.delimiter"
            )

    def operation(self, row: list[str], zone: dt.tzinfo, sent_at: dt.datetime, received_at: dt.datetime) -> PlannedOperation:
        """Read a line.

        Raises:
            _LineError: it cannot be used.
        """
        if len(row) != len(self._names):
            raise _LineError(f"it has {len(row)} columns instead of {len(self._names)}")
        settings, values = self._settings, dict(zip(self._names, (value.strip() for value in row), strict=True))

        def said(column: str) -> str:
            return values[column] if column else ""

        operation_id, patient_id = said(settings.operation_id), said(settings.patient_id)
        for column, value in ((settings.operation_id, operation_id), (settings.patient_id, patient_id)):
            if not value or len(value) > MAX_ID_LENGTH or not value.isprintable():
                raise _LineError(f"column {column} is empty, too long, or has unprintable characters")
        day = self._time(settings.date, said(settings.date), settings.date_format)
        birth = self._time(settings.birth_date, said(settings.birth_date), settings.date_format)
        time = self._time(settings.time, said(settings.time), settings.time_format)
        if day is None:
            raise _LineError(f"column {settings.date} is empty")
        starts = dt.datetime.combine(day.date(), dt.time() if time is None else time.time(), zone)
        try:
            starts = with_offset(starts, zone)
        except ValueError:
            raise _LineError(f"column {settings.date} has a filler value instead of a day") from None
        is_cancelled = said(settings.cancelled).casefold() not in _SAYS_NO
        text = said(settings.procedure)
        procedure = CodedProcedure(said(settings.procedure_code), settings.coding_system, text)
        surgeon = Participant(Role.SURGEON, said(settings.surgeon), said(settings.surgeon_id))
        return PlannedOperation(
            key=OperationKey(PlanSource.THEATRE_LIST, settings.name, operation_id),
            status=PlanStatus.CANCELLED if is_cancelled else PlanStatus.PLANNED,
            sent_at=sent_at,
            received_at=received_at,
            patient=PatientIdentity(
                identifiers=(PatientIdentifier(patient_id, said(settings.patient_id_issuer) or settings.issuer),),
                names=_names(said(settings.family_name), said(settings.given_name)),
                birth_date=None if birth is None else birth.date(),
                sex=_SEX.get(said(settings.sex).upper(), ""),
            ),
            starts=starts,
            time_known=time is not None,
            procedures=(procedure,) if procedure.code or procedure.text else (),
            participants=(surgeon,) if surgeon.name or surgeon.id else (),
            place=said(settings.place),
            levels=named_levels([text]),
        )

    def _time(self, column: str, text: str, pattern: str) -> dt.datetime | None:
        if not text:
            return None
        try:
            return dt.datetime.strptime(text, pattern)  # the caller adds the zone of the site
        except ValueError:
            raise _LineError(f"column {column} does not have the format {pattern}") from None


def _names(family: str, given: str) -> tuple[str, ...]:
    """family^given; a full name in one column may be separated by a comma."""
    if family and not given and "," in family:
        family, _, given = family.partition(",")
    name = f"{family.strip()}^{given.strip()}".rstrip("^")
    return (name,) if name else ()
