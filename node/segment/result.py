"""From labelled bodies and their outlines to the result of the segmentation."""

from __future__ import annotations

import numpy as np

from node.language.phrase import phrase
from node.model import Reason, Segmentation, VertebralBody, Volume
from node.segment.masks import Outline, full_resolution_labels
from node.segment.reach import Named


def segmentation_of(
    volume: Volume, outlined: tuple[tuple[Named, Outline], ...], reasons: tuple[Reason, ...]
) -> Segmentation:
    """Labels on the volume's grid, with the centre of every labelled body.

    Args:
        volume: the source.
        outlined: labelled bodies with their outlines, from the head downward.
        reasons: for what is missing or in doubt.
    """
    shape = (volume.hu.shape[0], volume.hu.shape[1], volume.hu.shape[2])
    drawn = tuple((entry.level, outline) for entry, outline in outlined)
    labels = full_resolution_labels(drawn, shape, volume.affine_lps_mm)
    bodies, missing = [], []
    for entry, _ in outlined:
        voxels = np.argwhere(labels == int(entry.level))
        if len(voxels) == 0:
            said = phrase("{level} is smaller than a voxel of this series.", level=entry.level.name)
            missing.append(Reason("body_without_voxels", said))
            continue
        centre = volume.affine_lps_mm[:3, :3] @ voxels.mean(axis=0) + volume.affine_lps_mm[:3, 3]
        position = (float(centre[0]), float(centre[1]), float(centre[2]))
        bodies.append(VertebralBody(entry.level, position, round(entry.confidence, 3), entry.evidence))
    return Segmentation(labels, tuple(bodies), (*reasons, *missing))
