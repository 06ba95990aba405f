"""What goes into a run, what each stage of it gives, and how its stages are run."""

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
    """Runs a step of the workflow under a name and returns its result."""

    def __call__(self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``function``."""


def run_directly(_name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """The step runner of a run that nobody resumes."""
    return function(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class StudyInput:
    """A study to work on.

    Attributes:
        paths: its files.
        folder: where the run keeps what it makes.
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
    """The series that was segmented, and what was found in it.

    Attributes:
        candidate: the series; ``None`` if there was none that could be read.
        volume_digest: SHA-256 of voxels, geometry and header facts: the identity of the results hangs on it, so that the
            same images give the same objects whatever transfer syntax they came in.
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
        findings: quality findings of the study as a whole.
        refused: whether one of them forbids to measure.
        scan: what the image says of the scan itself.
        contrast: what was concluded of contrast from image and header; ``None`` if nothing was measured.
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
    """What a measured run keeps, so that it can be reported again without its images; see :mod:`node.study.recalculation`.

    ``order`` is what the alert searches, and may name the patient, as the report in the same folder does.
    """

    result: StudyResult
    segmented: SegmentOutcome
    measured: MeasureOutcome
    order: OrderText


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The place of a report among those of its study.

    Attributes:
        identity: digest of what the report rests on and says, and of the run that it replaces: its UIDs are made of it.
        replaces: the run whose report it replaces; ``None`` if it is the first of its study.
        folder: of that run.
    """

    identity: str
    replaces: str | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class ReportOutcome:
    """The files that a run made; those that do not exist are ``None``.

    Attributes:
        objects: the DICOM objects, in the order in which they should reach a PACS.
        replaces: the run whose report this one replaces.
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
    """The stages of a study, here or in another process; see :class:`node.study.pipeline.Pipeline`."""

    @property
    def software(self) -> Software:
        """What computes the results."""

    def identity(self, result: StudyResult, segmented: SegmentOutcome) -> str:
        """Digest of what a report rests on and says."""

    def select(self, study: StudyInput) -> SelectOutcome:
        """Which series may be measured."""

    def segment(self, study: StudyInput, selected: SelectOutcome) -> SegmentOutcome:
        """Find the vertebral bodies."""

    def measure(self, study: StudyInput, segmented: SegmentOutcome) -> MeasureOutcome:
        """Trabecular HU."""

    def calibrate(self, segmented: SegmentOutcome, measured: MeasureOutcome) -> Bmd:
        """BMD and category."""

    def report(
        self,
        study: StudyInput,
        result: StudyResult,
        segmented: SegmentOutcome,
        measured: MeasureOutcome,
        predecessor: Predecessor,
    ) -> ReportOutcome:
        """What people and PACS get."""
