"""UIDs of the created objects, derived by hash so that the same input gives the same objects."""

from __future__ import annotations

from dataclasses import dataclass

from node.common.uids import derived_uid
from node.model import Level
from node.model.object_kinds import SegKind, SrKind


@dataclass(frozen=True, slots=True)
class ReportUids:
    """UIDs of all objects of one study.

    Attributes:
        seg_series: Series Instance UID of the segmentation; each kind of object has its own series.
        seg_instance: SOP Instance UID of the BINARY segmentation; for others see :meth:`seg_instance_of`.
        seg_dimensions: Dimension Organization UID of the BINARY segmentation.
        sr_series: Series Instance UID of the structured report.
        sr_instance: SOP Instance UID of the Comprehensive 3D SR; for others see :meth:`sr_instance_of`.
        page_series: Series Instance UID of the summary page.
        page_instance: SOP Instance UID of the summary page.
        device: UID of this software version as observer (TID 1004).
        frame_of_reference: used if the source has no Frame of Reference UID, which SEG requires.
        tracking: (level, tracking UID of the body, tracking UID of its measured region), for every level.
    """

    seg_series: str
    seg_instance: str
    seg_dimensions: str
    sr_series: str
    sr_instance: str
    page_series: str
    page_instance: str
    device: str
    frame_of_reference: str
    tracking: tuple[tuple[Level, str, str], ...]

    @property
    def pdf_series(self) -> str:
        """Series Instance UID of the page as a PDF document."""
        return derived_uid("bmd-node", "pdf", self.page_series)

    @property
    def pdf_instance(self) -> str:
        """SOP Instance UID of the page as a PDF document."""
        return derived_uid("bmd-node", "pdf", self.page_instance)

    def seg_instance_of(self, kind: SegKind) -> str:
        """SOP Instance UID of the segmentation of one kind."""
        return self.seg_instance if kind is SegKind.BINARY else derived_uid("bmd-node", kind, self.seg_instance)

    def seg_dimensions_of(self, kind: SegKind) -> str:
        """Dimension Organization UID of the segmentation of one kind: the frames of each kind have other dimensions."""
        return self.seg_dimensions if kind is SegKind.BINARY else derived_uid("bmd-node", kind, self.seg_dimensions)

    def sr_instance_of(self, kind: SrKind, seg_kind: SegKind = SegKind.BINARY) -> str:
        """SOP Instance UID of the report of one kind that refers to the segmentation of one kind.

        Reports that refer to different segmentations need different UIDs. Basic Text refers to none.
        """
        if kind is SrKind.BASIC_TEXT:
            return derived_uid("bmd-node", kind, self.sr_instance)
        if (kind, seg_kind) == (SrKind.COMPREHENSIVE_3D, SegKind.BINARY):
            return self.sr_instance
        return derived_uid("bmd-node", kind, seg_kind, self.sr_instance)

    def body_tracking(self, level: Level) -> str:
        """Tracking UID of a vertebral body, the same in SEG and SR."""
        return next(body for known, body, _ in self.tracking if known is level)

    def rest_tracking(self, level: Level) -> str:
        """Tracking UID of the rest of a body around its measured region, in a label map."""
        return derived_uid("bmd-node", "around the region", self.body_tracking(level))

    def region_tracking(self, level: Level) -> str:
        """Tracking UID of the measured region of a vertebral body, the same in SEG and SR."""
        return next(region for known, _, region in self.tracking if known is level)


def uids_for(
    study_instance_uid: str, content_digest: str, software_version: str, settings_digest: str, report_digest: str = ""
) -> ReportUids:
    """All UIDs of a study's objects.

    Args:
        study_instance_uid: of the measured study.
        content_digest: digest of the measured instances.
        software_version: version of the node.
        settings_digest: digest of the settings that can change a result.
        report_digest: digest of the further content of report and page, and of what they replace. The segmentation does
            not depend on it: a reissued report refers to the same one.

    Tracking UIDs depend on the study alone: a vertebra measured again by a later version is the same vertebra.
    """

    def of_this_run(kind: str) -> str:
        return derived_uid("bmd-node", kind, study_instance_uid, content_digest, software_version, settings_digest)

    def of_this_report(kind: str) -> str:
        return of_this_run(f"{kind} {report_digest}")

    def of_the_patient(kind: str) -> str:
        return derived_uid("bmd-node", kind, study_instance_uid)

    return ReportUids(
        seg_series=of_this_run("seg series"),
        seg_instance=of_this_run("seg instance"),
        seg_dimensions=of_this_run("seg dimensions"),
        sr_series=of_this_report("sr series"),
        sr_instance=of_this_report("sr instance"),
        page_series=of_this_report("page series"),
        page_instance=of_this_report("page instance"),
        device=derived_uid("bmd-node", "device", software_version),
        frame_of_reference=of_the_patient("frame of reference"),
        tracking=tuple(
            (level, of_the_patient(f"{level.name} body"), of_the_patient(f"{level.name} region")) for level in Level
        ),
    )
