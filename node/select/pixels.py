"""Decoding of stored pixel values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from node.common.dicom_file import open_dicom
from node.common.errors import InputError
from node.language.phrase import phrase
from node.select.budget import check_streams
from node.select.headers import READ_ERRORS, FrameHeader
from node.select.lossless_jpeg import is_cut

#: One decoder per transfer syntax, so that a file gives the same values on every machine, whatever is installed.
#: Uncompressed syntaxes need none.
_DECODERS = {
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    HTJ2KLossless: "pylibjpeg",
    HTJ2KLosslessRPCL: "pylibjpeg",
    HTJ2K: "pylibjpeg",
    RLELossless: "pylibjpeg",
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
}

StoredArray = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True, eq=False)
class StoredFrame:
    """Decoded pixels of one frame, (rows, columns).

    Attributes:
        ds: the data set of its file.
        values: what Bits Stored holds, signed or unsigned according to the header.
        cells: all bits that the pixel data has, as unsigned numbers; a padding value may need more than Bits Stored.
    """

    ds: Dataset
    values: StoredArray
    cells: npt.NDArray[np.uint16]


def stored_values(frames: Sequence[FrameHeader]) -> Iterator[StoredArray]:
    """Decode frames of one file.

    Args:
        frames: headers of frames of one file; the file is read once.

    Yields:
        Stored values before rescaling, (rows, columns), signed or unsigned according to the header, in the order of
        ``frames``.

    Raises:
        InputError: the file cannot be read or decoded; the message names it.
    """
    for frame in stored_frames(frames):
        yield frame.values


def stored_frames(frames: Sequence[FrameHeader]) -> Iterator[StoredFrame]:
    """Like :func:`stored_values`, with the data set and all bits of each frame."""
    for frame, (ds, decoded) in zip(frames, _decoded(frames), strict=True):
        if decoded.shape != (frame.rows, frame.columns):
            shape = f"{frame.rows} x {frame.columns}"
            held, path = " x ".join(str(n) for n in decoded.shape), str(frame.source.path)
            wrong = phrase("{path} contains {held} pixels, its header says {shape}", path=path, held=held, shape=shape)
            raise InputError(wrong)
        cells = np.asarray(decoded).astype(np.uint16)  # the same bits, whatever the sign that the decoder gave them
        yield StoredFrame(ds, values_of_cells(cells, frame.bits_stored, frame.signed), cells)


def values_of_cells(cells: npt.NDArray[np.uint16], bits_stored: int, signed: bool) -> StoredArray:
    """The values in the low ``bits_stored`` bits of 16-bit cells.

    Bits above the High Bit are no part of the value: old images keep overlays there (PS3.5 8.1.1). Compressed streams may
    hold more bits than Bits Stored too, and JPEG-LS has no sign (PS3.5 8.2.3), so the rule is the same for every transfer
    syntax. Pixel Representation 1 is two's complement.
    """
    unused = 16 - bits_stored
    if not signed:
        return cells if unused == 0 else np.asarray(cells & np.uint16(0xFFFF >> unused))
    return np.asarray(np.right_shift(np.left_shift(cells, unused).view(np.int16), unused))


def _not_cut(ds: Dataset, frames: Sequence[FrameHeader], decoded: Iterator[StoredArray]) -> Iterator[StoredArray]:
    """The decoded frames of JPEG lossless streams that hold all of them."""
    streams = list(generate_frames(ds.PixelData, number_of_frames=int(ds.get("NumberOfFrames") or 1)))
    for frame, cells in zip(frames, decoded, strict=True):
        if is_cut(streams[frame.source.frame_number - 1], np.asarray(cells).astype(np.uint16)):
            path = str(frame.source.path)
            raise InputError(phrase("{path} is incomplete: a compressed image has no end", path=path))
        yield cells


def _decoded(frames: Sequence[FrameHeader]) -> Iterator[tuple[Dataset, StoredArray]]:
    path = frames[0].source.path
    plugin = _DECODERS.get(frames[0].transfer_syntax_uid, "")  # type: ignore[call-overload]
    indices = [frame.source.frame_number - 1 for frame in frames]
    try:
        with open_dicom(path) as file:
            ds = dcmread(file, force=True)
        check_streams(ds, frames)
        # pydicom corrects unused bits and signs for some syntaxes only; values_of_cells does it for all
        decoded = iter_pixels(
            ds,
            indices=indices,
            raw=True,
            decoding_plugin=plugin,
            correct_unused_bits=False,
            apply_j2k_sign_correction=False,
            apply_jls_sign_correction=False,
        )
        if plugin == "gdcm":
            decoded = _not_cut(ds, frames, decoded)
        for cells in decoded:
            yield ds, cells
    except READ_ERRORS as error:
        raise InputError(phrase("{path} cannot be decoded: {why}", path=str(path), why=str(error))) from error
    except BaseException as error:
        # on damaged data the RLE decoder, written in Rust, panics: a BaseException of a module that cannot be imported
        if type(error).__module__ == "pyo3_runtime":
            raise InputError(phrase("{path} cannot be decoded: {why}", path=str(path), why=str(error))) from error
        raise
