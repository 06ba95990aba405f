"""Pictures of the summary page: curved reformats of the spine and axial slices, in mm, with masks on the same grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.model import LabelArray, Level, Vector, VertebralBody, Volume

FloatImage = npt.NDArray[np.float32]
_Grid = npt.NDArray[np.float64]
_Coordinates = tuple[_Grid, _Grid, _Grid]
#: x, y and z of every pixel of a picture, at a distance from its surface.
_Surface = Callable[[float], _Coordinates]
_Crop = tuple[Level, npt.NDArray[np.float32], npt.NDArray[np.float64]]

#: Pixel of a reformat, mm.
_PIXEL_MM = 0.5
#: A reformat is the mean of slices at these distances from its surface, like a thick-slab reformat: less noise.
_SLAB_MM = (-1.0, 0.0, 1.0)
#: Beyond the outermost body centres the surface continues straight for this distance, then parallel to the body axis.
_EXTRAPOLATE_MM = 40.0
_MARGIN_Z_MM = 42.0
_AIR_HU = -1024.0


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """A mask in a view: (rows, columns), 0 to 1; its outline is at 0.5."""

    level: Level
    mask: FloatImage


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A picture on an isotropic grid.

    Attributes:
        hu: (rows, columns), row 0 at the top; air outside the volume.
        left_mm: patient coordinate of the left edge (x, or y for a sagittal view).
        right_mm: of the right edge.
        top_mm: of the upper edge (z, or y for an axial view).
        bottom_mm: of the lower edge.
        bodies: visible vertebral bodies.
        regions: visible measured regions.
    """

    hu: FloatImage
    left_mm: float
    right_mm: float
    top_mm: float
    bottom_mm: float
    bodies: tuple[Outline, ...]
    regions: tuple[Outline, ...]


@dataclass(frozen=True, slots=True, eq=False)
class PageViews:
    """The pictures of a page.

    Attributes:
        coronal: ``None`` if the study was not measured.
        axials: one per measured level; empty if the study was not measured.
    """

    sagittal: View
    coronal: View | None = None
    axials: tuple[View, ...] = ()


class Reformatter:
    """Samples a volume and its masks on surfaces in patient coordinates (LPS, mm)."""

    def __init__(
        self, volume: Volume, labels: LabelArray | None, regions: LabelArray | None, bodies: Sequence[VertebralBody]
    ) -> None:
        """Prepare; the spine is the line through the centres of ``bodies``, or the middle of the patient without them."""
        self._volume = volume
        self._to_index = np.linalg.inv(volume.affine_lps_mm)
        named = frozenset(body.level for body in bodies)
        self._bodies = _crops(labels, named)
        self._regions = _crops(regions, named)
        corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)], dtype=float)
        corners[:, :3] *= np.array(volume.hu.shape) - 1
        positions = (corners @ volume.affine_lps_mm.T)[:, :3]
        self._low, self._high = positions.min(axis=0), positions.max(axis=0)
        centres = np.array(sorted((b.centroid_lps_mm for b in bodies), key=lambda c: c[2]), dtype=float)
        self._centres = centres if len(centres) else self._middle_of_the_patient()

    @property
    def height_mm(self) -> float:
        """From the lowest to the highest voxel of the volume."""
        return float(self._high[2] - self._low[2])

    def sagittal(self, height_mm: float, width_mm: float) -> View:
        """Mid-sagittal reformat, anterior on the left: every row lies in the plane x = centre of the spine at its z."""
        z = self._z_range(height_mm)
        y = self._around(float(self._centres[:, 1].mean()), width_mm)
        x = self._spine_at(z, 0)[:, None]
        return self._view(lambda d: (x + d + 0 * y, y[None, :] + 0 * x, z[:, None] + 0 * y), (y[0], y[-1]), (z[0], z[-1]))

    def coronal(self, height_mm: float, width_mm: float) -> View:
        """Coronal reformat, the patient's right on the left: every row lies at y = centre of the spine at its z."""
        z = self._z_range(height_mm)
        x = self._around(float(self._centres[:, 0].mean()), width_mm)
        y = self._spine_at(z, 1)[:, None]
        return self._view(lambda d: (x[None, :] + 0 * y, y + d + 0 * x, z[:, None] + 0 * x), (x[0], x[-1]), (z[0], z[-1]))

    def axial(self, centre_lps_mm: Vector, width_mm: float) -> View:
        """Axial slice through a position, the patient's right on the left, anterior at the top."""
        x = self._around(centre_lps_mm[0], width_mm)
        y = self._around(centre_lps_mm[1], width_mm)[:, None]
        z = centre_lps_mm[2]
        return self._view(lambda d: (x + 0 * y, y + 0 * x, z + d + 0 * (x + y)), (x[0], x[-1]), (y[0, 0], y[-1, 0]))

    def _middle_of_the_patient(self) -> _Grid:
        """Rough centre of everything that is not air: sufficient to show the location of a picture."""
        step = tuple(max(1, n // 64) for n in self._volume.hu.shape)
        inside = np.argwhere(self._volume.hu[:: step[0], :: step[1], :: step[2]] > -300) * step
        index = inside.mean(axis=0) if len(inside) else (np.array(self._volume.hu.shape) - 1) / 2
        centre: _Grid = (self._volume.affine_lps_mm @ [*index, 1.0])[None, :3]
        return centre

    def _z_range(self, height_mm: float) -> npt.NDArray[np.float64]:
        """Rows from head to foot: the bodies with a margin, extended to the height and shifted into the volume."""
        low, high = self._centres[0, 2] - _MARGIN_Z_MM, self._centres[-1, 2] + _MARGIN_Z_MM
        spare = max(height_mm - (high - low), 0.0)
        low, high = low - spare / 2, high + spare / 2
        if high - low < self.height_mm + _PIXEL_MM:
            shift = max(self._low[2] - low, 0.0) - max(high - self._high[2], 0.0)
            low, high = low + shift, high + shift
        return np.arange(high, low, -_PIXEL_MM)

    def _around(self, centre: float, width_mm: float) -> npt.NDArray[np.float64]:
        return centre + np.arange(-width_mm / 2, width_mm / 2, _PIXEL_MM)

    def _spine_at(self, z: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
        """Position of the spine along x or y at heights z."""
        heights, values = self._centres[:, 2], self._centres[:, axis]
        if len(heights) < 2:
            return np.full_like(z, values[0])
        ends = np.array([heights[0] - _EXTRAPOLATE_MM, heights[-1] + _EXTRAPOLATE_MM])
        slopes = np.diff(values) / np.maximum(np.diff(heights), 1.0)
        outer = np.array([values[0] - slopes[0] * _EXTRAPOLATE_MM, values[-1] + slopes[-1] * _EXTRAPOLATE_MM])
        positions: _Grid = np.interp(z, [ends[0], *heights, ends[1]], [outer[0], *values, outer[1]])
        return positions

    def _view(self, surface: _Surface, horizontal: tuple[float, float], vertical: tuple[float, float]) -> View:
        slab = np.stack([self._sample_hu(self._index(surface(offset))) for offset in _SLAB_MM])
        hu: FloatImage = slab.mean(axis=0, dtype=np.float32)
        middle = self._index(surface(0.0))
        half = _PIXEL_MM / 2
        down = half if vertical[1] > vertical[0] else -half
        return View(
            hu,
            float(horizontal[0]) - half,
            float(horizontal[1]) + half,
            float(vertical[0]) - down,
            float(vertical[1]) + down,
            _outlines(self._bodies, middle),
            _outlines(self._regions, middle),
        )

    def _index(self, position: _Coordinates) -> npt.NDArray[np.float64]:
        points = np.stack(np.broadcast_arrays(*position))
        index: npt.NDArray[np.float64] = np.tensordot(self._to_index[:3, :3], points, axes=1)
        return index + self._to_index[:3, 3][:, None, None]

    def _sample_hu(self, index: npt.NDArray[np.float64]) -> FloatImage:
        sampled: FloatImage = ndimage.map_coordinates(
            self._volume.hu, index, output=np.float32, order=1, mode="constant", cval=_AIR_HU
        )
        return sampled


def _crops(labels: LabelArray | None, named: frozenset[Level]) -> list[_Crop]:
    """Every label as a cropped mask with the index of its first voxel, to save memory."""
    crops: list[_Crop] = []
    if labels is None:
        return crops
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        level = next((level for level in named if int(level) == value), None)
        if box is None or level is None:
            continue
        mask = np.pad((labels[box] == value).astype(np.float32), 1)
        crops.append((level, mask, np.array([axis.start - 1 for axis in box], dtype=np.float64)))
    return crops


def _outlines(crops: Sequence[_Crop], index: _Grid) -> tuple[Outline, ...]:
    found = []
    for level, mask, first in crops:
        sampled: FloatImage = ndimage.map_coordinates(
            mask, index - first[:, None, None], output=np.float32, order=1, mode="constant", cval=0.0
        )
        if sampled.max() > 0.5:
            found.append(Outline(level, sampled))
    return tuple(found)
