"""What each quality finding does to the measurement. mypy checks that no code is forgotten."""

from __future__ import annotations

from typing import assert_never

from node.model import LevelFindingCode, ScanFindingCode
from node.settings.tree import LevelEffect, QualitySettings, ScanEffect


def level_effect(code: LevelFindingCode, quality: QualitySettings) -> LevelEffect:
    """Effect of a finding of one level: the setting of the same name, or a fixed effect where there is no setting."""
    match code:
        case LevelFindingCode.FRACTURE:
            return quality.fracture
        case LevelFindingCode.ENDPLATE_SCLEROSIS:
            return quality.endplate_sclerosis
        case LevelFindingCode.COLLAPSED_DISC:
            return quality.collapsed_disc
        case LevelFindingCode.OSTEOPHYTES:
            return quality.osteophytes
        case LevelFindingCode.METAL:
            return quality.metal
        case LevelFindingCode.STREAKS:
            return quality.streaks
        case LevelFindingCode.CEMENT:
            return quality.cement
        case LevelFindingCode.FOCAL_LESION:
            return quality.focal_lesion
        case LevelFindingCode.OUTLIER:
            return quality.outlier
        case LevelFindingCode.TRUNCATED | LevelFindingCode.REGION_TOO_SMALL:
            return "exclude"
        case LevelFindingCode.FORM_NOT_JUDGED:
            return "flag"
        case _:
            assert_never(code)


def scan_effect(code: ScanFindingCode, quality: QualitySettings) -> ScanEffect:
    """Effect of a finding of the scan: the setting of the same name, or a fixed effect where there is no setting."""
    match code:
        case ScanFindingCode.AIR:
            return quality.air
        case ScanFindingCode.NOISE:
            return quality.noise
        case ScanFindingCode.SHARP_KERNEL:
            return quality.sharp_kernel
        case ScanFindingCode.THICK_SLICES:
            return quality.thick_slices
        case ScanFindingCode.PATIENT_TRUNCATED:
            return quality.patient_truncated
        case ScanFindingCode.MYELOGRAPHY:
            return quality.myelography
        case ScanFindingCode.POPULATION:
            return quality.population
        case ScanFindingCode.CONTRAST_PHASE | ScanFindingCode.HU_SCALE | ScanFindingCode.HU_NOT_CERTAIN:
            return "flag"
        case _:
            assert_never(code)
