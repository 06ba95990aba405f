"""Body masks at the CT's own resolution, from the probabilities on the working grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.model import Affine, HuArray, LabelArray
from node.segment.grid import FloatArray, sample_linear
from node.segment.inference import Prediction
from node.segment.instances import BODY_PROBABILITY
from node.segment.naming import Named
from node.segment.network import Tissue

#: Voxels of the working grid around a body that are taken along, so that its surface lies inside the interpolated box.
MARGIN_VOXELS = 3
#: A voxel that may be body (at least the first chance), and is body or disc (at least the second), is body if it is denser
#: than the body's median by so many HU: endplates are, discs are not.
ENDPLATE_PROBABILITY = 0.15
BODY_OR_DISC_PROBABILITY = 0.8
ENDPLATE_ABOVE_INSIDE_HU = 25.0
#: HU are smoothed by this SD before, against noise.
SMOOTHED_SD_MM = 1.5


def full_resolution_labels(
    prediction: Prediction,
    instances: npt.NDArray[np.int32],
    named: tuple[Named, ...],
    hu: HuArray,
    affine_lps_mm: Affine,
) -> LabelArray:
    """Labels on the source grid: where the interpolated probability of a body reaches BODY_PROBABILITY, and its endplates.

    Probabilities are interpolated, never labels, so that surfaces lie between voxels of the working grid where the network
    saw them. Where two bodies claim a voxel, the likelier one has it.

    Args:
        prediction: on the working grid.
        instances: instance map on the working grid.
        named: the bodies to draw.
        hu: the source volume, HU.
        affine_lps_mm: its index-to-LPS matrix, mm.

    Returns:
        uint8 of the shape of ``hu``; ``int(level)`` inside a body.
    """
    shape = (hu.shape[0], hu.shape[1], hu.shape[2])
    spacing_mm = np.linalg.norm(affine_lps_mm[:3, :3], axis=0)
    labels = np.zeros(shape, dtype=np.uint8)
    claimed = np.zeros(shape, dtype=np.float16)
    grid = prediction.grid
    grid_from_source = np.linalg.inv(grid.affine_lps_mm()) @ affine_lps_mm
    source_from_grid = np.linalg.inv(grid_from_source)
    for entry in named:
        box = ndimage.find_objects((instances == entry.body.number).astype(np.int8))[0]
        low = np.array([max(s.start - MARGIN_VOXELS, 0) for s in box])
        high = np.array([min(s.stop + MARGIN_VOXELS, n) for s, n in zip(box, grid.shape, strict=True)])
        part = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
        owner = instances[part]
        both = prediction.probability[(slice(Tissue.UPPER_BODY, Tissue.LUMBAR_BODY + 1), *part)].sum(axis=0)
        own = np.where((owner == entry.body.number) | ((owner == 0) & (both < BODY_PROBABILITY)), both, 0.0)
        corners = np.array(np.meshgrid(*zip(low, high - 1, strict=True), indexing="ij"), dtype=np.float64).reshape(3, -1)
        at = source_from_grid[:3, :3] @ corners + source_from_grid[:3, 3:]
        first = np.clip(np.floor(at.min(axis=1)).astype(int), 0, np.array(shape))
        last = np.clip(np.ceil(at.max(axis=1)).astype(int) + 1, 0, np.array(shape))
        if (first >= last).any():
            continue
        to_part = np.eye(4)
        to_part[:3, 3] = -low
        from_target = np.eye(4)
        from_target[:3, 3] = first
        size = (int(last[0] - first[0]), int(last[1] - first[1]), int(last[2] - first[2]))
        part_from_target = to_part @ grid_from_source @ from_target
        probability = sample_linear(own, part_from_target, size)
        disc = sample_linear(prediction.probability[(Tissue.DISC, *part)], part_from_target, size)
        target = (slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2]))
        better = _with_endplates(probability, disc, hu[target], spacing_mm) & (probability > claimed[target])
        labels[target][better] = int(entry.level)
        claimed[target][better] = probability[better].astype(np.float16)
    return labels


def _with_endplates(probability: FloatArray, disc: FloatArray, hu: HuArray, spacing_mm: FloatArray) -> npt.NDArray[np.bool_]:
    """The body, and what touches it, is either body or disc and is clearly denser than the body's inside.

    In thick slices an endplate and the disc beside it share voxels of the working grid, and the network takes some of the
    endplate for disc; at the CT's own resolution the endplate is the denser of the two.
    """
    body = probability >= BODY_PROBABILITY
    if not body.any():
        return body
    smooth: FloatArray = ndimage.gaussian_filter(hu.astype(np.float32), SMOOTHED_SD_MM / spacing_mm)
    dense = smooth >= float(np.median(hu[body])) + ENDPLATE_ABOVE_INSIDE_HU
    body_or_disc = (probability >= ENDPLATE_PROBABILITY) & (probability + disc >= BODY_OR_DISC_PROBABILITY)
    candidates = body | (body_or_disc & dense)
    return np.asarray(ndimage.binary_propagation(body, mask=candidates))
