"""Measurements in vertebral bodies, and reference readings of the scan."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from node.language.phrase import Phrase
from node.model.arrays import LabelArray, Vector
from node.model.levels import Level
from node.model.reasons import Reason
from node.model.series import ContrastPhase


class FractureKind(StrEnum):
    """Height loss of a vertebral body: anterior, middle, or all (Genant, J Bone Miner Res 1993;8:1137)."""

    WEDGE = "wedge"
    BICONCAVE = "biconcave"
    CRUSH = "crush"


@dataclass(frozen=True, slots=True)
class LevelMeasurement:
    """Trabecular attenuation of one vertebral body.

    Attributes:
        hu_mean: mean of the measured region in HU; ``None`` if the region is empty.
        hu_sd: standard deviation in HU (n - 1); ``None`` with fewer than two voxels.
        roi_volume_mm3: volume of the measured region.
        usable: whether the level is included in the mean.
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
    """Reference readings of the scan in HU; ``None`` if there was nothing to read.

    Attributes:
        air_hu: median of the air around the patient.
        noise_sd_hu: standard deviation of the noise in soft tissue.
        fat_hu, muscle_hu: medians of subcutaneous fat and of muscle beside the spine.
        aorta_hu, kidney_hu: medians of the aorta anterior to the lumbar spine, and of the kidneys.
        vena_cava_hu: upper quartile over the slices of the IVC, because it enhances late below the renal veins.
        canal_hu: median of the spinal canal.
    """

    air_hu: float | None = None
    noise_sd_hu: float | None = None
    fat_hu: float | None = None
    muscle_hu: float | None = None
    aorta_hu: float | None = None
    vena_cava_hu: float | None = None
    kidney_hu: float | None = None
    canal_hu: float | None = None


#: Readings of a study without a volume.
NOTHING_READ = ScanReadings()


@dataclass(frozen=True, slots=True)
class ContrastConclusion:
    """Conclusion on intravenous contrast, from image and header.

    Attributes:
        phase: also ``UNKNOWN`` if contrast is visible but in no named phase.
        present: whether there is contrast in the vessels; ``None`` if neither image nor header shows it.
        detail: one sentence with the measured HU, and the header's entry if it differs.
        probable: whether the readings are so near to a limit that the phase is only probable.
    """

    phase: ContrastPhase
    present: bool | None
    detail: Phrase
    probable: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """Measured levels, cranial to caudal.

    Attributes:
        levels: one entry per labelled body of L1 to L4.
        regions: uint8, the measured trabecular regions, labelled like the bodies.
        hu_mean: mean of the usable levels' means in HU; ``None`` if no level is usable.
        findings: quality findings of the study as a whole, or of bodies outside L1 to L4.
        refused: whether a finding excludes the whole study; then no level is usable.
    """

    levels: tuple[LevelMeasurement, ...]
    regions: LabelArray
    hu_mean: float | None
    findings: tuple[Reason, ...] = ()
    refused: bool = False
