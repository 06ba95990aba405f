"""Meaning of a C-STORE status: stored, refused permanently, or retry (PS3.4 table B.2-1, PS3.7 annex C)."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """Outcome of an object at a destination."""

    STORED = "stored"
    STORED_WITH_WARNING = "stored_with_warning"
    REJECTED = "rejected"


_SUCCESS = 0x0000
#: The SOP class is not supported (PS3.7 C.5.6): the only refusal that also applies to the next object.
SOP_CLASS_NOT_SUPPORTED = 0x0122
_DUPLICATE_SOP_INSTANCE = 0x0111
#: General codes that are worth a retry: processing failure, resource limitation.
_RETRIABLE = frozenset({0x0110, 0x0213})
_OUT_OF_RESOURCES = range(0xA700, 0xA800)
_WARNINGS = frozenset({0x0001, 0x0107, 0x0116, *range(0xB000, 0xC000)})

_MEANINGS = {
    0x0001: "warning",
    0x0107: "attribute list error",
    0x0110: "processing failure",
    0x0111: "the destination already has this object",
    0x0116: "attribute value out of range",
    0x0117: "invalid SOP instance",
    SOP_CLASS_NOT_SUPPORTED: "SOP class not supported",
    0x0124: "not authorised",
    0x0210: "duplicate invocation",
    0x0211: "unrecognised operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xB000: "coercion of data elements",
    0xB006: "elements discarded",
    0xB007: "data set does not match SOP class (warning)",
}


def outcome_of(status: int) -> Outcome | None:
    """Interpret a C-STORE status; ``None`` means that the destination could not store now: retry.

    A status unknown to the standard counts as a refusal, since nothing says that the object was stored.
    """
    if status == _SUCCESS:
        return Outcome.STORED
    if status in _WARNINGS or status == _DUPLICATE_SOP_INSTANCE:
        return Outcome.STORED_WITH_WARNING
    if status in _RETRIABLE or status in _OUT_OF_RESOURCES:
        return None
    return Outcome.REJECTED


def describe_status(status: int) -> str:
    """The status as text, e.g. ``0x0122 SOP class not supported``."""
    meaning = _MEANINGS.get(status, "")
    if status in _OUT_OF_RESOURCES:
        meaning = "out of resources"
    elif 0xA900 <= status <= 0xA9FF:
        meaning = "data set does not match SOP class"
    elif 0xC000 <= status <= 0xCFFF:
        meaning = "cannot understand"
    return f"0x{status:04X} {meaning}".strip()
