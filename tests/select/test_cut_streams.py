"""Compressed images that end too early: refused at once. CharLS searches for the end of some of them for ever."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, JPEGLosslessSV1, JPEGLSLossless

from benchmarks.endurance.fuzz_pixels import jpeg_lossless
from node.common.errors import InputError
from node.select import load_volume, select_series
from node.select.lossless_jpeg import is_cut
from tests.select.ct_series import make_series, write
from tests.select.test_stored_bits import ENOUGH, Cells, hold


@pytest.mark.timeout(60)
@pytest.mark.parametrize("padding", [b"", b"\0", b"\xff"])
@pytest.mark.parametrize("share", [0.2, 0.9, 0.99])
def test_a_stream_without_an_end_is_refused_before_it_is_decoded(tmp_path: Path, share: float, padding: bytes) -> None:
    series = make_series(8)
    for ds in series:
        hold(ds, np.frombuffer(ds.PixelData, dtype="<u2").reshape(ds.Rows, ds.Columns), UID(JPEGLSLossless))
    stream = next(generate_frames(series[3].PixelData, number_of_frames=1)).rstrip(b"\0")
    series[3].PixelData = encapsulate([stream[: int(share * (len(stream) - 2))] + padding])
    (candidate,) = select_series(write(tmp_path, series), ENOUGH).candidates
    with pytest.raises(InputError, match="a compressed image has no end"):
        load_volume(candidate)


def _lossless(bits: int, seed: int) -> tuple[bytes, Cells]:
    cells = np.random.default_rng(seed).integers(0, 1 << bits, (36, 44)).astype(np.uint16)
    cells[0, 0], cells[0, 1], cells[0, 2] = 0x8000 & ((1 << bits) - 1), 0, (1 << bits) - 1
    return jpeg_lossless(cells), cells


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_whole_lossless_streams_are_read_and_cut_ones_are_refused(tmp_path: Path, bits: int) -> None:
    """GDCM fills the rest of a stream that ends too early with its last value."""
    series = make_series(8)
    expected = []
    for number, ds in enumerate(series):
        stream, cells = _lossless(bits, number)
        expected.append(cells)
        ds.BitsStored, ds.HighBit = bits, bits - 1
        ds.RescaleIntercept = "0"
        ds.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        ds.PixelData = encapsulate([stream])
        ds["PixelData"].is_undefined_length = True
    (candidate,) = select_series(write(tmp_path / "whole", series), ENOUGH).candidates
    np.testing.assert_array_equal(load_volume(candidate).hu, np.array(expected).astype(np.int64).clip(-1024, 32767))
    stream, cells = _lossless(bits, 3)
    for share in (0.3, 0.7, 0.97):
        head = stream.index(b"\xff\xda")
        series[3].PixelData = encapsulate([stream[: head + int(share * (len(stream) - head))] + b"\xff\xd9"])
        (candidate,) = select_series(write(tmp_path / f"cut{share}", series), ENOUGH).candidates
        with pytest.raises(InputError, match="a compressed image has no end"):
            load_volume(candidate)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_the_bits_of_a_whole_stream_are_those_that_its_values_need(bits: int) -> None:
    for seed in range(20):
        stream, cells = _lossless(bits, seed)
        assert not is_cut(stream, cells)
        # two bytes fewer, and no escaped byte is torn apart
        assert is_cut(stream[:-4].rstrip(b"\xff") + b"\xff\xd9", cells)
