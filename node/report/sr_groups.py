"""Parts of the report: the summary of the study, and one measurement group per level (TID 1411)."""

from __future__ import annotations

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DateContentItem,
    FindingSite,
    Measurement,
    NumContentItem,
    QualitativeEvaluation,
    ReferencedSegment,
    RelationshipTypeValues,
    SourceSeriesForSegmentation,
    TextContentItem,
    TrackingIdentifier,
    UIDRefContentItem,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from node.language.catalogue import Language, say
from node.language.phrase import as_phrase, joined, phrase
from node.model import Level, LevelMeasurement, PriorComparison, StudyResult, codes
from node.model.rounding import finite, rounded, rounded_bmd, rounded_interval
from node.report.context import hu_reference, rank_text, usual_text
from node.report.equipment import algorithm_name
from node.report.headers import plain_text
from node.report.paste import report_text
from node.report.wording import (
    all_reasons,
    caveats_of_result,
    conclusion,
    equation_text,
    level_bmd,
    levels_text,
    phase_text,
    prior_text,
    usable_levels,
)

#: Languages in TID 1204. They apply to sentences; code meanings stay in English, as in their schemes.
LANGUAGES = {
    Language.EN: CodedConcept("en-US", "RFC5646", "English (United States)"),
    Language.DE: CodedConcept("de-DE", "RFC5646", "German (Germany)"),
}
_NOT_STATED = phrase("not stated")


def level_group(
    level: LevelMeasurement, seg: Dataset, source_series_uid: str, result: StudyResult, language: Language
) -> VolumetricROIMeasurementsAndQualitativeEvaluations:
    """Measurements of one level, with a reference to their segment.

    The segment is the measured region. If that is empty, it is the body, without a value; the findings give the reason. (An
    empty NUM with a qualifier of CID 42 would also be valid, but highdicom's reader fails on it.)
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
        algorithm_id=algorithm(result),
        measurements=measurements,
        qualitative_evaluations=[
            QualitativeEvaluation(codes.COUNTS_FOR_MEAN, codes.YES if level.usable else codes.NO),
        ],
    )
    for finding in level.findings:
        group[0].ContentSequence.append(_text(codes.LEVEL_FINDING, say(finding.detail, language)))
    return group


def summary(result: StudyResult, language: Language) -> ContainerContentItem:
    """Conclusion, mean with its interval, equation, category, levels used; or why there is no BMD.

    A separate section before the measurements, which the extensible TID 1500 allows. A measurement group without a region
    (TID 1501) would also be valid, but would come late, and DicomSRValidator treats all groups like the first one; it does
    not support derived measurements (TID 1420).
    """
    contains = RelationshipTypeValues.CONTAINS
    bmd = result.bmd
    content = ContentSequence([_text(codes.CONCLUSION, say(conclusion(result), language)), *algorithm(result)])
    content.extend(category_items(result))
    if bmd.bmd_mg_cm3 is not None:
        mean_bmd = Measurement(codes.MEAN_TRABECULAR_BMD, rounded_bmd(bmd.bmd_mg_cm3), codes.MG_CM3)
        provenance = _provenance(result, language)
        if provenance:
            mean_bmd[0].ContentSequence = ContentSequence(provenance)
        content.extend(mean_bmd)
    if bmd.interval_mg_cm3 is not None:
        ends = rounded_interval(bmd.interval_mg_cm3)
        for name, value in zip((codes.BMD_LOWER_END, codes.BMD_UPPER_END), ends, strict=True):
            content.extend(Measurement(name, value, codes.MG_CM3))
    mean_hu = finite(result.hu_mean)
    if mean_hu is not None:
        content.extend(Measurement(codes.ATTENUATION, rounded(mean_hu), codes.HOUNSFIELD, derivation=codes.MEAN))
    if result.prior is not None:
        content.append(previous_result(result.prior, language, with_numbers=True))
    content.extend(statements(result, language))
    container = ContainerContentItem(codes.SUMMARY, relationship_type=contains)
    container.ContentSequence = content
    return container


def category_items(result: StudyResult) -> list[ContentItem]:
    """ACR category, and whether it is borderline; empty if there is none."""
    category = result.bmd.category
    if category is None:
        return []
    contains = RelationshipTypeValues.CONTAINS
    items: list[ContentItem] = [CodeContentItem(codes.ACR_CATEGORY, codes.CATEGORY[category], contains)]
    if result.bmd.borderline:
        items.append(CodeContentItem(codes.BORDERLINE, codes.YES, contains))
    return items


def previous_result(prior: PriorComparison, language: Language, *, with_numbers: bool) -> ContentItem:
    """Comparison with a prior result, with a reference to its study."""
    inferred = RelationshipTypeValues.INFERRED_FROM
    item = _text(codes.PREVIOUS_FINDING, say(prior_text(prior), language))
    content = ContentSequence(
        [
            UIDRefContentItem(codes.STUDY_INSTANCE_UID, prior.study_instance_uid, inferred),
            DateContentItem(codes.STUDY_DATE, prior.acquisition_date, inferred),
        ]
    )
    if with_numbers and prior.prior_bmd_mg_cm3 is not None:
        value = rounded_bmd(prior.prior_bmd_mg_cm3)
        content.append(NumContentItem(codes.MEAN_TRABECULAR_BMD, value, codes.MG_CM3, relationship_type=inferred))
    elif with_numbers:
        value = rounded(prior.prior_hu_mean)
        content.append(NumContentItem(codes.ATTENUATION, value, codes.HOUNSFIELD, relationship_type=inferred))
    item.ContentSequence = content
    return item


def statements(result: StudyResult, language: Language) -> list[ContentItem]:
    """Context of the values: levels, contrast phase, reasons, comparisons, caveats (one item), and the text to paste."""
    said = [(codes.LEVELS_USED, levels_text(usable_levels(result)))]
    if result.facts is not None:
        said.append((codes.CONTRAST_PHASE, phase_text(result.facts)))
    why_no_category = result.bmd.reasons if result.bmd.category is None else ()
    for reason in all_reasons(result):
        name = codes.NO_BMD_REASON if reason in why_no_category else codes.CAVEAT
        said.append((name, as_phrase(reason.detail)))
    beside = ((codes.HU_REFERENCE, hu_reference), (codes.HU_USUAL, usual_text), (codes.HU_RANK, rank_text))
    said += [(name, words) for name, compared in beside if (words := compared(result))]
    caveats = caveats_of_result(result)
    if caveats:
        said.append((codes.CAVEAT, joined(caveats, " ")))
    return [*(_text(name, say(words, language)) for name, words in said), _to_paste(result, language)]


def _to_paste(result: StudyResult, language: Language) -> TextContentItem:
    """The lines for the report of the CT; UT allows line breaks (PS3.5 6.2)."""
    text = report_text(result, language)
    lines = "\r\n".join(plain_text(line) for line in (text.findings, text.impression))
    return TextContentItem(codes.REPORT_TEXT, lines, RelationshipTypeValues.CONTAINS)


def equation_in_words(result: StudyResult, language: Language) -> list[ContentItem]:
    """The equation as a sentence, with its origin; empty if there is none."""
    if result.bmd.calibration is None:
        return []
    contains = RelationshipTypeValues.CONTAINS
    return [_text(codes.EQUATION, say(equation_text(result), language)), *_origin_of_equation(result, language, contains)]


def _origin_of_equation(result: StudyResult, language: Language, relationship: RelationshipTypeValues) -> list[ContentItem]:
    """Citation (TID 300 row 12), identifier and material."""
    calibration = result.bmd.calibration
    if calibration is None:
        return []
    not_stated = say(_NOT_STATED, language)
    return [
        _text(codes.EQUATION_CITATION, calibration.source or not_stated, relationship),
        _text(codes.CALIBRATION_ID, calibration.id, relationship),
        _text(codes.CALIBRATION_MATERIAL, calibration.material or not_stated, relationship),
    ]


def is_segmented(seg: Dataset, level: Level) -> bool:
    """Whether a level has a segment to refer to."""
    return bool(_segments_of(seg, level))


def _segments_of(seg: Dataset, level: Level) -> list[Dataset]:
    """Segments of a level: its body, then its measured region, if any."""
    return [item for item in seg.SegmentSequence if str(item.SegmentLabel).startswith(f"{level.name} ")]


def _provenance(result: StudyResult, language: Language) -> list[ContentItem]:
    """Origin of the value: the equation, its parameters (TID 300 row 9), and the site's contrast correction."""
    inferred = RelationshipTypeValues.INFERRED_FROM
    items = _origin_of_equation(result, language, inferred)
    calibration, correction = result.bmd.calibration, result.bmd.contrast_correction
    if calibration is not None:
        slope, intercept = float(calibration.slope), float(calibration.intercept)
        items += [
            NumContentItem(codes.CALIBRATION_SLOPE, slope, codes.MG_CM3_PER_HOUNSFIELD, relationship_type=inferred),
            NumContentItem(codes.CALIBRATION_INTERCEPT, intercept, codes.MG_CM3, relationship_type=inferred),
        ]
    if correction is not None:
        taken_off = float(correction.mg_cm3)
        items.append(NumContentItem(codes.CONTRAST_CORRECTION, taken_off, codes.MG_CM3, relationship_type=inferred))
    return items


def _text(name: Code, words: str, relationship: RelationshipTypeValues = RelationshipTypeValues.CONTAINS) -> TextContentItem:
    return TextContentItem(name, plain_text(words), relationship)


def algorithm(result: StudyResult) -> AlgorithmIdentification:
    """TID 4019, once per group."""
    return AlgorithmIdentification(name=algorithm_name(result.software), version=plain_text(result.software.version, 64))
