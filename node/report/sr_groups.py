"""Parts of the report: the summary of the study, and one measurement group per level (TID 1411)."""

from __future__ import annotations

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    FindingSite,
    Measurement,
    NumContentItem,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from node.model import Calibration, Level, LevelMeasurement, StudyResult
from node.report import codes
from node.report.headers import plain_text
from node.report.rounding import finite, rounded, rounded_bmd
from node.report.wording import (
    all_reasons,
    caveats,
    conclusion,
    equation_text,
    hu_reference,
    level_bmd,
    levels_text,
    usable_levels,
)


def level_group(
    level: LevelMeasurement, seg: Dataset, source_series_uid: str, result: StudyResult
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    """Measurements of one level, with a reference to the segment they come from.

    The segment is the measured region; where that is empty, the body, and there is no value: the findings say why. (An empty
    NUM with a qualifier of CID 42 would be valid too, but highdicom's reader stops at it.)
    """
    segment = _segments_of(seg, level.level)[-1]
    measurements = []
    mean, deviation = finite(level.hu_mean), finite(level.hu_sd)
    if mean is not None:
        measurements.append(Measurement(codes.ATTENUATION, rounded(mean), codes.HOUNSFIELD, derivation=codes.MEAN))
    if deviation is not None:
        measurements.append(Measurement(codes.ATTENUATION_DEVIATION, rounded(deviation), codes.HOUNSFIELD))
    if level.roi_volume_mm3 > 0:
        measurements.append(Measurement(codes.VOLUME, rounded(level.roi_volume_mm3), codes.MM3))
    bmd = level_bmd(result.bmd, level.level)
    if bmd is not None:
        measurements.append(Measurement(codes.TRABECULAR_BMD, bmd, codes.MG_CM3))
    group = VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=segment.TrackingUID, identifier=segment.TrackingID),
        referenced_segment=ReferencedSegment(
            sop_class_uid=seg.SOPClassUID,
            sop_instance_uid=seg.SOPInstanceUID,
            segment_number=int(segment.SegmentNumber),
            source_series=SourceSeriesForSegmentation(source_series_uid),
        ),
        finding_type=codes.MEASURED_REGION,
        finding_sites=[FindingSite(codes.VERTEBRA[level.level])],
        algorithm_id=_algorithm(result),
        measurements=measurements,
        qualitative_evaluations=[
            QualitativeEvaluation(codes.COUNTS_FOR_MEAN, codes.YES if level.usable else codes.NO),
        ],
    )
    _append_texts(group[0].ContentSequence, codes.LEVEL_FINDING, [finding.detail for finding in level.findings])
    return group


def summary(result: StudyResult) -> ContainerContentItem:
    """Conclusion, mean with its interval, how HU became BMD, category, levels used; or why there is no BMD.

    A section of its own in front of the measurements, which the extensible TID 1500 allows. As a measurement group without a
    region (TID 1501) among groups with one it would be valid too, but would come late, and DicomSRValidator takes all groups
    for the kind of the first; it fails at derived measurements (TID 1420) as such.
    """
    contains = RelationshipTypeValues.CONTAINS
    bmd = result.bmd
    content = ContentSequence([*_algorithm(result), TextContentItem(codes.CONCLUSION, conclusion(result), contains)])
    if bmd.category is not None:
        content.append(CodeContentItem(codes.ACR_CATEGORY, codes.CATEGORY[bmd.category], contains))
        content.append(CodeContentItem(codes.BORDERLINE, codes.YES if bmd.borderline else codes.NO, contains))
    if bmd.bmd_mg_cm3 is not None:
        mean_bmd = Measurement(codes.TRABECULAR_BMD, rounded_bmd(bmd.bmd_mg_cm3), codes.MG_CM3, derivation=codes.MEAN)
        if bmd.calibration is not None:
            mean_bmd[0].ContentSequence.extend(_equation(bmd.calibration, equation_text(result)))
        content.extend(mean_bmd)
    if bmd.interval_mg_cm3 is not None:
        for name, value in zip((codes.BMD_LOWER_END, codes.BMD_UPPER_END), bmd.interval_mg_cm3, strict=True):
            content.extend(Measurement(name, rounded_bmd(value), codes.MG_CM3))
    mean_hu = finite(result.hu_mean)
    if mean_hu is not None:
        content.extend(Measurement(codes.ATTENUATION, rounded(mean_hu), codes.HOUNSFIELD, derivation=codes.MEAN))
    _append_texts(content, codes.LEVELS_USED, [levels_text(usable_levels(result))])
    if result.facts is not None:
        _append_texts(content, codes.CONTRAST_PHASE, [result.facts.contrast_phase.value.replace("_", " ")])
    reason = codes.CAVEAT if bmd.category is not None else codes.NO_BMD_REASON
    _append_texts(content, reason, [r.detail for r in all_reasons(result)])
    _append_texts(content, codes.HU_REFERENCE, [sentence for sentence in (hu_reference(result),) if sentence])
    _append_texts(content, codes.CAVEAT, caveats(result))
    container = ContainerContentItem(codes.SUMMARY, relationship_type=contains)
    container.ContentSequence = content
    return container


def is_segmented(seg: Dataset, level: Level) -> bool:
    """Whether a level has a segment to refer to."""
    return bool(_segments_of(seg, level))


def _segments_of(seg: Dataset, level: Level) -> list[Dataset]:
    """Segments of a level: its body, then its measured region if there is one."""
    return [item for item in seg.SegmentSequence if str(item.SegmentLabel).startswith(f"{level.name} ")]


def _equation(calibration: Calibration, equation: str) -> list[ContentItem]:
    """Where the value comes from: TID 300 rows 9 (parameters) and 12 (equation and its citation)."""
    inferred = RelationshipTypeValues.INFERRED_FROM
    return [
        TextContentItem(codes.EQUATION, equation, inferred),
        TextContentItem(codes.EQUATION_CITATION, plain_text(calibration.source) or "not stated", inferred),
        NumContentItem(
            codes.CALIBRATION_SLOPE, float(calibration.slope), codes.MG_CM3_PER_HOUNSFIELD, relationship_type=inferred
        ),
        NumContentItem(codes.CALIBRATION_INTERCEPT, float(calibration.intercept), codes.MG_CM3, relationship_type=inferred),
        TextContentItem(codes.CALIBRATION_ID, plain_text(calibration.id), inferred),
        TextContentItem(codes.CALIBRATION_MATERIAL, plain_text(calibration.material) or "not stated", inferred),
    ]


def _append_texts(content: ContentSequence, name: Code, texts: list[str] | tuple[str, ...]) -> None:
    for text in texts:
        content.append(TextContentItem(name, plain_text(text), RelationshipTypeValues.CONTAINS))


def _algorithm(result: StudyResult) -> AlgorithmIdentification:
    """TID 4019, once per group."""
    return AlgorithmIdentification(
        name=plain_text(f"{codes.MODEL_NAME}, {result.software.segmenter}"), version=plain_text(result.software.version)
    )
