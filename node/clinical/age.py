"""Birth date and age of a patient as facts: values that a system fills in for want of one are none.

A database or a gateway that has no birth date writes the first day that it knows, and an anonymiser the day of the scan.
Such a value makes a newborn or a hundred-year-old of an adult.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection
from dataclasses import dataclass

from node.model import AgeDoubt

#: Days that stand for "no date". 0001-01-01: DateTime.MinValue of .NET. 1753-01-01: the first day of SQL Server. 1800-01-01:
#: the first of several RIS. 1858-11-17: day 0 of the modified Julian date (OpenVMS). 1899-12-30 and 1899-12-31: day 0 of OLE
#: Automation and of Excel. 1900-01-01: the default of SQL Server. 1904-01-01: day 0 of Excel for Mac.
_FILLERS = frozenset(
    {
        dt.date(1, 1, 1),
        dt.date(1753, 1, 1),
        dt.date(1800, 1, 1),
        dt.date(1858, 11, 17),
        dt.date(1899, 12, 30),
        dt.date(1899, 12, 31),
        dt.date(1900, 1, 1),
        dt.date(1904, 1, 1),
    }
)
#: Nobody alive was born before; every earlier first day of a calendar is covered by it.
_FIRST_YEAR = 1850
#: An age above this comes from a filler value; an assumption.
_OLDEST_YEARS = 120.0
#: Patient's Age (0010,1010) may be that of the order and birth date that of the scan, so they may differ by a year.
_MAX_DIFFERENCE_YEARS = 1.0

#: An Age String (PS3.5 table 6.2-1): days, weeks, months or years.
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_PER_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}
#: A DA has eight digits (PS3.5 table 6.2-1); dots are the form of ACR-NEMA, which readers have to accept, and hyphens
#: that of ISO 8601.
_DATE = re.compile(r"(\d{4})(\d{2})(\d{2})|(\d{4})([.-])(\d{2})\5(\d{2})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Age:
    """The age at the scan.

    Attributes:
        years: ``None``: not known.
        doubt: why it is not known, where the header seems to say it.
    """

    years: float | None
    doubt: AgeDoubt | None = None


def date_of(text: str) -> dt.date | None:
    """The day of a DICOM DA or of an HL7 date, ``YYYYMMDD…``; ``None`` if it is not a complete date."""
    found = _DATE.match(text.strip(" \0"))
    if found is None:
        return None
    year, month, day = (int(part) for part in (found[1] or found[4], found[2] or found[6], found[3] or found[7]))
    try:
        return dt.date(year, month, day)
    except ValueError:
        return None


def known_birth_date(born: dt.date | None, days: Collection[dt.date]) -> dt.date | None:
    """A birth date, if it is a fact.

    Args:
        born: as the header states it.
        days: of the study, the scan and the images. Nobody is measured on the day of birth: that day was filled in.

    Returns:
        ``None`` for a filler value, for a day in the future of the scan, and for an age that nobody reaches.
    """
    if born is None or born in _FILLERS or born.year < _FIRST_YEAR or born in days:
        return None
    last = max(days, default=dt.date.today())
    return None if born > last or last.year - born.year > _OLDEST_YEARS else born


def age_at(age: str, born: dt.date | None, scanned: dt.date | None, days: Collection[dt.date]) -> Age:
    """The age on the day of the scan: Patient's Age, else from birth date to scan.

    Args:
        age: Patient's Age (0010,1010), as written.
        born: Patient's Birth Date, as written.
        scanned: the day of the scan.
        days: as for :func:`known_birth_date`.
    """
    said = _years_of(age)
    known = known_birth_date(born, days)
    from_birth = None if known is None or scanned is None else _years_between(known, scanned)
    if from_birth is not None and not 0 <= from_birth <= _OLDEST_YEARS:
        from_birth = None
    if said is not None and from_birth is not None and abs(said - from_birth) > _MAX_DIFFERENCE_YEARS:
        return Age(None, AgeDoubt.CONTRADICTION)
    years = from_birth if said is None else said
    if years is not None:
        return Age(years)
    is_filler = (born is not None and known is None) or _AGE.fullmatch(age.strip(" \0").upper()) is not None
    return Age(None, AgeDoubt.FILLER if is_filler else None)


def _years_of(text: str) -> float | None:
    """An age string in years; ``None`` if it is none, or a filler value: no unit makes an age of 0."""
    found = _AGE.fullmatch(text.strip(" \0").upper())
    years = int(found[1]) / _PER_YEAR[found[2]] if found is not None else 0.0
    return years if 0 < years <= _OLDEST_YEARS else None


def _years_between(born: dt.date, scanned: dt.date) -> float:
    had_birthday = (scanned.month, scanned.day) >= (born.month, born.day)
    return float(scanned.year - born.year - (not had_birthday))
