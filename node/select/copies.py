"""Several copies of one instance: identical copies count once, differing copies are all left out."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from node.clinical.agreement import differing_among
from node.clinical.identity import Issuers
from node.common.errors import InputError
from node.language.phrase import phrase
from node.model import SeriesLeftOut
from node.select.headers import FrameHeader, read_headers, values_judged_here
from node.select.patients import CODE
from node.select.pixels import stored_values

#: The frames of one file.
Instance = tuple[FrameHeader, ...]


@dataclass(frozen=True, slots=True)
class Copies:
    """What is left of several copies of one image.

    Attributes:
        kept: one of every image, in the given order.
        left_out: images whose copies disagree.
        of_other_patients: study and series of copies that name different patients.
    """

    kept: list[Instance]
    left_out: list[SeriesLeftOut]
    of_other_patients: frozenset[tuple[str, str]]


def without_copies(instances: Iterable[Instance], issuers: Issuers) -> Copies:
    """Keep one of every SOP Instance UID.

    Copies agree if their bytes are equal, or if all header values that are read and all decoded pixels are equal (an archive
    may have compressed one of them). Of copies that disagree none is kept, because it is not known which one is right. If
    they name different patients, nothing shows whose series it is, and none of it is used.
    """
    by_uid: dict[str, list[Instance]] = defaultdict(list)
    for instance in instances:
        by_uid[instance[0].source.sop_instance_uid].append(instance)
    kept: list[Instance] = []
    conflicts: dict[str, list[str]] = defaultdict(list)
    of_others: dict[tuple[str, str], SeriesLeftOut] = {}
    for uid, copies in by_uid.items():
        differing = differing_among((copy[0].patient for copy in copies), issuers) if len(copies) > 1 else ()
        if differing:
            said = phrase(
                "an image, {uid}, exists in versions that name different patients, so its series is not measured: they "
                "differ in {attributes}",
                uid=uid,
                attributes=", ".join(differing),
            )
            for copy in copies:
                key = copy[0].study_instance_uid, copy[0].series_instance_uid
                of_others.setdefault(key, SeriesLeftOut(key[1], CODE, said))
        elif all(_agree(copies[0], other) for other in copies[1:]):
            kept.append(copies[0])
        else:
            conflicts[copies[0][0].series_instance_uid].append(uid)
    left_out = [*of_others.values(), *(_left_out(series_uid, uids) for series_uid, uids in conflicts.items())]
    return Copies(kept, left_out, frozenset(of_others))


def is_same_image(one: Path, other: Path) -> bool:
    """Whether two files of one SOP Instance UID say the same, whatever their encoding: a file that cannot be read does not.

    Spellings of the patient that name one person are the same.
    """
    try:
        with values_judged_here():
            a, b = read_headers(one), read_headers(other)
            return not differing_among((a[0].patient, b[0].patient)) and _agree(a, b)
    except InputError:
        return False


def _left_out(series_uid: str, uids: Sequence[str]) -> SeriesLeftOut:
    return SeriesLeftOut(
        series_uid,
        "conflicting_copies",
        phrase(
            "{n} images exist in different versions under the same SOP Instance UID, the first is {uid}; nothing "
            "shows which version is right, so none is used",
            n=len(uids),
            uid=uids[0],
        ),
    )


def _agree(one: Instance, other: Instance) -> bool:
    if filecmp.cmp(one[0].source.path, other[0].source.path, shallow=False):
        return True
    if len(one) != len(other):
        return False
    return all(_same_header(a, b) for a, b in zip(one, other, strict=True)) and _same_pixels(one, other)


def _same_header(one: FrameHeader, other: FrameHeader) -> bool:
    # whether the patients are the same was asked before: a name may be written in two ways
    same = replace(other, source=one.source, transfer_syntax_uid=one.transfer_syntax_uid, patient=one.patient)
    return one == same


def _same_pixels(one: Instance, other: Instance) -> bool:
    try:
        pairs = zip(stored_values(one), stored_values(other), strict=True)
        return all(np.array_equal(a, b) for a, b in pairs)
    except InputError:
        return False  # no pixels, or not decodable: nothing shows that they agree
