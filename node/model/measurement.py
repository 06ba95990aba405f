"""What is measured in the bodies, and what the image says of the scan."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from node.language.phrase import Phrase
from node.model.arrays import LabelArray, Vector
from node.model.levels import Level
from node.model.reasons import Reason
from node.model.series import ContrastPhase


class FractureKind(StrEnum):
    """Which height a vertebral body has lost: the front, the middle, or all of it (Genant, J Bone Miner Res 1993;8:1137)."""

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
