"""Other views of real CTs: parts of the scan, narrow fields of view, thick slices, noise, other orders of slices.

Real people whose landmarks are out of view, which synthetic CTs can only imitate.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.ct import Ct

#: Least height of a view; shorter scans are not cut.
LEAST_HEIGHT_MM = 120.0
#: Largest slice thickness.
MOST_THICKNESS_MM = 5.0
#: Half of a narrow field of view, beside the middle of the image.
HALF_WIDTH_MM = (60.0, 170.0)


def another_view(
    ct: Ct, masks: npt.NDArray[np.uint8] | None, rng: np.random.Generator
) -> tuple[Ct, npt.NDArray[np.uint8] | None]:
    """A random view of a CT whose slices are axial, and the true bodies in it."""
    hu, labels, affine = ct.hu.astype(np.float32), masks, ct.affine_lps_mm.copy()
    step_mm = float(np.linalg.norm(affine[:3, 0]))
    said = []
    least = min(round(LEAST_HEIGHT_MM / step_mm), hu.shape[0])
    if rng.random() < 0.8 and hu.shape[0] > least:
        count = int(rng.integers(least, hu.shape[0] + 1))
        first = int(rng.integers(hu.shape[0] - count + 1))
        said.append(f"slices {first} to {first + count - 1}")
        hu, labels, affine = _cut(hu, labels, affine, 0, first, first + count)
    if rng.random() < 0.5:
        pixel_mm = float(np.linalg.norm(affine[:3, 2]))
        half = min(round(float(rng.uniform(*HALF_WIDTH_MM)) / pixel_mm), hu.shape[2] // 2)
        said.append(f"{2 * half * pixel_mm:.0f} mm wide")
        hu, labels, affine = _cut(hu, labels, affine, 2, hu.shape[2] // 2 - half, hu.shape[2] // 2 + half)
    factor = int(rng.integers(1, max(int(MOST_THICKNESS_MM / step_mm), 1) + 1))
    if factor > 1:
        said.append(f"slices of {factor * step_mm:.1f} mm")
        count = hu.shape[0] // factor
        hu = hu[: count * factor].reshape(count, factor, *hu.shape[1:]).mean(axis=1)
        labels = None if labels is None else labels[: count * factor][factor // 2 :: factor]
        affine[:3, 3] += affine[:3, 0] * (factor - 1) / 2
        affine[:3, 0] *= factor
    if rng.random() < 0.5:
        noise_hu = float(rng.uniform(5.0, 40.0))
        said.append(f"noise {noise_hu:.0f} HU")
        grain = ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), (0.0, 0.7, 0.7))
        hu = hu + grain * (noise_hu / float(grain.std()))
    if rng.random() < 0.5:
        said.append("turned order")
        hu = hu[::-1]
        labels = None if labels is None else labels[::-1]
        affine[:3, 3] += affine[:3, 0] * (hu.shape[0] - 1)
        affine[:3, 0] *= -1.0
    image = np.ascontiguousarray(np.clip(np.round(hu), -2000, 32000).astype(np.int16))
    name = f"{ct.name} ({', '.join(said) or 'as it is'})"
    return Ct(name, image, affine), None if labels is None else np.ascontiguousarray(labels)


def _cut(
    hu: npt.NDArray[np.float32],
    labels: npt.NDArray[np.uint8] | None,
    affine: npt.NDArray[np.float64],
    axis: int,
    first: int,
    end: int,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8] | None, npt.NDArray[np.float64]]:
    part = tuple(slice(first, end) if a == axis else slice(None) for a in range(3))
    moved = affine.copy()
    moved[:3, 3] += affine[:3, axis] * first
    return hu[part], None if labels is None else labels[part], moved
