"""Sentences for people, made of sentences for logs: without paths of the server, names of classes and of decoders.

A message about a file that cannot be read names the file and what the library said, for whoever looks after the node. A
radiologist can use neither, and a path may tell more than the report should.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from node.language.phrase import Phrase, phrase
from node.model.reasons import Reason
from node.model.series import SeriesLeftOut

#: What belongs into a log: absolute paths, classes of errors, and libraries that decode.
_FOR_LOGS = re.compile(
    r"(?:^|[\s'\"(\[=:])(?:/|[A-Za-z]:\\|\\\\)[\w.\-]"
    r"|\w(?:Error|Exception)\b|\bTraceback\b|0x[0-9a-fA-F]{4,}"
    r"|\b(?:lib\w+\.so|\w+\.py)\b"
    r"|\b(?:pydicom|pylibjpeg\w*|libjpeg|gdcm|openjpeg|pyjpegls|pynetdicom|numpy|nibabel|torch|highdicom)\b",
)
#: Values of these names are files.
_FILES = frozenset({"path", "file", "folder"})
_A_FILE = phrase("an image")
_IN_THE_LOG = phrase("details are in the log of the node")
_UNREADABLE = phrase("an image cannot be read; details are in the log of the node")


def for_people(said: str) -> Phrase:
    """The sentence without what belongs into a log; unchanged if there is nothing of the kind."""
    if not isinstance(said, Phrase):
        return _UNREADABLE if _FOR_LOGS.search(said) else Phrase("{said}", {"said": said})
    if _FOR_LOGS.search(said.template):
        return _UNREADABLE
    values: dict[str, str | int | float] = {}
    for name, value in said.values.items():
        if isinstance(value, Phrase):
            values[name] = for_people(value)
        elif isinstance(value, str) and name in _FILES:
            values[name] = _A_FILE
        elif isinstance(value, str) and _FOR_LOGS.search(value):
            values[name] = _IN_THE_LOG
        else:
            values[name] = value
    return Phrase(said.template, values)


def reasons_for_people(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Reasons with their sentences for people, without repeats."""
    return tuple(dict.fromkeys(replace(reason, detail=for_people(reason.detail)) for reason in reasons))


def left_out_for_people(series: Iterable[SeriesLeftOut]) -> tuple[SeriesLeftOut, ...]:
    """Series that were left out, with sentences for people."""
    return tuple(replace(one, detail=for_people(one.detail)) for one in series)
