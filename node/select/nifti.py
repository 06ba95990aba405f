"""CT volumes from NIfTI files."""

from __future__ import annotations

import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from node.common.errors import InputError
from node.model import Affine, HuArray

_AIR_HU = -1024
#: A CT of the trunk contains air or fat, and bone; label maps, images scaled to 0..1 and values without offset do not.
_LOWEST_MUST_BE_BELOW_HU = 0.0
_HIGHEST_MUST_BE_ABOVE_HU = 150.0
#: Largest deviation of the axes from a right angle, in degrees (rounding); more is shear.
_MAX_SHEAR_DEG = 0.5
#: An axis is the slice axis if its spacing is larger than the others by this factor.
_CLEARLY_THICKER = 1.1
_READ_ERRORS = (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, TypeError, OverflowError, zlib.error)

#: In NIfTI x points to the right and y to the front (RAS+), in DICOM to the left and to the back (LPS).
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_nifti(path: Path) -> tuple[HuArray, Affine]:
    """Read a CT volume in any orientation.

    Axis 0 of the result is the axis with the clearly largest spacing, else the one nearest to head and foot. Rows and
    columns run as a viewer shows them (columns to the left or to the back of the patient, rows to the back or to the foot),
    and slices along their normal, as DICOM slices do once ordered. No value is interpolated. Values are clipped to
    -1024..32767 HU; NaN (padding of some programs) becomes -1024 HU.

    Args:
        path: a file with an orientation (sform or qform), one volume, scaled to HU by its own slope and intercept.

    Returns:
        HU, int16, (slices, rows, columns); and the 4 x 4 map of (slice, row, column, 1) to the voxel's centre in mm in LPS.

    Raises:
        InputError: not a readable NIfTI file; more than one volume; no orientation; sheared axes; values that are not HU.
    """
    values, affine = _read(path)
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.all(np.isfinite(affine)) or np.min(spacing_mm) <= 0:
        raise InputError(f"{path} has no usable grid: spacing {', '.join(f'{s:g}' for s in spacing_mm)} mm")
    directions = affine[:3, :3] / spacing_mm
    cosines = np.abs(directions.T @ directions)[np.triu_indices(3, 1)]
    shear_deg = float(np.degrees(np.arcsin(min(1.0, cosines.max()))))
    if shear_deg > _MAX_SHEAR_DEG:
        raise InputError(f"{path} has axes that are sheared by {shear_deg:.1f} degrees (allowed: {_MAX_SHEAR_DEG:g})")
    _require_hu(path, values)
    order, flips = _arrangement(spacing_mm, directions)
    hu = _to_int16(values)
    hu, affine = np.transpose(hu, order), affine[:, [*order, 3]]
    for axis in flips:
        affine[:, 3] += affine[:, axis] * (hu.shape[axis] - 1)
        affine[:, axis] *= -1
        hu = np.flip(hu, axis)
    return np.ascontiguousarray(hu), affine


def _read(path: Path) -> tuple[npt.NDArray[np.generic], Affine]:
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Pair):
            raise InputError(f"{path} is not a NIfTI file but {type(image).__name__}")
        if len(image.shape) < 3 or any(n != 1 for n in image.shape[3:]):
            raise InputError(f"{path} has the shape {image.shape}: a single volume with three axes is needed")
        if image.header["sform_code"] == 0 and image.header["qform_code"] == 0:
            raise InputError(f"{path} has no orientation (sform and qform codes are 0), so head and foot are unknown")
        values = np.asanyarray(image.dataobj).reshape(image.shape[:3])
        affine = np.asarray(_RAS_TO_LPS @ image.affine, dtype=np.float64)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except _READ_ERRORS as error:
        raise InputError(f"{path} cannot be read as NIfTI: {error}") from error
    if not (np.issubdtype(values.dtype, np.integer) or np.issubdtype(values.dtype, np.floating)):
        raise InputError(f"{path} contains {values.dtype}, not numbers")
    return values, affine


def _require_hu(path: Path, values: npt.NDArray[np.generic]) -> None:
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if not (low < _LOWEST_MUST_BE_BELOW_HU and high > _HIGHEST_MUST_BE_ABOVE_HU):
        raise InputError(
            f"{path} contains values from {low:g} to {high:g}: not the Hounsfield units of a CT "
            f"(a label map, a scaled image, or values that lack the offset of -1024)"
        )


def _to_int16(values: npt.NDArray[np.generic]) -> HuArray:
    limits = np.iinfo(np.int16)
    if np.issubdtype(values.dtype, np.integer):
        return np.asarray(np.clip(values, _AIR_HU, limits.max), dtype=np.int16)
    finite = np.nan_to_num(values, nan=_AIR_HU, posinf=limits.max, neginf=_AIR_HU)
    return np.asarray(np.clip(np.rint(finite), _AIR_HU, limits.max), dtype=np.int16)


def _arrangement(spacing_mm: npt.NDArray[np.float64], directions: npt.NDArray[np.float64]) -> tuple[list[int], list[int]]:
    """Axes of the file in the order (slices, rows, columns), and the axes of that order that must be reversed."""
    thickest = int(np.argmax(spacing_mm))
    others = np.delete(spacing_mm, thickest)
    slices = thickest if spacing_mm[thickest] > _CLEARLY_THICKER * others.max() else int(np.argmax(np.abs(directions[2])))
    in_plane = [axis for axis in range(3) if axis != slices]
    # rows go down the axis that is nearer to head-foot; in axial slices that is the one nearer to front-back
    normal_axis = int(np.argmax(np.abs(directions[:, slices])))
    down = 1 if normal_axis == 2 else 2
    rows = max(in_plane, key=lambda axis: abs(directions[down, axis]))
    columns = next(axis for axis in in_plane if axis != rows)
    flips = []
    row_step, column_step, slice_step = directions[:, rows], directions[:, columns], directions[:, slices]
    if row_step[down] * (1 if down == 1 else -1) < 0:
        flips.append(1)
        row_step = -row_step
    across = int(np.argmax(np.abs(column_step)))
    if column_step[across] < 0:
        flips.append(2)
        column_step = -column_step
    if np.cross(column_step, row_step) @ slice_step < 0:
        flips.append(0)
    return [slices, rows, columns], flips
