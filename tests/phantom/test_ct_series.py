"""The files hold the volume, at its place, and are valid CT images."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from node.common.errors import InputError
from node.model import Orientation
from node.phantom import (
    PORTAL_VENOUS,
    CtHeader,
    FieldOfView,
    PhantomParameters,
    header_of,
    make_phantom,
    write_ct_series,
    write_series,
)

SMALL = PhantomParameters(field_of_view=FieldOfView((0.0, 0.0, 0.0), (33.0, 41.0, 24.0)), pixel_spacing_mm=1.0)
HEADER = CtHeader("2.25.1", "2.25.2", "2.25.3", "ID", "NAME^GIVEN")
VARIANTS = [
    {},
    {"reverse_slices": True},
    {"orientation": Orientation.SAGITTAL, "slice_distance_mm": 3.0},
    {"orientation": Orientation.CORONAL, "contrast": PORTAL_VENOUS},
    {"slice_rotation_deg": (7.0, -11.0, 3.3)},
]
NAMES = ["axial", "reversed", "sagittal", "coronal", "oblique"]


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.parametrize("changes", VARIANTS, ids=NAMES)
def test_files_hold_every_voxel_at_its_place(changes: dict[str, object], tmp_path: Path) -> None:
    phantom = make_phantom(dataclasses.replace(SMALL, **changes))  # type: ignore[arg-type]
    paths = write_series(phantom, tmp_path)
    assert len(paths) == len(phantom.hu)
    for k, path in enumerate(paths):
        ds = pydicom.dcmread(path)
        hu = ds.pixel_array.astype(int) * int(ds.RescaleSlope) + int(ds.RescaleIntercept)
        np.testing.assert_array_equal(hu, phantom.hu[k])
        row, column = ds.Rows - 1, 2
        # PS3.3 C.7.6.2.1.1: the first direction is that of a row, along which the column index rises.
        right, down = np.array(ds.ImageOrientationPatient[:3]), np.array(ds.ImageOrientationPatient[3:])
        place = np.array(ds.ImagePositionPatient) + right * ds.PixelSpacing[1] * column + down * ds.PixelSpacing[0] * row
        expected = phantom.affine_lps_mm @ np.array([k, row, column, 1])
        assert place == pytest.approx(expected[:3], abs=1e-3)
        assert ds.SliceThickness == phantom.parameters.thickness_mm
        assert ds.InstanceNumber == k + 1


@pytest.mark.parametrize("changes", VARIANTS, ids=NAMES)
def test_dciodvfy_reports_no_error(changes: dict[str, object], tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    paths = write_series(make_phantom(dataclasses.replace(SMALL, **changes)), tmp_path)  # type: ignore[arg-type]
    answer = subprocess.run(["dciodvfy", str(paths[1])], capture_output=True, text=True, check=False)
    report = answer.stdout + answer.stderr
    assert "CTImage" in report
    assert "Error" not in report


def test_equal_parameters_give_equal_files(tmp_path: Path) -> None:
    for folder in ("first", "second"):
        write_series(make_phantom(SMALL), tmp_path / folder)
    assert digests(tmp_path / "first") == digests(tmp_path / "second")
    write_series(make_phantom(dataclasses.replace(SMALL, seed=5)), tmp_path / "third")
    assert digests(tmp_path / "first") != digests(tmp_path / "third")


def test_two_images_of_a_patient_share_study_and_frame_of_reference() -> None:
    axial = header_of(make_phantom(SMALL))
    sagittal = header_of(make_phantom(dataclasses.replace(SMALL, orientation=Orientation.SAGITTAL)))
    other = header_of(make_phantom(dataclasses.replace(SMALL, density_mg_cm3=50.0)))
    assert axial.study_instance_uid == sagittal.study_instance_uid != other.study_instance_uid
    assert axial.frame_of_reference_uid == sagittal.frame_of_reference_uid
    assert axial.patient_id == sagittal.patient_id != other.patient_id
    assert axial.series_instance_uid != sagittal.series_instance_uid
    assert axial.image_type[0] == "ORIGINAL"
    assert sagittal.image_type == ("DERIVED", "SECONDARY", "REFORMATTED")


def test_uids_are_unique_and_valid(tmp_path: Path) -> None:
    paths = write_ct_series(np.zeros((4, 3, 3), np.int16), np.eye(4), HEADER, tmp_path)
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in paths]
    assert len(set(uids)) == 4
    assert all(uid.is_valid and uid.startswith("2.25.") for uid in uids)


def test_values_below_the_usual_range_and_above_12_bits_survive(tmp_path: Path) -> None:
    hu = np.array([[[-32768, 32767, 0]], [[-2048, -1024, 3071]]], np.int16)
    for k, path in enumerate(write_ct_series(hu, np.eye(4), HEADER, tmp_path)):
        ds = pydicom.dcmread(path)
        np.testing.assert_array_equal(ds.pixel_array.astype(int) + int(ds.RescaleIntercept), hu[k])


def test_a_left_handed_volume_keeps_its_place(tmp_path: Path) -> None:
    affine = np.diag([-2.0, 0.5, 0.75, 1.0])[[2, 1, 0, 3]]  # slices run along -z
    affine[:3, 3] = (10.0, -20.0, 30.0)
    paths = write_ct_series(np.zeros((3, 2, 2), np.int16), affine, HEADER, tmp_path)
    last = pydicom.dcmread(paths[2])
    assert list(last.ImagePositionPatient) == [10.0, -20.0, 26.0]
    assert list(last.PixelSpacing) == [0.5, 0.75]
    assert last.KVP is None
    assert "ConvolutionKernel" not in last


def test_what_no_ct_series_can_hold_is_refused(tmp_path: Path) -> None:
    sheared = np.eye(4)
    sheared[1, 0] = 0.2
    with pytest.raises(InputError, match="perpendicular"):
        write_ct_series(np.zeros((2, 2, 2), np.int16), sheared, HEADER, tmp_path)
    with pytest.raises(InputError, match="three axes"):
        write_ct_series(np.zeros((2, 2), np.int16), np.eye(4), HEADER, tmp_path)
    with pytest.raises(InputError, match="perpendicular"):
        write_ct_series(np.zeros((2, 2, 2), np.int16), np.zeros((4, 4)), HEADER, tmp_path)
