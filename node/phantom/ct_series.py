"""Writes a volume of Hounsfield units as a DICOM CT series (CT Image Storage, PS3.3 A.3), one file per slice.

The output is deterministic: the same volume and header give the same files, byte for byte.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pydicom.valuerep import DSfloat

from node.common.errors import InputError
from node.common.uids import derived_uid
from node.model import Affine, HuArray

#: Stored value 0 on most scanners; lower only where the image goes below it.
_USUAL_INTERCEPT_HU = -1024
#: A volume whose axes have a larger cosine than this is sheared and cannot be stored as CT Image Storage.
_LARGEST_COSINE = 1e-4


@dataclass(frozen=True, slots=True)
class CtHeader:
    """Header values of a series, named after their DICOM attributes. ``None`` leaves an attribute empty or out.

    Dates are ``YYYYMMDD``, times ``HHMMSS``.
    """

    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str
    patient_id: str
    patient_name: str
    patient_birth_date: str | None = None
    patient_sex: str | None = None
    patient_age: str | None = None
    study_id: str | None = None
    accession_number: str | None = None
    study_date: str | None = None
    study_time: str | None = None
    study_description: str | None = None
    series_number: int | None = 1
    series_description: str | None = None
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")
    manufacturer: str | None = None
    manufacturer_model_name: str | None = None
    device_serial_number: str | None = None
    station_name: str | None = None
    kvp: float | None = None
    convolution_kernel: str | None = None
    slice_thickness_mm: float | None = None
    patient_position: str | None = None
    body_part_examined: str | None = None
    protocol_name: str | None = None
    contrast_bolus_agent: str | None = None


def write_ct_series(hu: HuArray, affine_lps_mm: Affine, header: CtHeader, folder: Path) -> list[Path]:
    """Write one file per slice, ``0001.dcm`` onward, in the order of axis 0.

    Args:
        hu: int16, (slices, rows, columns).
        affine_lps_mm: 4 x 4; maps the array index (slice, row, column, 1) to the position of the voxel's centre in mm;
            left- or right-handed.
        header: the values of the header.
        folder: created if it does not exist.

    Returns:
        The paths, in the order of axis 0.

    Raises:
        InputError: ``hu`` does not have three axes, or the axes of the volume are not perpendicular.
    """
    if hu.ndim != 3 or hu.size == 0:
        raise InputError(f"a CT series needs an array of three axes, this one has the shape {hu.shape}")
    spacing_mm = np.linalg.norm(affine_lps_mm[:3, :3], axis=0)
    axes = affine_lps_mm[:3, :3] / np.maximum(spacing_mm, np.finfo(float).tiny)
    cosines = np.abs(axes.T @ axes - np.eye(3))
    if not cosines.max() < _LARGEST_COSINE:
        raise InputError(f"the axes of the volume are not perpendicular (largest cosine {cosines.max():.4f})")
    folder.mkdir(parents=True, exist_ok=True)
    intercept_hu = min(_USUAL_INTERCEPT_HU, int(hu.min()))
    bits = 12 if int(hu.max()) - intercept_hu < 4096 else 16
    common = _common(hu, spacing_mm, axes, header, intercept_hu, bits)
    normal = np.cross(axes[:, 2], axes[:, 1])
    paths = []
    for k, plane in enumerate(hu):
        stored = (plane.astype(np.int32) - intercept_hu).astype("<u2").tobytes()
        position_mm = affine_lps_mm[:3, 3] + affine_lps_mm[:3, 0] * k
        ds = Dataset()
        ds.update(common)
        digest = hashlib.sha256(stored).hexdigest()
        ds.SOPInstanceUID = derived_uid(header.series_instance_uid, str(k), digest)
        ds.InstanceNumber = k + 1
        ds.ImagePositionPatient = _decimals(position_mm)
        ds.SliceLocation = _decimals(np.array([normal @ position_mm]))[0]
        ds.PixelData = stored + b"\0" * (len(stored) % 2)
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{k + 1:04d}.dcm"
        ds.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def _common(
    hu: HuArray,
    spacing_mm: npt.NDArray[np.float64],
    axes: npt.NDArray[np.float64],
    header: CtHeader,
    intercept_hu: int,
    bits: int,
) -> Dataset:
    """Attributes that all slices share."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = list(header.image_type)
    ds.SOPClassUID = CTImageStorage
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = header.study_date or ""
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = header.study_time or ""
    ds.AccessionNumber = header.accession_number or ""
    ds.Modality = "CT"
    ds.Manufacturer = header.manufacturer or ""
    ds.ReferringPhysicianName = ""
    ds.PatientName = header.patient_name
    ds.PatientID = header.patient_id
    ds.PatientBirthDate = header.patient_birth_date or ""
    ds.PatientSex = header.patient_sex or ""
    ds.KVP = "" if header.kvp is None else DSfloat(header.kvp, auto_format=True)
    ds.PatientPosition = header.patient_position or ""
    ds.StudyInstanceUID = header.study_instance_uid
    ds.SeriesInstanceUID = header.series_instance_uid
    ds.StudyID = header.study_id or ""
    ds.SeriesNumber = header.series_number
    ds.AcquisitionNumber = 1
    ds.ImageOrientationPatient = _decimals(np.concatenate([axes[:, 2], axes[:, 1]]))
    ds.FrameOfReferenceUID = header.frame_of_reference_uid
    ds.PositionReferenceIndicator = ""
    ds.SliceThickness = "" if header.slice_thickness_mm is None else DSfloat(header.slice_thickness_mm, auto_format=True)
    optional = {
        "PatientAge": header.patient_age,
        "StudyDescription": header.study_description,
        "SeriesDescription": header.series_description,
        "ManufacturerModelName": header.manufacturer_model_name,
        "DeviceSerialNumber": header.device_serial_number,
        "StationName": header.station_name,
        "ConvolutionKernel": header.convolution_kernel,
        "BodyPartExamined": header.body_part_examined,
        "ProtocolName": header.protocol_name,
        "ContrastBolusAgent": header.contrast_bolus_agent,
    }
    for keyword, value in optional.items():
        if value is not None:
            setattr(ds, keyword, value)
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = hu.shape[1:]
    # Pixel Spacing is (between rows, between columns).
    ds.PixelSpacing = _decimals(spacing_mm[1:])
    ds.BitsAllocated = 16
    ds.BitsStored = bits
    ds.HighBit = bits - 1
    ds.PixelRepresentation = 0
    ds.RescaleIntercept = intercept_hu
    ds.RescaleSlope = 1
    ds.RescaleType = "HU"
    # The usual window for soft tissue.
    ds.WindowCenter, ds.WindowWidth = 40, 400
    return ds


def _decimals(values: npt.NDArray[np.float64]) -> list[DSfloat]:
    """Decimal strings of at most 16 characters."""
    return [DSfloat(float(value) + 0.0, auto_format=True) for value in values]
