"""Several copies of one instance: identical copies count once, differing copies are all left out."""

from __future__ import annotations

import filecmp
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from node.common.errors import InputError
from node.language.phrase import phrase
from node.model import SeriesLeftOut
from node.select.headers import FrameHeader
from node.select.pixels import stored_values

#: The frames of one file.
Instance = tuple[FrameHeader, ...]


def without_copies(instances: Iterable[Instance]) -> tuple[list[Instance], list[SeriesLeftOut]]:
    """Keep one of every SOP Instance UID.

    Copies agree if their bytes are equal, or if all header values that are read and all decoded pixels are equal (an archive
    may have compressed one of them). Of copies that disagree none is kept, because it is not known which one is right.

    Returns:
        The instances that are kept, in the given order; and those that are left out because their copies disagree.
    """
    by_uid: dict[str, list[Instance]] = defaultdict(list)
    for instance in instances:
        by_uid[instance[0].source.sop_instance_uid].append(instance)
    kept: list[Instance] = []
    conflicts: dict[str, list[str]] = defaultdict(list)
    for uid, copies in by_uid.items():
        if all(_agree(copies[0], other) for other in copies[1:]):
            kept.append(copies[0])
        else:
            conflicts[copies[0][0].series_instance_uid].append(uid)
    return kept, [_left_out(series_uid, uids) for series_uid, uids in conflicts.items()]


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
    return one == replace(other, source=one.source, transfer_syntax_uid=one.transfer_syntax_uid)


def _same_pixels(one: Instance, other: Instance) -> bool:
    try:
        pairs = zip(stored_values(one), stored_values(other), strict=True)
        return all(np.array_equal(a, b) for a, b in pairs)
    except InputError:
        return False  # no pixels, or not decodable: nothing shows that they agree
