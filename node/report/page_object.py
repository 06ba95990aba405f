"""The summary page as Secondary Capture (PS3.3 A.8.1), which every viewer shows; many show structured reports badly."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from node.model import StudyResult
from node.report.capture import capture
from node.report.headers import quiet
from node.report.uids import ReportUids

SERIES_NUMBER = 9803


@quiet()
def build_summary_page(
    source_datasets: Sequence[Dataset],
    page: npt.NDArray[np.uint8],
    result: StudyResult,
    uids: ReportUids,
    created: datetime,
    *,
    names_patient: bool = False,
) -> Dataset:
    """Wrap a rendered page, single frame and uncompressed.

    Args:
        source_datasets: headers of images of the study; patient and study are those of the first.
        page: uint8, (rows, columns, 3), RGB, as returned by :func:`~node.report.render_summary`.
        result: of the study, measured or not.
        uids: of the study.
        created: date and time of content.
        names_patient: whether the page says whose it is.

    Raises:
        ValueError: ``page`` is not an RGB image.
    """
    if page.ndim != 3 or page.shape[2] != 3 or page.dtype != np.uint8:
        raise ValueError(f"the page must be uint8 RGB, not {page.dtype} {page.shape}")
    ds = capture(source_datasets[0], result, uids, created, SecondaryCaptureImageStorage, uids.page_instance, names_patient)
    ds.SeriesInstanceUID = uids.page_series
    ds.SeriesNumber = SERIES_NUMBER
    ds.Modality = "OT"
    ds.BodyPartExamined = "LSPINE"
    ds.SeriesDescription = (
        "BMD: summary page (not verified)" if result.status == "measured" else "BMD: not measured, reasons"
    )
    ds.ImageType = ["DERIVED", "SECONDARY"]
    ds.PatientOrientation = None
    ds.LossyImageCompression = "00"
    ds.Rows, ds.Columns = page.shape[:2]
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelRepresentation = 0
    pixels = page.tobytes()
    ds.PixelData = pixels + b"\0" * (len(pixels) % 2)
    return ds
