"""MLLP framing: message boundaries in a byte stream (HL7 v2 transport, MLLP release 1: VT, message, FS, CR).

The reader of the ``hl7`` package discards data outside of frames; here nothing may be lost, so every piece is returned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

START_BLOCK = b"\x0b"
END_BLOCK = b"\x1c\r"
#: Harmless between two messages.
_LINE_ENDS = b"\r\n"


class FramingFault(StrEnum):
    """What is wrong with a piece of the stream; the value is for people."""

    NO_START = "the message does not begin with the start block character (VT)"
    NO_END = "the message does not end with the end block characters (FS, CR)"
    TOO_LARGE = "the message is larger than plans_hl7.max_message_mb"


@dataclass(frozen=True, slots=True)
class Frame:
    """One message without its frame, or another piece of the stream, with the fault."""

    content: bytes = field(repr=False)
    fault: FramingFault | None = None


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
        if not self._buffer.strip(_LINE_ENDS):
            self._buffer.clear()
        if len(self._buffer) > self._max_bytes:
            yield self._rest(FramingFault.TOO_LARGE)

    def end(self) -> Iterator[Frame]:
        """End of the stream: yields the incomplete rest."""
        if self._buffer:
            yield self._rest(FramingFault.NO_END)

    def _frames(self, block: bytes) -> Iterator[Frame]:
        before, start, message = block.lstrip(_LINE_ENDS).rpartition(START_BLOCK)
        if not start:
            yield Frame(message, FramingFault.NO_START)
            return
        for piece in before.split(START_BLOCK):
            if piece.strip(_LINE_ENDS):
                yield Frame(piece, FramingFault.NO_END if START_BLOCK in before else FramingFault.NO_START)
        too_large = len(message) > self._max_bytes
        yield Frame(message, FramingFault.TOO_LARGE if too_large else None)

    def _rest(self, fault: FramingFault) -> Frame:
        rest = bytes(self._buffer).removeprefix(START_BLOCK)
        self._buffer.clear()
        return Frame(rest, fault)


def framed(message: bytes) -> bytes:
    """A message in its frame."""
    return START_BLOCK + message + END_BLOCK
