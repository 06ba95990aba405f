"""Birth date and age: what a system has filled in is no fact."""

from __future__ import annotations

import datetime as dt

import pytest
from pydicom.dataset import Dataset

from node.clinical.age import age_at, date_of, known_birth_date
from node.clinical.identity import identity_of
from node.model import AgeDoubt

SCANNED = dt.date(2026, 3, 10)
FILLERS = ("00010101", "17530101", "18000101", "18991230", "19000101", "20260310", "20270101", "99991231", "18500101")


@pytest.mark.parametrize("text", FILLERS)
def test_a_filler_value_is_no_birth_date(text: str) -> None:
    assert known_birth_date(date_of(text), [SCANNED]) is None
    ds = Dataset()
    ds.PatientBirthDate, ds.AcquisitionDate = text, "20260310"
    assert identity_of(ds).birth_date is None


@pytest.mark.parametrize("text", ["19560101", "1956.01.01", "1956-01-01", "195601011200"])
def test_a_birth_date_in_any_form(text: str) -> None:
    assert known_birth_date(date_of(text), [SCANNED]) == dt.date(1956, 1, 1)


def test_nobody_is_born_in_the_future_even_where_no_day_is_known() -> None:
    assert known_birth_date(dt.date(2999, 1, 1), []) is None


@pytest.mark.parametrize(
    ("age", "born", "years", "doubt"),
    [
        ("066Y", "19600101", 66.0, None),
        ("065Y", "19600101", 65.0, None),  # the age of the order: a birthday apart
        ("064Y", "19600101", None, AgeDoubt.CONTRADICTION),
        ("006Y", "19600101", None, AgeDoubt.CONTRADICTION),
        ("000Y", "19600101", 66.0, None),
        ("000Y", "", None, AgeDoubt.FILLER),
        ("000D", "20260310", None, AgeDoubt.FILLER),
        ("000W", "19000101", None, AgeDoubt.FILLER),
        ("999Y", "", None, AgeDoubt.FILLER),
        ("066Y", "20260310", 66.0, None),
        ("066Y", "17530101", 66.0, None),
        ("", "20260310", None, AgeDoubt.FILLER),
        ("", "00010101", None, AgeDoubt.FILLER),
        ("", "", None, None),
        ("010D", "", pytest.approx(0.027, abs=0.001), None),
    ],
)
def test_age(age: str, born: str, years: float | None, doubt: AgeDoubt | None) -> None:
    found = age_at(age, date_of(born), SCANNED, [SCANNED])
    assert (found.years, found.doubt) == (years, doubt)
