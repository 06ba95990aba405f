"""Two headers of one series: one patient, or two?"""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from node.clinical.agreed_header import agreed_header
from node.clinical.agreement import IdentityAttribute as A
from node.clinical.agreement import WrittenIdentity, agreement_of, differing_among, written_identity
from node.clinical.identity import Issuers
from node.clinical.same_name import same_name


def misread(name: str, encoding: str) -> str:
    """A name as it is read where the header lacks its character set."""
    return name.encode(encoding).decode("latin-1")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("DOE^JANE", "Doe^Jane"),
        ("DOE^JANE", " DOE^JANE "),
        ("Doe^Jane", "Doe, Jane"),
        ("Doe^Jane", "Jane Doe"),
        ("Doe^Jane^^Dr", "Doe^Jane^^^Dr"),  # the prefix of DICOM, and that of HL7's XPN
        ("Doe^Jane^Mary", "Doe^Jane"),
        ("O'Neil^Pat", "ONEIL^PAT"),
        ("Müller^Anna", "MUELLER^ANNA"),
        ("Müller^Anna", "Muller^Anna"),
        ("Müller^Anna", misread("Müller^Anna", "utf-8")),
        ("Müller^Anna", "M?ller^Anna"),
        ("Müller^Anna", "M\ufffdller^Anna"),
        ("Иванов^Иван", misread("Иванов^Иван", "iso8859_5")),
        ("Иванов^Иван", misread("Иванов^Иван", "utf-8")),
        ("山田^太郎", misread("山田^太郎", "iso2022_jp")),
        ("Yamada^Tarou=山田^太郎", "Yamada^Tarou"),
        ("Featherstonehaugh^Marmaduke", "Featherstonehaugh^Mar"),
        ("^^^^", "Doe^Jane"),
    ],
)
def test_spellings_of_one_name(one: str, other: str) -> None:
    assert same_name(one, other)
    assert same_name(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Doe^Jane", "Doe^John"), ("Meier^Anna", "Maier^Anna"), ("山田^太郎", "鈴木^一郎"), ("Müller^Anna", "Möller^Anna"),
     ("M?ller^Anna", "Mayer^Anna")],
)  # fmt: skip
def test_other_names(one: str, other: str) -> None:
    assert not same_name(one, other)
    assert not same_name(other, one)


def header(**values: str) -> Dataset:
    ds = Dataset()
    usual = {
        "PatientID": "4711", "IssuerOfPatientID": "KIS", "PatientName": "Doe^Jane", "PatientBirthDate": "19560101",
        "PatientSex": "F", "StudyInstanceUID": "1.2", "StudyDate": "20260310", "AccessionNumber": "A1",
    }  # fmt: skip
    for keyword, value in (usual | values).items():
        setattr(ds, keyword, value)
    return ds


def written(**values: str) -> WrittenIdentity:
    return written_identity(header(**values))


@pytest.mark.parametrize(
    ("values", "attribute"),
    [
        ({"PatientID": "4712"}, A.PATIENT_ID),
        ({"PatientID": "04711"}, A.PATIENT_ID),
        ({"IssuerOfPatientID": "OTHER"}, A.ISSUER),
        ({"PatientName": "Doe^John"}, A.NAME),
        ({"PatientBirthDate": "19560102"}, A.BIRTH_DATE),
        ({"PatientSex": "M"}, A.SEX),
    ],
)
@pytest.mark.parametrize("n", [1, 50, 99])
def test_what_names_another_patient(values: dict[str, str], attribute: A, n: int) -> None:
    images = [written()] * (100 - n) + [written(**values)] * n
    assert agreement_of(images).differing == (attribute,)
    assert differing_among(images) == (attribute,)


@pytest.mark.parametrize(
    ("values", "attribute"),
    [
        ({"PatientID": " 4711"}, A.PATIENT_ID),
        ({"PatientID": "4711^^^KIS^MR"}, A.PATIENT_ID),
        ({"PatientID": ""}, A.PATIENT_ID),
        ({"IssuerOfPatientID": "kis"}, A.ISSUER),
        ({"IssuerOfPatientID": "urn:oid:KIS"}, A.ISSUER),
        ({"IssuerOfPatientID": ""}, A.ISSUER),
        ({"PatientName": "DOE^JANE"}, A.NAME),
        ({"PatientName": ""}, A.NAME),
        ({"PatientBirthDate": ""}, A.BIRTH_DATE),
        ({"PatientBirthDate": "19000101"}, A.BIRTH_DATE),
        ({"PatientBirthDate": "20260310"}, A.BIRTH_DATE),
        ({"PatientSex": "f"}, A.SEX),
        ({"PatientSex": "FEMALE"}, A.SEX),
        ({"PatientSex": "O"}, A.SEX),
        ({"PatientSex": ""}, A.SEX),
    ],
)
def test_what_is_no_difference_is_told_and_the_fact_is_taken(values: dict[str, str], attribute: A) -> None:
    found = agreement_of([written(**values), *[written()] * 99])
    assert (found.differing, found.varying) == ((), (attribute,))
    agreed = agreed_header([header(**values), *[header()] * 99])
    assert written_identity(agreed) == written()


def test_issuers_that_the_site_knows_as_one_are_one() -> None:
    images = [written(), written(IssuerOfPatientID="1.2.3.4")]
    assert agreement_of(images).differing == (A.ISSUER,)
    assert agreement_of(images, Issuers((("KIS", "1.2.3.4"),))).differing == ()


def test_a_number_that_only_a_minority_states_is_not_the_patients() -> None:
    assert agreement_of([written(PatientID="")] * 60 + [written()] * 40).differing == (A.PATIENT_ID,)
    assert agreement_of([written(PatientID="")] * 100).differing == ()


def test_study_and_order_of_which_images() -> None:
    rest = [header(StudyID="7")] * 3
    other = header(AccessionNumber="A2", StudyID="8", StudyDate="20260311")
    agreed = agreed_header([other, *rest])
    assert "AccessionNumber" not in agreed  # one order, or none
    assert (agreed.StudyID, agreed.StudyDate) == ("7", "20260310")  # those of most images
    assert agreed_header([header(AccessionNumber=""), *rest]).AccessionNumber == "A1"
