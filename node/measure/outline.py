"""Repairs of an outline before shape and inside of a body are assessed. What is measured for BMD is not changed by them."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from node.measure.boxes import Box, spacing_mm_of, widened
from node.measure.region import BoolArray
from node.model import Affine, HuArray, LabelArray, Level

#: A segmenter may leave a dense lesion out of a body. Bone above this, HU, in hollows of the outline up to twice this wide,
#: mm, belongs to it; discs and vessels are less dense (assumptions).
_DENSE_HU, _HOLLOW_MM = 300.0, 6.0


def with_dense_bone(
    hu: HuArray, labels: LabelArray, box: Box, level: Level, metal_hu: float, affine_lps_mm: Affine
) -> BoolArray:
    """The outline of a body in ``box``, with the dense bone in its holes and hollows, without metal.

    Args:
        hu, labels, affine_lps_mm: the whole volume, as in :func:`node.measure.measure_levels`.
        box: the part of it that is wanted.
        level: the body.
        metal_hu: voxels above this are metal.
    """
    spacing = spacing_mm_of(affine_lps_mm)
    wide = widened(box, [math.ceil(2 * _HOLLOW_MM / step) for step in spacing])
    body = labels[wide] == level
    near = ndimage.distance_transform_edt(~body, sampling=spacing) <= _HOLLOW_MM
    closed = ndimage.distance_transform_edt(near, sampling=spacing) > _HOLLOW_MM
    dense = (hu[wide] > _DENSE_HU) & (hu[wide] <= metal_hu) & (labels[wide] == 0)
    whole = ndimage.binary_fill_holes(body | (closed & dense))
    return np.asarray(whole[tuple(slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, wide, strict=True))])
