"""Structured report: TID 1500 Measurement Report as Comprehensive 3D SR (PS3.3 A.35.13)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
    UIDRefContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from node.model import StudyResult
from node.report import codes as ours
from node.report.headers import clean_headers, plain_text, quiet, stamp
from node.report.sr_groups import is_segmented, level_group, summary
from node.report.uids import ReportUids

SERIES_NUMBER = 9802


@quiet()
def build_sr(
    source_datasets: Sequence[Dataset],
    seg: Dataset,
    result: StudyResult,
    uids: ReportUids,
    created: datetime,
    predecessor: Dataset | None = None,
) -> Dataset:
    """Build the report of a measured study.

    The summary with the conclusion comes first; then one measurement group per level. Levels refer to
    their segment and to the source *series*; the image library holds one image per level, since a list of every slice makes
    the report unreadable in viewers (the evidence sequence names them all).

    Args:
        source_datasets: headers of the measured images, as for :func:`~node.report.build_seg`.
        seg: the segmentation of the same result.
        result: of the study; measured.
        uids: of the study.
        created: date and time of content.
        predecessor: header of the report that this one replaces; it is named in the Predecessor Documents Sequence
            (0040,A360) of the SR Document General module (PS3.3 C.17.2).

    Raises:
        ValueError: the result is not a measured one.
    """
    if result.status != "measured" or result.facts is None:
        raise ValueError("a structured report needs a measured result")
    sources = clean_headers(source_datasets, result.facts, uids.frame_of_reference)
    version = plain_text(result.software.version, 64)
    series_uid = result.facts.series_instance_uid
    groups = [level_group(level, seg, series_uid, result) for level in result.levels if is_segmented(seg, level.level)]

    content = MeasurementReport(
        observation_context=ObservationContext(
            observer_device_context=ObserverContext(
                observer_type=codes.DCM.Device,
                observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                    uid=uids.device,
                    name=ours.MODEL_NAME,
                    manufacturer_name=ours.MANUFACTURER,
                    model_name=ours.MODEL_NAME,
                    serial_number=version,
                ),
            )
        ),
        procedure_reported=ours.CT_PROCEDURE,
        imaging_measurements=groups,
    )
    root = content[0]
    *context, measurements = root.ContentSequence
    root.ContentSequence = ContentSequence([*context, summary(result), _image_library(sources, result), measurements])
    sr = Comprehensive3DSR(
        evidence=[*sources, seg],
        content=root,
        series_instance_uid=uids.sr_series,
        series_number=SERIES_NUMBER,
        sop_instance_uid=uids.sr_instance,
        instance_number=1,
        manufacturer=ours.MANUFACTURER,
        manufacturer_model_name=ours.MODEL_NAME,
        software_versions=version,
        device_serial_number=uids.device,
        series_description="BMD: measurement report (not verified)",
        # complete as far as a machine goes; nobody has verified it, so it is not final
        is_complete=True,
        is_final=False,
        is_verified=False,
        previous_versions=None if predecessor is None else [predecessor],
        coding_schemes=[ours.coding_scheme()],
    )
    stamp(sr, created)
    return sr


def _image_library(sources: Sequence[Dataset], result: StudyResult) -> ContainerContentItem:
    """TID 1600 with one group: what all images share, and the image nearest to the centre of every level."""
    first = sources[0]
    context = RelationshipTypeValues.HAS_ACQ_CONTEXT
    items: list[ContentItem] = [
        CodeContentItem(codes.DCM.Modality, codes.cid29.ComputedTomography, context),
        CodeContentItem(codes.DCM.TargetRegion, ours.LUMBAR_SPINE, context),
        UIDRefContentItem(codes.DCM.FrameOfReferenceUID, first.FrameOfReferenceUID, context),
    ]
    nearest = dict.fromkeys(_nearest_image(sources, level.centroid_lps_mm) for level in result.levels)
    items += [
        ImageContentItem(
            CodedConcept("260753009", "SCT", "Source"),
            referenced_sop_class_uid=sources[k].SOPClassUID,
            referenced_sop_instance_uid=sources[k].SOPInstanceUID,
            relationship_type=RelationshipTypeValues.CONTAINS,
        )
        for k in nearest
    ]
    group = ContainerContentItem(
        codes.DCM.ImageLibraryGroup, relationship_type=RelationshipTypeValues.CONTAINS, template_id=None
    )
    group.ContentSequence = ContentSequence(items)
    library = ContainerContentItem(codes.DCM.ImageLibrary, relationship_type=RelationshipTypeValues.CONTAINS)
    library.ContentSequence = ContentSequence([group])
    return library


def _nearest_image(sources: Sequence[Dataset], position_lps_mm: tuple[float, float, float]) -> int:
    if len(sources) == 1:
        return 0
    orientation = np.array([float(v) for v in sources[0].ImageOrientationPatient])
    normal = np.cross(orientation[:3], orientation[3:])
    origins = np.array([[float(v) for v in ds.ImagePositionPatient] for ds in sources])
    return int(np.argmin(np.abs((origins - np.asarray(position_lps_mm)) @ normal)))
