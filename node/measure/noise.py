"""Noise of soft tissue: the most frequent standard deviation in small squares of the source's slices.

After Kuo et al., Phys Med Biol 2024;69(9) (PMC11608062, its abstract), who take it from a histogram of local standard
deviations outside high gradients, and compare it with the tissue-type global noise of Christianson. Here it is
the mode: squares with an edge or a second tissue lie above it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.measure.patient_grid import body_box
from node.model import HuArray, LabelArray, Vector

#: Side of a square, mm: wider than the grain of a smooth kernel. Kuo et al. use 10 pixels.
_SQUARE_MM = 8.0
#: Mean of a square of muscle, organs or unenhanced blood.
_SOFT_HU = (10.0, 90.0)
#: Number of slices, spread over those that contain the bodies, and distance from the bodies, mm.
_MOST_SLICES = 16
_REACH_MM = 70.0
_LEAST_SQUARES = 200


def noise_sd_hu(hu: HuArray, labels: LabelArray, axis_spacing_mm: Vector) -> float | None:
    """Standard deviation of the noise in the slices of the source, HU; ``None`` with too little soft tissue.

    Args:
        hu: int16, (slices, rows, columns).
        labels: uint8, the same shape; above 0 inside a vertebral body.
        axis_spacing_mm: distance between voxel centres along axis 0, 1, 2 in mm.
    """
    bodies = body_box(labels)
    if bodies is None:
        return None
    reach = [round(_REACH_MM / spacing) for spacing in axis_spacing_mm]
    box = [slice(max(0, part.start - r), part.stop + r) for part, r in zip(bodies, reach, strict=True)]
    step = -(-(bodies[0].stop - bodies[0].start) // _MOST_SLICES)
    planes = hu[bodies[0].start : bodies[0].stop : step, box[1], box[2]]
    size = [max(5, round(_SQUARE_MM / spacing) // 2 * 2 + 1) for spacing in axis_spacing_mm[1:]]
    deviations = np.concatenate([_deviations(plane, size) for plane in planes])
    if deviations.size < _LEAST_SQUARES:
        return None
    return _mode(deviations)


def _deviations(plane: HuArray, size: list[int]) -> npt.NDArray[np.float64]:
    """Standard deviations of the squares of one slice that hold soft tissue, half overlapping."""
    values = plane.astype(np.float64)
    mean = ndimage.uniform_filter(values, size)
    square = ndimage.uniform_filter(values**2, size)
    at = tuple(
        slice(n // 2, max(n // 2, length - n // 2), max(1, n // 2)) for n, length in zip(size, plane.shape, strict=True)
    )
    mean, variance = mean[at], (square - mean**2)[at]
    n = float(np.prod(size))
    soft = (mean > _SOFT_HU[0]) & (mean < _SOFT_HU[1])
    return np.sqrt(np.maximum(variance[soft], 0.0) * n / (n - 1))


def _mode(values: npt.NDArray[np.float64]) -> float:
    """Half-sample mode: the middle of the densest half, applied repeatedly."""
    values = np.sort(values)
    while values.size > 50:
        half = values.size // 2
        widths = values[half:] - values[: values.size - half]
        start = int(widths.argmin())
        values = values[start : start + half]
    return float(np.median(values))
