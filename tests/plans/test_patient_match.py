"""Whose operation it is: identifier and issuer, with name and birth date as check."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from pydicom.dataset import Dataset

from node.clinical.age import date_of
from node.clinical.identity import Issuers, PatientIdentifier, PatientIdentity, identity_of
from node.clinical.matching import PatientMatch, match_patient, names_agree
from tests.plans.operations import PATIENT

SITE = Issuers(spellings=(("KIS", "1.2.276.0.76.3", "Klinikum Süd"), ("PRAXIS", "Praxis Nord")))


def numbered(value: str, issuer: str = "", universal: str = "", **changes: object) -> PatientIdentity:
    identity = replace(PATIENT, identifiers=(PatientIdentifier(value, issuer, universal),))
    return replace(identity, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("imaged", "match", "doubts"),
    [
        (numbered("4711", "KIS"), PatientMatch.SAME, []),
        (numbered(" 4711 ", "klinikum süd"), PatientMatch.SAME, []),
        (numbered("4711", "", "urn:oid:1.2.276.0.76.3"), PatientMatch.SAME, []),
        (numbered("4711", "PRAXIS"), PatientMatch.OTHER, []),
        (numbered("4711", "never heard of"), PatientMatch.OTHER, []),
        (numbered("04711", "KIS"), PatientMatch.OTHER, []),
        (numbered("", "KIS"), PatientMatch.OTHER, []),
        (numbered("4711"), PatientMatch.DOUBT, ["issuer_not_known"]),
        (numbered("4711", "KIS", names=("MUELLER^ANNA MARIA",)), PatientMatch.SAME, []),
        (numbered("4711", "KIS", names=("Anna^Müller",)), PatientMatch.SAME, []),
        (numbered("4711", "KIS", names=("Meier^Anna",)), PatientMatch.DOUBT, ["name_differs"]),
        (numbered("4711", "KIS", birth_date=dt.date(1950, 1, 4)), PatientMatch.DOUBT, ["birth_date_differs"]),
        (numbered("4711", "KIS", sex="M"), PatientMatch.DOUBT, ["sex_differs"]),
        (numbered("4711", "KIS", sex="O"), PatientMatch.SAME, []),
        (numbered("4711", "KIS", birth_date=None), PatientMatch.SAME, []),
        (numbered("4711", "KIS", birth_date=None, names=()), PatientMatch.DOUBT, ["nothing_to_check_by"]),
        (
            numbered("4711", "KIS", birth_date=dt.date(1980, 1, 1), names=("Meier^Max",), sex="M"),
            PatientMatch.DOUBT,
            ["name_differs", "birth_date_differs", "sex_differs"],
        ),
    ],
)
def test_match(imaged: PatientIdentity, match: PatientMatch, doubts: list[str]) -> None:
    for found in (match_patient(PATIENT, imaged, SITE), match_patient(imaged, PATIENT, SITE)):
        assert (found.match, [doubt.code for doubt in found.doubts]) == (match, doubts)


def test_doubts_name_no_patient() -> None:
    found = match_patient(PATIENT, numbered("4711", names=("Meier^Max",), birth_date=dt.date(1980, 1, 1)), SITE)
    text = " ".join(doubt.detail for doubt in found.doubts)
    assert not any(secret in text for secret in ("4711", "Meier", "Müller", "1980", "1950"))


def test_a_site_with_one_issuer_says_so() -> None:
    one = Issuers(spellings=(("KIS", "Klinikum"),), default_issuer="Klinikum")
    assert match_patient(PATIENT, numbered("4711"), one).match is PatientMatch.SAME
    assert match_patient(PATIENT, numbered("4711", "PRAXIS"), one).match is PatientMatch.OTHER


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ("Müller^Anna", "MUELLER^ANNA", True),
        ("Müller^Anna", "Muller^Anna", True),
        ("Müller^Anna", "Müller-Schmidt^Anna", True),
        ("Müller^Anna^^Prof. Dr. med.", "Müller^Anna", True),
        ("Dr. Müller^Anna", "Müller^Anna", True),
        ("von der Heide^Jörg", "HEIDE^JOERG", True),
        ("Weiß^René", "WEISS^RENE", True),
        ("Yamada^Tarou", "YAMADA^TAROU", True),
        ("Łukasz^Żak", "Zak^Lukasz", True),
        ("Müller^Anna", "Müller^Anne", False),
        ("Müller", "Müller^Anna", False),
        ("Müller", "Müller", True),
        ("Müller^Anna", "Meier^Anna", False),
        ("Ing^Peter", "Nat^Peter", False),
        ("^^", "Müller^Anna", False),
    ],
)
def test_names(one: str, other: str, agree: bool) -> None:
    assert names_agree((one,), (other,)) is agree
    assert names_agree((other,), (one,)) is agree


def test_reads_the_patient_of_an_image() -> None:
    ds, other, qualifiers = Dataset(), Dataset(), Dataset()
    ds.PatientID, ds.IssuerOfPatientID = "4711", "KIS"
    ds.PatientName = "Yamada^Tarou=山田^太郎"
    ds.PatientBirthDate, ds.PatientSex = "19500401", "F"
    qualifiers.UniversalEntityID = "1.2.3"
    other.PatientID, other.TypeOfPatientID = "X9", "TEXT"
    other.IssuerOfPatientIDQualifiersSequence = [qualifiers]
    ds.OtherPatientIDsSequence = [other]
    assert identity_of(ds) == PatientIdentity(
        (PatientIdentifier("4711", "KIS"), PatientIdentifier("X9", "", "1.2.3")),
        ("Yamada^Tarou", "山田^太郎"),
        dt.date(1950, 4, 1),
        "F",
    )


def test_an_empty_header_says_nothing() -> None:
    assert identity_of(Dataset()) == PatientIdentity()


@pytest.mark.parametrize(
    ("text", "day"), [("19500401", dt.date(1950, 4, 1)), ("195004", None), ("19501301", None), ("²9500401", None)]
)
def test_dates(text: str, day: dt.date | None) -> None:
    assert date_of(text) == day
