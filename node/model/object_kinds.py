"""SOP classes in which a result can be written; the settings of each destination choose among them."""

from __future__ import annotations

from enum import StrEnum

from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SegmentationStorage,
)


class SrKind(StrEnum):
    """SOP class of a structured report, richest first, in the order of the offers."""

    COMPREHENSIVE_3D = "comprehensive_3d"
    COMPREHENSIVE = "comprehensive"
    ENHANCED = "enhanced"
    BASIC_TEXT = "basic_text"

    @property
    def sop_class_uid(self) -> UID:
        """SOP Class UID (PS3.4 B.5)."""
        return _SR_CLASS[self]


class SegKind(StrEnum):
    """How a segmentation encodes its segments: one binary plane each, or one label map for all."""

    BINARY = "binary"
    LABELMAP = "labelmap"

    @property
    def sop_class_uid(self) -> UID:
        """SOP Class UID (PS3.4 B.5)."""
        return _SEG_CLASS[self]


_SR_CLASS = {
    SrKind.COMPREHENSIVE_3D: Comprehensive3DSRStorage,
    SrKind.COMPREHENSIVE: ComprehensiveSRStorage,
    SrKind.ENHANCED: EnhancedSRStorage,
    SrKind.BASIC_TEXT: BasicTextSRStorage,
}
#: Label Map Segmentation Storage (PS3.3 A.51.5.1) is missing in the dictionary of pydicom 3.0.
_SEG_CLASS = {SegKind.BINARY: SegmentationStorage, SegKind.LABELMAP: UID("1.2.840.10008.5.1.4.1.1.66.7")}


def sop_class_name(sop_class_uid: str) -> str:
    """Name of a SOP class (PS3.6 annex A); the UID if it is not known."""
    return _YOUNGER_NAMES.get(UID(sop_class_uid), UID(sop_class_uid).name)


_YOUNGER_NAMES = {_SEG_CLASS[SegKind.LABELMAP]: "Label Map Segmentation Storage"}
