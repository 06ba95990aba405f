"""MLLP framing: message boundaries in a byte stream (HL7 v2 transport, MLLP release 1: VT, message, FS, CR).

The reader of the ``hl7`` package discards data outside of frames; here nothing may be lost, so every piece is returned. A
sender expects one answer for each message, in order; what stands between two messages gets none, or the sender would take
the answer to it for that to its next message.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

START_BLOCK = b"\x0b"
END_BLOCK = b"\x1c\r"
#: Says nothing between two messages: line ends, blanks, NUL, and byte-order marks of UTF-8 and UTF-16, also a part of one.
_NOTHING = b"\r\n\t \0\xef\xbb\xbf\xff\xfe"
#: A message without its start block is known by its first segment.
_HEADER = b"MSH"


class FramingFault(StrEnum):
    """What is wrong with a piece of the stream; the value is for people."""

    NO_START = "the message does not begin with the start block character (VT)"
    NO_END = "the message does not end with the end block characters (FS, CR)"
    TOO_LARGE = "the message is larger than plans_hl7.max_message_mb"


@dataclass(frozen=True, slots=True)
class Frame:
    """One message without its frame, or another piece of the stream, with the fault.

    Attributes:
        is_answered: whether its sender expects an answer.
    """

    content: bytes = field(repr=False)
    fault: FramingFault | None = None
    is_answered: bool = field(default=True, compare=False)


class Deframer:
    """Splits the stream of one connection into frames.

    Args:
        max_bytes: largest message.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    @property
    def is_within_message(self) -> bool:
        """Whether there is incomplete data."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Add received data; yields complete frames. After ``TOO_LARGE``, later messages cannot be separated."""
        searched = max(0, len(self._buffer) - len(END_BLOCK) + 1)
        self._buffer += data
        while (end := self._buffer.find(END_BLOCK, searched)) >= 0:
            block = bytes(self._buffer[:end])
            del self._buffer[: end + len(END_BLOCK)]
            searched = 0
            yield from self._frames(block)
        if not self._buffer.strip(_NOTHING):
            self._buffer.clear()
        if len(self._buffer) > self._max_bytes:
            yield self._rest(FramingFault.TOO_LARGE)

    def end(self) -> Iterator[Frame]:
        """End of the stream: yields the incomplete rest."""
        if self._buffer:
            yield self._rest(FramingFault.NO_END)

    def _frames(self, block: bytes) -> Iterator[Frame]:
        before, start, message = block.rpartition(START_BLOCK)
        if not start:
            if message.strip(_NOTHING):
                yield Frame(message.lstrip(_NOTHING), FramingFault.NO_START)
            return
        outside, *unended = before.split(START_BLOCK)
        if outside.strip(_NOTHING):
            yield Frame(outside.strip(_NOTHING), FramingFault.NO_START, is_answered=False)
        for piece in unended:
            if piece.strip(_NOTHING):
                yield Frame(piece, FramingFault.NO_END, is_answered=_HEADER in piece)
        too_large = len(message) > self._max_bytes
        yield Frame(message, FramingFault.TOO_LARGE if too_large else None)

    def _rest(self, fault: FramingFault) -> Frame:
        rest = bytes(self._buffer).lstrip(_NOTHING)
        self._buffer.clear()
        is_message = START_BLOCK in rest or _HEADER in rest
        return Frame(rest.removeprefix(START_BLOCK), fault, is_answered=is_message)


def framed(message: bytes) -> bytes:
    """A message in its frame."""
    return START_BLOCK + message + END_BLOCK
