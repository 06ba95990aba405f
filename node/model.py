"""The values that pass between rooms: frozen, typed, units in their names; sentences are phrases that can be translated.

Positions are in the DICOM patient coordinate system (PS3.3 C.7.6.2.1.1), LPS, millimetres. Arrays of a volume have axis 0
along the slices, axis 1 along the rows and axis 2 along the columns of the source images.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from node.language.phrase import Phrase

HuArray = npt.NDArray[np.int16]
LabelArray = npt.NDArray[np.uint8]
Affine = npt.NDArray[np.float64]
Vector = tuple[float, float, float]


class Orientation(StrEnum):
    """Plane that the slices of a series are nearest to."""

    AXIAL = "axial"
    SAGITTAL = "sagittal"
    CORONAL = "coronal"


class ContrastPhase(StrEnum):
    """Phase of intravenous contrast."""

    NONE = "none"
    ARTERIAL = "arterial"
    PORTAL_VENOUS = "portal_venous"
    UNKNOWN = "unknown"


class Level(IntEnum):
    """Vertebral level; the value is its label in a label map (the numbering of VerSe)."""

    T12 = 19
    L1 = 20
    L2 = 21
    L3 = 22
    L4 = 23
    L5 = 24
    L6 = 25


#: The levels whose mean decides the ACR category (ACR practice parameter for QCT; `L1 to L4` in the study).
MEASURED_LEVELS = (Level.L1, Level.L2, Level.L3, Level.L4)

#: Below this age there are no densitometric criteria for osteoporosis (ISCD, J Clin Densitom 2004;7(1):17-26).
ADULT_FROM_YEARS = 20.0


#: Limits between the ACR categories, mg/cm3 (ACR practice parameter for QCT, as used by Löffler et al., Front Endocrinol
#: 2021;11:552719).
ACR_THRESHOLDS_MG_CM3 = (80.0, 120.0)


class AcrCategory(StrEnum):
    """ACR category of lumbar trabecular BMD: < 80, 80 to 120 inclusive, > 120 mg/cm3."""

    OSTEOPOROSIS = "osteoporosis"
    LOW_BONE_MASS = "low_bone_mass"
    NORMAL = "normal"


class FractureKind(StrEnum):
    """Which height a vertebral body has lost: the front, the middle, or all of it (Genant, J Bone Miner Res 1993;8:1137)."""

    WEDGE = "wedge"
    BICONCAVE = "biconcave"
    CRUSH = "crush"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something was not done, left out or doubted: a stable code and a sentence for a person."""

    code: str
    detail: Phrase


@dataclass(frozen=True, slots=True)
class SeriesLeftOut:
    """A series that is not measured, and why."""

    series_instance_uid: str
    code: str
    detail: Phrase


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """The DICOM image that one slice of a volume comes from; ``frame_number`` counts from 1, 1 for single-frame images."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int = 1


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What the headers say of a series; ``None`` where they say nothing.

    ``spacing_mm`` is (between columns, between rows, between slices), as the contract of ``result.json`` has it.
    ``multi_energy`` says that the images were made from several X-ray energies; then there is no ``kvp`` either.
    ``acquisition_date`` is the day on which the CT was made. ``patient_age_years`` (on that day) and ``patient_sex`` (``M``,
    ``F`` or ``O``, as Patient's Sex has them) are patient data: for decisions, never for a log or a report.
    """

    study_instance_uid: str
    series_instance_uid: str
    frame_of_reference_uid: str | None
    manufacturer: str | None
    manufacturer_model_name: str | None
    kvp: float | None
    convolution_kernel: str | None
    slice_thickness_mm: float | None
    spacing_mm: Vector
    orientation: Orientation
    contrast_bolus_agent: str | None = None
    contrast_phase: ContrastPhase = ContrastPhase.UNKNOWN
    series_number: int | None = None
    series_description: str | None = None
    device_serial_number: str | None = None
    station_name: str | None = None
    acquisition_date: dt.date | None = None
    multi_energy: bool = False
    patient_age_years: float | None = field(default=None, repr=False)
    patient_sex: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A series as one regular grid of Hounsfield units.

    Attributes:
        hu: int16, (slices, rows, columns), on the grid of the source images: ``hu[k]`` is the pixel matrix of ``frames[k]``.
        affine_lps_mm: 4 x 4; maps the array index (slice, row, column, 1) to the position of the voxel's centre in mm.
        facts: what the headers say.
        frames: the source image of every slice, in the order of axis 0.
    """

    hu: HuArray
    affine_lps_mm: Affine
    facts: SeriesFacts
    frames: tuple[SourceFrame, ...]

    @property
    def axis_spacing_mm(self) -> Vector:
        """Distance between voxel centres along axis 0, 1 and 2, in mm."""
        norms = np.linalg.norm(self.affine_lps_mm[:3, :3], axis=0)
        return (float(norms[0]), float(norms[1]), float(norms[2]))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A series of the study that could be measured, as the select room found it.

    Attributes:
        frames: its images in the order of axis 0 of the volume.
        facts: what the headers say.
        why: one sentence that says why it stands at its place among the candidates.
    """

    frames: tuple[SourceFrame, ...]
    facts: SeriesFacts
    why: Phrase


@dataclass(frozen=True, slots=True)
class Selection:
    """What a study offers: candidates, the best first, and every series left out with its reason."""

    candidates: tuple[Candidate, ...]
    left_out: tuple[SeriesLeftOut, ...]


@dataclass(frozen=True, slots=True)
class VertebralBody:
    """A named vertebral body.

    Attributes:
        level: its name; ``int(level)`` is its label.
        centroid_lps_mm: centre of mass of the body mask.
        confidence: 0 to 1, of the name.
        evidence: what the name rests on, e.g. "counted from sacrum, last rib agrees".
    """

    level: Level
    centroid_lps_mm: Vector
    confidence: float
    evidence: Phrase


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """Labelled vertebral bodies on the grid of a volume.

    Attributes:
        labels: uint8, (slices, rows, columns), value of :class:`Level` inside a vertebral body (no posterior elements, no
            discs), 0 elsewhere.
        bodies: the named bodies, from the head downward. Empty where levels cannot be told.
        reasons: why levels are missing or in doubt (``no_lumbar_spine``, ``level_not_certain``, ...).
    """

    labels: LabelArray
    bodies: tuple[VertebralBody, ...]
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class LevelMeasurement:
    """Trabecular attenuation of one vertebral body.

    Attributes:
        hu_mean: mean of the measured region in HU; ``None`` if the region is empty.
        hu_sd: standard deviation in HU (n - 1); ``None`` with fewer than two voxels.
        roi_volume_mm3: volume of the measured region.
        usable: whether the level counts for the mean.
        findings: why it is not usable, or what a reader should know.
    """

    level: Level
    centroid_lps_mm: Vector
    hu_mean: float | None
    hu_sd: float | None
    roi_volume_mm3: float
    usable: bool
    findings: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class ScanReadings:
    """What the image says of the scan itself, in HU; ``None`` where there was nothing to read.

    Attributes:
        air_hu: median of the air around the patient.
        noise_sd_hu: standard deviation of the noise in soft tissue.
        fat_hu, muscle_hu: medians of subcutaneous fat and of muscle beside the spine.
        aorta_hu, kidney_hu: medians of the aorta in front of the lumbar spine, and of the kidneys.
        vena_cava_hu: upper quartile over the slices of the inferior vena cava: below the renal veins it fills late.
        canal_hu: median of the spinal canal's content.
    """

    air_hu: float | None = None
    noise_sd_hu: float | None = None
    fat_hu: float | None = None
    muscle_hu: float | None = None
    aorta_hu: float | None = None
    vena_cava_hu: float | None = None
    kidney_hu: float | None = None
    canal_hu: float | None = None


#: Of a study without a volume.
NOTHING_READ = ScanReadings()


@dataclass(frozen=True, slots=True)
class ContrastConclusion:
    """What was concluded of intravenous contrast, from the image and the header.

    Attributes:
        phase: ``UNKNOWN`` also where contrast is seen, but in none of the phases that have a name.
        present: whether there is contrast in the vessels; ``None`` if neither image nor header tells.
        detail: one sentence with the measured HU, and with the header's word where it differs.
    """

    phase: ContrastPhase
    present: bool | None
    detail: Phrase


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """Measured levels, from the head downward.

    Attributes:
        levels: one entry per named body of L1 to L4.
        regions: uint8, the measured trabecular regions, labelled like the bodies.
        hu_mean: mean of the usable levels' means in HU; ``None`` if no level is usable.
        findings: quality findings of the study as a whole, or of bodies outside L1 to L4.
        refused: whether a finding forbids to measure the study at all; then no level is usable.
    """

    levels: tuple[LevelMeasurement, ...]
    regions: LabelArray
    hu_mean: float | None
    findings: tuple[Reason, ...] = ()
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Calibration:
    """The equation BMD = slope x HU + intercept that was used.

    Attributes:
        slope: mg/cm3 per HU.
        intercept: mg/cm3.
        material: reference material, ``HA`` (hydroxyapatite) or ``K2HPO4``, or what the source says of it.
        source: citation or phantom fit.
        contrast_phase: the phase that the equation was made for; ``None`` if it is not restricted to one.
        approved_by: who approved its use at the site, on the day ``approved_on``; ``None`` for a shipped equation.
        slope_se, intercept_se: standard errors of the fit in the units of the two; ``None`` where none are known.
        fit_points: number of points of the fit.
        of_this_scanner: whether the equation was made for the very scanner of the CT, and not for its model alone.
    """

    id: str
    slope: float
    intercept: float
    material: str
    source: str
    contrast_phase: ContrastPhase | None = None
    approved_by: str | None = None
    approved_on: dt.date | None = None
    slope_se: float | None = None
    intercept_se: float | None = None
    fit_points: int | None = None
    of_this_scanner: bool = False


@dataclass(frozen=True, slots=True)
class ContrastCorrection:
    """What a site takes off every BMD of a contrast phase, by its own measurements.

    Attributes:
        mg_cm3: taken off.
        sd_mg_cm3: scatter between patients that this leaves, one standard deviation; it widens the interval.
        source: where the two come from.
        approved_by: who approved it at the site, on the day ``approved_on``.
    """

    phase: ContrastPhase
    mg_cm3: float
    sd_mg_cm3: float
    source: str
    approved_by: str
    approved_on: dt.date


@dataclass(frozen=True, slots=True)
class Bmd:
    """Calibrated result of a study, mg/cm3.

    Attributes:
        calibration: the equation; ``None`` if none fits (then every other value is ``None`` or empty).
        level_bmd_mg_cm3: BMD of every level that has a mean.
        bmd_mg_cm3: mean BMD over the usable levels.
        interval_mg_cm3: interval of that mean, lower and upper end.
        category: ACR category of the mean.
        reasons: why there is no BMD or no category.
        thresholds_crossed_mg_cm3: limits of the ACR categories that the interval crosses.
        contrast_correction: the site's own correction that these values hold; ``None`` if nothing was taken off.
    """

    calibration: Calibration | None
    level_bmd_mg_cm3: tuple[tuple[Level, float], ...]
    bmd_mg_cm3: float | None
    interval_mg_cm3: tuple[float, float] | None
    category: AcrCategory | None
    reasons: tuple[Reason, ...]
    thresholds_crossed_mg_cm3: tuple[float, ...] = ()
    contrast_correction: ContrastCorrection | None = None

    @property
    def borderline(self) -> bool:
        """Whether there is a category, and the interval reaches into another."""
        return self.category is not None and bool(self.thresholds_crossed_mg_cm3)


@dataclass(frozen=True, slots=True)
class PriorComparison:
    """The result beside an earlier one of the same patient.

    Attributes:
        study_instance_uid: of the earlier study.
        acquisition_date: of the earlier study.
        days_before: how many days before this study it was made.
        levels: the levels usable in both studies, whose means the values below are; empty if there are none, then each value
            is the mean over the usable levels of its own study.
        hu_mean, prior_hu_mean: of this study and of the earlier one, HU.
        bmd_mg_cm3, prior_bmd_mg_cm3: likewise; ``None`` where a study has no BMD.
        change_mg_cm3: this study less the earlier one; ``None`` if they cannot be compared.
        change_percent: of the earlier value; ``None`` if they cannot be compared.
        lsc_percent: the least significant change; ``None`` if they cannot be compared.
        not_comparable: why they cannot be compared; empty if they can.
    """

    study_instance_uid: str
    acquisition_date: dt.date
    days_before: int
    levels: tuple[Level, ...]
    hu_mean: float
    prior_hu_mean: float
    bmd_mg_cm3: float | None
    prior_bmd_mg_cm3: float | None
    change_mg_cm3: float | None
    change_percent: float | None
    lsc_percent: float | None
    not_comparable: tuple[Reason, ...]

    @property
    def within_lsc(self) -> bool | None:
        """Whether the change, to 0.1 %, is no larger than the least significant one; ``None`` if they cannot be compared."""
        if self.change_percent is None or self.lsc_percent is None:
            return None
        return round(abs(self.change_percent), 1) <= self.lsc_percent


@dataclass(frozen=True, slots=True)
class Software:
    """What computed a result."""

    version: str
    segmenter: str


@dataclass(frozen=True, slots=True)
class StudyResult:
    """The result of one study, measured or not.

    Attributes:
        status: ``measured`` if at least one level is usable.
        reasons: why the study was not measured, or has no BMD; also doubts that a reader should know.
        facts: the measured series (or the one that came nearest to it); ``None`` if no series was suitable.
        why_this_series: one sentence; empty if ``facts`` is ``None``.
        series_left_out: every other series with its reason.
        bodies: the named vertebral bodies (evidence and confidence of each name).
        levels: measured levels, from the head downward.
        hu_mean: mean of the usable levels in HU.
        bmd: calibrated values.
        timings_s: seconds spent in each room.
        scan: what the image says of the scan itself.
        prior: the result beside an earlier one of the same patient; ``None`` if the node knows of none.
    """

    status: Literal["measured", "not_measured"]
    reasons: tuple[Reason, ...]
    facts: SeriesFacts | None
    why_this_series: Phrase
    series_left_out: tuple[SeriesLeftOut, ...]
    bodies: tuple[VertebralBody, ...]
    levels: tuple[LevelMeasurement, ...]
    hu_mean: float | None
    bmd: Bmd
    timings_s: tuple[tuple[str, float], ...]
    software: Software
    scan: ScanReadings = NOTHING_READ
    prior: PriorComparison | None = None
