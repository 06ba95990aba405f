"""A small CT series, written with pydicom, that each test changes in one place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def stored_pixels(slices: int, rows: int = 36, columns: int = 44, seed: int = 1) -> npt.NDArray[np.uint16]:
    """Smooth ramps with noise, 12 bits: every slice, row and column is different from every other one."""
    rng = np.random.default_rng(seed)
    k, r, c = np.ogrid[:slices, :rows, :columns]
    return (rng.integers(0, 200, (slices, rows, columns)) + 7 * k + 11 * r + 5 * c + 900).astype(np.uint16)


def make_series(
    slices: int = 40,
    step_mm: float = 2.5,
    orientation: Sequence[float] = AXIAL,
    origin_mm: Sequence[float] = (-150.0, -120.0, -400.0),
    pixel_spacing_mm: Sequence[float] = (0.8, 0.7),
    pixels: npt.NDArray[np.integer] | None = None,
    study_uid: str | None = None,
    series_uid: str | None = None,
    frame_of_reference_uid: str | None = None,
) -> list[Dataset]:
    """Data sets of a regular series; slice ``k`` lies ``k * step_mm`` along the normal from the origin."""
    pixels = stored_pixels(slices) if pixels is None else pixels
    study_uid, series_uid = study_uid or generate_uid(), series_uid or generate_uid()
    frame_of_reference_uid = frame_of_reference_uid or generate_uid()
    normal = np.cross(orientation[:3], orientation[3:])
    series = []
    for k in range(slices):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID = CTImageStorage
        ds.SOPInstanceUID = generate_uid()
        ds.StudyInstanceUID = study_uid
        ds.SeriesInstanceUID = series_uid
        ds.FrameOfReferenceUID = frame_of_reference_uid
        ds.PatientID = "SECRET-PATIENT"
        ds.PatientName = "SECRET^PATIENT"
        ds.Modality = "CT"
        ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        ds.Manufacturer = "Philips"
        ds.ManufacturerModelName = "Brilliance 64"
        ds.SeriesNumber = "3"
        ds.SeriesDescription = "Abdomen"
        ds.InstanceNumber = str(k + 1)
        ds.AcquisitionNumber = "1"
        ds.KVP = "120"
        ds.ConvolutionKernel = "B"
        ds.SliceThickness = str(step_mm)
        ds.ImagePositionPatient = [f"{x:.6f}" for x in np.asarray(origin_mm) + k * step_mm * normal]
        ds.ImageOrientationPatient = [f"{x:.8f}" for x in orientation]
        ds.PixelSpacing = list(pixel_spacing_mm)
        ds.Rows, ds.Columns = pixels.shape[1:]
        ds.SamplesPerPixel = 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.RescaleSlope, ds.RescaleIntercept = "1", "-1024"
        ds.PixelData = pixels[k].astype("<u2").tobytes()
        series.append(ds)
    return series


def bend(series: list[Dataset], **attributes: object) -> list[Dataset]:
    """Set attributes in every data set; ``None`` removes one."""
    for ds in series:
        for keyword, value in attributes.items():
            if value is None:
                delattr(ds, keyword)
            else:
                setattr(ds, keyword, value)
    return series


def write(folder: Path, series: Sequence[Dataset]) -> list[Path]:
    """Write data sets, in an order that is not that of their positions."""
    folder.mkdir(parents=True, exist_ok=True)
    start = len(list(folder.iterdir()))
    shuffled = np.random.default_rng(3).permutation(len(series))
    paths = []
    for number in shuffled:
        path = folder / f"image{start + number:05}.dcm"
        series[number].save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths
