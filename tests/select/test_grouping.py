"""Regular stacks from irregular series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from node.model import Candidate, Selection
from node.select import load_volume, select_series
from node.settings.tree import SelectSettings
from tests.select.ct_series import CORONAL, SAGITTAL, bend, make_series, write


def select(folder: Path, series: list[Dataset]) -> Selection:
    return select_series(write(folder, series), SelectSettings())


def refusal(folder: Path, series: list[Dataset]) -> tuple[str, str]:
    selection = select(folder, series)
    assert selection.candidates == ()
    (left,) = selection.left_out
    return left.code, left.detail


def as_one_series(*parts: list[Dataset]) -> list[Dataset]:
    """Parts in one series, numbered one after the other."""
    series = [ds for part in parts for ds in part]
    first = series[0]
    for number, ds in enumerate(series, start=1):
        ds.StudyInstanceUID, ds.SeriesInstanceUID = first.StudyInstanceUID, first.SeriesInstanceUID
        ds.FrameOfReferenceUID = first.FrameOfReferenceUID
        ds.InstanceNumber = str(number)
    return series


def move(ds: Dataset, *by_mm: float) -> None:
    ds.ImagePositionPatient = [float(x) + d for x, d in zip(ds.ImagePositionPatient, by_mm, strict=True)]


def uids(candidate: Candidate) -> list[str]:
    return [frame.sop_instance_uid for frame in candidate.frames]


def uids_of(series: list[Dataset]) -> list[str]:
    return [ds.SOPInstanceUID for ds in series]


class TestSpacing:
    def test_missing_slices(self, tmp_path: Path) -> None:
        series = make_series(60, 2.0)
        code, detail = refusal(tmp_path, series[:20] + series[22:40] + series[41:])
        assert code == "missing_slices"
        assert detail.startswith("3 slices are missing")
        assert "2 between -362.0 and -356.0 mm" in detail
        assert "1 between -322.0 and -318.0 mm" in detail

    def test_one_missing_next_to_the_end(self, tmp_path: Path) -> None:
        series = make_series(60, 2.0)
        assert refusal(tmp_path, series[:-2] + series[-1:])[0] == "missing_slices"

    def test_numbers_and_times_never_heal_a_gap(self, tmp_path: Path) -> None:
        series = make_series(80, 2.0)
        for k, ds in enumerate(series):
            ds.AcquisitionTime = "101500" if k < 40 else "101530"
            ds.ContentTime = ds.AcquisitionTime
        assert refusal(tmp_path, series[:40] + series[43:])[0] == "missing_slices"

    def test_uneven(self, tmp_path: Path) -> None:
        series = make_series(60, 2.0)
        move(series[30], 0, 0, 0.7)
        code, detail = refusal(tmp_path, series)
        assert code == "uneven_spacing"
        assert "1.30 to 2.70 mm" in detail

    def test_drifting(self, tmp_path: Path) -> None:
        series = make_series(100, 1.0)
        for k, ds in enumerate(series):
            move(ds, 0, 0, 0.09 * max(0, k - 50))
        assert refusal(tmp_path, series)[0] == "uneven_spacing"

    def test_rounded_positions_are_even(self, tmp_path: Path) -> None:
        series = make_series(150, 0.625)
        for ds in series:
            ds.ImagePositionPatient = [round(float(x), 1) for x in ds.ImagePositionPatient]
        (candidate,) = select(tmp_path, series).candidates
        assert candidate.facts.spacing_mm[2] == pytest.approx(0.625, abs=1e-3)


class TestShear:
    @pytest.mark.parametrize("angle_deg", [-12.0, 3.0, 0.6])
    def test_tilt(self, tmp_path: Path, angle_deg: float) -> None:
        series = make_series(60, 2.0)
        for k, ds in enumerate(series):
            move(ds, 0, k * 2.0 * np.tan(np.radians(angle_deg)), 0)
        code, detail = refusal(tmp_path, series)
        assert code == "gantry_tilt"
        assert f"{abs(angle_deg):.1f} degrees" in detail

    def test_tilt_of_turned_slices(self, tmp_path: Path) -> None:
        """As scanners write it: slices turned about x, the table moving along z."""
        angle = np.radians(15)
        series = make_series(60, 2.0, (1, 0, 0, 0, np.cos(angle), np.sin(angle)))
        for k, ds in enumerate(series):
            ds.ImagePositionPatient = [-150, -120, -400 + 2 * k]
        code, detail = refusal(tmp_path, series)
        assert code == "gantry_tilt"
        assert "15.0 degrees" in detail

    def test_rounding_is_no_tilt(self, tmp_path: Path) -> None:
        series = make_series(60, 2.0)
        for k, ds in enumerate(series):
            move(ds, 0, k * 2.0 * np.tan(np.radians(0.3)), 0)
        (candidate,) = select(tmp_path, series).candidates
        affine = load_volume(candidate).affine_lps_mm
        assert affine @ [59, 0, 0, 1] == pytest.approx([*map(float, series[59].ImagePositionPatient), 1], abs=1e-5)

    def test_oblique_series_is_not_tilted(self, tmp_path: Path) -> None:
        angle = np.radians(20)
        series = make_series(60, 2.0, (1, 0, 0, 0, np.cos(angle), np.sin(angle)))
        assert len(select(tmp_path, series).candidates) == 1

    def test_shifted_slice(self, tmp_path: Path) -> None:
        series = make_series(60, 2.0)
        move(series[30], 4.0, 0, 0)
        code, detail = refusal(tmp_path, series)
        assert code == "shifted_slices"
        assert "3.9 mm" in detail


class TestPhases:
    @pytest.mark.parametrize(
        ("keyword", "values"),
        [
            ("AcquisitionNumber", ("1", "2")),
            ("TemporalPositionIdentifier", ("1", "2")),
            ("AcquisitionTime", ("101500.1", "101612.9")),
            ("ContentTime", ("101500", "101612")),
            ("TriggerTime", ("0", "450")),
            ("ContrastBolusAgent", ("none", "Ultravist")),
            ("ConvolutionKernel", ("B", "YA")),
            ("KVP", ("100", "140")),
            ("SliceThickness", ("2.5", "3")),
        ],
    )
    def test_split_by_header(self, tmp_path: Path, keyword: str, values: tuple[str, str]) -> None:
        phases = [bend(make_series(40), **{keyword: value}) for value in values]
        series = as_one_series(*phases)
        for ds, number in zip(series, np.random.default_rng(8).permutation(80), strict=True):
            ds.InstanceNumber = str(number)
        selection = select(tmp_path, series)
        assert selection.left_out == ()
        assert sorted(map(uids, selection.candidates)) == sorted(map(uids_of, phases))
        assert all("separated from other images of its series by" in c.why for c in selection.candidates)

    def test_earlier_phase_first(self, tmp_path: Path) -> None:
        late, early = bend(make_series(44), AcquisitionNumber="3"), bend(make_series(40), AcquisitionNumber="2")
        first, second = select(tmp_path, as_one_series(late, early)).candidates
        assert uids(first) == uids_of(early)
        assert second.why.endswith("below rank 1 because of its later phase.")

    def test_split_by_runs_of_instance_numbers(self, tmp_path: Path) -> None:
        phases = [make_series(40), make_series(40), make_series(44)]
        selection = select(tmp_path, as_one_series(*phases))
        assert sorted(map(uids, selection.candidates)) == sorted(map(uids_of, phases))
        assert "Instance Number" in selection.candidates[0].why

    def test_numbered_from_head_to_foot(self, tmp_path: Path) -> None:
        phases = [make_series(40), make_series(40)]
        selection = select(tmp_path, as_one_series(phases[0][::-1], phases[1][::-1]))
        assert sorted(map(uids, selection.candidates)) == sorted(map(uids_of, phases))

    def test_no_header_tells_them_apart(self, tmp_path: Path) -> None:
        series = as_one_series(make_series(40), make_series(40))
        for ds, number in zip(series, np.random.default_rng(8).permutation(80), strict=True):
            ds.InstanceNumber = str(number)
        code, detail = refusal(tmp_path, series)
        assert code == "several_phases_in_one_series"
        assert "40 of 80 slices" in detail

    def test_shifted_phases_that_look_like_one_thin_stack(self, tmp_path: Path) -> None:
        phases = [bend(make_series(40), AcquisitionNumber="1"), bend(make_series(40), AcquisitionNumber="2")]
        for ds in phases[1]:
            move(ds, 0, 0, 1.25)
        selection = select(tmp_path, as_one_series(*phases))
        assert sorted(map(uids, selection.candidates)) == sorted(map(uids_of, phases))

    def test_unevenly_shifted_phases(self, tmp_path: Path) -> None:
        phases = [bend(make_series(40), AcquisitionNumber="1"), bend(make_series(40), AcquisitionNumber="2")]
        for ds in phases[1]:
            move(ds, 0, 0, 0.4)
        selection = select(tmp_path, as_one_series(*phases))
        assert sorted(map(uids, selection.candidates)) == sorted(map(uids_of, phases))

    def test_one_phase_is_incomplete(self, tmp_path: Path) -> None:
        whole, torn = bend(make_series(40), AcquisitionNumber="1"), bend(make_series(40), AcquisitionNumber="2")
        selection = select(tmp_path, as_one_series(whole, torn[:20] + torn[21:]))
        assert [uids(c) for c in selection.candidates] == [uids_of(whole)]
        (left,) = selection.left_out
        assert left.code == "missing_slices"
        assert left.detail.startswith("Acquisition Number 2: 1 slice is missing")

    def test_an_acquisition_for_every_slice_is_one_stack(self, tmp_path: Path) -> None:
        series = make_series(40)
        for k, ds in enumerate(series):
            ds.AcquisitionNumber = str(k)
            ds.AcquisitionTime = f"1015{k:02}"
        (candidate,) = select(tmp_path, series).candidates
        assert uids(candidate) == uids_of(series)

    def test_acquisitions_one_above_the_other_are_one_stack(self, tmp_path: Path) -> None:
        series = make_series(40)
        bend(series[20:], AcquisitionNumber="2")
        assert len(select(tmp_path, series).candidates) == 1

    def test_two_scans_apart(self, tmp_path: Path) -> None:
        lower = bend(make_series(40), AcquisitionNumber="1")
        upper = bend(make_series(40, origin_mm=(-150, -120, -250)), AcquisitionNumber="2")
        selection = select(tmp_path, as_one_series(lower, upper))
        assert sorted(map(uids, selection.candidates)) == sorted(map(uids_of, [lower, upper]))

    def test_one_phase_cannot_be_told_apart(self, tmp_path: Path) -> None:
        good, mixed = bend(make_series(40), AcquisitionNumber="1"), bend(make_series(80), AcquisitionNumber="2")
        for k, ds in enumerate(mixed):
            ds.ImagePositionPatient = mixed[k % 40].ImagePositionPatient
        series = as_one_series(good, mixed)
        for ds, number in zip(series, np.random.default_rng(8).permutation(120), strict=True):
            ds.InstanceNumber = str(number)
        selection = select(tmp_path, series)
        assert [uids(c) for c in selection.candidates] == [uids_of(good)]
        assert [left.code for left in selection.left_out] == ["several_phases_in_one_series"]

    def test_a_scan_in_steps_with_a_gap_is_not_cut_to_its_first_part(self, tmp_path: Path) -> None:
        series = make_series(60)
        for k, ds in enumerate(series):
            ds.AcquisitionNumber = "1" if k < 30 else str(k // 2)
        code, _ = refusal(tmp_path, series[:41] + series[42:])
        assert code == "missing_slices"


class TestStrays:
    @pytest.mark.parametrize(
        ("attributes", "words"),
        [
            ({"ImageOrientationPatient": list(SAGITTAL)}, "Image Orientation"),
            ({"ImageOrientationPatient": list(CORONAL)}, "Image Orientation"),
            ({"PixelSpacing": [0.5, 0.5]}, "Pixel Spacing"),
            ({"ConvolutionKernel": "YA"}, "Convolution Kernel"),
            ({"AcquisitionNumber": "9"}, "Acquisition Number 9"),
        ],
    )
    def test_slice_of_another_scan(self, tmp_path: Path, attributes: dict[str, object], words: str) -> None:
        series, stray = make_series(40), bend(make_series(1), **attributes)
        selection = select(tmp_path, as_one_series(series, stray))
        assert [uids(c) for c in selection.candidates] == [uids_of(series)]
        (left,) = selection.left_out
        assert left.code == "stray_slices"
        assert words in left.detail
        assert stray[0].SOPInstanceUID in left.detail

    def test_other_size(self, tmp_path: Path) -> None:
        series = make_series(40)
        stray = make_series(1, pixels=np.zeros((1, 64, 64), dtype=np.uint16))
        (left,) = select(tmp_path, as_one_series(series, stray)).left_out
        assert "Rows and Columns" in left.detail

    def test_other_frame_of_reference(self, tmp_path: Path) -> None:
        series = as_one_series(make_series(40), make_series(1))
        series[-1].FrameOfReferenceUID = generate_uid()
        (left,) = select(tmp_path, series).left_out
        assert "Frame of Reference" in left.detail

    def test_frame_of_reference_of_every_slice(self, tmp_path: Path) -> None:
        series = make_series(40)
        for ds in series:
            ds.FrameOfReferenceUID = generate_uid()
        (candidate,) = select(tmp_path, series).candidates
        assert len(candidate.frames) == 40
        assert candidate.facts.frame_of_reference_uid is None

    def test_localizer_inside(self, tmp_path: Path) -> None:
        scout = bend(make_series(1, orientation=CORONAL), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        selection = select(tmp_path, as_one_series(make_series(40), scout))
        assert len(selection.candidates[0].frames) == 40
        (left,) = selection.left_out
        assert left.code == "localizer"
        assert left.detail.startswith("1 of 41 images")

    @pytest.mark.parametrize("at_mm", [-520.0, -100.0])
    def test_far_off(self, tmp_path: Path, at_mm: float) -> None:
        series = make_series(40)
        stray = make_series(1, origin_mm=(-150, -120, at_mm))
        selection = select(tmp_path, as_one_series(series, stray))
        assert [uids(c) for c in selection.candidates] == [uids_of(series)]
        assert f"at {at_mm:.1f} mm" in selection.left_out[0].detail

    def test_bolus_tracking_inside(self, tmp_path: Path) -> None:
        series = make_series(40)
        tracking = [ds for n in range(5) for ds in make_series(1, origin_mm=(-150, -120, -350.0))]
        bend(tracking, AcquisitionNumber="2")
        selection = select(tmp_path, as_one_series(series, tracking))
        assert [uids(c) for c in selection.candidates] == [uids_of(series)]
        assert selection.left_out[0].detail.startswith("5 of 45 slices")

    def test_stray_does_not_hide_a_gap(self, tmp_path: Path) -> None:
        series = make_series(60)
        stray = bend(make_series(1), AcquisitionNumber="9")
        selection = select(tmp_path, as_one_series(series[:20] + series[23:], stray))
        assert selection.candidates == ()

    def test_radial_slices(self, tmp_path: Path) -> None:
        series = as_one_series(
            *[make_series(1, orientation=(np.cos(a), np.sin(a), 0, 0, 0, -1)) for a in np.radians(range(0, 180, 9))]
        )
        code, detail = refusal(tmp_path, series)
        assert code == "too_few_slices"
        assert "only 1 of 20 slices fit together" in detail
