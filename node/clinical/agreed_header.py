"""One header for all images of a series: patient, study and order as they agree on them.

Everything that says whose study it is takes it from here, and never from one image. The rules are in ``docs/identity.md``.
The images are of one patient: :mod:`node.clinical.agreement` is asked before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from pydicom.dataset import Dataset

from node.clinical.agreement import UNREADABLE, WrittenIdentity, text_of, written_identity
from node.clinical.identity import sex_of
from node.clinical.same_name import is_name

#: What most of the images state.
_OF_MOST = (
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "ReferringPhysicianName",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
)
#: What all images state that state anything: a wrong one would lead to another order, person or scanner.
_OF_ALL = (
    "AccessionNumber",
    "OtherPatientIDsSequence",
    "RequestAttributesSequence",
    "RequestedProcedureDescription",
    "PerformedProcedureStepDescription",
    "ReasonForTheRequestedProcedure",
    "RequestingPhysician",
    "Manufacturer",
    "ManufacturerModelName",
    "InstitutionName",
    "StationName",
    "DeviceSerialNumber",
    "SoftwareVersions",
)
_T = TypeVar("_T")
_ISSUER = ("IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence")
_IDENTITY: tuple[tuple[tuple[str, ...], Callable[[WrittenIdentity], object]], ...] = (
    (("PatientID",), lambda one: one.patient_id),
    (_ISSUER, lambda one: (one.issuer, one.issuer_universal_id)),
    (("PatientName",), lambda one: one.name if is_name(one.name) else ""),
    (("PatientBirthDate",), lambda one: one.birth_date),
    (("PatientSex",), lambda one: one.sex if sex_of(one.sex) else ""),
)
#: Attributes of an agreed header.
AGREED = (*(keyword for keywords, _ in _IDENTITY for keyword in keywords), *_OF_MOST, *_OF_ALL)
#: What has to be read to make one: the days tell a filler birth date.
KEYWORDS = (*AGREED, "StudyInstanceUID", "SeriesDate", "AcquisitionDate", "AcquisitionDateTime", "ContentDate")
#: The same for all images, so that a decision on the patient does not need them once more.
_DAYS = ("SeriesDate", "AcquisitionDate", "AcquisitionDateTime", "ContentDate")


def agreed_header(images: Sequence[Dataset]) -> Dataset:
    """The header that stands for all images of a series.

    Patient: what at least half of the images state, in the form that most of them have. Study: what more than half state.
    Accession number, order and scanner: what all state that state it, and at least half do. All else is left out.
    """
    if len(images) == 1:
        return images[0]
    agreed = Dataset()
    agreed.StudyInstanceUID = images[0].StudyInstanceUID
    for keyword in ("SpecificCharacterSet", *_DAYS):
        _copy(images[0], agreed, keyword)
    written = [written_identity(image) for image in images]
    for keywords, value_of in _IDENTITY:
        values = [value_of(one) for one in written]
        # a filler value stays in the objects where no image has a fact: the PACS has it, too
        stated = [v if _is_stated(v) else _texts(image, keywords) for v, image in zip(values, images, strict=True)]
        facts = [v for v in values if _is_stated(v)]
        usual = _most_frequent(facts or [v for v in stated if _is_stated(v)])
        pool = values if facts else stated
        if usual is None or 2 * sum(map(_is_stated, pool)) < len(images):
            continue
        chosen = images[pool.index(usual)]
        for keyword in keywords:
            _copy(chosen, agreed, keyword)
    for keyword in (*_OF_MOST, *_OF_ALL):
        chosen_image = _chosen(images, keyword)
        if chosen_image is not None:
            _copy(chosen_image, agreed, keyword)
    return agreed


def _chosen(images: Sequence[Dataset], keyword: str) -> Dataset | None:
    texts = [_text(image, keyword) for image in images]
    stated = [text for text in texts if text]
    usual = _most_frequent(stated)
    if usual is None:
        return None
    if keyword in _OF_ALL:
        holds = len({text.casefold() for text in stated}) == 1 and 2 * len(stated) >= len(images)
    else:
        # an image that says nothing contradicts nobody
        holds = 2 * stated.count(usual) > len(stated) and 2 * len(stated) >= len(images)
    return images[texts.index(usual)] if holds else None


def _most_frequent(values: Sequence[_T]) -> _T | None:
    return Counter(values).most_common(1)[0][0] if values else None


def _is_stated(value: object) -> bool:
    if isinstance(value, tuple):
        return any(map(_is_stated, value))
    return bool(value.strip(" \0") if isinstance(value, str) else value)


def _texts(image: Dataset, keywords: Sequence[str]) -> tuple[str, ...]:
    return tuple(_text(image, keyword) for keyword in keywords)


def _text(image: Dataset, keyword: str) -> str:
    return text_of(image, keyword).strip(" \0")


def _copy(source: Dataset, target: Dataset, keyword: str) -> None:
    try:
        if keyword in source:
            target[keyword] = source[keyword]
    except UNREADABLE:
        return  # counts as absent
