"""Readings of the scan itself: one per tissue, and how the patient fits into the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from node.measure.boxes import spacing_mm_of
from node.measure.contrast_phase import plausible_kidney_hu
from node.measure.noise import noise_sd_hu
from node.measure.patient_grid import patient_grid, spine_of
from node.measure.region import BoolArray
from node.measure.surroundings import Surroundings, air_mask, cut_off_mm, fat_mask, surroundings
from node.measure.tissues import canal_mask, kidney_mask, median_in, muscle_mask
from node.measure.vessels import find_vessels
from node.model import NOTHING_READ, Affine, HuArray, LabelArray, ScanReadings

#: The reading of the IVC is this quantile over its slices.
_FILLED = 0.75


@dataclass(frozen=True, slots=True)
class ScanView:
    """Readings of a scan, and its field of view.

    Attributes:
        readings: medians in HU; see :class:`ScanReadings`.
        cut_off_mm: length over which the patient reaches the border of the image in an axial slice, the median over the
            slices of the bodies.
        field_mm: diameter of the image in the axial plane, the larger of its two sides.
    """

    readings: ScanReadings = NOTHING_READ
    cut_off_mm: float = 0.0
    field_mm: float = 0.0


def read_scan(hu: HuArray, labels: LabelArray, affine_lps_mm: Affine) -> ScanView:
    """Take the readings of a scan around its labelled vertebral bodies; ``None`` where a reading is not possible.

    Medians are taken over 2 mm voxels (air and fat: single voxels 4 mm apart), the noise in the source's own pixels.

    Args:
        hu: int16, 3-D, HU.
        labels: uint8, the same shape; value of :class:`~node.model.Level` inside a body. Without any, nothing is read.
        affine_lps_mm: 4 x 4; maps the array index to the position of the voxel's centre in LPS mm.
    """
    grid, around = patient_grid(hu, labels, affine_lps_mm), surroundings(hu, labels, affine_lps_mm)
    if grid is None or around is None:
        return ScanView()
    spine = spine_of(grid)
    aorta, vena_cava = find_vessels(grid, spine)
    muscle_hu = median_in(grid, muscle_mask(grid, spine))
    # blood from the legs is enhanced late: blood from the kidneys shows the phase
    cava_hu = None if vena_cava is None else float(np.quantile(vena_cava.slice_hu, _FILLED))
    aorta_hu = None if aorta is None else float(np.median(aorta.slice_hu))
    kidney_hu = None if muscle_hu is None else median_in(grid, kidney_mask(grid, spine, muscle_hu))
    readings = ScanReadings(
        air_hu=_median(around, air_mask(around)),
        noise_sd_hu=noise_sd_hu(hu, labels, spacing_mm_of(affine_lps_mm)),
        fat_hu=_median(around, fat_mask(around)),
        muscle_hu=muscle_hu,
        aorta_hu=aorta_hu,
        vena_cava_hu=cava_hu,
        kidney_hu=plausible_kidney_hu(kidney_hu, aorta_hu, cava_hu),
        canal_hu=median_in(grid, canal_mask(grid, spine)),
    )
    return ScanView(readings, cut_off_mm(around), max(around.field_mm))


def _median(around: Surroundings, mask: BoolArray) -> float | None:
    return float(np.median(around.hu[mask])) if mask.any() else None
