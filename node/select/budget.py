"""What reading a file or a series may cost, judged from headers before anything is inflated, decoded or resampled.

A file of 10 MB may inflate to 8 GB, a JPEG 2000 stream may say that it holds 60000 x 60000 pixels, and a Pixel Spacing of
5 m makes a grid of terabytes. None of them is a CT of a person.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from node.common.dicom_file import open_dicom, read_file_meta
from node.common.errors import InputError
from node.language.phrase import phrase
from node.model import Reason
from node.select.geometry import Floats, Plane
from node.select.headers import READ_ERRORS, FrameHeader
from node.settings.tree import SelectSettings

_MB: Final = 1024 * 1024
_CHUNK_BYTES: Final = 4 * _MB
#: Beside the pixels, a file of CT images holds less than this; its header is in memory as a whole.
_MOST_UNEXPLAINED_BYTES: Final = 16 * _MB
_COMPRESSION_OVERHEAD: Final = 1.25
#: Items of sequences, fragments included. Each costs 2 KB; an enhanced CT of 1000 frames has some 20,000.
_MOST_ITEMS: Final = 100_000
_ITEM_TAGS: Final = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
#: Of an axis, in mm: taller than every person, and wider than every gantry.
_MOST_AXIS_MM: Final = 2500.0
#: The finest CT has 0.08 mm; distances in voxels grow without limit below.
_LEAST_SPACING_MM: Final = 0.02
#: How a JPEG 2000 codestream begins: SOC, SIZ (ISO/IEC 15444-1 A.5.1).
_SOC_SIZ: Final = b"\xff\x4f\xff\x51"
#: Begin and end of a JPEG and a JPEG-LS stream (ISO/IEC 10918-1 B.1.1.3). CharLS may search for a missing end for ever.
_SOI: Final = b"\xff\xd8"
_EOI: Final = b"\xff\xd9"
#: Of one frame that is decoded, whatever the settings are: 8192 x 8192 take 0.5 GB.
_MOST_PIXELS: Final = 8192 * 8192
#: Tiles of a JPEG 2000 stream; encoders of CT write one.
_MOST_TILES: Final = 1024


def check_file(path: Path, settings: SelectSettings) -> None:
    """Check a file before it is read as a whole.

    Raises:
        InputError: it is too large, inflates to too much, or its header is too large; or it cannot be read.
    """
    try:
        size = path.stat().st_size
        if size > settings.max_file_mb * _MB:
            raise _too_large(path, size, settings.max_file_mb)
        with open_dicom(path) as opened:
            meta, offset = read_file_meta(opened)
        is_deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
        with path.open("rb") as file:
            n_bytes, n_items = _counted(
                _inflated(file, offset) if is_deflated else _chunks(file), path, settings, is_deflated
            )
        if n_items > _MOST_ITEMS:
            raise InputError(
                phrase(
                    "{path} has {n} items of sequences, at most {most} are allowed",
                    path=str(path),
                    n=n_items,
                    most=_MOST_ITEMS,
                )
            )
        if n_bytes > _MOST_UNEXPLAINED_BYTES:
            _check_explained(path, n_bytes)
    except READ_ERRORS as error:
        cause = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise InputError(phrase("{path} cannot be read as DICOM ({cause})", path=str(path), cause=cause)) from error


def is_within_budget(path: Path, settings: SelectSettings) -> bool:
    """Whether :func:`check_file` has nothing against it."""
    try:
        check_file(path, settings)
    except InputError:
        return False
    return True


def frame_beyond_budget(frame: FrameHeader, settings: SelectSettings) -> Reason | None:
    """Why an image is too large to be decoded, or its voxels have no size of a CT."""
    if max(frame.rows, frame.columns) > settings.max_matrix:
        said = phrase(
            "the image has {rows} x {columns} pixels, at most {most} x {most} are allowed (select.max_matrix)",
            rows=frame.rows,
            columns=frame.columns,
            most=settings.max_matrix,
        )
        return Reason("too_large", said)
    if frame.pixel_spacing_mm is not None:
        least, most = min(frame.pixel_spacing_mm), max(frame.pixel_spacing_mm)
        width_mm = max(frame.pixel_spacing_mm[0] * frame.rows, frame.pixel_spacing_mm[1] * frame.columns)
        if least < _LEAST_SPACING_MM or width_mm > _MOST_AXIS_MM:
            said = phrase("Pixel Spacing is {least:g} to {most:g} mm, which is no CT of a person", least=least, most=most)
            return Reason("implausible_size", said)
    return None


def series_beyond_budget(plane: Plane, positions: Floats, frame: FrameHeader, settings: SelectSettings) -> Reason | None:
    """Why a regular stack is too large to be measured.

    Args:
        plane: of the slices.
        positions: of the slices, in order, mm.
        frame: one of them.
        settings: limits.
    """
    n_voxels = len(positions) * frame.rows * frame.columns
    if n_voxels > settings.max_series_megavoxels * 1_000_000:
        said = phrase(
            "the series has {n} million voxels, at most {most} million are allowed (select.max_series_megavoxels)",
            n=n_voxels // 1_000_000,
            most=settings.max_series_megavoxels,
        )
        return Reason("too_large", said)
    lengths_mm = (
        frame.rows * plane.row_distance_mm,
        frame.columns * plane.column_distance_mm,
        float(np.linalg.norm(positions[-1] - positions[0])) * len(positions) / max(1, len(positions) - 1),
    )
    litres = lengths_mm[0] * lengths_mm[1] * lengths_mm[2] / 1e6
    if max(lengths_mm) > _MOST_AXIS_MM or litres > settings.max_volume_litres:
        said = phrase(
            "the series covers {a:.0f} x {b:.0f} x {c:.0f} mm, at most {most:g} litres are allowed "
            "(select.max_volume_litres)",
            a=lengths_mm[0],
            b=lengths_mm[1],
            c=lengths_mm[2],
            most=settings.max_volume_litres,
        )
        return Reason("implausible_size", said)
    return None


def check_streams(ds: Dataset, frames: Sequence[FrameHeader]) -> None:
    """Check what compressed frames say of their size before a decoder believes it.

    Args:
        ds: the data set of the file.
        frames: of this file, about to be decoded.

    Raises:
        InputError: a stream and the header differ, or the stream makes a decoder allocate far more than its pixels need.
    """
    header = frames[0]
    if header.rows * header.columns > _MOST_PIXELS:
        raise _disagrees(header, "too many")
    uid = header.transfer_syntax_uid
    if not ds.file_meta.TransferSyntaxUID.is_compressed or uid == DeflatedExplicitVRLittleEndian:
        return
    wanted = {frame.source.frame_number for frame in frames}
    frame_bytes = header.rows * header.columns * header.samples_per_pixel * max(1, header.bits_allocated // 8)
    n_frames = int(ds.get("NumberOfFrames") or 1)
    if n_frames > len(ds.PixelData):
        raise _disagrees(header, f"{n_frames} frames")
    for number, stream in enumerate(generate_frames(ds.PixelData, number_of_frames=n_frames), start=1):
        if number not in wanted:
            continue
        if uid == RLELossless:
            if len(stream) > frame_bytes * _COMPRESSION_OVERHEAD + 1024:
                raise _disagrees(header, f"{len(stream)} bytes")
            continue
        if stream[:2] == _SOI and not stream.rstrip(b"\0").endswith(_EOI):
            path = str(header.source.path)
            raise InputError(phrase("{path} is incomplete: a compressed image has no end", path=path))
        size = _size_of_stream(stream)
        if size is not None and size != (header.rows, header.columns, header.samples_per_pixel):
            raise _disagrees(header, f"{size[0]} x {size[1]}")


def _size_of_stream(stream: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and components of a JPEG, JPEG-LS or JPEG 2000 stream; ``None`` if a JPEG names none."""
    if stream[:2] == _SOI:
        return _size_of_jpeg(stream)
    # the boxes of a JP2 file may hold a stream that is meant to be found first
    found = [0] if stream.startswith(_SOC_SIZ) else [one.start() for one in re.finditer(re.escape(_SOC_SIZ), stream)]
    sizes = [_size_of_codestream(stream, at) for at in found if len(stream) >= at + 42]
    return max(sizes) if sizes and (0, 0, 0) not in sizes else (0, 0, 0)


def _size_of_codestream(stream: bytes, at: int) -> tuple[int, int, int]:
    """Zeros if it has far too many tiles."""
    right, bottom, left, top, tile_width, tile_height, *_ = struct.unpack_from(">8L", stream, at + 8)
    (components,) = struct.unpack_from(">H", stream, at + 40)
    width, height = right - left, bottom - top
    if not tile_width or not tile_height or -(-width // tile_width) * -(-height // tile_height) > _MOST_TILES:
        return 0, 0, 0
    return height, width, components


def _size_of_jpeg(stream: bytes) -> tuple[int, int, int] | None:
    """Of the start of frame (ISO/IEC 10918-1 B.2.2, SOF55 of ISO/IEC 14495-1); the largest, if there are several."""
    found: tuple[int, int, int] | None = None
    at = 2
    while at + 10 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker == 0xDA:  # start of scan
            break
        length = int.from_bytes(stream[at + 2 : at + 4])
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            rows, columns, components = struct.unpack_from(">HHB", stream, at + 5)
            found = max(found or (0, 0, 0), (rows, columns, components))
        at += 2 + length
    return found


def _disagrees(header: FrameHeader, held: str) -> InputError:
    shape, path = f"{header.rows} x {header.columns}", str(header.source.path)
    return InputError(phrase("{path} contains {held} pixels, its header says {shape}", path=path, held=held, shape=shape))


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk


def _inflated(file: BinaryIO, offset: int) -> Iterator[bytes]:
    """The inflated data set in parts, so that nothing large is ever in memory."""
    file.seek(offset)
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for packed in _chunks(file):
        rest = packed
        while rest and not inflater.eof:
            yield inflater.decompress(rest, _CHUNK_BYTES)
            rest = inflater.unconsumed_tail
    while not inflater.eof and (part := inflater.decompress(inflater.unconsumed_tail, _CHUNK_BYTES)):
        yield part


def _counted(chunks: Iterator[bytes], path: Path, settings: SelectSettings, is_deflated: bool) -> tuple[int, int]:
    """Bytes and items."""
    n_bytes = n_items = 0
    for chunk in chunks:
        n_bytes += len(chunk)
        n_items += max(chunk.count(tag) for tag in _ITEM_TAGS)
        if is_deflated and n_bytes > settings.max_inflated_mb * _MB:
            raise InputError(
                phrase(
                    "{path} inflates to more than {most} MB (select.max_inflated_mb)",
                    path=str(path),
                    most=settings.max_inflated_mb,
                )
            )
    return n_bytes, n_items


def _check_explained(path: Path, n_bytes: int) -> None:
    """A large file must have as many pixels."""
    keywords = ["Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "NumberOfFrames"]
    with open_dicom(path) as file:
        ds = dcmread(file, force=True, stop_before_pixels=True, specific_tags=list(keywords))
    pixels = 1
    for keyword in keywords:
        pixels *= int(ds.get(keyword) or (0 if keyword in ("Rows", "Columns") else 1))
    explained = pixels // 8 * _COMPRESSION_OVERHEAD
    if n_bytes > explained + _MOST_UNEXPLAINED_BYTES:
        raise InputError(
            phrase(
                "{path} has {n} MB, of which its image explains {explained} MB",
                path=str(path),
                n=n_bytes // _MB,
                explained=int(explained) // _MB,
            )
        )


def _too_large(path: Path, size: int, most_mb: int) -> InputError:
    return InputError(
        phrase(
            "{path} has {n} MB, at most {most} MB are allowed (select.max_file_mb)",
            path=str(path),
            n=size // _MB,
            most=most_mb,
        )
    )
