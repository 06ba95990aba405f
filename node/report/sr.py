"""Structured report: TID 1500 Measurement Report as Comprehensive 3D SR (PS3.3 A.35.13) or a simpler SR class."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from highdicom.sr import (
    CodeContentItem,
    Comprehensive3DSR,
    ComprehensiveSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    EnhancedSR,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from node.language.catalogue import Language
from node.model import StudyResult
from node.model import codes as ours
from node.model.object_kinds import SegKind, SrKind
from node.report.equipment import name_algorithms
from node.report.headers import clean_headers, plain_text, quiet, stamp
from node.report.sr_centre import centre
from node.report.sr_groups import LANGUAGES, is_segmented, level_group, summary
from node.report.sr_text import text_report
from node.report.uids import ReportUids

SERIES_NUMBER = 9802

#: highdicom has no class for Basic Text SR, which has the same modules as Enhanced SR (PS3.3 A.35.1.2, A.35.2.2).
_CLASS: dict[SrKind, type[Comprehensive3DSR] | type[ComprehensiveSR] | type[EnhancedSR]] = {
    SrKind.COMPREHENSIVE_3D: Comprehensive3DSR,
    SrKind.COMPREHENSIVE: ComprehensiveSR,
    SrKind.ENHANCED: EnhancedSR,
    SrKind.BASIC_TEXT: EnhancedSR,
}


@quiet()
def build_sr(
    source_datasets: Sequence[Dataset],
    seg: Dataset,
    result: StudyResult,
    uids: ReportUids,
    created: datetime,
    predecessors: Sequence[Dataset] = (),
    kind: SrKind = SrKind.COMPREHENSIVE_3D,
    language: Language = Language.EN,
) -> Dataset:
    """Build the report of a measured study.

    The summary with the conclusion comes first, then one measurement group per level. Levels refer to their segment, to
    their centre on one image, and to the source *series*: a list of every slice would make the report unreadable in viewers
    (the evidence sequence lists them all).

    Args:
        source_datasets: headers of the measured images, as for :func:`~node.report.build_seg`.
        seg: the segmentation of the same result that the receiver gets, BINARY or label map. Readers without support for
            label maps (such as dcmtk 3.6) cannot read a report that refers to one.
        result: of a measured study.
        uids: of the study.
        created: date and time of content.
        predecessors: headers of the reports that this one replaces, for the Predecessor Documents Sequence (0040,A360) of
            the SR Document General module (PS3.3 C.17.2).
        kind: SOP class; each is an object with its own SOP Instance UID. The first three have the same content tree. Basic
            Text allows no numeric items: it has the values as text, level by level, and refers to no segmentation.
        language: of the sentences.

    Raises:
        ValueError: the study was not measured.
    """
    if result.status != "measured" or result.facts is None:
        raise ValueError("a structured report needs a measured result")
    sources = clean_headers(source_datasets, result.facts, uids.frame_of_reference)
    version = plain_text(result.software.version, 64)
    observer = _observer(uids)
    if kind is SrKind.BASIC_TEXT:
        nearest = [sources[_nearest_image(sources, level.centroid_lps_mm)] for level in result.levels]
        root, evidence = text_report(result, observer, nearest, language), sources
    else:
        root, evidence = _measurement_report(sources, seg, result, observer, language), [*sources, seg]
    sr = _CLASS[kind](
        evidence=evidence,
        content=root,
        series_instance_uid=uids.sr_series,
        series_number=SERIES_NUMBER,
        sop_instance_uid=uids.sr_instance_of(kind, _kind_of(seg)),
        instance_number=1,
        manufacturer=ours.MANUFACTURER,
        manufacturer_model_name=ours.MODEL_NAME,
        software_versions=version,
        device_serial_number=uids.device,
        series_description="BMD: measurement report (not verified)",
        # complete, but not verified by a person, so not final
        is_complete=True,
        is_final=False,
        is_verified=False,
        previous_versions=predecessors or None,
        coding_schemes=[ours.coding_scheme()],
    )
    sr.SOPClassUID = sr.file_meta.MediaStorageSOPClassUID = kind.sop_class_uid
    name_algorithms(sr, result.software, uids.device)
    stamp(sr, created)
    return sr


def _observer(uids: ReportUids) -> ObservationContext:
    """TID 1004, with the attributes that IHE AI Results maps to equipment; a device name would repeat the model name."""
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device,
            observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
                uid=uids.device,
                manufacturer_name=ours.MANUFACTURER,
                model_name=ours.MODEL_NAME,
            ),
        )
    )


def _kind_of(seg: Dataset) -> SegKind:
    return next(kind for kind in SegKind if kind.sop_class_uid == seg.SOPClassUID)


def _measurement_report(
    sources: Sequence[Dataset], seg: Dataset, result: StudyResult, observer: ObservationContext, language: Language
) -> Dataset:
    """Root of TID 1500."""
    series_uid = str(sources[0].SeriesInstanceUID)
    levels = [level for level in result.levels if is_segmented(seg, level.level)]
    groups = [level_group(level, seg, series_uid, result, language) for level in levels]
    for level, group in zip(levels, groups, strict=True):
        group[0].ContentSequence.append(centre(sources, level.centroid_lps_mm))
    content = MeasurementReport(
        observation_context=observer,
        procedure_reported=ours.CT_PROCEDURE,
        imaging_measurements=groups,
        language_of_content_item_and_descendants=LanguageOfContentItemAndDescendants(LANGUAGES[language]),
    )
    root = content[0]
    *context, measurements = root.ContentSequence
    root.ContentSequence = ContentSequence(
        [*context, summary(result, language), _image_library(sources, result), measurements]
    )
    return root


def _image_library(sources: Sequence[Dataset], result: StudyResult) -> ContainerContentItem:
    """TID 1600 with one group: what all images share, and the image at the middle level as the required entry.

    Every level refers to the image at its centre; the evidence sequence lists all images.
    """
    context = RelationshipTypeValues.HAS_ACQ_CONTEXT
    middle = sources[_nearest_image(sources, result.levels[len(result.levels) // 2].centroid_lps_mm)]
    group = ContainerContentItem(
        codes.DCM.ImageLibraryGroup, relationship_type=RelationshipTypeValues.CONTAINS, template_id=None
    )
    group.ContentSequence = ContentSequence(
        [
            CodeContentItem(codes.DCM.Modality, codes.cid29.ComputedTomography, context),
            CodeContentItem(codes.DCM.TargetRegion, ours.LUMBAR_SPINE, context),
            ImageContentItem(
                ours.SOURCE,
                referenced_sop_class_uid=middle.SOPClassUID,
                referenced_sop_instance_uid=middle.SOPInstanceUID,
                relationship_type=RelationshipTypeValues.CONTAINS,
            ),
        ]
    )
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
