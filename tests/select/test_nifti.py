"""NIfTI files in any orientation."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

from node.common.errors import InputError
from node.select import read_nifti
from tests.volumes import installed_ct_folder

SPACING = (0.8, 0.9, 3.0)
SHAPE = (12, 14, 10)


def values_of(shape: tuple[int, ...] = SHAPE) -> npt.NDArray[np.int16]:
    return np.random.default_rng(1).integers(-1000, 1500, shape).astype(np.int16)


def save(path: Path, values: npt.NDArray[np.generic], affine: npt.NDArray[np.float64] | None = None) -> Path:
    image = nib.Nifti1Image(values, np.diag([*SPACING, 1.0]) if affine is None else affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def turned(axes: tuple[int, ...], signs: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Affine in RAS: array axis i runs along ``signs[i]`` of world axis ``axes[i]``."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for i, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[axis, i] = sign * SPACING[i]
    affine[:3, 3] = (11.0, -22.0, 33.0)
    return affine


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_every_orientation(tmp_path: Path, axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    values, affine = values_of(), turned(axes, signs)
    hu, lps = read_nifti(save(tmp_path / "ct.nii", values, affine))
    assert hu.shape[0] == 10  # the thick axis is the slice axis
    for index in [(0, 0, 0), (3, 5, 7), (11, 13, 9), (2, 0, 9)]:
        x, y, z, _ = affine @ [*index, 1]
        here = np.linalg.solve(lps, [-x, -y, z, 1])[:3]
        assert here == pytest.approx(np.rint(here), abs=1e-6)
        assert hu[tuple(np.rint(here).astype(int))] == values[index]
    assert np.linalg.det(lps[:3, [2, 1, 0]]) > 0
    # as a viewer shows it: columns to the left or back, rows to the back or foot
    assert lps[:3, 2].sum() > 0
    assert lps[1, 1] > 0 or lps[2, 1] < 0


def test_oblique(tmp_path: Path) -> None:
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = rotation * SPACING
    values = values_of()
    hu, lps = read_nifti(save(tmp_path / "ct.nii.gz", values, affine))
    x, y, z, _ = affine @ [4, 6, 2, 1]
    here = np.rint(np.linalg.solve(lps, [-x, -y, z, 1])[:3]).astype(int)
    assert hu[tuple(here)] == values[4, 6, 2]


def test_isotropic_slices_are_axial(tmp_path: Path) -> None:
    affine = np.array([[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=float)
    hu, lps = read_nifti(save(tmp_path / "ct.nii", values_of(), affine))
    assert hu.shape == (14, 12, 10)
    np.testing.assert_allclose(lps[:3, :3], [[0, 0, 1], [0, 1, 0], [1, 0, 0]], atol=1e-6)


def test_slope_and_intercept(tmp_path: Path) -> None:
    values = values_of()
    path = save(tmp_path / "ct.nii", (2 * (values + 1024)).astype(np.uint16))
    content = bytearray(path.read_bytes())
    content[112:120] = struct.pack("<ff", 0.5, -1024.0)  # scl_slope, scl_inter; nibabel would choose its own
    path.write_bytes(content)
    hu, _ = read_nifti(path)
    assert sorted(hu.ravel()) == sorted(values.ravel())


def test_values_that_are_no_number_or_below_air(tmp_path: Path) -> None:
    values = values_of().astype(np.float32)
    values[0, 0, 0], values[1, 0, 0], values[2, 0, 0], values[3, 0, 0] = np.nan, -3024, 1e9, 12.6
    hu, lps = read_nifti(save(tmp_path / "ct.nii", values))

    def at(i: int) -> int:
        here = np.linalg.solve(lps, [-i * SPACING[0], 0, 0, 1])[:3]
        return int(hu[tuple(np.rint(here).astype(int))])

    assert [at(0), at(1), at(2), at(3)] == [-1024, -1024, 32767, 13]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.zeros(SHAPE, np.uint8), "not the Hounsfield units"),
        (np.random.default_rng(1).integers(0, 26, SHAPE).astype(np.int16), "label map"),
        (np.random.default_rng(1).random(SHAPE).astype(np.float32), "not the Hounsfield units"),
        (np.random.default_rng(1).integers(0, 4000, SHAPE).astype(np.int16), "offset"),
        (values_of((12, 14, 10, 2)), "single volume"),
        (values_of((12, 14)), "single volume"),
    ],
)
def test_no_ct(tmp_path: Path, values: npt.NDArray[np.generic], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_nifti(save(tmp_path / "x.nii", values))


def test_one_volume_in_four_dimensions(tmp_path: Path) -> None:
    hu, _ = read_nifti(save(tmp_path / "x.nii", values_of((12, 14, 10, 1))))
    assert hu.shape == (10, 14, 12)


def test_shear(tmp_path: Path) -> None:
    affine = np.diag([*SPACING, 1.0])
    affine[1, 2] = 0.3
    with pytest.raises(InputError, match=r"sheared by 5\.7 degrees"):
        read_nifti(save(tmp_path / "x.nii", values_of(), affine))


def test_no_orientation(tmp_path: Path) -> None:
    image = nib.Nifti1Image(values_of(), None)
    image.header["sform_code"], image.header["qform_code"] = 0, 0
    nib.save(image, tmp_path / "x.nii")
    with pytest.raises(InputError, match="no orientation"):
        read_nifti(tmp_path / "x.nii")


@pytest.mark.parametrize("cut", [0, 100, 348, 2000])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated(tmp_path: Path, cut: int, suffix: str) -> None:
    path = save(tmp_path / f"x{suffix}", values_of())
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match="cannot be read"):
        read_nifti(path)


def test_no_nifti(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_nifti(tmp_path / "absent.nii")
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(InputError, match="cannot be read"):
        read_nifti(tmp_path / "x.txt")


def test_real_ct_of_a_package() -> None:
    data = installed_ct_folder()
    hu, affine = read_nifti(data / "cxr.nii.gz")
    assert hu.shape == (133, 512, 512)
    assert (hu.min(), hu.max()) == (-1024, 3071)
    np.testing.assert_allclose(affine[:3, :3], np.array([[0, 0, 0.703125], [0, 0.703125, 0], [2.5, 0, 0]]), atol=1e-6)
    with pytest.raises(InputError, match="not the Hounsfield units"):
        read_nifti(data / "mask.nii.gz")
