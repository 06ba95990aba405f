"""Where a level lies, as a point on one source image: what a viewer needs in order to open the report at the vertebra."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from highdicom.spatial import ReferenceToImageTransformer
from highdicom.sr import (
    ContentSequence,
    GraphicTypeValues,
    RelationshipTypeValues,
    ScoordContentItem,
    SourceImageForRegion,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from node.model import Vector


def centre(sources: Sequence[Dataset], position_lps_mm: Vector) -> ScoordContentItem:
    """The nearest point on the image whose plane lies nearest.

    As TID 4021 says it: SCOORD (111010, DCM, "Center") of graphic type POINT, SELECTED FROM an image; the extensible TID
    1411 leaves room for it, beside the segment that holds the region itself. OHIF 3.12 shows the values of a measurement
    group only where the group has coordinates (OHIF/Viewers issue 3390).

    Args:
        sources: headers of the measured images, or the one of an enhanced multi-frame image.
        position_lps_mm: centre of the level.
    """
    if not sources:
        raise ValueError("no source image: there is nothing to point at")
    image = sources[0] if len(sources) == 1 else min(sources, key=lambda ds: _distance_mm(ds, position_lps_mm))
    frames = range(1, int(image.NumberOfFrames) + 1) if "NumberOfFrames" in image else (None,)
    best: tuple[float, int | None, npt.NDArray[np.float64]] | None = None
    for frame in frames:
        to_image = ReferenceToImageTransformer.for_image(image, frame_number=frame)
        column, row, between = to_image(np.array([position_lps_mm]))[0]
        if best is None or abs(between) < best[0]:
            best = (abs(float(between)), frame, np.array([[column, row]]))
    if best is None:
        raise ValueError("an image without a frame: there is nothing to point at")
    _, frame, point = best
    item = ScoordContentItem(
        codes.DCM.Center, GraphicTypeValues.POINT, point, relationship_type=RelationshipTypeValues.CONTAINS
    )
    item.ContentSequence = ContentSequence(
        [SourceImageForRegion.from_source_image(image, None if frame is None else [frame])]
    )
    return item


def _distance_mm(ds: Dataset, position_lps_mm: Vector) -> float:
    """From the plane of a single-frame image (PS3.3 C.7.6.2.1.1)."""
    orientation = np.array([float(value) for value in ds.ImageOrientationPatient])
    origin = np.array([float(value) for value in ds.ImagePositionPatient])
    return float(abs(np.cross(orientation[:3], orientation[3:]) @ (np.asarray(position_lps_mm) - origin)))
