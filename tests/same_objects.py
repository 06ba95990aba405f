"""Objects without the dates and times of their making: what is left must be the same for the same input."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

#: Set when an object is made (PS3.3 C.12.1, C.7.3.1, C.17.2); dates of patient and study are not among them.
_OF_ITS_MAKING = frozenset(
    f"{what}{part}" for what in ("InstanceCreation", "Content", "Series") for part in ("Date", "Time")
) | {"ContributionDateTime"}


def without_dates(path: Path) -> bytes:
    """A DICOM file, encoded again without them."""
    ds = pydicom.dcmread(path)
    assert ds.ContentDate, "an object says when it was made"
    _remove(ds)
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _remove(ds: Dataset) -> None:
    for element in list(ds):
        if element.keyword in _OF_ITS_MAKING:
            del ds[element.tag]
        elif element.VR == "SQ":
            for item in element.value:
                _remove(item)
