"""Small phantoms for the tests of the scan readings, and real CTs whose bodies were marked manually."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from node.measure.scan import ScanView, read_scan
from node.model import Affine, LabelArray, Level, Vector
from node.phantom import Contrast, FieldOfView, Phantom, PhantomParameters, make_phantom

#: Skin and air around an abdomen from L1 to L4.
SMALL = PhantomParameters(
    pixel_spacing_mm=1.3,
    slice_distance_mm=2.5,
    noise_sd_hu=15.0,
    field_of_view=FieldOfView((0.0, -5.0, 20.0), (380.0, 290.0, 130.0)),
)
LATE = Contrast("Iohexol", aorta_hu=90.0, vena_cava_hu=88.0, kidney_hu=140.0)


@cache
def scan(parameters: PhantomParameters) -> Phantom:
    """A phantom, made once."""
    return make_phantom(parameters)


def read(phantom: Phantom) -> ScanView:
    """Its readings with the true masks."""
    return read_scan(phantom.hu, phantom.truth.labels, phantom.affine_lps_mm)


def with_contrast(contrast: Contrast) -> PhantomParameters:
    """The small scan with contrast."""
    return replace(SMALL, contrast=contrast)


def drawn_bodies(shape: tuple[int, ...], affine_lps_mm: Affine, centres: dict[Level, Vector]) -> LabelArray:
    """Ovals of 44 x 34 mm, 24 mm high, upright at the centres of bodies; the image must be axial and not turned."""
    labels = np.zeros(shape, dtype=np.uint8)
    for level, centre in centres.items():
        k, i, j = np.ogrid[: shape[0], : shape[1], : shape[2]]
        z = k * affine_lps_mm[2, 0] + affine_lps_mm[2, 3] - centre[2]
        y = i * affine_lps_mm[1, 1] + affine_lps_mm[1, 3] - centre[1]
        x = j * affine_lps_mm[0, 2] + affine_lps_mm[0, 3] - centre[0]
        labels[((x / 22) ** 2 + (y / 17) ** 2 <= 1) & (np.abs(z) <= 12)] = level
    return labels
