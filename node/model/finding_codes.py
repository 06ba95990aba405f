"""Codes of the quality findings: stable names that reports, settings and other systems use."""

from __future__ import annotations

from enum import StrEnum


class LevelFindingCode(StrEnum):
    """What can be wrong with one level."""

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
    """What can be wrong with the scan as a whole, or with whom it shows."""

    CONTRAST_PHASE = "contrast_phase"
    AIR = "air"
    NOISE = "noise"
    SHARP_KERNEL = "sharp_kernel"
    THICK_SLICES = "thick_slices"
    PATIENT_TRUNCATED = "patient_truncated"
    MYELOGRAPHY = "myelography"
    POPULATION = "population"
