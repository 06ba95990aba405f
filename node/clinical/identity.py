"""Identity of a patient in a header, a message or a list. This is patient data: for decisions, never for a log.

Names have the five components of a DICOM person name (PS3.5 6.2.1): family^given^middle^prefix^suffix. HL7's XPN and FHIR's
HumanName are converted to this order when they are read.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from node.clinical.age import date_of, known_birth_date

#: Values of Issuer of Patient ID and its universal counterpart are compared without this prefix of FHIR and XDS.
_OID_PREFIX = "urn:oid:"
_DAYS = ("StudyDate", "SeriesDate", "AcquisitionDate", "AcquisitionDateTime", "ContentDate")
_SEXES = {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F", "O": "O", "OTHER": "O"}


@dataclass(frozen=True, slots=True)
class PatientIdentifier:
    """A number that an issuer assigned to a patient.

    Attributes:
        value: Patient ID (0010,0020), PID-3.1, or Identifier.value.
        issuer: Issuer of Patient ID (0010,0021), the name space of PID-3.4, or Identifier.system; empty: not given.
        issuer_universal_id: Universal Entity ID (0040,0032) of the issuer, or the universal ID of PID-3.4; empty: not given.
    """

    value: str = field(repr=False)
    issuer: str = ""
    issuer_universal_id: str = ""


@dataclass(frozen=True, slots=True)
class PatientIdentity:
    """What a source says about the identity of a patient; empty or ``None`` for what it does not say.

    Attributes:
        names: spellings of the name, each family^given^middle^prefix^suffix: one per component group (PS3.5 6.2.1.2) or
            repetition.
        sex: ``M``, ``F`` or ``O``, as Patient's Sex (0010,0040) has them.
    """

    identifiers: tuple[PatientIdentifier, ...] = ()
    names: tuple[str, ...] = field(default=(), repr=False)
    birth_date: dt.date | None = field(default=None, repr=False)
    sex: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Issuers:
    """The spellings of the issuers at this site: HL7, DICOM and FHIR name the same issuer differently.

    Attributes:
        spellings: groups of spellings, each of one issuer; an issuer in no group has one spelling.
        default_issuer: issuer of an identifier without an issuer; empty: the issuer of such an identifier is unknown.
    """

    spellings: tuple[tuple[str, ...], ...] = ()
    default_issuer: str = ""

    def names_of(self, identifier: PatientIdentifier) -> frozenset[str]:
        """Names of the issuer of an identifier, one per group of spellings; empty: unknown."""
        said = [name for name in (identifier.issuer, identifier.issuer_universal_id) if name.strip()]
        return frozenset(self._one_name(name) for name in said or [self.default_issuer] if name.strip())

    def _one_name(self, issuer: str) -> str:
        plain = _plain_issuer(issuer)
        for group in self.spellings:
            if plain in [_plain_issuer(name) for name in group]:
                return _plain_issuer(group[0])
        return plain


def _plain_issuer(issuer: str) -> str:
    return issuer.strip().casefold().removeprefix(_OID_PREFIX)


def identity_of(ds: Dataset) -> PatientIdentity:
    """Read the patient module of an image (PS3.3 C.7.1.1), with Other Patient IDs Sequence (0010,1002).

    The retired Other Patient IDs (0010,1000) has no issuer and is ignored. A birth date that a system has filled in is none.
    """
    entries = [ds, *(ds.get("OtherPatientIDsSequence") or [])]
    identifiers = [_identifier(entry) for entry in entries if _text(entry, "PatientID")]
    groups = [group.strip() for group in _text(ds, "PatientName").split("=")]
    return PatientIdentity(
        identifiers=tuple(dict.fromkeys(identifiers)),
        names=tuple(group for group in groups if group.strip("^ ")),
        birth_date=known_birth_date(date_of(_text(ds, "PatientBirthDate")), days_of(ds)),
        sex=sex_of(_text(ds, "PatientSex")),
    )


def days_of(ds: Dataset) -> tuple[dt.date, ...]:
    """The days that an image names: of the study, the series, the scan and the image (PS3.3 C.7.2.1, C.7.3.1, C.7.6.1)."""
    days = (date_of(_text(ds, keyword)) for keyword in _DAYS)
    return tuple(sorted({day for day in days if day is not None}))


def sex_of(text: str) -> str:
    """``M``, ``F`` or ``O`` of a Patient's Sex (0010,0040), also of a word that only HL7 and people write; else empty."""
    word = text.strip(" \0").upper()
    return _SEXES.get(word, "")


def _identifier(entry: Dataset) -> PatientIdentifier:
    qualifiers: Iterable[Dataset] = entry.get("IssuerOfPatientIDQualifiersSequence") or []
    universal = next((_text(item, "UniversalEntityID") for item in qualifiers), "")
    return PatientIdentifier(_text(entry, "PatientID"), _text(entry, "IssuerOfPatientID"), universal)


def _text(ds: Dataset, keyword: str) -> str:
    return str(ds.get(keyword) or "").strip()
