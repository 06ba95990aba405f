"""Report for receivers without numeric items: TID 2000 Basic Diagnostic Imaging Report, text and codes only.

Basic Text SR (PS3.3 A.35.1) has neither measurements nor references between items. Each level is therefore a sentence with
all its values and the image at its centre; the other sentences are those of the other reports.
"""

from __future__ import annotations

from collections.abc import Sequence

from highdicom.sr import (
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    ImageContentItem,
    LanguageOfContentItemAndDescendants,
    ObservationContext,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from node.language.catalogue import Language, say
from node.model import StudyResult, codes
from node.model.rounding import finite
from node.report.headers import plain_text
from node.report.sr_groups import LANGUAGES, algorithm, category_items, equation_in_words, previous_result, statements
from node.report.wording import conclusion, level_text, mean_hu_text

_CONTAINS = RelationshipTypeValues.CONTAINS


def text_report(result: StudyResult, observer: ObservationContext, images: Sequence[Dataset], language: Language) -> Dataset:
    """Root of the document.

    Args:
        result: of a measured study.
        observer: the software.
        images: header of the image at the centre of each level of ``result``, in their order.
        language: of the sentences.
    """
    findings = []
    for level, image in zip(result.levels, images, strict=True):
        item = _text(codes.FINDING, say(level_text(level, result.bmd), language))
        item.ContentSequence = ContentSequence(
            [
                ImageContentItem(
                    codes.SOURCE,
                    referenced_sop_class_uid=image.SOPClassUID,
                    referenced_sop_instance_uid=image.SOPInstanceUID,
                    relationship_type=RelationshipTypeValues.INFERRED_FROM,
                )
            ]
        )
        findings.append(item)
    root = ContainerContentItem(codes.CT_REPORT, template_id="2000")
    root.ContentSequence = ContentSequence(
        [
            *LanguageOfContentItemAndDescendants(LANGUAGES[language]),
            *observer,
            _section(codes.CONCLUSIONS, [*algorithm(result), *_conclusions(result, language)]),
            _section(codes.FINDINGS, findings),
        ]
    )
    return root


def _conclusions(result: StudyResult, language: Language) -> list[ContentItem]:
    items: list[ContentItem] = [_text(codes.CONCLUSION, say(conclusion(result), language)), *category_items(result)]
    mean_hu = finite(result.hu_mean)
    if mean_hu is not None:
        items.append(_text(codes.ATTENUATION, say(mean_hu_text(mean_hu), language)))
    if result.prior is not None:
        items.append(previous_result(result.prior, language, with_numbers=False))
    return [*items, *statements(result, language), *equation_in_words(result, language)]


def _text(name: Code, words: str) -> TextContentItem:
    return TextContentItem(name, plain_text(words), _CONTAINS)


def _section(name: Code, items: Sequence[ContentItem]) -> ContainerContentItem:
    section = ContainerContentItem(name, relationship_type=_CONTAINS)
    section.ContentSequence = ContentSequence(items)
    return section
