"""Trabecular attenuation per level."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from node.measure.region import BoolArray, erode_mm
from node.model import (
    MEASURED_LEVELS,
    HuArray,
    LabelArray,
    Level,
    LevelMeasurement,
    Measurement,
    Reason,
    Vector,
    VertebralBody,
)
from node.settings import MeasureSettings

#: A pedicle screw has several thousand mm3, a wire or clip some tens; single voxels above the limit are noise or cortex.
_LEAST_METAL_MM3 = 10.0


def measure_levels(
    hu: HuArray,
    labels: LabelArray,
    axis_spacing_mm: Vector,
    bodies: Sequence[VertebralBody],
    settings: MeasureSettings,
) -> Measurement:
    """Measure the named bodies of L1 to L4.

    The steps are those of the study (Loeffler et al. 2021): voxels above ``metal_hu`` leave the body mask, the mask is
    eroded, the mean is taken over what remains, and the mean over the usable levels is the result.

    Args:
        hu: int16, 3-D.
        labels: uint8, the same shape; ``int(level)`` inside a body.
        axis_spacing_mm: distance between voxel centres along axis 0, 1, 2 in mm.
        bodies: the named bodies; those outside L1 to L4 are not measured.
        settings: erosion, metal limit and the smallest region.
    """
    regions = np.zeros(labels.shape, dtype=np.uint8)
    objects = ndimage.find_objects(labels, max_label=max(Level))
    measured: list[LevelMeasurement] = []
    for body in sorted(bodies, key=lambda b: b.level):
        box = objects[body.level - 1] if body.level in MEASURED_LEVELS else None
        if box is None:
            continue
        level = _measure(body, hu[box], labels[box] == body.level, _on_border(box, labels.shape), axis_spacing_mm, settings)
        regions[box][level[1]] = body.level
        measured.append(level[0])
    usable = [level.hu_mean for level in measured if level.usable and level.hu_mean is not None]
    return Measurement(tuple(measured), regions, float(np.mean(usable)) if usable else None)


def _on_border(box: tuple[slice, ...], shape: tuple[int, ...]) -> bool:
    return any(part.start == 0 or part.stop == length for part, length in zip(box, shape, strict=True))


def _without_specks(metal: BoolArray, voxel_mm3: float) -> BoolArray:
    """Connected metal of at least ``_LEAST_METAL_MM3``: the region keeps its distance from an implant, not from noise."""
    parts, n = ndimage.label(metal)
    if n == 0:
        return metal
    large = np.bincount(parts.ravel()) * voxel_mm3 >= _LEAST_METAL_MM3
    large[0] = False
    return np.asarray(large[parts])


def _measure(
    body: VertebralBody, hu: HuArray, mask: BoolArray, on_border: bool, spacing_mm: Vector, settings: MeasureSettings
) -> tuple[LevelMeasurement, BoolArray]:
    voxel_mm3 = float(np.prod(spacing_mm))
    metal = mask & (hu > settings.metal_hu)
    implant = _without_specks(metal, voxel_mm3)
    region = erode_mm(mask & ~implant, spacing_mm, settings.erosion_mm) & ~metal
    values = hu[region].astype(np.float64)
    volume_mm3 = values.size * voxel_mm3

    findings: list[Reason] = []
    if implant.any():
        findings.append(
            Reason("metal", f"{implant.sum() * voxel_mm3:.0f} mm3 above {settings.metal_hu:.0f} HU left out of the body")
        )
    usable = True
    if on_border:
        usable = False
        findings.append(Reason("truncated", "the vertebral body reaches the border of the image"))
    if volume_mm3 < settings.min_roi_volume_mm3:
        usable = False
        findings.append(
            Reason(
                "region_too_small",
                f"{volume_mm3:.0f} mm3 left after erosion by {settings.erosion_mm:g} mm, "
                f"at least {settings.min_roi_volume_mm3:.0f} mm3 needed",
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
    return measurement, region
