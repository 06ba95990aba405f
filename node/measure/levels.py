"""Trabecular attenuation per level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from node.language.phrase import phrase
from node.measure.boxes import Box, on_border, spacing_mm_of
from node.measure.metal import StreakPlanes, metal_beside_mm3, without_specks
from node.measure.region import BoolArray, FloatArray, erode_mm
from node.model import (
    MEASURED_LEVELS,
    Affine,
    HuArray,
    LabelArray,
    Level,
    LevelFindingCode,
    LevelMeasurement,
    Measurement,
    Reason,
    VertebralBody,
)
from node.settings.tree import MeasureSettings

#: The part of a region outside the planes of metal is measured alone if it is at least this share of it.
_LEAST_CLEAR = 0.25
#: A region has streaks if its SD exceeds that of the levels without metal by this factor, or, if there are no such
#: levels, this SD in HU (assumptions).
_STREAK_RATIO, _STREAK_SD_HU = 1.5, 60.0


def measure_levels(
    hu: HuArray,
    labels: LabelArray,
    affine_lps_mm: Affine,
    bodies: Sequence[VertebralBody],
    settings: MeasureSettings,
) -> Measurement:
    """Measure the named bodies of L1 to L4.

    The steps are those of the study (Loeffler et al. 2021): voxels above ``metal_hu`` leave the body mask, the mask is
    eroded, the mean is taken over what remains, and the mean over the usable levels is the result. In addition,
    voxels in the scanner's planes through metal are left out because of streaks, if enough of the region remains.
    Otherwise a region with streaks has the finding ``streaks``.

    Args:
        hu: int16, 3-D.
        labels: uint8, the same shape; ``int(level)`` inside a body.
        affine_lps_mm: 4 x 4; maps the array index to LPS mm.
        bodies: the named bodies; those outside L1 to L4 are not measured.
        settings: erosion, metal limit and the smallest region.
    """
    regions = np.zeros(labels.shape, dtype=np.uint8)
    objects = ndimage.find_objects(labels, max_label=max(Level))
    planes = StreakPlanes(hu, affine_lps_mm, settings.metal_hu)
    measured: list[_Measured] = []
    for body in sorted(bodies, key=lambda b: b.level):
        box = objects[body.level - 1] if body.level in MEASURED_LEVELS else None
        if box is None:
            continue
        one = _measure(body, hu, labels, box, affine_lps_mm, planes, settings)
        regions[box][one.region] = body.level
        measured.append(one)
    clear_sds = [one.level.hu_sd for one in measured if not one.beside_metal and one.level.hu_sd is not None]
    limit = _STREAK_RATIO * float(np.median(clear_sds)) if clear_sds else _STREAK_SD_HU
    levels = tuple(_judged(one, limit) for one in measured)
    return Measurement(levels, regions, mean_of(levels))


def mean_of(levels: Sequence[LevelMeasurement]) -> float | None:
    """Mean of the usable levels' means in HU; ``None`` if no level is usable."""
    usable = [level.hu_mean for level in levels if level.usable and level.hu_mean is not None]
    return float(np.mean(usable)) if usable else None


@dataclass(frozen=True, slots=True, eq=False)
class _Measured:
    """A level, its region in the box of its body, and whether the region lies in planes through metal."""

    level: LevelMeasurement
    region: BoolArray
    beside_metal: bool


def _judged(one: _Measured, limit_hu: float) -> LevelMeasurement:
    level = one.level
    if not one.beside_metal or level.hu_sd is None or level.hu_sd <= limit_hu:
        return level
    detail = phrase(
        "streak artefacts of metal in the same planes: SD {sd:.0f} HU, expected at most {limit:.0f} HU",
        sd=level.hu_sd,
        limit=limit_hu,
    )
    return replace(level, findings=(*level.findings, Reason(LevelFindingCode.STREAKS, detail)))


def _measure(
    body: VertebralBody,
    hu: HuArray,
    labels: LabelArray,
    box: Box,
    affine_lps_mm: Affine,
    planes: StreakPlanes,
    settings: MeasureSettings,
) -> _Measured:
    spacing_mm = spacing_mm_of(affine_lps_mm)
    voxel_mm3 = float(np.prod(spacing_mm))
    mask = labels[box] == body.level
    metal = mask & (hu[box] > settings.metal_hu)
    implant = without_specks(metal, voxel_mm3)
    region = erode_mm(mask & ~implant, spacing_mm, settings.erosion_mm) & ~metal
    centre: FloatArray = np.array(body.centroid_lps_mm)
    streaked = planes.beside(region, np.array([part.start for part in box]), centre)
    clear = region & ~streaked
    beside_metal = bool(streaked.any())
    if beside_metal and clear.sum() * voxel_mm3 >= max(settings.min_roi_volume_mm3, _LEAST_CLEAR * region.sum() * voxel_mm3):
        region, beside_metal = clear, False
    values = hu[box][region].astype(np.float64)
    volume_mm3 = values.size * voxel_mm3

    findings: list[Reason] = []
    if implant.any():
        left_out = phrase(
            "{volume:.0f} mm3 of metal (above {limit:.0f} HU) excluded from the measured region",
            volume=float(implant.sum() * voxel_mm3),
            limit=settings.metal_hu,
        )
        findings.append(Reason(LevelFindingCode.METAL, left_out))
    elif beside := metal_beside_mm3(hu, mask, box, spacing_mm, settings.metal_hu):
        at_body = phrase(
            "{volume:.0f} mm3 of metal (above {limit:.0f} HU) next to the body", volume=beside, limit=settings.metal_hu
        )
        findings.append(Reason(LevelFindingCode.METAL, at_body))
    usable = True
    if on_border(box, labels.shape):
        usable = False
        findings.append(
            Reason(
                LevelFindingCode.TRUNCATED, phrase("the vertebral body reaches the edge of the image and may be incomplete")
            )
        )
    if volume_mm3 < settings.min_roi_volume_mm3:
        usable = False
        findings.append(
            Reason(
                LevelFindingCode.REGION_TOO_SMALL,
                phrase(
                    "{volume:.0f} mm3 left after erosion by {erosion:g} mm, at least {least:.0f} mm3 needed",
                    volume=volume_mm3,
                    erosion=settings.erosion_mm,
                    least=settings.min_roi_volume_mm3,
                ),
            )
        )
    measurement = LevelMeasurement(
        level=body.level,
        centroid_lps_mm=body.centroid_lps_mm,
        hu_mean=float(values.mean()) if values.size else None,
        hu_sd=float(values.std(ddof=1)) if values.size > 1 else None,
        roi_volume_mm3=volume_mm3,
        usable=usable,
        findings=tuple(findings),
    )
    return _Measured(measurement, region, beside_metal)
