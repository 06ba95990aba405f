"""Pixels that the scanner filled in because nothing was measured there (PS3.3 C.7.5.1.1.2)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from scipy import ndimage

from node.select.pixels import StoredArray, StoredFrame

Mask = npt.NDArray[np.bool_]

#: Values above this exceed the 12 bits of a usual scanner. A padding value between air and this is not believed by itself,
#: because it would also remove tissue (some headers give 0 although the values are already HU).
_HIGHEST_USUAL_HU = 3071
#: No tissue is below this.
_AIR_HU = -1000
#: The corners lie outside a circle of this part of the half side; the reconstruction circle touches the sides.
_OUTSIDE = 1.05
_LEAST_CORNER_PIXELS = 12


def padding_mask(stored: StoredFrame, signed: bool, slope: float, intercept: float) -> Mask:
    """Pixels of a frame that hold no measurement.

    These are the pixels with the declared Pixel Padding Value, or in its range. The value may need more bits than Bits
    Stored (63536 or -3024 with 12 bits), so it is compared with all bits of the cell. Besides, declared or not: what is
    connected to the corners, if all pixels outside the circle of reconstruction have the same value, and it is not air.
    No tissue is that constant. In old images this is the extreme value, or what its low 12 bits leave of it.

    Args:
        stored: the frame.
        signed: Pixel Representation.
        slope: of the rescale, above 0.
        intercept: of the rescale.
    """
    mask = np.zeros(stored.values.shape, dtype=np.bool_)
    declared = _declared(stored.ds, signed)
    if declared is not None and not _is_tissue(declared, slope, intercept):
        cells = stored.cells.view(np.int16) if signed else stored.cells
        mask |= (cells >= declared[0]) & (cells <= declared[1])
    filler = _corner_value(stored.values)
    if filler is not None and filler * slope + intercept > _AIR_HU:
        parts, _ = ndimage.label(stored.values == filler)
        at_corner = {int(parts[row, column]) for row in (0, -1) for column in (0, -1)}
        mask |= np.isin(parts, sorted(at_corner - {0}))
    return mask


def _declared(ds: Dataset, signed: bool) -> tuple[int, int] | None:
    """Range of 16-bit cells that are padding; signed according to Pixel Representation, whatever their VR in the file."""
    value = _number(ds, "PixelPaddingValue", signed)
    if value is None:
        return None
    limit = _number(ds, "PixelPaddingRangeLimit", signed)
    other = value if limit is None else limit
    return min(value, other), max(value, other)


def _number(ds: Dataset, keyword: str, signed: bool) -> int | None:
    value = ds.get(keyword)
    if not isinstance(value, int):
        return None
    return (value + 0x8000) % 0x10000 - 0x8000 if signed else value % 0x10000


def _is_tissue(padding: tuple[int, int], slope: float, intercept: float) -> bool:
    low, high = padding[0] * slope + intercept, padding[1] * slope + intercept
    return high > _AIR_HU and low <= _HIGHEST_USUAL_HU


def _corner_value(values: StoredArray) -> int | None:
    """The one value outside the circle that touches the sides; ``None`` if there are several."""
    rows, columns = values.shape
    y, x = np.ogrid[:rows, :columns]
    radius = np.hypot((y - (rows - 1) / 2) / (rows / 2), (x - (columns - 1) / 2) / (columns / 2))
    corners = values[radius > _OUTSIDE]
    if corners.size < _LEAST_CORNER_PIXELS or corners.min() != corners.max():
        return None
    return int(corners[0])
