"""Series that are cut, shuffled, doubled, interleaved, relabelled and re-encoded: the HU are exact, or it is refused."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from itertools import pairwise
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from node.common.errors import InputError
from node.select import load_volume, select_series
from node.settings.tree import SelectSettings
from tests.select.ct_series import make_series
from tests.select.test_several_scans import trunk
from tests.select.test_stored_bits import hold

SLICES = 16
STEP_MM = 3.0
LIMITS = SelectSettings(min_slices=6, min_extent_mm=12)
SCANS = {"native": trunk(SLICES, size=40), "contrast": trunk(SLICES, contrast_hu=200, size=40, seed=2)}

#: What may tell the second scan from the first.
TOLD = st.sampled_from(
    [
        {},
        {"AcquisitionNumber": "2"},
        {"ContrastBolusAgent": "IODINE", "AcquisitionTime": "103000"},
        {"AcquisitionTime": "103000"},
        {"SeriesNumber": "9"},
        {"ConvolutionKernel": "YA"},
        {"SeriesDescription": "venous"},
    ]
)
#: What programs do to the header of any slice without changing what it shows.
RELABELLED = st.sampled_from(
    [
        {},
        {"ConvolutionKernel": None},
        {"KVP": None},
        {"AcquisitionNumber": None},
        {"InstanceNumber": "7"},
        {"SliceThickness": "3.0"},
        {"ImageOrientationPatient": [1, 0.003, 0, 0, 1, 0]},
    ]
)
SYNTAX = st.sampled_from([ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless])
MIX = st.sampled_from(["one", "every second", "half a step between", "at the same places", "upper half", "any"])


def scan(name: str, origin_mm: float) -> list[Dataset]:
    series = make_series(SLICES, STEP_MM, pixels=SCANS[name], origin_mm=(-20, -20, origin_mm), pixel_spacing_mm=(8.0, 8.0))
    for ds in series:
        ds.AcquisitionTime = "101500"
    return series


def change(ds: Dataset, attributes: dict[str, object]) -> None:
    for keyword, value in attributes.items():
        if value is None and keyword in ds:
            delattr(ds, keyword)
        elif value is not None:
            setattr(ds, keyword, value)


def mixed(mix: str, told: dict[str, object], rng: np.random.Generator) -> list[Dataset]:
    """One or two scans in one series."""
    native, contrast = scan("native", -400.0), scan("contrast", -400.0 + STEP_MM / 2 * (mix == "half a step between"))
    for ds in contrast:
        change(ds, told)
        ds.SeriesInstanceUID, ds.StudyInstanceUID = native[0].SeriesInstanceUID, native[0].StudyInstanceUID
        ds.FrameOfReferenceUID = native[0].FrameOfReferenceUID
    if mix == "one":
        return native
    if mix in ("half a step between", "at the same places"):
        return native + contrast
    of_contrast = {
        "every second": np.arange(SLICES) % 2 == 1,
        "upper half": np.arange(SLICES) >= SLICES // 2,
        "any": rng.random(SLICES) < 0.5,
    }[mix]
    return [contrast[k] if of_contrast[k] else native[k] for k in range(SLICES)]


def sources(series: list[Dataset]) -> dict[str, tuple[str, np.ndarray]]:
    """By SOP Instance UID: the scan that an image comes from, and its HU."""
    held = {pixels.astype("<u2").tobytes(): name for name, scan in SCANS.items() for pixels in scan}
    return {
        ds.SOPInstanceUID: (held[ds.PixelData], np.frombuffer(ds.PixelData, "<u2").reshape(40, 40).astype(int) - 1024)
        for ds in series
    }


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    mix=MIX,
    told=TOLD,
    relabelled=RELABELLED,
    cut=st.sets(st.integers(0, SLICES - 1), max_size=3),
    doubled=st.sets(st.integers(0, SLICES - 1), max_size=3),
    syntaxes=st.lists(SYNTAX, min_size=1, max_size=3),
    overlay=st.booleans(),
    seed=st.integers(0, 1000),
)
@example("half a step between", {}, {}, set(), set(), [ExplicitVRLittleEndian], False, 0)
@example("any", {"ContrastBolusAgent": "IODINE"}, {}, set(), set(), [JPEGLSLossless], True, 1)
@example("one", {}, {"ConvolutionKernel": None}, set(), {3}, [RLELossless, JPEG2000Lossless], True, 2)
def test_hu_are_exact_or_the_series_is_refused(
    mix: str,
    told: dict[str, object],
    relabelled: dict[str, object],
    cut: set[int],
    doubled: set[int],
    syntaxes: list[UID],
    overlay: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    series = mixed(mix, told, rng)
    truth = sources(series)
    for ds in series:
        if rng.random() < 0.4:
            change(ds, relabelled)
    series = [ds for k, ds in enumerate(series) if k not in cut]
    again = [deepcopy(series[k]) for k in doubled if k < len(series)]
    for number, ds in enumerate([*series, *again]):
        cells = np.frombuffer(ds.PixelData, "<u2").reshape(40, 40)
        hold(ds, cells | np.uint16(0x8000) if overlay else cells, syntaxes[number % len(syntaxes)])
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number in rng.permutation(len(series) + len(again)):
            paths.append(Path(folder) / f"{number}.dcm")
            [*series, *again][number].save_as(paths[-1], enforce_file_format=True)
        selection = select_series(paths, LIMITS)
        assert selection.candidates or selection.left_out
        for candidate in selection.candidates:
            try:
                volume = load_volume(candidate)
            except InputError:
                continue
            names = [truth[frame.sop_instance_uid][0] for frame in candidate.frames]
            changes = sum(a != b for a, b in pairwise(names))
            # two scans one above the other are one stack, as before: nothing tells them from a scan in steps
            assert changes <= 1, (names, candidate.why)
            for frame, hu in zip(candidate.frames, volume.hu, strict=True):
                np.testing.assert_array_equal(hu, truth[frame.sop_instance_uid][1])
            heights = [float((volume.affine_lps_mm @ [k, 0, 0, 1])[2]) for k in range(len(volume.hu))]
            np.testing.assert_allclose(np.diff(heights), heights[1] - heights[0], atol=0.01)


def test_an_untouched_series_is_read(tmp_path: Path) -> None:
    series = scan("native", -400.0)
    series[0].StudyInstanceUID = series[0].StudyInstanceUID or generate_uid()
    paths = []
    for k, ds in enumerate(series):
        paths.append(tmp_path / f"{k}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    (candidate,) = select_series(paths, LIMITS).candidates
    np.testing.assert_array_equal(load_volume(candidate).hu, SCANS["native"].astype(int) - 1024)
