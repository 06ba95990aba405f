"""Bits Stored, padding and the scale of values, for every transfer syntax."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from node.language.catalogue import Language, say
from node.model import Volume
from node.select import load_volume, select_series
from node.select.pixels import values_of_cells
from node.settings.tree import SelectSettings
from tests.select.ct_series import bend, make_series, stored_pixels, write
from tests.select.test_several_scans import trunk

ENOUGH = SelectSettings(min_slices=5, min_extent_mm=10)
SYNTAXES = [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless]
PLUGINS = {RLELossless: "pylibjpeg", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}

Cells = npt.NDArray[np.uint16]


def load(folder: Path, series: list[Dataset]) -> Volume:
    (candidate,) = select_series(write(folder, series), ENOUGH).candidates
    return load_volume(candidate)


def hold(ds: Dataset, cells: Cells, syntax: UID, stream_bits: int = 16, stream_is_signed: bool = False) -> None:
    """Pixel data whose stream has ``stream_bits`` bits, whatever Bits Stored says."""
    if syntax == ExplicitVRLittleEndian:
        ds.PixelData = cells.astype("<u2").tobytes()
        return
    described = {
        "rows": cells.shape[0],
        "columns": cells.shape[1],
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": 16,
        "bits_stored": stream_bits,
        "pixel_representation": int(stream_is_signed),
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
    }
    values = cells.view(np.int16) if stream_is_signed else cells
    frame = get_encoder(syntax).encode(values, encoding_plugin=PLUGINS[syntax], **described)
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].is_undefined_length = True
    ds.file_meta.TransferSyntaxUID = syntax


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("bits", [10, 12, 13, 16])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("above", ["sign", "overlay", "nothing"])
def test_bits_above_bits_stored_are_no_value(tmp_path: Path, syntax: UID, bits: int, signed: bool, above: str) -> None:
    """PS3.5 8.1.1. The sign is extended into them, or an overlay or nothing stands in them."""
    rng = np.random.default_rng(7)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    values = rng.integers(max(low, -1000), min(high, 3000) + 1, (36, 44))[None].repeat(8, axis=0)
    values[0, 0, 0], values[0, 0, 1] = max(low, -1000), min(high, 3000)
    series = make_series(8, pixels=values)
    unused = np.uint16(0xFFFF << bits & 0xFFFF)
    for k, ds in enumerate(series):
        bend([ds], BitsStored=bits, HighBit=bits - 1, PixelRepresentation=int(signed), RescaleIntercept="0")
        cells = (values[k] & 0xFFFF).astype(np.uint16)
        if above != "sign":
            cells &= ~unused
        if above == "overlay":
            cells |= unused & np.uint16(0xA000)
        hold(ds, cells, syntax)
    np.testing.assert_array_equal(load(tmp_path, series).hu, values.clip(-1024, 32767))


@pytest.mark.parametrize("stream_is_signed", [False, True])
@pytest.mark.parametrize("signed", [False, True])
def test_sign_of_a_jpeg_2000_stream_is_not_that_of_the_header(tmp_path: Path, stream_is_signed: bool, signed: bool) -> None:
    values = stored_pixels(8).astype(np.int64) - (1500 if signed else 0)
    series = bend(make_series(8, pixels=values), PixelRepresentation=int(signed), RescaleIntercept="0")
    for k, ds in enumerate(series):
        cells = (values[k] & 0x0FFF).astype(np.uint16)
        if stream_is_signed:
            cells = np.right_shift(np.left_shift(cells, 4).view(np.int16), 4).view(np.uint16)
        hold(ds, cells, JPEG2000Lossless, 12, stream_is_signed)
    np.testing.assert_array_equal(load(tmp_path, series).hu, values.clip(-1024, 32767))


def test_values_of_cells() -> None:
    cells = np.array([[0x0830, 0xF830, 0x1830, 0x07FF]], dtype=np.uint16)
    assert values_of_cells(cells, 12, signed=False).tolist() == [[2096, 2096, 2096, 2047]]
    assert values_of_cells(cells, 12, signed=True).tolist() == [[-2000, -2000, -2000, 2047]]
    assert values_of_cells(cells, 16, signed=True).tolist() == [[2096, -2000, 6192, 2047]]


@pytest.mark.parametrize(("bits", "high"), [(12, 15), (12, 10), (0, 11), (17, 16)])
def test_values_that_lie_elsewhere_are_refused(tmp_path: Path, bits: int, high: int) -> None:
    series = bend(make_series(20), BitsStored=bits, HighBit=high)
    (left,) = select_series(write(tmp_path, series), ENOUGH).left_out
    assert (left.code, f"Bits Stored {bits}" in left.detail) == ("pixel_format", True)


class TestPadding:
    @staticmethod
    def circle(size: int = 48) -> npt.NDArray[np.bool_]:
        y, x = np.ogrid[:size, :size]
        outside: npt.NDArray[np.bool_] = np.hypot(x - (size - 1) / 2, y - (size - 1) / 2) > size / 2
        return outside

    @pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
    @pytest.mark.parametrize(
        ("signed", "declared", "stored"),
        [
            (False, 63536, -2000),
            (False, -3024 % 0x10000, -3024),
            (True, -3024 % 0x10000, -3024),
            (True, -2000 % 0x10000, -2000),
            (False, None, 4095),
            (False, None, -2000),
            (True, None, 2047),
            (True, None, -3024),
            (False, 63536, 0),
            (False, 1024, 1024),
        ],
    )
    def test_outside_the_circle(self, tmp_path: Path, syntax: UID, signed: bool, declared: int | None, stored: int) -> None:
        """12 bits. What is left of -3024 in them is 1072, and of -2000 2096: dense bone, were it taken for a value."""
        values = np.random.default_rng(3).integers(-900, 1900, (48, 48))[None].repeat(8, axis=0) + (0 if signed else 1024)
        outside = self.circle()
        series = make_series(8, pixels=values)
        for k, ds in enumerate(series):
            bend([ds], PixelRepresentation=int(signed), RescaleIntercept="0" if signed else "-1024")
            cells = (np.where(outside, stored, values[k]) & 0xFFFF).astype(np.uint16)
            hold(ds, cells, syntax)
            if declared is not None:
                ds.add_new("PixelPaddingValue", "US", declared)
        hu = load(tmp_path, series).hu
        assert np.all(hu[:, outside] == -1024)
        np.testing.assert_array_equal(hu[:, ~outside], values[:, ~outside] - (0 if signed else 1024))

    def test_tissue_in_the_corners_stays(self, tmp_path: Path) -> None:
        values = np.random.default_rng(3).integers(900, 2900, (48, 48))[None].repeat(8, axis=0)
        np.testing.assert_array_equal(load(tmp_path, make_series(8, pixels=values)).hu, values - 1024)

    def test_metal_of_the_same_value_inside_stays(self, tmp_path: Path) -> None:
        values = np.random.default_rng(3).integers(900, 2900, (48, 48))[None].repeat(8, axis=0)
        values[:, 20:24, 20:24] = 4095
        values[:, self.circle()] = 4095
        hu = load(tmp_path, make_series(8, pixels=values)).hu
        assert np.all(hu[:, 20:24, 20:24] == 3071)
        assert np.all(hu[:, self.circle()] == -1024)


def metal(slices: int = 40) -> npt.NDArray[np.int64]:
    """HU of a trunk with two screws, not cut off anywhere; smooth edges, as in an image."""
    hu = trunk(slices, size=96).astype(np.int64) - 1024
    noise = np.random.default_rng(2).normal(1, 0.03, hu.shape)
    y, x = np.ogrid[:96, :96]
    for centre in (38, 58):
        near = np.hypot(x - centre, y - 67)
        hu[:, near < 8] = np.maximum(hu, (6000 * noise * np.exp(-((near / 4) ** 4))).astype(np.int64))[:, near < 8]
    return hu


class TestScale:
    @staticmethod
    def doubt(
        folder: Path, hu: npt.NDArray[np.int64], bits: int, signed: bool, clip: bool, off: int = 0, offset: int | None = None
    ) -> str | None:
        offset = (0 if signed else -1024) if offset is None else offset
        low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
        stored = hu - offset
        stored = stored.clip(low, high) if clip else stored & ((1 << bits) - 1)
        series = make_series(len(hu), 2.0, pixels=stored)
        bend(series, BitsStored=bits, HighBit=bits - 1, PixelRepresentation=int(signed), RescaleIntercept=str(offset + off))
        return load(folder, series).scale_doubt

    @pytest.mark.parametrize(
        ("bits", "signed", "clip"),
        [(12, False, True), (16, True, True), (14, True, True), (13, False, True), (13, True, True)],
    )
    def test_usual_scales(self, tmp_path: Path, bits: int, signed: bool, clip: bool) -> None:
        hu = metal() if bits != 13 else metal().clip(-1024, 3071)
        assert self.doubt(tmp_path, hu, bits, signed, clip) is None

    @pytest.mark.parametrize(
        ("bits", "signed", "clip", "words"),
        [
            (12, True, True, "pile up at 2047 HU"),
            (11, False, True, "pile up at 1023 HU"),
            (11, True, True, "pile up at 1023 HU"),
            (12, False, False, "wrap"),
            (12, True, False, "wrap"),
        ],
    )
    def test_no_room_for_metal(self, tmp_path: Path, bits: int, signed: bool, clip: bool, words: str) -> None:
        said = self.doubt(tmp_path, metal(), bits, signed, clip)
        assert said is not None
        assert words in said
        assert say(said, Language.DE) != said

    def test_no_room_for_the_sign(self, tmp_path: Path) -> None:
        said = self.doubt(tmp_path, trunk(size=96).astype(np.int64) - 1024, 12, signed=False, clip=False, offset=0)
        assert said is not None
        assert "as in no patient" in said

    @pytest.mark.parametrize(
        ("off", "words"), [(100, "no value is below"), (-100, "-1124"), (-24, "-1048"), (300, "no value")]
    )
    def test_intercept(self, tmp_path: Path, off: int, words: str) -> None:
        hu = trunk(size=96).astype(np.int64) - 1024
        hu[:, :8] = -1024  # air that was clipped, as scanners do
        said = self.doubt(tmp_path, hu, 12, signed=False, clip=True, off=off)
        assert said is not None
        assert words in said

    @pytest.mark.parametrize("off", [-24, -60, -100])
    def test_intercept_without_clipping(self, tmp_path: Path, off: int) -> None:
        said = self.doubt(tmp_path, trunk(size=96).astype(np.int64) - 1024, 16, signed=True, clip=True, off=off)
        assert said is not None
        assert "air measures" in said
