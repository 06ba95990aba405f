"""Decoding of stored pixel values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
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

from node.common.errors import InputError
from node.language.phrase import phrase
from node.select.budget import check_streams
from node.select.headers import READ_ERRORS, FrameHeader

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
    for _, values in dataset_and_stored_values(frames):
        yield values


def dataset_and_stored_values(frames: Sequence[FrameHeader]) -> Iterator[tuple[Dataset, StoredArray]]:
    """Like :func:`stored_values`, with the data set of each frame."""
    for frame, (ds, values) in zip(frames, _decoded(frames), strict=True):
        if values.shape != (frame.rows, frame.columns):
            shape = f"{frame.rows} x {frame.columns}"
            held, path = " x ".join(str(n) for n in values.shape), str(frame.source.path)
            wrong = phrase("{path} contains {held} pixels, its header says {shape}", path=path, held=held, shape=shape)
            raise InputError(wrong)
        yield ds, values


def _decoded(frames: Sequence[FrameHeader]) -> Iterator[tuple[Dataset, StoredArray]]:
    path = frames[0].source.path
    plugin = _DECODERS.get(frames[0].transfer_syntax_uid, "")  # type: ignore[call-overload]
    indices = [frame.source.frame_number - 1 for frame in frames]
    try:
        ds = dcmread(path, force=True)
        check_streams(ds, frames)
        for values in iter_pixels(ds, indices=indices, raw=True, decoding_plugin=plugin):
            yield ds, values
    except READ_ERRORS as error:
        raise InputError(phrase("{path} cannot be decoded: {why}", path=str(path), why=str(error))) from error
    except BaseException as error:
        # on damaged data the RLE decoder, written in Rust, panics: a BaseException of a module that cannot be imported
        if type(error).__module__ == "pyo3_runtime":
            raise InputError(phrase("{path} cannot be decoded: {why}", path=str(path), why=str(error))) from error
        raise
