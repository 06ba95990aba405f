"""Access to the fields of an HL7 v2 message: character set, delimiters, escapes, null values.

The ``hl7`` package parses the message. Its unescaping is not used: it logs unreadable text, which is patient data; it reads
hexadecimal escapes as Latin-1, whatever the message declares; and it repeats a line break without limit.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from string import punctuation

import hl7

from node.common.errors import InputError
from node.settings.plans import with_offset

#: HL7 table 0211, as declared in MSH-18, and Python's names. "UNICODE" alone names no encoding: bytes that are not UTF-8 are
#: refused.
_CHARACTER_SETS = {
    "ASCII": "ascii",
    **{f"8859/{part}": f"iso-8859-{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "UNICODE": "utf-8",
    "UNICODE UTF-8": "utf-8",
    "UTF-8": "utf-8",
}
_DTM = re.compile(r"[0-9]{4}([0-9]{2}){0,5}(\.[0-9]{1,4})?([+-][0-9]{4})?")
_HAS_ZONE = re.compile(r"[+-][0-9]{4}$")
_DAY_DIGITS, _MINUTE_DIGITS = 8, 12
#: A byte-order mark at the beginning of the message or of a line; files are put together that have one each.
_MARK = re.compile(rb"(?:(?<=[\r\n])|\A)\s*(?:\xef\xbb\xbf)+")
#: A scheduling message has some ten segments and three hundred fields.
_MOST_SEGMENTS, _MOST_PARTS, _MOST_HEADER_BYTES = 5000, 50_000, 8192
#: What the hl7 package raises on invalid messages.
_NOT_READABLE = (hl7.HL7Exception, AssertionError, IndexError, ValueError, KeyError)


class Hl7Code:
    """HL7 table 0357, message error condition codes in use."""

    SEGMENT_SEQUENCE = "100"
    REQUIRED_FIELD_MISSING = "101"
    DATA_TYPE = "102"
    TABLE_VALUE_NOT_FOUND = "103"
    UNSUPPORTED_MESSAGE_TYPE = "200"
    UNSUPPORTED_EVENT = "201"
    UNSUPPORTED_PROCESSING_ID = "202"
    UNSUPPORTED_VERSION = "203"
    APPLICATION_INTERNAL_ERROR = "207"


#: Errors of messages that are not for this node, whatever their content.
NOT_FOR_US = frozenset(
    (
        Hl7Code.UNSUPPORTED_MESSAGE_TYPE,
        Hl7Code.UNSUPPORTED_EVENT,
        Hl7Code.UNSUPPORTED_PROCESSING_ID,
        Hl7Code.UNSUPPORTED_VERSION,
    )
)


class RefusedMessageError(InputError):
    """A refused message; the text contains no patient data.

    Attributes:
        code: of HL7 table 0357.
        location: segment and field, as ``PID-3``; empty: the whole message.
        is_rejected: whether it is answered AR (not for this node: type, event, version; or no frame), not AE (content).
    """

    def __init__(self, code: str, text: str, location: str = "", *, is_rejected: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.location = location
        self.is_rejected = is_rejected


@dataclass(frozen=True, slots=True)
class Hl7Value:
    """One repetition of a field."""

    raw: str = field(repr=False)
    separators: str
    unescape: Callable[[str], str] = field(repr=False)

    def text(self, component: int = 1, subcomponent: int = 1) -> str:
        """A subcomponent of a component, counted from 1; empty if it is missing or null (``""``)."""
        part = _at(_at(self.raw, self.separators[3], component), self.separators[4], subcomponent)
        return "" if part == '""' else self.unescape(part).strip()


@dataclass(frozen=True, slots=True)
class Hl7Segment:
    """A segment; fields are numbered as in HL7, where the field separator is MSH-1."""

    name: str
    fields: tuple[str, ...] = field(repr=False)
    separators: str
    unescape: Callable[[str], str] = field(repr=False)

    def values(self, number: int) -> tuple[Hl7Value, ...]:
        """The repetitions of a field that are not empty."""
        raw = self.fields[number] if number < len(self.fields) else ""
        parts = raw.split(self.separators[2])
        return tuple(Hl7Value(part, self.separators, self.unescape) for part in parts if part and part != '""')

    def text(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """Part of the first repetition of a field; empty if it is missing or null."""
        values = self.values(number)
        return values[0].text(component, subcomponent) if values else ""


@dataclass(frozen=True, slots=True)
class Hl7Message:
    """A message; the first segment is MSH.

    Attributes:
        encoding: Python's name of its character set, also for the answer.
        delimiters: MSH-1 and the four of MSH-2: of fields, components, repetitions, escapes, subcomponents.
    """

    segments: tuple[Hl7Segment, ...]
    encoding: str
    delimiters: str

    @property
    def msh(self) -> Hl7Segment:
        """The message header."""
        return self.segments[0]

    def named(self, name: str) -> tuple[Hl7Segment, ...]:
        """All segments with this name, in order."""
        return tuple(segment for segment in self.segments if segment.name == name)


def read_message(content: bytes, default_encoding: str) -> Hl7Message:
    """Read a message; line feeds also count as segment ends, as many senders write them.

    Raises:
        RefusedMessageError: it is not a message, or its bytes are not in the declared character set.
    """
    content = _MARK.sub(b"", content)
    _refuse_flood(content)
    encoding = _encoding_of(content, default_encoding)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        raise RefusedMessageError(
            Hl7Code.DATA_TYPE,
            f"the message contains bytes that are not {encoding}, as declared in MSH-18 or the settings",
            "MSH-18",
        ) from None
    header, *lines = re.sub(r"[\r\n]+", "\r", text).strip().split("\r")
    try:
        parsed = hl7.parse(header)
    except _NOT_READABLE as error:
        raise _no_message() from error
    separators, escape = str(parsed.separators), str(parsed.esc)
    delimiters = separators[1:] + escape
    if len(set(delimiters)) != len(delimiters) or any(sign not in punctuation for sign in delimiters):
        raise RefusedMessageError(Hl7Code.SEGMENT_SEQUENCE, "MSH-1 and MSH-2 do not name five different delimiters", "MSH-2")

    def unescape(part: str) -> str:
        return _unescaped(part, separators, escape, encoding)

    # The package makes an object of every component, which costs 500 bytes for each: only the header needs it.
    split = [tuple(str(one) for one in parsed[0]), *(tuple(line.split(separators[1])) for line in lines)]
    segments = tuple(Hl7Segment(fields[0], fields, separators, unescape) for fields in split)
    return Hl7Message(segments, encoding, separators[1] + separators[3] + separators[2] + escape + separators[4])


def control_id_of(content: bytes) -> str:
    """MSH-10 of a possibly invalid message, for the answer; empty if there is none."""
    start = content.find(b"MSH")
    fields = _msh_fields(content[start:]) if start >= 0 else []
    control_id = fields[9] if len(fields) > 9 else ""
    return control_id if control_id.isascii() and control_id.isprintable() and len(control_id) <= 199 else ""


def time_of(text: str, zone: dt.tzinfo) -> tuple[dt.datetime, bool] | None:
    """A DTM as a time with its offset, and whether it has minutes; ``None`` if it has no day.

    Args:
        text: ``YYYYMMDD[HH[MM[SS[.S…]]]][+/-ZZZZ]`` (chapter 2A, DTM).
        zone: for a time without an offset.

    Raises:
        ValueError: it is not a DTM.
    """
    if not _DTM.fullmatch(text):
        raise ValueError("not an HL7 date and time")
    n_digits = len(re.split(r"[.+-]", text, maxsplit=1)[0])
    if n_digits < _DAY_DIGITS:
        return None
    when: dt.datetime = hl7.parse_datetime(text)
    aware = when.replace(tzinfo=zone) if when.tzinfo is None else when
    return with_offset(aware, zone), n_digits >= _MINUTE_DIGITS


def names_zone(text: str) -> bool:
    """Whether a DTM has an offset."""
    return _HAS_ZONE.search(text) is not None


def _refuse_flood(content: bytes) -> None:
    """Refuse what would cost far more than a message of its size, before anything is made of it.

    Raises:
        RefusedMessageError: too many segments, or too many fields and parts of fields.
    """
    n_segments = content.count(b"\r") + content.count(b"\n")
    header = re.split(rb"[\r\n]", content.lstrip()[:_MOST_HEADER_BYTES], maxsplit=1)[0]
    delimiters = frozenset(header[3:8])
    n_parts = sum(content.count(bytes([sign])) for sign in delimiters if chr(sign) in punctuation)
    if n_segments > _MOST_SEGMENTS or n_parts > _MOST_PARTS or len(header) >= _MOST_HEADER_BYTES:
        raise RefusedMessageError(
            Hl7Code.SEGMENT_SEQUENCE,
            f"the message has more than {_MOST_SEGMENTS} segments, {_MOST_PARTS} fields and parts of fields, or "
            f"{_MOST_HEADER_BYTES} bytes of MSH",
        )


def _no_message() -> RefusedMessageError:
    return RefusedMessageError(
        Hl7Code.SEGMENT_SEQUENCE, "this is not an HL7 v2 message: it does not start with a readable MSH", "MSH"
    )


def _msh_fields(content: bytes) -> list[str]:
    """Fields of the header, ASCII except for names; MSH-18 has index 17, as the field separator counts."""
    line = re.split(rb"[\r\n]", content.lstrip(), maxsplit=1)[0].decode("latin-1")
    return line.split(line[3]) if len(line) > 3 else []


def _encoding_of(content: bytes, default_encoding: str) -> str:
    if not content.lstrip().startswith(b"MSH"):
        raise _no_message()
    fields = _msh_fields(content)
    repetition = fields[1][1] if len(fields) > 1 and len(fields[1]) > 1 else "~"
    declared = fields[17].split(repetition)[0].strip().upper() if len(fields) > 17 else ""
    if not declared:
        return default_encoding
    if declared not in _CHARACTER_SETS:
        raise RefusedMessageError(Hl7Code.TABLE_VALUE_NOT_FOUND, "the character set of MSH-18 is not supported", "MSH-18")
    return _CHARACTER_SETS[declared]


def _at(text: str, separator: str, number: int) -> str:
    parts = text.split(separator, number)
    return parts[number - 1] if number <= len(parts) else ""


def _unescaped(text: str, separators: str, escape: str, encoding: str) -> str:
    """Chapter 2, use of escape sequences: delimiters, bytes, line breaks; others are dropped."""
    if escape not in text:
        return text
    _segment, field_separator, repetition, component, subcomponent = tuple(separators)
    signs = {"F": field_separator, "S": component, "T": subcomponent, "R": repetition, "E": escape, "P": "#"}

    def meant(found: re.Match[str]) -> str:
        code = found[1]
        if code in signs:
            return signs[code]
        if code[:1] == "X" and re.fullmatch(r"([0-9A-Fa-f]{2})+", code[1:]):
            return bytes.fromhex(code[1:]).decode(encoding, "replace")
        return "\n" if code[:3] in (".br", ".sp", ".ce") else ""

    mark = re.escape(escape)
    return re.sub(rf"{mark}([^{mark}]*){mark}", meant, text)
