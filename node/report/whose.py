"""Whose page it is: one line with the identity of the patient and the study, as the header of the images states it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from node.clinical.age import date_of
from node.language.catalogue import Language
from node.language.phrase import Phrase, joined, phrase
from node.model import StudyResult
from node.report.headers import patient_and_study_of, quiet
from node.report.page_text import has_glyphs

_SEXES = {"F": phrase("female"), "M": phrase("male"), "O": phrase("sex: other")}


@dataclass(frozen=True, slots=True)
class Whose:
    """Patient and study; empty or ``None`` for what the header does not state.

    Attributes:
        name: for a person: family name, given names.
        age_years: at the scan, if it is known beyond doubt.
        sex: ``F``, ``M`` or ``O``.
    """

    name: str = field(repr=False)
    patient_id: str = field(repr=False)
    birth_date: dt.date | None = field(repr=False)
    age_years: int | None = field(repr=False)
    sex: str = field(repr=False)
    study_date: dt.date | None
    accession_number: str = field(repr=False)


@quiet()
def whose_page(source: Dataset, result: StudyResult) -> Whose:
    """Read the identity.

    Args:
        source: header of an image of the study.
        result: of the study.
    """
    header = patient_and_study_of(source)
    facts = result.facts
    age = None if facts is None or facts.age_doubt is not None else facts.patient_age_years
    return Whose(
        name=_readable_name(str(header.PatientName or "")),
        patient_id=str(header.PatientID or ""),
        birth_date=date_of(str(header.PatientBirthDate or "")),
        age_years=None if age is None else int(age),
        sex=str(header.PatientSex or ""),
        study_date=date_of(str(header.StudyDate or "")),
        accession_number=str(header.AccessionNumber or ""),
    )


def whose_text(whose: Whose, language: Language) -> Phrase:
    """One line. Name and Patient ID are always named, even if the header has none."""
    parts: list[str] = [
        whose.name or phrase("name not stated"),
        phrase("ID {id}", id=whose.patient_id) if whose.patient_id else phrase("no Patient ID"),
    ]
    if whose.birth_date is not None:
        parts.append(phrase("born {day}", day=_day(whose.birth_date, language)))
    if whose.age_years is not None:
        parts.append(phrase("{years} years", years=whose.age_years))
    if whose.sex in _SEXES:
        parts.append(_SEXES[whose.sex])
    if whose.study_date is not None:
        parts.append(phrase("study of {day}", day=_day(whose.study_date, language)))
    if whose.accession_number:
        parts.append(phrase("accession {number}", number=whose.accession_number))
    return joined(parts, "  ·  ")


def _day(day: dt.date, language: Language) -> str:
    return f"{day:%d.%m.%Y}" if language is Language.DE else day.isoformat()


def _readable_name(value: str) -> str:
    """The first spelling that the font of the page can show; each is family^given^middle^prefix^suffix (PS3.5 6.2.1.2)."""
    spellings = [", ".join(part for part in _parts_of(group) if part) for group in value.split("=")]
    named = [spelling for spelling in spellings if spelling]
    return next((spelling for spelling in named if has_glyphs(spelling)), named[0] if named else "")


def _parts_of(group: str) -> tuple[str, str]:
    family, given, middle, *_ = [*(part.strip() for part in group.split("^")), "", "", ""]
    return family, f"{given} {middle}".strip()
