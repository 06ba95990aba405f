"""Slices of two scans are never one volume, and one scan is not read as two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset

from node.language.catalogue import Language, say
from node.model import Candidate, Selection
from node.select import SeveralScansError, load_volume, select_series
from node.settings.tree import SelectSettings
from tests.select.ct_series import bend, make_series, write

Values = npt.NDArray[np.integer]


def trunk(slices: int = 40, contrast_hu: int = 0, size: int = 64, seed: int = 1) -> Values:
    """Stored values (HU + 1024) of a disc of fat and muscle with a spine and an aorta, in air; noise of 10 HU.

    Contrast enhances muscle by a tenth of what it does in the aorta.
    """
    y, x = np.ogrid[:size, :size]
    radius = np.hypot(x - size / 2, y - size / 2) / size
    hu = np.where(radius < 0.45, -100, -1000)
    hu = np.where(radius < 0.38, 50 + contrast_hu // 10, hu)
    hu[np.hypot(x - size / 2, y - 0.7 * size) < 0.13 * size] = 180
    hu[np.hypot(x - size / 2, y - 0.4 * size) < 0.15 * size] = 45 + contrast_hu
    noise = np.random.default_rng(seed).normal(0, 10, (slices, size, size))
    return np.asarray(np.rint(hu + noise + 1024).clip(0, 4095), dtype=np.uint16)


def select(folder: Path, series: list[Dataset]) -> Selection:
    return select_series(write(folder, series), SelectSettings())


def uids(candidate: Candidate) -> list[str]:
    return [frame.sop_instance_uid for frame in candidate.frames]


def alternating(first: Values, second: Values) -> list[Dataset]:
    """One series, its slices in turn of two scans."""
    pixels = first.copy()
    pixels[1::2] = second[1::2]
    return make_series(len(pixels), 2.0, pixels=pixels)


@pytest.mark.parametrize(
    "attributes",
    [
        {"AcquisitionNumber": "2"},
        {"SeriesNumber": "9"},
        {"ImageType": ["ORIGINAL", "PRIMARY", "AXIAL", "SECOND"]},
        {"SliceThickness": "3"},
        {"ProtocolName": "VENOUS"},
        {"SeriesDescription": "Abdomen ven"},
        {"PatientPosition": "FFS"},
        {"ConvolutionKernel": "YA"},
        {"KVP": "100"},
        {"ContrastBolusAgent": "IODINE"},
        {"TemporalPositionIdentifier": "2"},
        {"TriggerTime": "400"},
        {"AcquisitionTime": "103000"},
        {"ContentTime": "103000"},
        {"SeriesTime": "10:30:00"},
        {"StationName": "OTHER"},
        {"IrradiationEventUID": "1.2.3"},
    ],
    ids=lambda attributes: next(iter(attributes)),
)
def test_alternating_scans_are_separated_by_what_tells_them_apart(tmp_path: Path, attributes: dict[str, object]) -> None:
    first, second = trunk(), trunk(contrast_hu=150)
    series = alternating(first, second)
    bend(
        series,
        ProtocolName="NATIVE",
        PatientPosition="HFS",
        ContrastBolusAgent="none",
        TemporalPositionIdentifier="1",
        TriggerTime="0",
        AcquisitionTime="101500",
        ContentTime="101500",
        SeriesTime="101500",
        StationName="CT1",
        DeviceSerialNumber="7",
        IrradiationEventUID="1.2.2",
    )
    bend(series[1::2], **attributes)
    selection = select(tmp_path, series)
    assert sorted(map(uids, selection.candidates)) == sorted([[ds.SOPInstanceUID for ds in series[n::2]] for n in (0, 1)])
    for candidate in selection.candidates:
        which = int(uids(candidate)[0] == series[1].SOPInstanceUID)
        np.testing.assert_array_equal(load_volume(candidate).hu, (first, second)[which][which::2].astype(int) - 1024)


@pytest.mark.parametrize("keyword", ["AcquisitionTime", "ContentTime"])
def test_a_time_of_every_slice_tells_the_passes_apart(tmp_path: Path, keyword: str) -> None:
    series = alternating(trunk(), trunk(contrast_hu=150))
    for k, ds in enumerate(series):
        setattr(ds, keyword, f"10{15 + 2 * (k % 2)}{k / 4:09.6f}")
    selection = select(tmp_path, series)
    assert sorted(len(c.frames) for c in selection.candidates) == [20, 20]


@pytest.mark.parametrize("numbers", ["one after the other", "alike"])
def test_the_numbers_of_the_images_tell(tmp_path: Path, numbers: str) -> None:
    series = alternating(trunk(), trunk(contrast_hu=150))
    for k, ds in enumerate(series):
        ds.InstanceNumber = str(k // 2 + (20 * (k % 2) if numbers == "one after the other" else 0) + 1)
    assert sorted(len(c.frames) for c in select(tmp_path, series).candidates) == [20, 20]


@pytest.mark.parametrize("hu", [5, 12, 60, 300])
def test_where_no_header_tells_the_values_do(tmp_path: Path, hu: int) -> None:
    """A second pass with contrast, or another scale: what is measured would be a mean of the two."""
    second = trunk(contrast_hu=hu) if hu > 20 else (trunk() + hu).astype(np.uint16)
    (candidate,) = select(tmp_path, alternating(trunk(), second)).candidates
    with pytest.raises(SeveralScansError) as caught:
        load_volume(candidate)
    assert "jump up and down" in caught.value.said
    assert "springen" in say(caught.value.said, Language.DE)


def test_pairs_and_mixtures(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    for number, of_second in enumerate((np.arange(60) // 2 % 2 == 1, rng.random(60) < 0.5)):
        pixels = trunk(60)
        pixels[of_second] += 60
        (candidate,) = select(tmp_path / str(number), make_series(60, 2.0, pixels=pixels)).candidates
        with pytest.raises(SeveralScansError):
            load_volume(candidate)


def test_one_scan_does_not_jump(tmp_path: Path) -> None:
    """Contrast that comes in slowly, a bright slice, two steps of the table: one scan."""
    pixels = trunk(60).astype(np.int64)
    pixels += np.linspace(0, 40, 60, dtype=np.int64)[:, None, None]
    pixels[30] += 30
    pixels[40:] += 20
    (candidate,) = select(tmp_path, make_series(60, 2.0, pixels=pixels.astype(np.uint16))).candidates
    np.testing.assert_array_equal(load_volume(candidate).hu, pixels - 1024)


class TestOneScan:
    @pytest.mark.parametrize("digits", [0.001, 0.004, 0.008])
    def test_orientation_that_differs_in_the_third_digit(self, tmp_path: Path, digits: float) -> None:
        series = make_series(40, 2.0, pixels=trunk())
        for k, ds in enumerate(series):
            ds.ImageOrientationPatient = [1, digits * (k % 2), 0, -digits * (k % 3 == 0), 1, digits * (k % 2)]
        (candidate,) = select(tmp_path, series).candidates
        assert len(candidate.frames) == 40

    @pytest.mark.parametrize(
        "keyword", ["ConvolutionKernel", "KVP", "SliceThickness", "Manufacturer", "AcquisitionNumber", "FrameOfReferenceUID"]
    )
    @pytest.mark.parametrize("which", ["every second", "lower half", "any"])
    def test_missing_values_do_not_split(self, tmp_path: Path, keyword: str, which: str) -> None:
        series = make_series(40, 2.0, pixels=trunk())
        picked = {"every second": series[1::2], "lower half": series[:20], "any": series[3:9] + series[25:26]}[which]
        bend(picked, **{keyword: None})
        selection = select(tmp_path, series)
        (candidate,) = selection.candidates
        assert (len(candidate.frames), selection.left_out) == (40, ())
        assert (candidate.facts.kvp, candidate.facts.convolution_kernel) == (120.0, "B")

    def test_a_missing_kernel_that_fits_two_reconstructions_joins_neither(self, tmp_path: Path) -> None:
        soft, sharp = make_series(40, 2.0, pixels=trunk()), bend(make_series(40, 2.0, pixels=trunk()), ConvolutionKernel="D")
        for ds in sharp:
            ds.SeriesInstanceUID, ds.StudyInstanceUID = soft[0].SeriesInstanceUID, soft[0].StudyInstanceUID
            ds.FrameOfReferenceUID = soft[0].FrameOfReferenceUID
        bend(sharp[:4], ConvolutionKernel=None)
        selection = select(tmp_path, [*soft, *sharp])
        assert sorted(len(c.frames) for c in selection.candidates) == [36, 40]
        assert any("does not say" in left.detail for left in selection.left_out)

    def test_times_of_a_reconstruction_in_parallel(self, tmp_path: Path) -> None:
        """Two processors finish slices in turn: the times go up and down by a second."""
        series = make_series(40, 2.0, pixels=trunk())
        for k, ds in enumerate(series):
            ds.ContentTime = f"1015{10 + k // 2 + (k % 2):02}"
        assert [len(c.frames) for c in select(tmp_path, series).candidates] == [40]
