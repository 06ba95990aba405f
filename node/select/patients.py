"""Whose images are they? A series, and a study, are of one patient, or nothing of them is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from node.clinical.agreement import (
    Agreement,
    IdentityAttribute,
    WrittenIdentity,
    agreement_of,
    differing_among,
)
from node.clinical.identity import Issuers
from node.language.phrase import phrase
from node.model import Reason, SeriesLeftOut
from node.select.headers import CT_SOP_CLASSES, FrameHeader

#: Study and series.
SeriesKey = tuple[str, str]
CODE = "identity_differs"


def other_patients(by_series: Mapping[SeriesKey, Sequence[FrameHeader]], issuers: Issuers) -> dict[SeriesKey, SeriesLeftOut]:
    """The CT series that are not measured because images name different patients.

    If the series of a study are of different patients, none of them is measured: nothing shows whose study it is.
    """
    refused: dict[SeriesKey, SeriesLeftOut] = {}
    of_study: dict[str, list[SeriesKey]] = {}
    for key, frames in by_series.items():
        if not any(frame.source.sop_class_uid in CT_SOP_CLASSES for frame in frames):
            continue
        of_study.setdefault(key[0], []).append(key)
        differing = agreement_of_frames(frames, issuers).differing
        if differing:
            said = phrase(
                "its images name different patients, so it is not measured: they differ in {attributes}",
                attributes=named(differing),
            )
            refused[key] = SeriesLeftOut(key[1], CODE, said)
    for keys in of_study.values():
        differing = differing_among((one for key in keys for one in _identities(by_series[key])), issuers)
        if not differing or len(keys) == 1:
            continue
        said = phrase(
            "the series of this study name different patients, so none is measured: they differ in {attributes}",
            attributes=named(differing),
        )
        for key in keys:
            refused.setdefault(key, SeriesLeftOut(key[1], CODE, said))
    return refused


def agreement_of_frames(frames: Iterable[FrameHeader], issuers: Issuers) -> Agreement:
    """Compare the patients of the images of a series."""
    return agreement_of(_identities(frames), issuers)


def patient_remarks(frames: Sequence[FrameHeader], issuers: Issuers) -> tuple[Reason, ...]:
    """What an administrator should know of how the images of a series write their patient."""
    found = []
    varying = agreement_of_frames(frames, issuers).varying
    if varying:
        said = phrase(
            "the images of the measured series write {attributes} in different ways, or some lack it; they are of one "
            "patient, and the most frequent form is used",
            attributes=named(varying),
        )
        found.append(Reason("identity_written_differently", said))
    if any(frame.patient.has_filler_birth_date for frame in frames):
        said = phrase("the birth date in the header is a filler value, so it counts as not known")
        found.append(Reason("filler_birth_date", said))
    return tuple(found)


def named(attributes: Iterable[IdentityAttribute]) -> str:
    """Names of attributes for a person."""
    return ", ".join(attributes)


def _identities(frames: Iterable[FrameHeader]) -> Iterable[WrittenIdentity]:
    return (frame.patient for frame in frames)
