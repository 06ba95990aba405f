"""Input and outcomes of the stages of a run, and the protocols to run them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, Protocol, TypeVar

from node.clinical.imaging_order import OrderText
from node.model import (
    NOTHING_READ,
    Bmd,
    Candidate,
    ContrastConclusion,
    LevelMeasurement,
    Reason,
    ScanReadings,
    Selection,
    SeriesLeftOut,
    Software,
    StudyResult,
    VertebralBody,
)

P = ParamSpec("P")
T = TypeVar("T")


class RunStep(Protocol):
    """Runs a named step of a workflow and returns its result."""

    def __call__(self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function`` with the given arguments."""


def run_directly(_name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a step directly, without recording its result."""
    return function(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class StudyInput:
    """Files of a study, and the folder for all files of the run.

    Attributes:
        paths: its files.
        folder: of the run.
        correction: digest of what corrected images have replaced in this study; empty: nothing.
    """

    paths: tuple[Path, ...]
    folder: Path
    correction: str = ""


@dataclass(frozen=True, slots=True)
class SelectOutcome:
    """The candidates of a study."""

    selection: Selection
    seconds: float


@dataclass(frozen=True, slots=True)
class SegmentOutcome:
    """The segmented series and its vertebral bodies.

    Attributes:
        candidate: the series; ``None`` if no series could be read.
        volume_digest: SHA-256 of voxels, geometry and header facts. The identity of the results depends on it, so the same
            images give the same objects in any transfer syntax.
        labels_path: label map of the bodies on the grid of the series (``.npz``, array ``labels``).
    """

    candidate: Candidate | None
    volume_digest: str
    labels_path: Path | None
    bodies: tuple[VertebralBody, ...]
    reasons: tuple[Reason, ...]
    left_out: tuple[SeriesLeftOut, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class MeasureOutcome:
    """Levels with their trabecular HU, and the label map of the measured regions.

    Attributes:
        findings: quality findings of the whole study.
        refused: whether one of them forbids measurement.
        scan: readings of the scan itself.
        contrast: conclusion about contrast from image and header; ``None`` if nothing was measured.
    """

    levels: tuple[LevelMeasurement, ...]
    hu_mean: float | None
    regions_path: Path | None
    seconds: float
    findings: tuple[Reason, ...] = ()
    refused: bool = False
    scan: ScanReadings = NOTHING_READ
    contrast: ContrastConclusion | None = None


@dataclass(frozen=True, slots=True)
class KeptRun:
    """Values that a measured run keeps, to reissue its report without images; see :mod:`node.study.recalculation`.

    Alerts search the text ``order``. It may name the patient, like the report in the same folder.
    """

    result: StudyResult
    segmented: SegmentOutcome
    measured: MeasureOutcome
    order: OrderText


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The place of a report among those of its study.

    Attributes:
        identity: digest of the inputs and content of the report and of the run that it replaces. Its UIDs are derived from
            this digest.
        replaces: run whose report is replaced; ``None`` for the first report of its study.
        folder: folder of that run.
    """

    identity: str
    replaces: str | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class ReportOutcome:
    """The files that a run created; missing ones are ``None``.

    Attributes:
        objects: the DICOM objects, in the order in which a PACS should receive them.
        replaces: run whose report this one replaces.
    """

    result: StudyResult
    json_path: Path
    seg_path: Path | None
    sr_path: Path | None
    summary_path: Path | None
    picture_path: Path | None
    objects: tuple[Path, ...] = ()
    replaces: str | None = None


class Stages(Protocol):
    """The stages of a study, in this or another process; see :class:`node.study.pipeline.Pipeline`."""

    @property
    def software(self) -> Software:
        """Software that computes the results."""

    def identity(self, result: StudyResult, segmented: SegmentOutcome) -> str:
        """Digest of the inputs and content of a report."""

    def select(self, study: StudyInput) -> SelectOutcome:
        """Select the series that may be measured."""

    def segment(self, study: StudyInput, selected: SelectOutcome) -> SegmentOutcome:
        """Segment the vertebral bodies."""

    def measure(self, study: StudyInput, segmented: SegmentOutcome) -> MeasureOutcome:
        """Measure trabecular HU."""

    def calibrate(self, segmented: SegmentOutcome, measured: MeasureOutcome) -> Bmd:
        """Convert HU to BMD and category."""

    def report(
        self,
        study: StudyInput,
        result: StudyResult,
        segmented: SegmentOutcome,
        measured: MeasureOutcome,
        predecessor: Predecessor,
    ) -> ReportOutcome:
        """Write the output for people and PACS."""
