"""Codes of the quality findings: stable names for reports, settings and other systems."""

from __future__ import annotations

from enum import StrEnum


class LevelFindingCode(StrEnum):
    """Findings on one level."""

    FRACTURE = "fracture"
    ENDPLATE_SCLEROSIS = "endplate_sclerosis"
    COLLAPSED_DISC = "collapsed_disc"
    OSTEOPHYTES = "osteophytes"
    METAL = "metal"
    STREAKS = "streaks"
    CEMENT = "cement"
    FOCAL_LESION = "focal_lesion"
    OUTLIER = "outlier"
    TRUNCATED = "truncated"
    REGION_TOO_SMALL = "region_too_small"
    FORM_NOT_JUDGED = "form_not_judged"


class ScanFindingCode(StrEnum):
    """Findings on the scan as a whole, or on the patient."""

    CONTRAST_PHASE = "contrast_phase"
    AIR = "air"
    NOISE = "noise"
    SHARP_KERNEL = "sharp_kernel"
    THICK_SLICES = "thick_slices"
    PATIENT_TRUNCATED = "patient_truncated"
    MYELOGRAPHY = "myelography"
    POPULATION = "population"
    HU_SCALE = "hu_scale"
    HU_NOT_CERTAIN = "hu_not_certain"


#: Findings that leave the HU, and forbid to conclude a bone density from them; no setting changes that.
NO_BMD_CODES = frozenset({ScanFindingCode.HU_SCALE, ScanFindingCode.HU_NOT_CERTAIN})
