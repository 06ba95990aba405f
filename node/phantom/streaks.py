"""Streaks around metal, from beam hardening and photon starvation in filtered backprojection."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.ndimage

FloatImage = npt.NDArray[np.float32]

#: From this value on a voxel of the painted image is metal, HU.
_METAL_HU = 2500.0
#: Streaks are broad: they are computed on pixels of this size.
_PIXEL_MM = 1.5
_ANGLES = 120
#: A ray through 10 mm of metal loses about this fraction of its projection to beam hardening, and starves of photons; both
#: were chosen so that strength 1 gives dark bands of some 200 HU between two pedicle screws (an assumption).
_HARDENING_PER_MM = 0.003
_STARVATION = 0.12
_METAL_CONTRAST_HU = 6000.0


def streaks(image: FloatImage, spacing_mm: tuple[float, float], strength: float, rng: np.random.Generator) -> FloatImage:
    """The streaks of one slice, HU, float32 of the image's shape; 0 inside the metal itself.

    The rays through metal are projected. Their loss from beam hardening (it grows with the square of the path) and the noise
    of the few remaining photons are reconstructed by filtered backprojection.

    Args:
        image: (rows, columns), HU, before noise.
        spacing_mm: between rows and between columns.
        strength: 1 is usual, 0 none.
        rng: draws the noise of starved rays.
    """
    metal = image > _METAL_HU
    if strength <= 0 or not metal.any():
        return np.zeros_like(image)
    zoom = (spacing_mm[0] / _PIXEL_MM, spacing_mm[1] / _PIXEL_MM)
    coarse = scipy.ndimage.zoom(scipy.ndimage.gaussian_filter(metal.astype(np.float32), 0.5), zoom, order=1)
    side = int(np.ceil(np.hypot(*coarse.shape))) | 1
    square = np.zeros((side, side), np.float32)
    top, left = (side - coarse.shape[0]) // 2, (side - coarse.shape[1]) // 2
    inside = (slice(top, top + coarse.shape[0]), slice(left, left + coarse.shape[1]))
    square[inside] = coarse
    angles_deg = np.arange(_ANGLES) * 180.0 / _ANGLES
    ramp = np.abs(np.fft.fftfreq(side, _PIXEL_MM))
    total = np.zeros_like(square)
    for angle_deg in angles_deg:
        path_mm = scipy.ndimage.rotate(square, angle_deg, reshape=False, order=1).sum(axis=0) * _PIXEL_MM
        lost = -_HARDENING_PER_MM * path_mm**2
        starved = rng.standard_normal(side) * _STARVATION * np.expm1(np.minimum(path_mm, 30.0) / 15.0)
        filtered = np.fft.ifft(np.fft.fft(lost + starved) * ramp).real
        smeared = np.broadcast_to(filtered.astype(np.float32), (side, side))
        total += scipy.ndimage.rotate(smeared, -angle_deg, reshape=False, order=1)
    hu = total[inside] * np.float32(np.pi / _ANGLES * strength * _METAL_CONTRAST_HU)
    back = (image.shape[0] / hu.shape[0], image.shape[1] / hu.shape[1])
    wide = scipy.ndimage.zoom(hu, back, order=1)[: image.shape[0], : image.shape[1]]
    added: FloatImage = np.zeros_like(image)
    added[: wide.shape[0], : wide.shape[1]] = wide
    added[metal] = 0
    return added
