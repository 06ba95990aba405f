"""Real CTs: the series that are found, with correct values and positions."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from node.common.errors import InputError
from node.model import Selection
from node.select import find_dicom, load_volume, read_nifti, select_series
from node.settings.tree import SelectSettings
from tests.volumes import installed_ct_folder

RealCt = Callable[[str], Path]


def select(folder: Path) -> Selection:
    return select_series(find_dicom(folder), SelectSettings())


@pytest.mark.parametrize(
    ("name", "slices", "spacing_mm", "model", "kernel"),
    [
        ("juno_wb", 174, (0.9765625, 0.9765625, 5.0), "Biograph 64", "B35f"),
        ("hcc_tace_006", 109, (0.78125, 0.78125, 2.5), None, "STANDARD"),
        ("crlm_1004", 41, (0.796875, 0.796875, 5.0), "LightSpeed16", "STANDARD"),
        ("lidc_0001", 133, (0.703125, 0.703125, 2.5), "LightSpeed Plus", "STANDARD"),
        ("nlst_chest", 143, (0.54, 0.54, 2.0), "Aquilion", "FC51"),
    ],
)
def test_one_series(
    real_ct: RealCt, name: str, slices: int, spacing_mm: tuple[float, ...], model: str | None, kernel: str
) -> None:
    selection = select(real_ct(name))
    (candidate,) = selection.candidates
    facts = candidate.facts
    assert len(candidate.frames) == slices
    assert facts.spacing_mm == pytest.approx(spacing_mm)
    assert (facts.manufacturer_model_name, facts.convolution_kernel, facts.kvp) == (model, kernel, 120.0)
    left_out = [left.code for left in selection.left_out]
    assert left_out == (["too_few_slices"] if name == "hcc_tace_006" else [])


def test_three_phases(real_ct: RealCt) -> None:
    selection = select(real_ct("hcc_tace_011"))
    assert [len(c.frames) for c in selection.candidates] == [79, 79, 87]
    assert [f"Acquisition Number {n}" in c.why for n, c in enumerate(selection.candidates, start=1)] == [True] * 3
    assert selection.left_out == ()


def test_trabecular_hu_where_the_bodies_lie(real_ct: RealCt) -> None:
    """Boxes in bodies found by eye, at positions in the patient, give the HU that were drawn by hand (data README)."""
    (candidate,) = select(real_ct("juno_wb")).candidates
    volume = load_volume(candidate)
    assert volume.hu.dtype == np.int16
    boxes = {
        (-1.5, -133.6, -469.5): 161,
        (-2.4, -139.4, -499.5): 165,
        (-0.5, -147.2, -539.5): 160,
        (-0.5, -150.2, -574.5): 178,
    }
    for centre_mm, hand_drawn_hu in boxes.items():
        k, r, c = np.rint(np.linalg.solve(volume.affine_lps_mm, [*centre_mm, 1])[:3]).astype(int)
        assert volume.hu[k - 1 : k + 2, r - 5 : r + 6, c - 8 : c + 9].mean() == pytest.approx(hand_drawn_hu, abs=20)


def test_values_are_those_of_another_decoder(real_ct: RealCt, tmp_path: Path) -> None:
    if shutil.which("dcmdjpls") is None:
        pytest.skip("dcmdjpls of the Debian package dcmtk is not installed")
    for name in ("juno_wb", "nlst_chest"):
        candidate = select(real_ct(name)).candidates[0]
        volume = load_volume(candidate)
        for k in (0, 50, 100):
            subprocess.run(["dcmdjpls", candidate.frames[k].path, tmp_path / "native.dcm"], check=True)
            ds = dcmread(tmp_path / "native.dcm")
            hu = ds.pixel_array.astype(int) * int(ds.RescaleSlope) + int(ds.RescaleIntercept)
            np.testing.assert_array_equal(volume.hu[k], np.maximum(hu, -1024))


def test_dicom_and_nifti_of_the_same_scan_agree(real_ct: RealCt) -> None:
    hu, affine = read_nifti(installed_ct_folder() / "cxr.nii.gz")
    (candidate,) = select(real_ct("lidc_0001")).candidates
    volume = load_volume(candidate)
    np.testing.assert_array_equal(hu, volume.hu)
    np.testing.assert_allclose(affine, volume.affine_lps_mm, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "shape"), [("verse014/sub-verse014_ct.nii.gz", (40, 186, 186)), ("tptbox_l3/sub-ct_label-22_ct.nii.gz", None)]
)
def test_nifti(real_ct: RealCt, name: str, shape: tuple[int, ...] | None) -> None:
    folder, file = name.split("/")
    path = next(real_ct(folder).rglob(file))
    hu, affine = read_nifti(path)
    if shape:
        assert hu.shape == shape
    image = nib.load(path)
    values = np.asanyarray(image.dataobj)
    rng = np.random.default_rng(1)
    for index in rng.integers(0, values.shape, (50, 3)):
        x, y, z, _ = image.affine @ [*index, 1]
        here = np.rint(np.linalg.solve(affine, [-x, -y, z, 1])[:3]).astype(int)
        assert hu[tuple(here)] == max(-1024, values[tuple(index)])


def test_masks_are_no_ct(real_ct: RealCt) -> None:
    with pytest.raises(InputError, match="not the Hounsfield units"):
        read_nifti(real_ct("verse014") / "sub-verse014_seg-vert_msk.nii.gz")
