"""Checks that the pixel data of a file is complete, without reading it: an interrupted transfer leaves a shorter file."""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from node.language.phrase import Phrase, phrase

_PIXEL_DATA = (0x7FE0, 0x0010)
_ITEM = (0xFFFE, 0xE000)
_SEQUENCE_DELIMITER = (0xFFFE, 0xE0DD)
_UNDEFINED_LENGTH = 0xFFFFFFFF


def missing_pixel_data(stream: BinaryIO, is_implicit_vr: bool, is_little_endian: bool, expected: int) -> Phrase | None:
    """What is missing from the pixel data.

    Native pixel data is one element of known length; encapsulated pixel data is a sequence of items that ends with a
    sequence delimiter (PS3.5 A.4). Neither is read: the lengths are compared with the size of the file.

    Args:
        stream: at the first byte of the Pixel Data element.
        is_implicit_vr: how the data set is encoded.
        is_little_endian: how the data set is encoded.
        expected: bytes of native pixel data according to the header.

    Returns:
        The fault in words; ``None`` if nothing is missing.
    """
    order = "<" if is_little_endian else ">"
    start = stream.read(8 if is_implicit_vr else 12)
    if len(start) < (8 if is_implicit_vr else 12):
        return phrase("it ends before its pixel data")
    if struct.unpack(f"{order}HH", start[:4]) != _PIXEL_DATA:
        return phrase("it contains no pixel data")
    (length,) = struct.unpack(f"{order}L", start[-4:])
    if length == _UNDEFINED_LENGTH:
        return _missing_items(stream)
    end = stream.seek(0, os.SEEK_CUR) + length
    size = stream.seek(0, os.SEEK_END)
    if size < end:
        return phrase("{n} of {length} bytes of its pixel data are missing", n=end - size, length=length)
    if length < expected:
        return phrase("its pixel data has {length} bytes, its header says {expected}", length=length, expected=expected)
    return None


def _missing_items(stream: BinaryIO) -> Phrase | None:
    position = stream.seek(0, os.SEEK_CUR)
    size = stream.seek(0, os.SEEK_END)
    while position + 8 <= size:
        stream.seek(position)
        group, element, length = struct.unpack("<HHL", stream.read(8))
        if (group, element) == _SEQUENCE_DELIMITER:
            return None
        if (group, element) != _ITEM:
            return phrase("its compressed pixel data is damaged")
        position += 8 + length
    return phrase("its compressed pixel data is cut off")
