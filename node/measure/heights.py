"""Anterior, middle and posterior height of a vertebral body, from its mask.

The body has its own frame: z along the bisector of its end plates, x from right to left along its wider extent, y from
front to back. Heights are measured in a fifth of the width on each side of the midsagittal plane, as on lateral radiographs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.measure.boxes import spacing_mm_of
from node.measure.region import BoolArray, FloatArray
from node.model import Affine, Level

#: Sampling of a body in its own frame, mm; columns along z are sampled more finely, and coarsely while it is turned.
_STEP_MM, _FINE_STEP_MM, _COARSE_STEP_MM = 1.0, 0.5, 2.0
#: Half extent of the box around a body in its own frame: x, y, z.
_HALF_MM = (42.0, 36.0, 30.0)
#: Iterations that align the frame with the end plates; the third changes it by less than a degree.
_ROUNDS = 3
#: Frames whose unevenness differs by less than this count as equal, mm.
_SAME_MM = 0.2
#: Columns nearer to the middle than this fraction of width and depth give the direction of an end plate.
_INNER = 0.35
#: Heights are measured over this fraction of the width on each side of the midsagittal plane.
_SLAB = 0.2
#: From front (0) to back (1): where the anterior and the posterior height are measured, and the part of the rim that is
#: ignored, because it is rounded or has osteophytes.
_ANTERIOR, _POSTERIOR, _RIM = 0.06, 0.94, 0.08
#: If the wide axis of the outline is further than this from the patient's left-right axis, it is not used.
_MOST_TURN_DEG = 35.0
#: A column thinner than this fraction of the median is an overhanging lip; the worst fractures leave a third.
_LEAST_THICKNESS = 0.3
#: End plates that deviate more than this from a smooth surface, mm, are too badly outlined for heights (an assumption).
_MOST_RESIDUAL_MM = 2.5
#: End plates are hollow. An outline that is higher in the middle than in front and behind by this factor is no body's, or it
#: is seen in a wrong frame (an assumption: outlines of real CTs reach 1.05).
_MOST_BULGE = 1.12
#: A body smaller than this in one of its extents has no heights.
_LEAST_MM = 8.0

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class BodyShape:
    """The shape of one vertebral body in mm.

    Attributes:
        anterior_mm, middle_mm, posterior_mm: heights in the midsagittal plane.
        depth_mm: from front to back.
        axes: (3, 3), rows x, y, z of the body's frame in LPS.
        upper_lps_mm, lower_lps_mm: middle of the upper and of the lower end plate.
    """

    level: Level
    anterior_mm: float
    middle_mm: float
    posterior_mm: float
    depth_mm: float
    axes: Matrix
    upper_lps_mm: Matrix
    lower_lps_mm: Matrix

    @property
    def possible(self) -> bool:
        """Whether a vertebral body can have these heights: its middle is not far higher than its front and back."""
        return self.middle_mm <= _MOST_BULGE * max(self.anterior_mm, self.posterior_mm)


def body_shape(
    mask: BoolArray, affine_lps_mm: Affine, level: Level, along_lps: Matrix, most_depth_mm: float = np.inf
) -> BodyShape | None:
    """Measure the shape of one body.

    Args:
        mask: bool, 3-D, the body alone; a box around it is enough.
        affine_lps_mm: 4 x 4; maps the array index of ``mask`` to LPS mm.
        level: its name.
        along_lps: (3,), approximate direction of the spine at this body, towards the head.
        most_depth_mm: anything further in front of the posterior wall is an osteophyte, not part of the body.

    Returns:
        The shape; ``None`` if the mask is too small, or its end plates are badly outlined.
    """
    found = ndimage.find_objects(mask.astype(np.uint8))
    if not found:
        return None
    corner = np.array([part.start for part in found[0]]) - 1
    padded = np.pad(mask[found[0]], 1)
    spacing_mm = spacing_mm_of(affine_lps_mm)
    signed_mm = ndimage.distance_transform_edt(padded, sampling=spacing_mm) - ndimage.distance_transform_edt(
        ~padded, sampling=spacing_mm
    )
    centre = affine_lps_mm[:3, :3] @ (np.argwhere(padded).mean(axis=0) + corner) + affine_lps_mm[:3, 3]
    to_index = np.linalg.inv(affine_lps_mm)

    def columns(axes: Matrix, step_mm: float, fine_step_mm: float, *, longest: bool) -> _Columns:
        ticks = [
            np.arange(-half, half + step / 2, step)
            for half, step in zip(_HALF_MM, (step_mm, step_mm, fine_step_mm), strict=True)
        ]
        local = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1)
        index = (centre + local @ axes) @ to_index[:3, :3].T + to_index[:3, 3] - corner
        sampled = ndimage.map_coordinates(
            signed_mm, np.moveaxis(index, -1, 0), order=1, mode="constant", cval=-max(spacing_mm)
        )
        return _Columns.of(sampled > 0, (ticks[0], ticks[1], ticks[2]), longest=longest)

    along = along_lps / np.linalg.norm(along_lps)
    upright = np.array([0.0, 0.0, 1.0])
    straight = [_axes(start, np.array([1.0, 0.0, 0.0])) for start in (along, along + upright, upright)]
    turned = []
    for axes in straight:
        for _ in range(_ROUNDS):
            seen = columns(axes, _COARSE_STEP_MM, _COARSE_STEP_MM / 2, longest=False)
            if min(seen.extent_mm(0), seen.extent_mm(1)) < _LEAST_MM:
                return None
            axes = _axes(seen.bisector() @ axes, seen.wide_axis() @ axes)
        turned.append(axes)
    best, least = None, np.inf
    # A body at the end of a curved spine may be rotated far from its neighbours. The right frame is the one in which the end
    # plates are most even: in a tilted frame they look like roofs. (The height does not help: tilted, the body is lower.)
    # In a wedge the bisector may lead away, over a corner, so the directions that it starts from can be chosen, too.
    for axes in (*turned, *straight):
        unevenness = columns(axes, _COARSE_STEP_MM, _COARSE_STEP_MM / 2, longest=False).unevenness_mm()
        if unevenness < least - _SAME_MM:
            best, least = axes, unevenness
    if best is None:
        return None
    axes = best
    return columns(axes, _STEP_MM, _FINE_STEP_MM, longest=True).shape(level, axes, centre, most_depth_mm)


def _axes(z: Matrix, x: Matrix) -> Matrix:
    z = z / np.linalg.norm(z)
    x = x - z * (x @ z)
    x /= np.linalg.norm(x)
    return np.stack([x, np.cross(z, x), z])


def _longest_runs(inside: BoolArray) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """First and last index of the longest run of every column (last axis). A fragment in a disc is not an end plate."""
    length = np.zeros(inside.shape[:2], dtype=np.intp)
    longest, last = np.zeros_like(length), np.zeros_like(length)
    for k in range(inside.shape[2]):
        length = np.where(inside[:, :, k], length + 1, 0)
        longer = length > longest
        longest, last = np.where(longer, length, longest), np.where(longer, k, last)
    return last - np.maximum(longest, 1) + 1, last


@dataclass(frozen=True, slots=True, eq=False)
class _Columns:
    """A body in its frame as columns along z: (x, y) arrays of the heights of both end plates, NaN beside the body."""

    x_mm: FloatArray
    y_mm: FloatArray
    upper_mm: FloatArray
    lower_mm: FloatArray

    @classmethod
    def of(cls, inside: BoolArray, ticks: tuple[FloatArray, FloatArray, FloatArray], *, longest: bool) -> _Columns:
        x, y, z = ticks
        any_inside = inside.any(axis=2)
        half_step = float(z[1] - z[0]) / 2
        if longest:
            first, last = _longest_runs(inside)
        else:
            first, last = inside.argmax(axis=2), inside.shape[2] - 1 - inside[:, :, ::-1].argmax(axis=2)
        top, bottom = z[last] + half_step, z[first] - half_step
        upper, lower = np.where(any_inside, top, np.nan), np.where(any_inside, bottom, np.nan)
        return cls(x, y, upper, lower)

    @property
    def step_mm(self) -> float:
        """Distance between columns."""
        return float(self.x_mm[1] - self.x_mm[0])

    def _footprint(self) -> BoolArray:
        return ~np.isnan(self.upper_mm)

    def extent_mm(self, axis: int) -> float:
        """Extent of the footprint along x (0) or y (1), without the outermost 2 percent on either side."""
        index = np.argwhere(self._footprint())
        if len(index) == 0:
            return 0.0
        low, high = np.percentile(index[:, axis], [2, 98])
        return float(high - low + 1) * self.step_mm

    def _inner_planes(self) -> tuple[FloatArray, list[FloatArray], list[FloatArray]]:
        """Design matrix (x, y, 1) of the columns well inside the rim, both end plates there, and the planes through them."""
        x, y = np.meshgrid(self.x_mm, self.y_mm, indexing="ij")
        place = self._footprint()
        middle_x, middle_y = x[place].mean(), y[place].mean()
        inner = (
            place & (np.abs(x - middle_x) < _INNER * self.extent_mm(0)) & (np.abs(y - middle_y) < _INNER * self.extent_mm(1))
        )
        design = np.stack([x[inner], y[inner], np.ones(int(inner.sum()))], axis=1)
        plates = [plate[inner] for plate in (self.upper_mm, self.lower_mm)]
        return design, plates, [np.linalg.lstsq(design, plate, rcond=None)[0] for plate in plates]

    def unevenness_mm(self) -> float:
        """Root mean square of the distances of both end plates from the planes through them."""
        design, plates, planes = self._inner_planes()
        return float(np.sqrt(np.mean([(plate - design @ plane) ** 2 for plate, plane in zip(plates, planes, strict=True)])))

    def bisector(self) -> Matrix:
        """Direction between the normals of both end plates, in this frame."""
        normal = np.zeros(3)
        for slope_x, slope_y, _ in self._inner_planes()[2]:
            one = np.array([-slope_x, -slope_y, 1.0])
            normal += one / np.linalg.norm(one)
        return normal

    def wide_axis(self) -> Matrix:
        """Direction of the larger extent across z, to the left, in this frame."""
        index = np.argwhere(self._footprint()).astype(np.float64)
        values, vectors = np.linalg.eigh(np.cov(index.T))
        wide = vectors[:, int(np.argmax(values))]
        wide = wide * (1.0 if wide[0] >= 0 else -1.0)
        if wide[0] < np.cos(np.deg2rad(_MOST_TURN_DEG)):
            return np.array([1.0, 0.0, 0.0])
        return np.array([wide[0], wide[1], 0.0])

    def shape(self, level: Level, axes: Matrix, centre: Matrix, most_depth_mm: float) -> BodyShape | None:
        """Heights and depths."""
        place = self._footprint()
        x = self.x_mm[:, None] - float(self.x_mm[np.argwhere(place)[:, 0]].mean())
        slab = place & (np.abs(x) <= _SLAB * self.extent_mm(0))
        thickness = np.where(slab, self.upper_mm - self.lower_mm, 0.0)
        if not slab.any():
            return None
        # an overhanging lip at the front is not part of the wall where the height is measured
        full = thickness >= _LEAST_THICKNESS * float(np.median(thickness[slab]))
        rows = np.flatnonzero(full.sum(axis=0) >= max(int(full.sum(axis=0).max()), 1) / 2)
        if len(rows) * self.step_mm < _LEAST_MM:
            return None
        rows = rows[self.y_mm[rows] > float(self.y_mm[rows[-1]]) - most_depth_mm]
        depth = len(rows) * self.step_mm
        from_front = np.broadcast_to((self.y_mm - float(self.y_mm[rows[0]]) + self.step_mm / 2) / depth, place.shape)
        chosen = full & (from_front >= _RIM) & (from_front <= 1 - _RIM)
        t, aside = from_front[chosen] - 0.5, np.broadcast_to(x, place.shape)[chosen]
        design = np.stack([np.ones_like(t), t, t**2, aside, aside**2], axis=1)
        fits = [np.linalg.lstsq(design, plate[chosen], rcond=None)[0] for plate in (self.upper_mm, self.lower_mm)]
        upper_fit, lower_fit = fits
        residuals = [plate[chosen] - design @ fit for plate, fit in zip((self.upper_mm, self.lower_mm), fits, strict=True)]
        if max(float(np.sqrt((one**2).mean())) for one in residuals) > _MOST_RESIDUAL_MM:
            return None

        def height(at: float) -> float:
            return float((upper_fit - lower_fit) @ np.array([1.0, at - 0.5, (at - 0.5) ** 2, 0.0, 0.0]))

        in_slab = np.abs(x[:, 0]) <= _SLAB * self.extent_mm(0)
        middle_x, middle_y = float(self.x_mm[in_slab].mean()), float(self.y_mm[rows].mean())
        upper, lower = (centre + np.array([middle_x, middle_y, fit[0]]) @ axes for fit in (upper_fit, lower_fit))
        return BodyShape(level, height(_ANTERIOR), height(0.5), height(_POSTERIOR), depth, axes, upper, lower)
