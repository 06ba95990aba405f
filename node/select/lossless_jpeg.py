"""Whether a JPEG lossless stream holds all the values that a decoder has made of it.

GDCM fills what a stream does not hold with its last value, without an error. The decoded values say how many bits the
encoder needed for them, so a stream with fewer bits was cut.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SOF3, _DHT, _SOS, _DRI = 0xC3, 0xC4, 0xDA, 0xDD
_FILL = 0xFF
#: Categories 0 to 16 (ISO/IEC 10918-1 H.1.2.2, table H.2); 16 stands for 32768 and has no further bits.
_CATEGORIES = 17


@dataclass(frozen=True, slots=True)
class _Scan:
    """A scan with one component and the selection value 1.

    Attributes:
        precision: bits of a sample, without those that the point transform takes off.
        code_bits: length of the Huffman code of each category.
        n_bits: entropy-coded bits, with the padding of the last byte.
    """

    precision: int
    point_transform: int
    code_bits: npt.NDArray[np.int64]
    n_bits: int


def is_cut(stream: bytes, cells: npt.NDArray[np.uint16]) -> bool:
    """Whether the stream has fewer bits than the values need.

    Judges streams of one component with selection value 1 and no restart intervals, as nearly all are; others are not cut.

    Args:
        stream: of one frame (ISO/IEC 10918-1 annex H).
        cells: what a decoder has made of it, (rows, columns).
    """
    scan = _scan_of(stream)
    if scan is None:
        return False
    samples = (cells.astype(np.int64) & ((1 << (scan.precision + scan.point_transform)) - 1)) >> scan.point_transform
    before = np.empty_like(samples)
    # H.1.2.1: from the left; the first column from above; the first sample from the middle of the range
    before[:, 1:] = samples[:, :-1]
    before[1:, 0] = samples[:-1, 0]
    before[0, 0] = 1 << (scan.precision - 1)
    difference = (samples - before + 0x8000) % 0x10000 - 0x8000
    category = np.ceil(np.log2(np.abs(difference) + 1)).astype(np.int64)
    further = np.where(category == _CATEGORIES - 1, 0, category)
    return int((scan.code_bits[category] + further).sum()) > scan.n_bits


def _scan_of(stream: bytes) -> _Scan | None:
    """``None`` if it is another kind of stream."""
    at, precision, tables = 2, 0, dict[int, npt.NDArray[np.int64]]()
    while at + 4 <= len(stream) and stream[at] == _FILL:
        marker = stream[at + 1]
        if marker == _FILL:
            at += 1
            continue
        length = int.from_bytes(stream[at + 2 : at + 4])
        body = stream[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == _DRI and any(body):
            return None
        if marker == _SOF3 and len(body) >= 6 and body[5] == 1:
            precision = body[0]
        if marker == _DHT:
            tables |= _tables(body)
        if marker == _SOS:
            if len(body) < 6 or body[0] != 1 or body[3] != 1 or not precision or body[2] >> 4 not in tables:
                return None
            point_transform = body[5] & 0x0F
            coded = stream[at : stream.rfind(b"\xff\xd9")]
            n_bits = 8 * (len(coded) - coded.count(b"\xff\x00"))
            return _Scan(precision - point_transform, point_transform, tables[body[2] >> 4], n_bits)
    return None


def _tables(body: bytes) -> dict[int, npt.NDArray[np.int64]]:
    """Length of the code of each category, by the number of the table (B.2.4.2); a category without a code has none."""
    found = {}
    at = 0
    while at + 17 <= len(body):
        number, counts = body[at], body[at + 1 : at + 17]
        at += 17
        lengths = np.zeros(_CATEGORIES, dtype=np.int64)
        for bits, count in enumerate(counts, start=1):
            for category in body[at : at + count]:
                if category < _CATEGORIES:
                    lengths[category] = bits
            at += count
        found[number] = lengths
    return found
