"""Decodes a candidate into Hounsfield units."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from node.common.errors import InputError
from node.language.phrase import phrase
from node.model import Candidate, HuArray, Volume
from node.select.geometry import affine_of, mean_orientation, order_along, plane_of
from node.select.headers import FrameHeader, read_headers, values_judged_here
from node.select.one_scan import SeveralScansError, alternation
from node.select.padding import padding_mask
from node.select.pixels import StoredFrame, stored_frames
from node.select.value_table import ValueTable

#: Value for padding and for everything below air: scanners write -2000, -3024 and others outside the field of view.
PADDING_HU = -1024


def load_volume(candidate: Candidate) -> Volume:
    """Decode the pixels of a candidate.

    Every slice is rescaled with its own slope and intercept (PS3.3 C.11.1.1.2), rounded and clipped to int16. Pixel padding
    (:mod:`node.select.padding`) and every value below -1024 HU become -1024 HU. Peak memory is about the volume and one
    file.

    Args:
        candidate: from :func:`node.select.select_series`; its files must still exist.

    Returns:
        The volume on the grid of the source images; ``affine_lps_mm`` is right-handed in (column, row, slice).

    Raises:
        InputError: a file cannot be read or decoded, or has changed since it was selected; the message names it.
        SeveralScansError: the values show that slices of two scans alternate.
    """
    with values_judged_here():
        return _load(candidate)


def _load(candidate: Candidate) -> Volume:
    headers = _headers(candidate)
    hu: HuArray = np.empty((len(headers), headers[0].rows, headers[0].columns), dtype=np.int16)
    table = ValueTable()
    slices_of: dict[Path, list[int]] = defaultdict(list)
    for k, header in enumerate(headers):
        slices_of[header.source.path].append(k)
    for slices in slices_of.values():
        frames = [headers[k] for k in slices]
        for k, stored in zip(slices, stored_frames(frames), strict=True):
            hu[k] = _hounsfield(headers[k], stored, table)
    affine = _affine(headers)
    if jumps := alternation(hu):
        raise SeveralScansError(
            phrase("slices of two scans alternate: {jumps}, and no attribute separates them", jumps=jumps)
        )
    return Volume(hu, affine, candidate.facts, candidate.frames, table.doubt())


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
    orientations = [header.image_orientation for header in headers if header.image_orientation is not None]
    spacing = headers[0].pixel_spacing_mm
    positions = [header.image_position_mm for header in headers]
    path = headers[0].source.path
    if len(orientations) < len(headers) or spacing is None or None in positions:
        raise InputError(phrase("the series of {path} lost its geometry after it was selected", path=str(path)))
    plane = plane_of(mean_orientation(orientations), spacing)
    at = np.array(positions, dtype=np.float64)
    if not np.array_equal(order_along(plane.normal, at), np.arange(len(at))):
        raise InputError(phrase("the series of {path} changed its positions after it was selected", path=str(path)))
    return affine_of(plane, at)


def _hounsfield(header: FrameHeader, stored: StoredFrame, table: ValueTable) -> HuArray:
    slope, intercept = header.rescale_slope, header.rescale_intercept
    if slope is None or intercept is None:
        lost = phrase("{path} lost its rescale after it was selected", path=str(header.source.path))
        raise InputError(lost)
    rescaled = stored.values * slope + intercept
    padding = padding_mask(stored, header.signed, slope, intercept)
    table.add(rescaled, padding, (2 ** (header.bits_stored - header.signed) - 1) * slope + intercept)
    hu: HuArray = np.clip(np.rint(rescaled), PADDING_HU, np.iinfo(np.int16).max).astype(np.int16)
    hu[padding] = PADDING_HU
    return hu
