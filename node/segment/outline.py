"""The outline of a body, drawn back to the bone where the network's mask goes beyond it."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.model import HuArray, LabelArray

#: The network's masks are 1 to 2 mm too wide (training/README.md); nothing deeper than this is taken away.
MOST_OVERSHOOT_MM = 3.0
#: Deeper than this a voxel shows the inside of the body; between these distances outside, what surrounds it.
INSIDE_FROM_MM = 6.0
AROUND_MM = (1.0, 4.0)
#: HU are smoothed by this SD before they are compared, against noise.
SMOOTHED_SD_MM = 1.0
#: What was taken away in a place narrower than twice this is put back: noise, and the basivertebral vein's way in.
BITE_MM = 4.0


def draw_back_to_bone(labels: LabelArray, hu: HuArray, spacing_mm: npt.NDArray[np.float64]) -> LabelArray:
    """Take soft tissue off the outside of every body.

    A voxel near the surface that is nearer in HU to what surrounds the body than to its inside is taken away if it can be
    reached from outside through such voxels. The cortex, denser than both, ends that: the inside of a porotic body, which
    may be no denser than muscle, stays.

    Args:
        labels: uint8; bodies are the values other than 0.
        hu: the same shape, HU.
        spacing_mm: distance between voxel centres along axis 0, 1, 2.

    Returns:
        uint8, the shape of ``labels``.
    """
    drawn = labels.copy()
    margin = [math.ceil(INSIDE_FROM_MM / spacing) for spacing in spacing_mm]
    boxes = ndimage.find_objects(labels)
    for value in np.unique(labels[labels > 0]).tolist():
        box = tuple(
            slice(max(part.start - more, 0), min(part.stop + more, length))
            for part, more, length in zip(boxes[value - 1], margin, labels.shape, strict=True)
        )
        body = labels[box] == value
        depth_mm = ndimage.distance_transform_edt(body, sampling=spacing_mm)
        away_mm = ndimage.distance_transform_edt(~body, sampling=spacing_mm)
        inside = hu[box][depth_mm > INSIDE_FROM_MM]
        around = hu[box][(away_mm > AROUND_MM[0]) & (away_mm < AROUND_MM[1]) & (labels[box] == 0)]
        if inside.size == 0 or around.size == 0:
            continue
        level = float(np.median(inside))
        # what surrounds the body may be denser than it (contrast, cement, osteophytes); then only what is no bone goes
        limit = (level + min(level, float(np.median(around)))) / 2
        smooth: npt.NDArray[np.float32] = ndimage.gaussian_filter(hu[box].astype(np.float32), SMOOTHED_SD_MM / spacing_mm)
        soft = body & (smooth < limit) & (depth_mm <= MOST_OVERSHOOT_MM)
        reached = ndimage.binary_propagation(~body, mask=~body | soft)
        drawn[box][body & ~_closed(body & ~reached, spacing_mm)] = 0
    return drawn


def _closed(mask: npt.NDArray[np.bool_], spacing_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Morphological closing by a ball of ``BITE_MM``, and no holes."""
    padded = np.pad(mask, [(math.ceil(BITE_MM / spacing) + 1,) * 2 for spacing in spacing_mm])
    grown = ndimage.distance_transform_edt(~padded, sampling=spacing_mm) <= BITE_MM
    closed = ndimage.distance_transform_edt(grown, sampling=spacing_mm) > BITE_MM
    filled = ndimage.binary_fill_holes(closed | padded)
    return np.asarray(filled)[
        tuple(slice((a - b) // 2, (a + b) // 2) for a, b in zip(padded.shape, mask.shape, strict=True))
    ]
