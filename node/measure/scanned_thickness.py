"""The thickness that was scanned along the spine, whatever the grid of the image.

A reformat of 1 mm made of slices of 5 mm has the end plates of the 5 mm: its voxels are fine, its content is not. Headers of
reformats often state the new thickness, so the image itself is asked: noise of neighbouring slices is independent, and
interpolated slices share it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy import ndimage

from node.measure.boxes import spacing_mm_of
from node.measure.region import BoolArray, FloatArray
from node.model import Affine, HuArray, LabelArray

#: Voxels this deep inside the bodies are compared: no cortex, no end plates.
_DEPTH_MM = 3.0
#: Slices up to this far apart are compared, mm.
_REACH_MM = 10.0
#: Fewer voxels than this tell nothing.
_LEAST_VOXELS = 150
#: The distance at which half of the variation is reached, times this, is the thickness. Slices of 5 mm of a real CT,
#: resampled to 1 mm, gave 4.0 mm (linear) and 3.6 mm (cubic).
_FACTOR = 1.3
#: What the image shows counts where the grid is finer by this factor; below it the estimate is too rough.
_FINER_GRID = 1.5


def scanned_thickness_mm(
    hu: HuArray, labels: LabelArray, affine_lps_mm: Affine, slice_thickness_mm: float | None = None
) -> float:
    """Thickness along the spine that end plates were scanned with: the largest of grid, header and what the image shows.

    Args:
        hu: int16, 3-D.
        labels: uint8, the same shape; vertebral bodies are not 0.
        affine_lps_mm: 4 x 4; maps the array index to LPS mm.
        slice_thickness_mm: Slice Thickness of slices across the spine, if the header states it.
    """
    spacing = spacing_mm_of(affine_lps_mm)
    up = int(np.argmax(np.abs(affine_lps_mm[2, :3]) / np.array(spacing)))
    step_mm = spacing[up]
    seen = []
    boxes = ((number, box) for number, box in enumerate(ndimage.find_objects(labels), 1) if box is not None)
    for number, box in boxes:
        inside = ndimage.distance_transform_edt(np.pad(labels[box] == number, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
        image = hu[box].astype(np.float64)
        thickness_mm = _seen_mm(np.moveaxis(image, up, 0), np.moveaxis(inside > _DEPTH_MM, up, 0), step_mm)
        if thickness_mm is not None:
            seen.append(thickness_mm)
    # sclerosis, cement or metal in some bodies varies over longer distances than noise: the finest body tells
    seen_mm = min(seen, default=0.0)
    return max(step_mm, slice_thickness_mm or 0.0, seen_mm if seen_mm > _FINER_GRID * step_mm else 0.0)


def _seen_mm(image: FloatArray, inside: BoolArray, step_mm: float) -> float | None:
    """Thickness from the variation along axis 0; ``None`` if the body is too small to show it.

    The second difference ``I(z - h) - 2 I(z) + I(z + h)`` leaves out what changes evenly, as anatomy does. Its robust SD
    rises with ``h`` until the slices are independent.
    """
    variation = [(0.0, 0.0)]
    for apart in range(1, int(_REACH_MM / step_mm) + 1):
        if 2 * apart >= len(image):
            break
        chosen = inside[apart:-apart] & inside[2 * apart :] & inside[: -2 * apart]
        if int(chosen.sum()) < _LEAST_VOXELS:
            break
        second = (image[2 * apart :] - 2 * image[apart:-apart] + image[: -2 * apart])[chosen]
        variation.append((apart * step_mm, float(np.median(np.abs(second - np.median(second))))))
    half = max(value for _, value in variation) / 2
    for (near_mm, low), (far_mm, high) in pairwise(variation):
        if high >= half > low:
            return _FACTOR * (near_mm + (far_mm - near_mm) * (half - low) / (high - low))
    return None
