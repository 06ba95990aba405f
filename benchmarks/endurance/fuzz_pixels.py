"""Images in every transfer syntax, whole and damaged: exactly the HU that the scanner has written, or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Final

import gdcm
import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from benchmarks.endurance.fuzz_cases import Case, Check
from benchmarks.endurance.fuzz_headers import SETTINGS, ct_image
from node.common.errors import InputError
from node.common.quiet import keep_values_out_of_logs
from node.select import load_volume, select_series

Cells = npt.NDArray[np.uint16]

_PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian)
_ENCODERS = {RLELossless: "pydicom", JPEGLSLossless: "pyjpegls", JPEG2000Lossless: "pylibjpeg"}
#: EOI and EOC, which end a stream.
_ENDS = {JPEGLSLossless: b"\xff\xd9", JPEGLosslessSV1: b"\xff\xd9", JPEG2000Lossless: b"\xff\xd9"}
#: PS3.3 C.7.6.3 and C.11.1: what is wrong in a header; the values have to be those that it then describes, or none.
_WRONG = (
    *(("Rows", n) for n in (0, 1, 35, 37, 72, 65535)),
    *(("Columns", n) for n in (0, 43, 45, 88)),
    *(("BitsAllocated", n) for n in (0, 1, 8, 12, 32, 64)),
    *(("BitsStored", n) for n in (0, 1, 17, 65535)),
    *(("HighBit", n) for n in (0, 15, 16)),
    *(("SamplesPerPixel", n) for n in (0, 2, 3)),
    *(("NumberOfFrames", n) for n in ("0", "2", "-1", "1000000")),
    *(("PixelRepresentation", n) for n in (2, 65535)),
    *(("RescaleSlope", n) for n in ("0", "-1", "1e30", "")),
    *(("RescaleIntercept", n) for n in ("1e30", "")),
    ("PhotometricInterpretation", "MONOCHROME1"),
    ("PhotometricInterpretation", "RGB"),
    ("PhotometricInterpretation", "PALETTE COLOR"),
)
#: Of the series; the last one is damaged.
_SLICES: Final = 6


@dataclass(frozen=True, slots=True)
class _Drawn:
    """An image as it is drawn.

    Attributes:
        above: what stands above Bits Stored: nothing, the sign, or an overlay.
        damage: none, cut, flipped or wrong.
        at: where, as a part of the length.
    """

    syntax: str
    bits: int
    signed: bool
    seed: int
    slope: float
    intercept: int
    above: str
    fragments: int
    table: str
    damage: str
    at: float
    wrong: tuple[str, object]


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of a file.

    Attributes:
        hu: those that it holds; ``None`` where damage has changed them to what nobody knows.
        others: the other images of the series, undamaged and not compressed.
        told: the damage, then everything that was drawn.
    """

    hu: npt.NDArray[np.int16] | None = field(repr=False)
    others: tuple[bytes, ...] = field(repr=False)
    told: str


class Pixels:
    """Targets ``node.select.load_volume``."""

    examples_per_round = 200

    def cases(self) -> st.SearchStrategy[Case]:
        """One image of a series."""
        return st.builds(
            _Drawn,
            st.sampled_from([*_PLAIN, *_ENCODERS, JPEGLosslessSV1]),
            st.integers(9, 16),
            st.booleans(),
            st.integers(0, 50),
            st.sampled_from([1.0, 1.0, 0.5, 2.0, 0.001]),
            st.sampled_from([0, -1024, -1000]),
            st.sampled_from(["nothing", "sign", "overlay"]),
            st.integers(1, 4),
            st.sampled_from(["none", "basic", "extended"]),
            st.sampled_from(["none", "none", "cut", "flip", "wrong"]),
            st.floats(0, 1, exclude_max=True),
            st.sampled_from(_WRONG),
        ).map(_case)

    @contextmanager
    def open(self, folder: Path) -> Iterator[Check]:
        """Nothing to start."""
        keep_values_out_of_logs()
        gdcm.Trace.WarningOff()
        gdcm.Trace.ErrorOff()
        paths = [folder / f"image{number}.dcm" for number in range(_SLICES)]

        def check(case: Case) -> str:
            truth = case.known
            assert isinstance(truth, Truth)
            for path, data in zip(paths, (*truth.others, case.data), strict=True):
                path.write_bytes(data)
            selection = select_series(paths, SETTINGS)
            outcome = "left out"
            for candidate in selection.candidates:
                numbers = [frame.sop_instance_uid for frame in candidate.frames]
                uid = f"1.2.3.{_SLICES}"
                if uid not in numbers:
                    continue
                try:
                    volume = load_volume(candidate)
                except InputError:
                    outcome = "refused"
                    continue
                outcome = "read"
                found = volume.hu[numbers.index(uid)]
                if truth.hu is not None:
                    np.testing.assert_array_equal(found, truth.hu, f"other HU than the image holds: {truth.told}")
                else:
                    assert found.shape == volume.hu.shape[1:]
            return f"{truth.told.split()[0]}: {outcome}"

        yield check


def _case(drawn: _Drawn) -> Case:
    others = []
    for number in range(_SLICES - 1):
        plain = replace(drawn, syntax=ExplicitVRLittleEndian, seed=drawn.seed + number + 1)
        others.append(_written(_image(plain, number)[0], plain.syntax))
    ds, cells = _image(drawn, _SLICES - 1)
    data, hu = _damaged(ds, cells, drawn)
    return Case(data, Truth(hu, tuple(others), f"{drawn.damage} {drawn}"))


def _damaged(ds: Dataset, cells: Cells, drawn: _Drawn) -> tuple[bytes, npt.NDArray[np.int16] | None]:
    """The file, and the HU that it holds if they are known."""
    is_plain = drawn.syntax in _PLAIN
    if drawn.damage == "wrong":
        setattr(ds, *drawn.wrong)
        return _written(ds, drawn.syntax), None
    if drawn.damage == "flip" and is_plain:
        cells = cells.copy()
        cells.reshape(-1)[int(drawn.at * cells.size)] ^= 1 << (drawn.seed % drawn.bits)
        ds.PixelData = _plain(cells, drawn.syntax)
    hu = np.rint(_values(cells, drawn) * drawn.slope + drawn.intercept).clip(-1024, 32767).astype(np.int16)
    if drawn.damage == "cut" and not is_plain and drawn.seed % 2:
        # the stream ends early, and its item says so
        stream = _stream(drawn, cells)
        stream = stream[: max(2, int(drawn.at * (len(stream) - 4)))]
        if drawn.seed % 4 == 1:
            stream += _ENDS.get(drawn.syntax, b"")
        ds.PixelData = encapsulate([stream])
        return _written(ds, drawn.syntax), hu
    data = _written(ds, drawn.syntax)
    at = len(data) - len(ds.PixelData) + int(drawn.at * len(ds.PixelData))
    if drawn.damage == "cut":
        return data[:at], hu
    if drawn.damage == "flip" and not is_plain:
        return data[:at] + bytes([data[at] ^ 1 << (drawn.seed % 8)]) + data[at + 1 :], None
    return data, hu


def _image(drawn: _Drawn, number: int) -> tuple[Dataset, Cells]:
    cells = _cells(drawn)
    ds = ct_image(number, "1.2.3", cells)
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = drawn.bits, drawn.bits - 1, int(drawn.signed)
    ds.RescaleSlope, ds.RescaleIntercept = f"{drawn.slope:g}", str(drawn.intercept)
    _encode(ds, drawn, cells)
    return ds, cells


def _cells(drawn: _Drawn) -> Cells:
    """Cells of 16 bits with the values in their low bits: those of CT, and the extreme ones."""
    dice = np.random.default_rng(drawn.seed)
    low, high = (-(1 << (drawn.bits - 1)), (1 << (drawn.bits - 1)) - 1) if drawn.signed else (0, (1 << drawn.bits) - 1)
    values = dice.integers(max(low, -1000), min(high, 3000) + 1, (36, 44))
    values.reshape(-1)[dice.integers(0, values.size, 6)] = (low, high, 0, 1, high - 1, low + 1)
    cells = (values & 0xFFFF).astype(np.uint16)
    unused = np.uint16(0xFFFF << drawn.bits & 0xFFFF)
    if drawn.above != "sign":
        cells &= ~unused
    if drawn.above == "overlay":
        cells |= unused & np.uint16(0xA000)
    return cells


def _values(cells: Cells, drawn: _Drawn) -> npt.NDArray[np.int64]:
    values = cells.astype(np.int64) % (1 << drawn.bits)
    return np.where(values >= 1 << (drawn.bits - 1), values - (1 << drawn.bits), values) if drawn.signed else values


def _encode(ds: Dataset, drawn: _Drawn, cells: Cells) -> None:
    ds.file_meta.TransferSyntaxUID = drawn.syntax
    if drawn.syntax in _PLAIN:
        ds.PixelData = _plain(cells, drawn.syntax)
        return
    stream = _stream(drawn, cells)
    # RLE has one fragment for a frame (PS3.5 G)
    fragments = 1 if drawn.syntax == RLELossless or drawn.table == "extended" else min(drawn.fragments, len(stream) // 2)
    if drawn.table == "extended":
        ds.PixelData, ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths = encapsulate_extended([stream])
    else:
        ds.PixelData = encapsulate([stream], fragments_per_frame=fragments, has_bot=drawn.table == "basic")
    ds["PixelData"].is_undefined_length = True
    ds["PixelData"].VR = "OB"


def _plain(cells: Cells, syntax: str) -> bytes:
    return cells.astype(">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes()


def _stream(drawn: _Drawn, cells: Cells) -> bytes:
    """The compressed stream of a frame, by an encoder that is not the decoder's where there is one."""
    if drawn.syntax == JPEGLosslessSV1:
        return jpeg_lossless(cells)
    described = {
        "rows": cells.shape[0],
        "columns": cells.shape[1],
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": 16,
        "bits_stored": 16,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
    }
    return get_encoder(drawn.syntax).encode(cells, encoding_plugin=_ENCODERS[drawn.syntax], **described)


def jpeg_lossless(cells: Cells) -> bytes:
    """JPEG process 14, selection value 1 (ITU-T T.81 annex H), 16 bits, with the simplest Huffman table."""
    rows, columns = cells.shape
    codes = {category: (f"{category:05b}", 5) for category in range(17)}  # 17 codes of 5 bits, none of them all ones
    bits = []
    for y in range(rows):
        for x in range(columns):
            near = (1 << 15) if x == y == 0 else cells[y - 1, 0] if x == 0 else cells[y, x - 1]
            difference = (int(cells[y, x]) - int(near) + 0x8000) % 0x10000 - 0x8000
            # -32768 and 32768 are the same modulo 65536; its category has no further bits
            category = 16 if difference == -0x8000 else abs(difference).bit_length()
            bits.append(codes[category][0])
            if 0 < category < 16:
                bits.append(f"{difference if difference > 0 else difference + (1 << category) - 1:0{category}b}")
    coded = "".join(bits)
    coded += "1" * (-len(coded) % 8)
    scan = int(coded, 2).to_bytes(len(coded) // 8).replace(b"\xff", b"\xff\x00")
    table = bytes([0] * 4 + [17] + [0] * 11) + bytes(range(17))
    frame = bytes([16]) + rows.to_bytes(2) + columns.to_bytes(2) + bytes([1, 1, 0x11, 0])
    parts = ((0xC4, bytes([0]) + table), (0xC3, frame), (0xDA, bytes([1, 1, 0, 1, 0, 0])))
    head = b"".join(bytes([0xFF, kind]) + (len(body) + 2).to_bytes(2) + body for kind, body in parts)
    return b"\xff\xd8" + head + scan + b"\xff\xd9"


def _written(ds: Dataset, syntax: str) -> bytes:
    ds.file_meta.TransferSyntaxUID = syntax
    ds.preamble = bytes(128)
    stream = BytesIO()
    is_implicit = syntax == ImplicitVRLittleEndian
    ds.save_as(stream, implicit_vr=is_implicit, little_endian=syntax != ExplicitVRBigEndian, enforce_file_format=False)
    return stream.getvalue()
