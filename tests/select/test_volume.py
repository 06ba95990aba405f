"""Pixels to Hounsfield units, and positions of voxels."""

from __future__ import annotations

import shutil
import subprocess
import tracemalloc
from copy import deepcopy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    LegacyConvertedEnhancedCTImageStorage,
    RLELossless,
)

from node.common.errors import InputError
from node.model import Volume
from node.select import load_volume, select_series
from node.settings.tree import SelectSettings
from tests.select.ct_series import AXIAL, CORONAL, SAGITTAL, bend, make_series, stored_pixels, write

ENOUGH = SelectSettings(min_slices=5, min_extent_mm=10)


def load(paths: list[Path]) -> Volume:
    selection = select_series(paths, ENOUGH)
    assert selection.left_out == ()
    (candidate,) = selection.candidates
    return load_volume(candidate)


def expected_hu(pixels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    return np.asarray(pixels.astype(np.int64) - 1024)


class TestSyntaxes:
    @pytest.fixture
    def signed(self) -> list[Dataset]:
        """Signed 16 bits, values that are HU already, from -1024 to 3071."""
        pixels = (stored_pixels(8).astype(np.int16) - 1000) * 2
        pixels[:, :3, :3], pixels[:, -3:, -3:] = -1024, 3071
        series = make_series(8, pixels=pixels)
        return bend(series, BitsStored=16, HighBit=15, PixelRepresentation=1, RescaleIntercept="0")

    @pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
    def test_native(self, tmp_path: Path, syntax: UID) -> None:
        series = make_series(8)
        paths = []
        for k, ds in enumerate(series):
            ds.file_meta.TransferSyntaxUID = syntax
            if syntax == ExplicitVRBigEndian:
                ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
                ds["PixelData"].VR = "OW"
            paths.append(tmp_path / f"{k}.dcm")
            little_endian = syntax != ExplicitVRBigEndian
            implicit = syntax == ImplicitVRLittleEndian
            ds.save_as(paths[-1], implicit_vr=implicit, little_endian=little_endian, enforce_file_format=True)
            assert dcmread(paths[-1]).file_meta.TransferSyntaxUID == syntax
        np.testing.assert_array_equal(load(paths).hu, expected_hu(stored_pixels(8)))

    @pytest.mark.parametrize(
        ("syntax", "plugin"), [(JPEGLSLossless, "pyjpegls"), (JPEG2000Lossless, "pylibjpeg"), (RLELossless, "pylibjpeg")]
    )
    def test_compressed(self, tmp_path: Path, syntax: UID, plugin: str, signed: list[Dataset]) -> None:
        for name, series in {"unsigned": make_series(8), "signed": signed}.items():
            native = load(write(tmp_path / name / "native", series)).hu
            for ds in series:
                ds.compress(syntax, encoding_plugin=plugin, generate_instance_uid=False)
            paths = write(tmp_path / name / "compressed", series)
            assert {dcmread(p).file_meta.TransferSyntaxUID for p in paths} == {syntax}
            np.testing.assert_array_equal(load(paths).hu, native)

    @pytest.mark.parametrize(
        ("tool", "syntax"),
        [
            (("dcmcjpeg", "+e1"), "1.2.840.10008.1.2.4.70"),
            (("dcmcjpeg", "+el"), "1.2.840.10008.1.2.4.57"),
            (("dcmcjpls",), "1.2.840.10008.1.2.4.80"),
            (("dcmcrle",), "1.2.840.10008.1.2.5"),
        ],
    )
    def test_compressed_by_dcmtk(self, tmp_path: Path, tool: tuple[str, ...], syntax: str, signed: list[Dataset]) -> None:
        if shutil.which(tool[0]) is None:
            pytest.skip(f"{tool[0]} of the Debian package dcmtk is not installed")
        for name, series in {"unsigned": make_series(8), "signed": signed}.items():
            paths = write(tmp_path / name, series)
            native = load(paths).hu
            for path in paths:
                subprocess.run([*tool, path, path], check=True)
            assert {dcmread(p).file_meta.TransferSyntaxUID for p in paths} == {syntax}
            np.testing.assert_array_equal(load(paths).hu, native)

    def test_values_of_signed_series(self, tmp_path: Path, signed: list[Dataset]) -> None:
        hu = load(write(tmp_path, signed)).hu
        assert (hu.min(), hu.max()) == (-1024, 3071)
        np.testing.assert_array_equal(hu[3, 5], np.frombuffer(signed[3].PixelData, "<i2").reshape(36, 44)[5])

    @pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, RLELossless, DeflatedExplicitVRLittleEndian])
    def test_truncated(self, tmp_path: Path, syntax: UID) -> None:
        series = make_series(8)
        for ds in series:
            if syntax == DeflatedExplicitVRLittleEndian:
                ds.file_meta.TransferSyntaxUID = syntax
            else:
                ds.compress(syntax, generate_instance_uid=False)
        paths = write(tmp_path, series)
        paths[0].write_bytes(paths[0].read_bytes()[:-40])
        codes = {left.code for left in select_series(paths, ENOUGH).left_out}
        assert "unreadable" in codes

    @pytest.mark.parametrize("says", [None, "00"])
    def test_syntax_that_may_lose_needs_a_word_of_the_header(self, tmp_path: Path, says: str | None) -> None:
        series = make_series(8)
        for ds in series:
            ds.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
            ds.file_meta.TransferSyntaxUID = JPEG2000
            if says:
                ds.LossyImageCompression = says
        paths = write(tmp_path, series)
        if says:
            np.testing.assert_array_equal(load(paths).hu, expected_hu(stored_pixels(8)))
        else:
            assert [left.code for left in select_series(paths, ENOUGH).left_out] == ["lossy_compression"]

    def test_any_damage_is_an_input_error(self, tmp_path: Path) -> None:
        """Bytes changed and cut at random: a candidate, a reason or an InputError, and never another exception."""
        rng = np.random.default_rng(6)
        series = make_series(8)
        enhanced_series = enhanced(series, EnhancedCTImageStorage)
        outcomes: list[bool] = []
        sources = [path.read_bytes() for path in write(tmp_path / "source", [series[0], enhanced_series])]
        for number in range(300):
            content = bytearray(sources[number % 2])
            for at in rng.integers(0, min(len(content), 3000), rng.integers(1, 8)):
                content[at] = rng.integers(0, 256)
            if number % 3 == 0:
                content = content[: rng.integers(len(content))]
            path = tmp_path / "damaged.dcm"
            path.write_bytes(content)
            for candidate in select_series([path], ENOUGH).candidates:
                try:
                    outcomes.append(load_volume(candidate).hu.shape[0] == len(candidate.frames))
                except InputError as error:
                    outcomes.append("damaged.dcm" in str(error))
        assert all(outcomes)

    def test_damaged_stream_names_the_file(self, tmp_path: Path) -> None:
        series = make_series(8)
        for ds in series:
            ds.compress(JPEGLSLossless, generate_instance_uid=False)
        paths = write(tmp_path, series)
        (candidate,) = select_series(paths, ENOUGH).candidates
        content = bytearray(paths[2].read_bytes())
        start = content.index(b"\xff\xd8\xff")
        content[start : start + 60] = b"\x55" * 60
        paths[2].write_bytes(content)
        with pytest.raises(InputError, match=paths[2].name):
            load_volume(candidate)


class TestValues:
    def test_every_slice_has_its_own_rescale(self, tmp_path: Path) -> None:
        series = make_series(8)
        for k, ds in enumerate(series):
            ds.RescaleSlope, ds.RescaleIntercept = f"{0.5 + 0.1 * k:.3f}", str(-900 - k)
        hu = load(write(tmp_path, series)).hu
        pixels = stored_pixels(8)
        for k in range(8):
            np.testing.assert_array_equal(hu[k], np.rint(pixels[k] * float(f"{0.5 + 0.1 * k:.3f}") - 900 - k))

    @pytest.mark.parametrize(
        ("signed", "written", "stored"), [(True, 63536, -2000), (True, 0x8000, -32768), (False, 4095, 4095), (False, 0, 0)]
    )
    def test_padding_is_air(self, tmp_path: Path, signed: bool, written: int, stored: int) -> None:
        pixels = stored_pixels(8).astype(np.int32)
        pixels[:, :4, :] = stored
        series = make_series(8, pixels=pixels.astype("<i2" if signed else "<u2"))
        bend(series, BitsStored=16, HighBit=15, PixelRepresentation=int(signed), RescaleIntercept="-1000")
        for ds in series:
            ds.add_new("PixelPaddingValue", "US", written)
        hu = load(write(tmp_path, series)).hu
        assert np.all(hu[:, :4] == -1024)
        np.testing.assert_array_equal(hu[:, 4:], pixels[:, 4:] - 1000)

    def test_signed_padding_written_as_unsigned(self, tmp_path: Path) -> None:
        pixels = stored_pixels(8).astype(np.int16)
        pixels[:, :4] = -1000
        series = bend(make_series(8, pixels=pixels), PixelRepresentation=1, BitsStored=16, HighBit=15, RescaleIntercept="0")
        for ds in series:
            ds.add_new("PixelPaddingValue", "US", 0x10000 - 1000)
        assert np.all(load(write(tmp_path, series)).hu[:, :4] == -1024)

    def test_padding_value_that_is_tissue_is_ignored(self, tmp_path: Path) -> None:
        """A padding value of 0 where values are HU would turn water into air."""
        pixels = stored_pixels(8).astype(np.int16) - 1024
        series = bend(make_series(8, pixels=pixels), PixelRepresentation=1, BitsStored=16, HighBit=15, RescaleIntercept="0")
        for ds in series:
            ds.add_new("PixelPaddingValue", "SS", 0)
        assert (pixels == 0).any()
        np.testing.assert_array_equal(load(write(tmp_path, series)).hu, pixels)

    def test_padding_range(self, tmp_path: Path) -> None:
        pixels = stored_pixels(8)
        pixels[:, 0], pixels[:, 1] = 60000, 60010
        series = bend(make_series(8, pixels=pixels), BitsStored=16, HighBit=15)
        for ds in series:
            ds.add_new("PixelPaddingValue", "US", 60010)
            ds.add_new("PixelPaddingRangeLimit", "US", 60000)
        hu = load(write(tmp_path, series)).hu
        assert np.all(hu[:, :2] == -1024)
        np.testing.assert_array_equal(hu[:, 2:], expected_hu(pixels[:, 2:]))

    def test_values_beyond_int16_do_not_wrap(self, tmp_path: Path) -> None:
        pixels = stored_pixels(8)
        pixels[:, 0] = 65535
        hu = load(write(tmp_path, bend(make_series(8, pixels=pixels), BitsStored=16, HighBit=15))).hu
        assert np.all(hu[:, 0] == 32767)

    def test_unused_bits_are_no_value(self, tmp_path: Path) -> None:
        """12 stored bits of 16; old scanners kept overlays in the others."""
        series = make_series(8)
        for ds in series:
            ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") | 0x8000).tobytes()
        np.testing.assert_array_equal(load(write(tmp_path, series)).hu, expected_hu(stored_pixels(8)))

    def test_memory(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(1).integers(0, 4000, (30, 256, 256)).astype(np.uint16)
        (candidate,) = select_series(write(tmp_path, make_series(30, pixels=pixels)), ENOUGH).candidates
        tracemalloc.start()
        volume = load_volume(candidate)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * volume.hu.nbytes

    def test_fewer_pixels_than_the_header_promises(self, tmp_path: Path) -> None:
        series = make_series(8)
        series[3].PixelData = series[3].PixelData[:-100]
        selection = select_series(write(tmp_path, series), ENOUGH)
        assert sorted(left.code for left in selection.left_out) == ["missing_slices", "unreadable"]
        assert any("3068 bytes, its header says 3168" in left.detail for left in selection.left_out)

    def test_file_gone_or_changed(self, tmp_path: Path) -> None:
        paths = write(tmp_path, make_series(8))
        (candidate,) = select_series(paths, ENOUGH).candidates
        shutil.copy(paths[1], paths[0])
        with pytest.raises(InputError, match=paths[0].name):
            load_volume(candidate)
        paths[0].unlink()
        with pytest.raises(InputError, match=paths[0].name):
            load_volume(candidate)


OBLIQUE = tuple(np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0].T[:2].ravel())


@pytest.mark.parametrize(
    "orientation",
    [
        AXIAL,
        SAGITTAL,
        CORONAL,
        (-1, 0, 0, 0, -1, 0),  # prone
        (-1, 0, 0, 0, 1, 0),  # feet first: normal to the feet
        (0, -1, 0, 0, 0, -1),  # sagittal, front to the right of the picture
        (1, 0, 0, 0, 0, 1),  # coronal, upside down
        OBLIQUE,
    ],
    ids=["axial", "sagittal", "coronal", "prone", "feet first", "sagittal flipped", "coronal flipped", "oblique"],
)
@pytest.mark.parametrize("slice_sign", [1, -1])
def test_marker_lies_where_the_header_says(tmp_path: Path, orientation: tuple[float, ...], slice_sign: int) -> None:
    pixels = stored_pixels(9)
    marker = (6, 5, 20)  # data set, row, column
    pixels[marker] = 4000
    series = make_series(9, slice_sign * 3.0, orientation, pixels=pixels)
    bend(series, SliceThickness="3")
    volume = load(write(tmp_path, series))
    ds = series[marker[0]]
    position, cosines = np.array(ds.ImagePositionPatient, float), np.array(ds.ImageOrientationPatient, float)
    row_spacing, column_spacing = map(float, ds.PixelSpacing)
    where = position + cosines[:3] * column_spacing * marker[2] + cosines[3:] * row_spacing * marker[1]
    index = np.unravel_index(np.argmax(volume.hu), volume.hu.shape)
    np.testing.assert_allclose((volume.affine_lps_mm @ [*index, 1])[:3], where, atol=1e-4)
    assert volume.frames[index[0]].sop_instance_uid == ds.SOPInstanceUID
    assert volume.axis_spacing_mm == pytest.approx((3.0, row_spacing, column_spacing), abs=1e-4)
    assert volume.facts.spacing_mm == pytest.approx((column_spacing, row_spacing, 3.0), abs=1e-4)
    # columns, rows, slices are right-handed
    assert np.linalg.det(volume.affine_lps_mm[:3, [2, 1, 0]]) > 0


def enhanced(series: list[Dataset], sop_class: UID) -> Dataset:
    """One multi-frame object of single-frame images, its frames in another order than their positions."""

    def item(**values: object) -> Dataset:
        ds = Dataset()
        for keyword, value in values.items():
            setattr(ds, keyword, value)
        return ds

    frames = [series[i] for i in np.random.default_rng(4).permutation(len(series))]
    first = series[0]
    multi = deepcopy(first)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(multi, keyword)
    for keyword in ("KVP", "ConvolutionKernel", "SliceThickness", "AcquisitionNumber"):
        delattr(multi, keyword)
    multi.SOPClassUID = sop_class
    multi.NumberOfFrames = len(frames)
    shared = item(
        PixelMeasuresSequence=Sequence([item(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)]),
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=first.ImageOrientationPatient)]),
        CTImageFrameTypeSequence=Sequence([item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])]),
    )
    if sop_class == EnhancedCTImageStorage:
        shared.CTXRayDetailsSequence = Sequence([item(KVP=120.0)])
        shared.CTReconstructionSequence = Sequence([item(ConvolutionKernel="B")])
    else:
        shared.UnassignedSharedConvertedAttributesSequence = Sequence([item(KVP="120", ConvolutionKernel="B")])
    multi.SharedFunctionalGroupsSequence = Sequence([shared])
    multi.PerFrameFunctionalGroupsSequence = Sequence(
        item(
            PlanePositionSequence=Sequence([item(ImagePositionPatient=ds.ImagePositionPatient)]),
            PixelValueTransformationSequence=Sequence([item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU")]),
            FrameContentSequence=Sequence([item(FrameAcquisitionNumber=int(ds.AcquisitionNumber))]),
        )
        for ds in frames
    )
    multi.PixelData = b"".join(ds.PixelData for ds in frames)
    return multi


class TestMultiFrame:
    @pytest.mark.parametrize("sop_class", [EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage])
    @pytest.mark.parametrize("compressed", [False, True])
    def test_same_as_single_frames(self, tmp_path: Path, sop_class: UID, compressed: bool) -> None:
        series = make_series(12)
        single = load(write(tmp_path / "single", series))
        multi = enhanced(series, sop_class)
        if compressed:
            multi.compress(JPEGLSLossless, generate_instance_uid=False)
        volume = load(write(tmp_path / "multi", [multi]))
        np.testing.assert_array_equal(volume.hu, single.hu)
        np.testing.assert_allclose(volume.affine_lps_mm, single.affine_lps_mm)
        assert volume.facts == single.facts
        assert sorted(f.frame_number for f in volume.frames) == list(range(1, 13))
        assert {f.sop_instance_uid for f in volume.frames} == {multi.SOPInstanceUID}

    def test_phases_in_one_object(self, tmp_path: Path) -> None:
        phases = [bend(make_series(12), AcquisitionNumber=str(n)) for n in (1, 2)]
        multi = enhanced([*phases[0], *phases[1]], EnhancedCTImageStorage)
        selection = select_series(write(tmp_path, [multi]), ENOUGH)
        assert [len(c.frames) for c in selection.candidates] == [12, 12]
        np.testing.assert_array_equal(load_volume(selection.candidates[1]).hu, expected_hu(stored_pixels(12)))

    def test_missing_frame(self, tmp_path: Path) -> None:
        multi = enhanced(make_series(12), EnhancedCTImageStorage)
        del multi.PerFrameFunctionalGroupsSequence[4]
        (left,) = select_series(write(tmp_path, [multi]), ENOUGH).left_out
        assert left.code == "unreadable"
        assert "11 frames" in left.detail
