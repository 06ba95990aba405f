"""The centre of a level as a point on one source image, with which a viewer opens the report at the vertebra."""

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
    """The nearest point on the image with the nearest plane.

    As in TID 4021: SCOORD (111010, DCM, "Center") of graphic type POINT, SELECTED FROM an image. The extensible TID 1411
    allows it beside the segment of the region. OHIF 3.12 shows the values of a measurement group only if the group has
    coordinates (OHIF/Viewers issue 3390).

    Args:
        sources: headers of the measured images, or that of one enhanced multi-frame image.
        position_lps_mm: centre of the level.
    """
    if not sources:
        raise ValueError("there is no source image to refer to")
    image = sources[0] if len(sources) == 1 else min(sources, key=lambda ds: _distance_mm(ds, position_lps_mm))
    frames = range(1, int(image.NumberOfFrames) + 1) if "NumberOfFrames" in image else (None,)
    best: tuple[float, int | None, npt.NDArray[np.float64]] | None = None
    for frame in frames:
        to_image = ReferenceToImageTransformer.for_image(image, frame_number=frame)
        column, row, between = to_image(np.array([position_lps_mm]))[0]
        if best is None or abs(between) < best[0]:
            best = (abs(float(between)), frame, np.array([[column, row]]))
    if best is None:
        raise ValueError("the source image has no frame to refer to")
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
