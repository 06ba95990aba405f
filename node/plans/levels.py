"""Finds vertebral levels in text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

#: From the head downward.
_COLUMN = (*(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 7)), "S1", "S2")
#: A sixth lumbar vertebra is rare: it counts only if named.
_SIXTH = "L6"
#: "T1" to "T4" are also MRI weightings and tumour stages; "Th1" and "BWK 1" are vertebrae.
_AMBIGUOUS = ("T1", "T2", "T3", "T4")
_REGIONS = {"TH": "T", "T": "T", "BWK": "T", "LWK": "L", "L": "L", "SWK": "S", "S": "S"}
_REGION = r"(TH|T|BWK|LWK|L|SWK|S)"
_SIGN = r"\s?(?:-|–|/|bis|to)\s?"
_NAMED = re.compile(
    rf"(?<![A-Za-z0-9]){_REGION}[ .]?[0-9]{{1,2}}(?:{_SIGN}{_REGION}?[ .]?[0-9]{{1,2}})*(?![A-Za-z0-9])", re.I
)
_ONE = re.compile(rf"{_REGION}?[ .]?([0-9]{{1,2}})", re.I)


def named_levels(texts: Iterable[str]) -> tuple[str, ...]:
    """The levels named in texts, from cranial to caudal: "L4-S1", "LWK 3/4/5", "Th12 bis L2".

    A range includes the levels between its ends. An upward range ("L5-3") or a vertebra that does not exist is ambiguous and
    gives nothing.
    """
    found: set[str] = set()
    for text in texts:
        for match in _NAMED.finditer(text):
            found.update(_levels(match[0]))
    return tuple(level for level in _COLUMN if level in found)


def _levels(text: str) -> set[str]:
    region, named = "", []
    for match in _ONE.finditer(text):
        region = _REGIONS[match[1].upper()] if match[1] else region
        named.append(f"{region}{int(match[2])}")
    alone = len(named) == 1 and named[0] in _AMBIGUOUS and text[:1].upper() == "T" and text[1:2].upper() != "H"
    if alone or any(level not in _COLUMN for level in named):
        return set()
    found = set(named)
    for first, last in pairwise(named):
        start, end = _COLUMN.index(first), _COLUMN.index(last)
        if start >= end:
            return set()
        found.update(level for level in _COLUMN[start:end] if level != _SIXTH or level in named)
    return found
