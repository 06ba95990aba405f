"""Segmentation object (PS3.3 A.51): vertebral bodies and measured regions on the grid of the source images.

In BINARY form, bodies are complete and measured regions overlap them. In a label map each voxel belongs to one segment: the
region keeps its voxels, and the body segment contains the rest and is labelled and tracked as such. Every value in the
report still refers to a segment of exactly the measured voxels; the union of both segments is the body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from highdicom import AlgorithmIdentificationSequence, PixelMeasuresSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from highdicom.seg import Segmentation as SegmentationObject
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from node.model import LabelArray, Level, StudyResult, Volume
from node.model.codes import (
    ANATOMICAL_STRUCTURE,
    ARTIFICIAL_INTELLIGENCE,
    MANUFACTURER,
    MEASURED_REGION,
    MODEL_NAME,
    VERTEBRA,
    coding_scheme,
)
from node.model.object_kinds import SegKind
from node.report.equipment import algorithm_name, name_algorithms
from node.report.headers import clean_headers, plain_text, quiet, stamp
from node.report.palette import LEVEL_RGB, Rgb, region_rgb
from node.report.uids import ReportUids

SERIES_NUMBER = 9801

_TYPE = {SegKind.BINARY: SegmentationTypeValues.BINARY, SegKind.LABELMAP: SegmentationTypeValues.LABELMAP}


@dataclass(frozen=True, slots=True, eq=False)
class _Segment:
    label: str
    tracking_uid: str
    property_type: Code
    anatomic_region: Code | None
    rgb: Rgb
    label_map: LabelArray
    value: int


@quiet()
def build_seg(
    volume: Volume,
    source_datasets: Sequence[Dataset],
    labels: LabelArray,
    regions: LabelArray,
    result: StudyResult,
    uids: ReportUids,
    created: datetime,
    kind: SegKind = SegKind.BINARY,
) -> Dataset:
    """Build a segmentation: one segment per named body, and one per measured region.

    Most receivers accept BINARY. Segments match the source images pixel for pixel and have their plane positions; empty
    frames are omitted.

    Args:
        volume: the measured series.
        source_datasets: headers of its images, without pixels: one per slice in the order of ``volume.frames``, or that
            of one enhanced multi-frame image.
        labels: uint8, (slices, rows, columns), bodies on the grid of ``volume``, labelled by :class:`~node.model.Level`.
        regions: the measured regions inside the bodies, same grid and labels.
        result: with the named bodies and levels.
        uids: of the study.
        created: date and time of content; nothing else in the object depends on the time.
        kind: BINARY or label map; each is an object with its own SOP Instance UID.

    Raises:
        ValueError: the headers are not those of ``volume.frames``, the arrays have another shape, or no body is labelled.
    """
    if labels.shape != volume.hu.shape or regions.shape != volume.hu.shape:
        raise ValueError(f"labels {labels.shape} and regions {regions.shape} must have the volume's shape {volume.hu.shape}")
    sources, frame_of_slice = _sources_of_slices(volume, source_datasets)
    sources = clean_headers(sources, volume.facts, uids.frame_of_reference)
    segments = _segments(labels, regions, result, uids, kind)
    if not segments:
        raise ValueError("no vertebral body is labelled, so there is nothing to segment")

    if frame_of_slice is None:
        # Only images that show a body: a third of the memory and references on a long series.
        slices = np.flatnonzero(np.isin(labels, [s.value for s in segments]).any(axis=(1, 2)))
        sources = [sources[k] for k in slices]
        _share_orientation(sources)
        frames = np.arange(len(slices))
    else:
        slices, frames = np.arange(len(labels)), frame_of_slice
    number_of_frames = len(sources) if frame_of_slice is None else int(sources[0].NumberOfFrames)
    pixels = _pixels(segments, slices, frames, number_of_frames, kind)

    algorithm = AlgorithmIdentificationSequence(
        name=algorithm_name(result.software),
        family=ARTIFICIAL_INTELLIGENCE,
        version=plain_text(result.software.version, 64),
        source=MANUFACTURER,
    )
    between_slices, between_rows, between_columns = volume.axis_spacing_mm
    thickness = volume.facts.slice_thickness_mm
    seg = SegmentationObject(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=_TYPE[kind],
        segment_descriptions=[_description(n, s, algorithm) for n, s in enumerate(segments, start=1)],
        series_instance_uid=uids.seg_series,
        series_number=SERIES_NUMBER,
        sop_instance_uid=uids.seg_instance_of(kind),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=plain_text(result.software.version, 64),
        device_serial_number=uids.device,
        pixel_measures=PixelMeasuresSequence(
            pixel_spacing=(between_rows, between_columns),
            slice_thickness=thickness if thickness is not None and thickness > 0 else between_slices,
            spacing_between_slices=between_slices,
        ),
        content_label="VERTEBRAE",
        content_description="Vertebral bodies and measured trabecular regions",
        content_creator_name=f"{MODEL_NAME}^",
        series_description="BMD: vertebral bodies and measured regions",
        coding_schemes=[coding_scheme()],
        transfer_syntax_uid=ExplicitVRLittleEndian,
    )
    # highdicom draws this one at random
    seg.DimensionOrganizationSequence[0].DimensionOrganizationUID = uids.seg_dimensions_of(kind)
    for index in seg.DimensionIndexSequence:
        index.DimensionOrganizationUID = uids.seg_dimensions_of(kind)
    name_algorithms(seg, result.software, uids.device)
    stamp(seg, created)
    return seg


def _sources_of_slices(
    volume: Volume, source_datasets: Sequence[Dataset]
) -> tuple[Sequence[Dataset], npt.NDArray[np.intp] | None]:
    """The source images, and the frame index of every slice for an enhanced multi-frame image."""
    uids = [str(ds.SOPInstanceUID) for ds in source_datasets]
    wanted = [frame.sop_instance_uid for frame in volume.frames]
    if uids == wanted:
        if len(uids) == 1 and "PerFrameFunctionalGroupsSequence" in source_datasets[0]:
            return source_datasets, np.array([volume.frames[0].frame_number - 1])
        return source_datasets, None
    if set(wanted) == set(uids) and len(set(uids)) == 1:
        return source_datasets[:1], np.array([frame.frame_number - 1 for frame in volume.frames])
    raise ValueError("the source headers are not those of the volume's frames, in their order")


def _share_orientation(sources: Sequence[Dataset]) -> None:
    """Give all images the orientation of the first.

    SEG has one orientation for all frames; images of a series that passed the geometry check differ in the last digits.
    """
    for ds in sources[1:]:
        ds.ImageOrientationPatient = sources[0].ImageOrientationPatient


def _pixels(
    segments: Sequence[_Segment],
    slices: npt.NDArray[np.intp],
    frames: npt.NDArray[np.intp],
    number_of_frames: int,
    kind: SegKind,
) -> LabelArray:
    """The source frames: (frames, rows, columns, segments) of 0 and 1, or (frames, rows, columns) of segment numbers."""
    shape = (number_of_frames, *segments[0].label_map.shape[1:])
    if kind is SegKind.LABELMAP:
        numbers = np.zeros((len(slices), *shape[1:]), dtype=np.uint8)
        for number, segment in enumerate(segments, start=1):  # a region after its body, which it overwrites
            numbers[segment.label_map[slices] == segment.value] = number
        pixels = np.zeros(shape, dtype=np.uint8)
        pixels[frames] = numbers
        return pixels
    pixels = np.zeros((*shape, len(segments)), dtype=np.uint8)
    for n, segment in enumerate(segments):
        pixels[frames, :, :, n] = segment.label_map[slices] == segment.value
    return pixels


def _segments(
    labels: LabelArray, regions: LabelArray, result: StudyResult, uids: ReportUids, kind: SegKind
) -> list[_Segment]:
    measured: set[Level] = {level.level for level in result.levels}
    segments = []
    for body in result.bodies:
        level = body.level
        if not (labels == int(level)).any():
            continue
        has_region = level in measured and bool((regions == int(level)).any())
        is_whole = kind is SegKind.BINARY or not has_region
        segments.append(
            _Segment(
                f"{level.name} vertebral body" + ("" if is_whole else " around measured region"),
                uids.body_tracking(level) if is_whole else uids.rest_tracking(level),
                VERTEBRA[level],
                None,
                LEVEL_RGB[level],
                labels,
                int(level),
            )
        )
        if has_region:
            segments.append(
                _Segment(
                    f"{level.name} measured trabecular region",
                    uids.region_tracking(level),
                    MEASURED_REGION,
                    VERTEBRA[level],
                    region_rgb(level),
                    regions,
                    int(level),
                )
            )
    return segments


def _description(number: int, segment: _Segment, algorithm: AlgorithmIdentificationSequence) -> SegmentDescription:
    return SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=ANATOMICAL_STRUCTURE,
        segmented_property_type=segment.property_type,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=segment.tracking_uid,
        tracking_id=segment.label,
        anatomic_regions=None if segment.anatomic_region is None else [segment.anatomic_region],
        display_color=CIELabColor.from_rgb(*segment.rgb),
    )
