"""Decodes a candidate into Hounsfield units."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from node.common.errors import InputError
from node.language.phrase import phrase
from node.model import Candidate, HuArray, Volume
from node.select.geometry import affine_of, order_along, plane_of
from node.select.headers import FrameHeader, read_headers, values_judged_here
from node.select.pixels import StoredArray, dataset_and_stored_values

#: Value for padding and for everything below air: scanners write -2000, -3024 and others outside the field of view.
PADDING_HU = -1024
#: Values above this exceed the 12 bits of a usual scanner. A padding value between air and this is ignored, because it would
#: also remove tissue (some headers give 0 although the values are already HU).
_HIGHEST_USUAL_HU = 3071


def load_volume(candidate: Candidate) -> Volume:
    """Decode the pixels of a candidate.

    Every slice is rescaled with its own slope and intercept (PS3.3 C.11.1.1.2), rounded and clipped to int16. Pixel padding
    (PS3.3 C.7.5.1.1.2) and every value below -1024 HU become -1024 HU. Peak memory is about the volume and one file.

    Args:
        candidate: from :func:`node.select.select_series`; its files must still exist.

    Returns:
        The volume on the grid of the source images; ``affine_lps_mm`` is right-handed in (column, row, slice).

    Raises:
        InputError: a file cannot be read or decoded, or has changed since it was selected; the message names it.
    """
    with values_judged_here():
        return _load(candidate)


def _load(candidate: Candidate) -> Volume:
    headers = _headers(candidate)
    hu: HuArray = np.empty((len(headers), headers[0].rows, headers[0].columns), dtype=np.int16)
    slices_of: dict[Path, list[int]] = defaultdict(list)
    for k, header in enumerate(headers):
        slices_of[header.source.path].append(k)
    for slices in slices_of.values():
        frames = [headers[k] for k in slices]
        for k, (ds, stored) in zip(slices, dataset_and_stored_values(frames), strict=True):
            hu[k] = _hounsfield(headers[k], ds, stored)
    return Volume(hu, _affine(headers), candidate.facts, candidate.frames)


def _headers(candidate: Candidate) -> list[FrameHeader]:
    of_file = {path: read_headers(path) for path in {source.path for source in candidate.frames}}
    headers = []
    for source in candidate.frames:
        frames = of_file[source.path]
        if source.frame_number > len(frames) or frames[source.frame_number - 1].source != source:
            uid = source.sop_instance_uid
            gone = phrase("{path} is no longer the selected image {uid}", path=str(source.path), uid=uid)
            raise InputError(gone)
        headers.append(frames[source.frame_number - 1])
    return headers


def _affine(headers: list[FrameHeader]) -> npt.NDArray[np.float64]:
    orientation, spacing = headers[0].image_orientation, headers[0].pixel_spacing_mm
    positions = [header.image_position_mm for header in headers]
    path = headers[0].source.path
    if orientation is None or spacing is None or None in positions:
        raise InputError(phrase("the series of {path} lost its geometry after it was selected", path=str(path)))
    plane = plane_of(orientation, spacing)
    at = np.array(positions, dtype=np.float64)
    if not np.array_equal(order_along(plane.normal, at), np.arange(len(at))):
        raise InputError(phrase("the series of {path} changed its positions after it was selected", path=str(path)))
    return affine_of(plane, at)


def _hounsfield(header: FrameHeader, ds: Dataset, stored: StoredArray) -> HuArray:
    slope, intercept = header.rescale_slope, header.rescale_intercept
    if slope is None or intercept is None:
        lost = phrase("{path} lost its rescale after it was selected", path=str(header.source.path))
        raise InputError(lost)
    rescaled = np.clip(np.rint(stored * slope + intercept), PADDING_HU, np.iinfo(np.int16).max)
    hu: HuArray = rescaled.astype(np.int16)
    padding = _padding_range(ds)
    if padding is not None and not _is_tissue(padding, slope, intercept):
        hu[(stored >= padding[0]) & (stored <= padding[1])] = PADDING_HU
    return hu


def _padding_range(ds: Dataset) -> tuple[int, int] | None:
    """Range of stored values that are padding; signed according to Pixel Representation, whatever their VR in the file."""
    value = _stored_number(ds, "PixelPaddingValue")
    if value is None:
        return None
    limit = _stored_number(ds, "PixelPaddingRangeLimit")
    other = value if limit is None else limit
    return min(value, other), max(value, other)


def _stored_number(ds: Dataset, keyword: str) -> int | None:
    value = ds.get(keyword)
    if not isinstance(value, int):
        return None
    signed = ds.get("PixelRepresentation") == 1
    return (value + 0x8000) % 0x10000 - 0x8000 if signed else value % 0x10000


def _is_tissue(padding: tuple[int, int], slope: float, intercept: float) -> bool:
    low, high = padding[0] * slope + intercept, padding[1] * slope + intercept
    return high > -1000 and low <= _HIGHEST_USUAL_HU
