"""Reads CTs and label maps for training: DICOM folders and NIfTI files, as HU with an index-to-LPS matrix."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pydicom
import SimpleITK as sitk  # noqa: N813 - the name that its own documentation uses


@dataclass(frozen=True, slots=True, eq=False)
class Ct:
    """A CT.

    Attributes:
        name: for tables.
        hu: int16, (slices, rows, columns), HU.
        affine_lps_mm: 4 x 4, from array index (axis 0, 1, 2, 1) to LPS mm.
    """

    name: str
    hu: npt.NDArray[np.int16]
    affine_lps_mm: npt.NDArray[np.float64]


def read_nifti(path: Path, name: str) -> Ct:
    """A NIfTI CT; its axes (i, j, k) become (k, j, i)."""
    image = nibabel.load(path)
    array = np.asarray(image.dataobj).astype(np.int16).transpose(2, 1, 0)
    return Ct(name, np.ascontiguousarray(array), _reversed_axes(np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine))


def read_labels(path: Path) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.float64]]:
    """A label map of any format that SimpleITK reads: labels (k, j, i), and its matrix from (k, j, i, 1) to LPS mm."""
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).astype(np.int16), _reversed_axes(affine)


def read_dicom(folder: Path, name: str) -> list[Ct]:
    """Every regular axial volume in a folder of single-frame CT images.

    Images of one series are sorted by position. Where positions repeat (several phases in one series), the first image of
    each position by instance number makes the first volume, and so on. Series with fewer than ten images are left out.
    """
    series = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            dataset = pydicom.dcmread(path, force=True)
            if "PixelData" in dataset and dataset.get("Modality") == "CT":
                series[dataset.SeriesInstanceUID].append(dataset)
    volumes = []
    for images in series.values():
        axis = np.cross(*np.array(images[0].ImageOrientationPatient, dtype=float).reshape(2, 3))
        places = defaultdict(list)
        for image in sorted(images, key=lambda d: int(d.InstanceNumber)):
            places[round(float(np.dot(axis, np.array(image.ImagePositionPatient, dtype=float))), 2)].append(image)
        for phase in range(max(len(stack) for stack in places.values())):
            chosen = [places[z][phase] for z in sorted(places) if len(places[z]) > phase]
            if len(chosen) >= 10:
                volumes.append(_stack(chosen, name if phase == 0 else f"{name}_phase{phase + 1}"))
    return volumes


def _stack(images: list[pydicom.Dataset], name: str) -> Ct:
    first, last = images[0], images[-1]
    row, column = np.array(first.ImageOrientationPatient, dtype=float).reshape(2, 3)
    start = np.array(first.ImagePositionPatient, dtype=float)
    step = (np.array(last.ImagePositionPatient, dtype=float) - start) / (len(images) - 1)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = column * float(first.PixelSpacing[0])
    affine[:3, 2] = row * float(first.PixelSpacing[1])
    affine[:3, 3] = start
    planes = [d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in images]
    return Ct(name, np.clip(np.round(planes), -2000, 32000).astype(np.int16), affine)


def _reversed_axes(affine: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The matrix for an array whose axes were reversed."""
    out = affine.copy()
    out[:3, :3] = affine[:3, 2::-1]
    return out
