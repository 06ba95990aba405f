"""Do the images of a series, or of a study, name one patient? The rule is in ``docs/identity.md``.

Nothing in here holds a value where a person could read it: what is said names attributes.
"""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydicom.dataset import Dataset

from node.clinical.age import date_of, known_birth_date
from node.clinical.identity import Issuers, PatientIdentifier, days_of, sex_of
from node.clinical.same_name import is_name, same_name

_NO_ISSUERS = Issuers()
#: What pydicom raises for a value that cannot be decoded.
UNREADABLE = (ValueError, TypeError, KeyError, LookupError, AttributeError, NotImplementedError, OverflowError)


class IdentityAttribute(StrEnum):
    """What names a patient in an image (PS3.3 C.7.1.1)."""

    PATIENT_ID = "Patient ID"
    ISSUER = "Issuer of Patient ID"
    NAME = "Patient's Name"
    BIRTH_DATE = "Patient's Birth Date"
    SEX = "Patient's Sex"


@dataclass(frozen=True, slots=True)
class WrittenIdentity:
    """Who the patient of an image is, as its header writes it; empty for what it does not say.

    Attributes:
        birth_date: ``None`` if it is absent or a filler value.
    """

    patient_id: str = field(default="", repr=False)
    issuer: str = field(default="", repr=False)
    issuer_universal_id: str = field(default="", repr=False)
    name: str = field(default="", repr=False)
    birth_date_text: str = field(default="", repr=False)
    birth_date: dt.date | None = field(default=None, repr=False)
    sex: str = field(default="", repr=False)

    @property
    def has_filler_birth_date(self) -> bool:
        """Whether a day is written that is no birth date."""
        return self.birth_date is None and date_of(self.birth_date_text) is not None


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a comparison of images has shown.

    Attributes:
        differing: attributes that name another patient in some images; empty: they are all of one patient.
        varying: attributes that some images lack, or write in another way.
    """

    differing: tuple[IdentityAttribute, ...] = ()
    varying: tuple[IdentityAttribute, ...] = ()


def written_identity(ds: Dataset) -> WrittenIdentity:
    """Read it from a header."""
    qualifiers = _value(ds, "IssuerOfPatientIDQualifiersSequence") or ()
    universal = next((text_of(item, "UniversalEntityID") for item in qualifiers if isinstance(item, Dataset)), "")  # type: ignore[attr-defined]
    born = text_of(ds, "PatientBirthDate")
    return WrittenIdentity(
        patient_id=text_of(ds, "PatientID"),
        issuer=text_of(ds, "IssuerOfPatientID"),
        issuer_universal_id=universal,
        name=text_of(ds, "PatientName"),
        birth_date_text=born,
        birth_date=known_birth_date(date_of(born), days_of(ds)),
        sex=text_of(ds, "PatientSex"),
    )


def text_of(ds: Dataset, keyword: str) -> str:
    """A value as text, with its blanks; empty if it is absent or cannot be read."""
    value = _value(ds, keyword)
    try:
        return "" if value is None else str(value)
    except UNREADABLE:
        return ""


def _value(ds: Dataset, keyword: str) -> object:
    try:
        value: object = ds.get(keyword)
    except UNREADABLE:
        return None
    return value


def agreement_of(images: Iterable[WrittenIdentity], issuers: Issuers = _NO_ISSUERS) -> Agreement:
    """Compare the images of one series.

    A value that is lacking in a minority is no difference. A Patient ID that only a minority states is one: nothing shows
    that the others are of the same patient.
    """
    counted = Counter(images)
    differing = _differing(counted, issuers)
    has_number = sum(n for one, n in counted.items() if _number(one))
    if 0 < has_number * 2 < counted.total():
        differing = tuple(dict.fromkeys((IdentityAttribute.PATIENT_ID, *differing)))
    varying = [
        name for name in IdentityAttribute if name not in differing and len({_written(one, name) for one in counted}) > 1
    ]
    return Agreement(differing, tuple(varying))


def differing_among(images: Iterable[WrittenIdentity], issuers: Issuers = _NO_ISSUERS) -> tuple[IdentityAttribute, ...]:
    """Attributes in which images name different patients, of what they state: for the series of a study, and for copies."""
    return _differing(Counter(images), issuers)


def _differing(counted: Mapping[WrittenIdentity, int], issuers: Issuers) -> tuple[IdentityAttribute, ...]:
    if len(counted) < 2:
        return ()
    found = []
    for attribute in IdentityAttribute:
        stated: Counter[WrittenIdentity] = Counter()
        of_value: dict[object, WrittenIdentity] = {}
        for one, n in counted.items():
            value = _stated(one, attribute)
            if value:
                stated[of_value.setdefault(value, one)] += n
        # with the most frequent one: of thousands of values, each is compared once
        usual = stated.most_common(1)
        if any(not _same(usual[0][0], other, attribute, issuers) for other in stated):
            found.append(attribute)
    return tuple(found)


def _same(one: WrittenIdentity, other: WrittenIdentity, attribute: IdentityAttribute, issuers: Issuers) -> bool:
    match attribute:
        case IdentityAttribute.PATIENT_ID:
            return _number(one) == _number(other)
        case IdentityAttribute.ISSUER:
            return bool(_issuers_of(one, issuers) & _issuers_of(other, issuers))
        case IdentityAttribute.NAME:
            return same_name(one.name, other.name)
        case IdentityAttribute.BIRTH_DATE:
            return one.birth_date == other.birth_date
        case IdentityAttribute.SEX:
            # "other" contradicts nobody: it is what systems write that do not know
            sexes = {sex_of(one.sex), sex_of(other.sex)}
            return sexes != {"M", "F"}


def _stated(one: WrittenIdentity, attribute: IdentityAttribute) -> object:
    """What an image states of an attribute; empty or ``None`` if it states nothing."""
    match attribute:
        case IdentityAttribute.PATIENT_ID:
            return _number(one)
        case IdentityAttribute.ISSUER:
            return tuple(sorted(_issuers_of(one, _NO_ISSUERS)))
        case IdentityAttribute.NAME:
            return one.name if is_name(one.name) else ""
        case IdentityAttribute.BIRTH_DATE:
            return one.birth_date
        case IdentityAttribute.SEX:
            return sex_of(one.sex)


def _written(one: WrittenIdentity, attribute: IdentityAttribute) -> tuple[str, ...]:
    return {
        IdentityAttribute.PATIENT_ID: (one.patient_id,),
        IdentityAttribute.ISSUER: (one.issuer, one.issuer_universal_id),
        IdentityAttribute.NAME: (one.name,),
        IdentityAttribute.BIRTH_DATE: (one.birth_date_text,),
        IdentityAttribute.SEX: (one.sex,),
    }[attribute]


def plain_number(patient_id: str) -> str:
    """Patient ID without padding, case and width of letters, and without the further components of an HL7 CX."""
    first = patient_id.split("^")[0].replace("\0", " ")
    return " ".join(unicodedata.normalize("NFKC", first).casefold().split())


def _number(one: WrittenIdentity) -> str:
    return plain_number(one.patient_id)


def _issuers_of(one: WrittenIdentity, issuers: Issuers) -> frozenset[str]:
    identifier = PatientIdentifier("-", one.issuer.replace("\0", " "), one.issuer_universal_id.replace("\0", " "))
    return Issuers(issuers.spellings).names_of(identifier)
