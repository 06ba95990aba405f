"""Finds uniform discs in one image: the cross-sections of rods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage

Image = npt.NDArray[np.float64]

#: Radii tried, relative to the nominal one, which is uncertain.
_RADII = (0.8, 1.0, 1.25)
#: Inside of a disc and the ring around it, relative to its radius: both exclude the blurred edge.
_INSIDE = 0.72
RING = (1.18, 1.4)
#: Least contrast of a disc to its ring, in HU and in standard deviations of both.
_LEAST_CONTRAST_HU = 10.0
_LEAST_SCORE = 2.0
#: A rod and its surroundings are uniform.
_LARGEST_INSIDE_SD_HU = 45.0
LARGEST_RING_SD_HU = 90.0
_SMOOTHING_MM = 1.0
#: More are not needed: a phantom has few rods with high contrast.
_MOST_DISCS = 40


@dataclass(frozen=True, slots=True)
class Disc:
    """A disc with contrast to its surroundings.

    Attributes:
        row_mm, column_mm: centre, from the centre of the first pixel.
        hu, sd_hu: mean and standard deviation inside.
        ring_hu: mean of the ring around it.
    """

    row_mm: float
    column_mm: float
    hu: float
    sd_hu: float
    ring_hu: float


def find_discs(image_hu: Image, spacing_mm: tuple[float, float], radius_mm: float) -> tuple[Disc, ...]:
    """Discs of about the given radius, the clearest first.

    Args:
        image_hu: (rows, columns).
        spacing_mm: between rows and between columns.
        radius_mm: nominal radius; a disc may differ from it by a quarter.
    """
    sigmas = [_SMOOTHING_MM / s for s in spacing_mm]
    image = scipy.ndimage.gaussian_filter(image_hu, sigmas)
    # values near zero avoid loss of precision in the sums of a large image
    sums = _Sums(image, spacing_mm, radius_mm * max(_RADII) * RING[1])
    score = np.zeros(image.shape)
    inside_hu, inside_sd, ring_hu = (np.zeros(image.shape) for _ in range(3))
    for factor in _RADII:
        radius = radius_mm * factor
        mean, sd = sums.within(0.0, radius * _INSIDE)
        around, around_sd = sums.within(radius * RING[0], radius * RING[1])
        contrast = np.abs(mean - around)
        here = contrast / np.sqrt(sd**2 + around_sd**2 + 1.0)
        here[(contrast < _LEAST_CONTRAST_HU) | (sd > _LARGEST_INSIDE_SD_HU) | (around_sd > LARGEST_RING_SD_HU)] = 0
        better = here > score
        for kept, new in ((score, here), (inside_hu, mean), (inside_sd, sd), (ring_hu, around)):
            np.copyto(kept, new, where=better)
    return _peaks(score, (inside_hu, inside_sd, ring_hu), spacing_mm, radius_mm)


def _peaks(
    score: Image, values: tuple[Image, Image, Image], spacing_mm: tuple[float, float], radius_mm: float
) -> tuple[Disc, ...]:
    size = [2 * int(radius_mm / s / 2) + 1 for s in spacing_mm]
    peaks = np.argwhere((score == scipy.ndimage.maximum_filter(score, size)) & (score >= _LEAST_SCORE))
    peaks = peaks[np.argsort(-score[tuple(peaks.T)], kind="stable")]
    discs: list[Disc] = []
    for row, column in peaks:
        row_mm, column_mm = _centre(score, int(row), int(column), spacing_mm, radius_mm)
        if all(np.hypot(d.row_mm - row_mm, d.column_mm - column_mm) > radius_mm for d in discs):
            hu, sd_hu, ring_hu = (float(value[row, column]) for value in values)
            discs.append(Disc(row_mm, column_mm, hu, sd_hu, ring_hu))
        if len(discs) == _MOST_DISCS:
            break
    return tuple(discs)


def _centre(score: Image, row: int, column: int, spacing_mm: tuple[float, float], radius_mm: float) -> tuple[float, float]:
    """Centre of the high scores around a peak: the peak may be at any of several high pixels."""
    half = [max(1, int(0.5 * radius_mm / s)) for s in spacing_mm]
    low = max(row - half[0], 0), max(column - half[1], 0)
    box = score[low[0] : row + half[0] + 1, low[1] : column + half[1] + 1]
    weights = np.maximum(box - 0.7 * score[row, column], 0)
    rows, columns = np.indices(box.shape)
    total = weights.sum()
    return (
        float((low[0] + (rows * weights).sum() / total) * spacing_mm[0]),
        float((low[1] + (columns * weights).sum() / total) * spacing_mm[1]),
    )


class _Sums:
    """Means and standard deviations over discs and rings around every pixel of an image."""

    def __init__(self, image: Image, spacing_mm: tuple[float, float], reach_mm: float) -> None:
        self._spacing_mm = spacing_mm
        self._shape = image.shape
        self._pad = [int(np.ceil(reach_mm / s)) for s in spacing_mm]
        self._full = [scipy.fft.next_fast_len(n + 2 * p, real=True) for n, p in zip(image.shape, self._pad, strict=True)]
        # beyond its edge the image is padded with air, which no rod borders on
        padded = np.full(self._full, -1000.0)
        rows, columns = image.shape
        padded[:rows, :columns] = np.clip(image, -1000.0, 3000.0)
        self._first = scipy.fft.rfft2(padded)
        self._second = scipy.fft.rfft2(padded**2)

    def within(self, inner_mm: float, outer_mm: float) -> tuple[Image, Image]:
        """Mean and standard deviation between two distances from every pixel."""
        half = [int(outer_mm / s) for s in self._spacing_mm]
        r, c = (np.arange(-h, h + 1) * s for h, s in zip(half, self._spacing_mm, strict=True))
        distance = np.hypot(r[:, None], c[None, :])
        kernel = ((distance >= inner_mm) & (distance <= outer_mm)).astype(float)
        placed = np.zeros(self._full)
        placed[: kernel.shape[0], : kernel.shape[1]] = kernel / kernel.sum()
        # symmetric, so convolution equals correlation
        transfer = scipy.fft.rfft2(np.roll(placed, (-half[0], -half[1]), axis=(0, 1)))
        rows, columns = self._shape
        mean, square = (
            scipy.fft.irfft2(spectrum * transfer, s=self._full)[:rows, :columns] for spectrum in (self._first, self._second)
        )
        return mean, np.sqrt(np.maximum(square - mean**2, 0.0))
