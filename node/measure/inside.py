"""What is not ordinary trabecular bone inside a vertebral body: cement, dense islands, lytic lesions, sclerosis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from node.language.phrase import phrase
from node.measure.boxes import places_mm, spacing_mm_of
from node.measure.heights import BodyShape
from node.measure.metal import without_specks
from node.measure.region import BoolArray, FloatArray
from node.model import Affine, Level, LevelFindingCode, Reason, Vector

# All limits below are assumptions, set on phantoms and checked on real CTs.
#: Cement: denser than the first, HU, but less dense than a screw; at least this volume, mm3; mostly inside the body.
_CEMENT_HU, _METAL_PERCENTILE_HU, _CEMENT_MM3, _CEMENT_INSIDE = 1000.0, 2600.0, 400.0, 0.7
#: Margin around a body that is searched for cement and screws, mm.
AROUND_MM = 15.0
#: Lesions are searched for below this depth, in an image smoothed by this much, mm.
_DEPTH_MM, _SMOOTHING_MM = 5.0, 1.5
#: A lesion differs from the median of the body by this many HU and robust standard deviations, over this volume.
_DENSE_HU, _LYTIC_HU, _DEVIATIONS, _LESION_MM3 = 150.0, 75.0, 4.5, 150.0
#: Median absolute deviation of a standard normal distribution.
_MAD_OF_NORMAL = 0.6744897501960817
#: Sclerosis: in the layer between these depths below an end plate, in the inner part of width and depth, this share is
#: denser than the middle of the body by this many HU.
_LAYER_MM, _INNER, _SCLEROSIS_HU, _SCLEROSIS_SHARE = (3.0, 7.0), 0.6, 170.0, 0.3
#: The middle of the body: this fraction of its height.
_MIDDLE = 0.3
#: Large lesions are searched for in an image smoothed by this much, mm, and compared with the patient's other bodies.
_LARGE_SMOOTHING_MM, _LARGE_MM3 = 4.0, 1000.0
#: A lesion that fills less than this share of the inside is described against the body's own median.
_OWN_REFERENCE_SHARE = 1 / 3
#: Fewer other bodies than this are no reference.
_LEAST_OTHERS = 2
#: A body whose median is this many HU below that of the others is no measure for what lies beneath its end plates.
_UNLIKE_HU = 45.0
#: Metal blurs by partial volume and beam hardening: bone is not assessed this near to it, mm, nor in the next slice.
_BLOOMING_MM = 4.0
#: Less than this share of a layer tells nothing about the layer.
_LEAST_SHOWN = 0.5


@dataclass(frozen=True, eq=False)
class BodyView:
    """One body and its surroundings. What several findings need is computed once.

    Attributes:
        hu: 3-D, a box around the body with a margin of ``AROUND_MM``, within the image.
        mask: bool, same shape: the body.
        other_bodies: bool, same shape: other vertebral bodies.
        affine_lps_mm: 4 x 4, of the box.
        shape: the shape of the body, if it could be measured.
        metal_hu: voxels above this are metal.
    """

    hu: FloatArray
    mask: BoolArray
    other_bodies: BoolArray
    affine_lps_mm: Affine
    shape: BodyShape | None
    metal_hu: float = np.inf

    @cached_property
    def spacing_mm(self) -> Vector:
        """Distance between voxel centres along axis 0, 1 and 2."""
        return spacing_mm_of(self.affine_lps_mm)

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel."""
        return float(np.prod(self.spacing_mm))

    @cached_property
    def depth_mm(self) -> FloatArray:
        """Depth of each voxel inside the body; 0 outside."""
        depth: FloatArray = ndimage.distance_transform_edt(self.mask, sampling=self.spacing_mm)
        return depth

    @cached_property
    def smooth(self) -> FloatArray:
        """The image, smoothed to reduce noise."""
        return np.asarray(ndimage.gaussian_filter(self.hu, [_SMOOTHING_MM / s for s in self.spacing_mm]))

    @cached_property
    def inner(self) -> BoolArray:
        """Bone deep enough to be neither cortex nor end plate."""
        return self.depth_mm > _DEPTH_MM

    @cached_property
    def smoothed_inside(self) -> FloatArray:
        """The inside of the body, smoothed for large lesions; nothing from outside enters. 0 outside."""
        sigma = [_LARGE_SMOOTHING_MM / s for s in self.spacing_mm]
        weight = ndimage.gaussian_filter(self.inner.astype(np.float64), sigma)
        values = ndimage.gaussian_filter(np.where(self.inner, self.hu, 0.0), sigma)
        return np.where(self.inner, values / np.maximum(weight, 1e-6), 0.0)

    def away_from(self, foreign_hu: float) -> BoolArray:
        """Voxels that are neither metal or cement (above ``foreign_hu``) nor next to it."""
        foreign = without_specks(self.hu > foreign_hu, self.voxel_mm3)
        if not foreign.any():
            return np.ones(self.hu.shape, dtype=np.bool_)
        reach_mm = max(_BLOOMING_MM, *self.spacing_mm)
        return np.asarray(ndimage.distance_transform_edt(~foreign, sampling=self.spacing_mm) > reach_mm)

    def smooth_without(self, kept: BoolArray) -> FloatArray:
        """The image smoothed as in :attr:`smooth`, from the kept voxels alone."""
        if kept.all():
            return self.smooth
        sigma = [_SMOOTHING_MM / s for s in self.spacing_mm]
        weight = ndimage.gaussian_filter(kept.astype(np.float64), sigma)
        return np.asarray(ndimage.gaussian_filter(np.where(kept, self.hu, 0.0), sigma) / np.maximum(weight, 1e-6))

    def local_mm(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Positions of the mask's voxels in the body's frame: x, y from its middle, z above the lower end plate.

        Raises:
            ValueError: the body has no shape.
        """
        if self.shape is None:
            raise ValueError("a body without a shape has no frame")
        places = places_mm(np.argwhere(self.mask), self.affine_lps_mm)
        x, y, z = ((places - self.shape.lower_lps_mm) @ self.shape.axes.T).T
        return x, y, z


@dataclass(frozen=True, slots=True)
class OtherBodies:
    """The inside of the patient's other bodies: what a body that is sick throughout cannot show itself.

    Attributes:
        median_hu: median of their medians.
        spread_hu: median of their robust standard deviations, smoothed for large lesions.
    """

    median_hu: float
    spread_hu: float


def others_of(views: Mapping[Level, BodyView], level: Level) -> OtherBodies | None:
    """The inside of the bodies other than ``level``; ``None`` with fewer than two to compare with.

    Args:
        views: whole bodies without metal or cement.
        level: the body to be compared.
    """
    insides = [view.smoothed_inside[view.inner] for other, view in views.items() if other is not level and view.inner.any()]
    if len(insides) < _LEAST_OTHERS:
        return None
    spreads = [_robust_sd(values) for values in insides]
    return OtherBodies(float(np.median([np.median(values) for values in insides])), float(np.median(spreads)))


def lesion(view: BodyView, others: OtherBodies | None, sclerosis_below_mm: float) -> Reason | None:
    """A dense island or a lytic lesion, compared with the body itself and with the patient's other bodies.

    Args:
        view: the body.
        others: the patient's other bodies; ``None``: the body is compared with itself alone.
        sclerosis_below_mm: depth of end-plate sclerosis below the surface, which is not a lesion; 0 if there is none.
    """
    large = None if others is None else _large_lesion(view, others, sclerosis_below_mm)
    own = _lesion_in_itself(view, sclerosis_below_mm)
    if large is None or (own is not None and large[0] < _OWN_REFERENCE_SHARE):
        return own
    return large[1]


def _large_lesion(view: BodyView, others: OtherBodies, sclerosis_below_mm: float) -> tuple[float, Reason] | None:
    """A lesion that may fill so much of a body that its own median is no reference, and its share of the inside."""
    inner = view.depth_mm > max(_DEPTH_MM, sclerosis_below_mm)
    apart_hu = view.smoothed_inside - others.median_hu
    for above, least in ((True, _DENSE_HU), (False, _LYTIC_HU)):
        limit = max(least, _DEVIATIONS * others.spread_hu)
        parts, n = ndimage.label(inner & ((apart_hu > limit) if above else (apart_hu < -limit)))
        if n == 0:
            continue
        sizes = np.bincount(parts.ravel())[1:]
        largest = parts == int(np.argmax(sizes)) + 1
        size = float(sizes.max()) * view.voxel_mm3
        if size < _LARGE_MM3:
            continue
        share = float(largest.sum() / inner.sum())
        values = {
            "size": size,
            "share": 100 * share,
            "mean": float(view.hu[largest].mean()),
            "usual": others.median_hu,
        }
        if above:
            detail = phrase(
                "dense focus of {size:.0f} mm3, {share:.0f} % of the inside of the body, mean {mean:.0f} HU; the other "
                "levels have {usual:.0f} HU",
                **values,
            )
        else:
            detail = phrase(
                "lytic focus of {size:.0f} mm3, {share:.0f} % of the inside of the body, mean {mean:.0f} HU; the other "
                "levels have {usual:.0f} HU",
                **values,
            )
        return share, Reason(LevelFindingCode.FOCAL_LESION, detail)
    return None


def cement(view: BodyView) -> Reason | None:
    """Bone cement: a dense mass inside the body, not a screw that passes through it."""
    dense = view.hu > _CEMENT_HU
    deep = view.depth_mm > 2.0
    parts, n = ndimage.label(dense & (deep | ~view.mask))
    if n == 0:
        return None
    inside = ndimage.sum_labels(deep, parts, np.arange(1, n + 1)) * view.voxel_mm3
    total = ndimage.sum_labels(dense, parts, np.arange(1, n + 1)) * view.voxel_mm3
    volume = 0.0
    for number in np.flatnonzero((inside >= _CEMENT_MM3) & (inside >= _CEMENT_INSIDE * total)) + 1:
        if float(np.percentile(view.hu[parts == number], 75)) < _METAL_PERCENTILE_HU:
            volume += float(inside[number - 1])
    if not volume:
        return None
    said = phrase("{volume:.0f} mm3 of the body above {limit:.0f} HU: cement", volume=volume, limit=_CEMENT_HU)
    return Reason(LevelFindingCode.CEMENT, said)


def _robust_sd(values: FloatArray) -> float:
    """Standard deviation from the median absolute deviation, of normally distributed values (scipy.stats takes a second to
    import)."""
    return float(np.median(np.abs(values - np.median(values)))) / _MAD_OF_NORMAL


def _lesion_in_itself(view: BodyView, sclerosis_below_mm: float) -> Reason | None:
    """A part of the inside that differs from the median of the body by more than noise."""
    smooth = view.smooth
    inner = view.depth_mm > max(_DEPTH_MM, sclerosis_below_mm)
    if inner.sum() * view.voxel_mm3 < _LESION_MM3:
        return None
    values = smooth[inner]
    median = float(np.median(values))
    spread = _robust_sd(values)
    for above, least in ((True, _DENSE_HU), (False, _LYTIC_HU)):
        limit = max(least, _DEVIATIONS * spread)
        apart = inner & ((smooth - median > limit) if above else (median - smooth > limit))
        parts, n = ndimage.label(apart)
        if n == 0:
            continue
        sizes = np.bincount(parts.ravel())[1:] * view.voxel_mm3
        largest = int(np.argmax(sizes))
        if sizes[largest] >= _LESION_MM3:
            mean = float(view.hu[parts == largest + 1].mean())
            size = float(sizes[largest])
            detail = (
                phrase(
                    "dense focus of {size:.0f} mm3, mean {mean:.0f} HU in a body of {median:.0f} HU",
                    size=size,
                    mean=mean,
                    median=median,
                )
                if above
                else phrase(
                    "lytic focus of {size:.0f} mm3, mean {mean:.0f} HU in a body of {median:.0f} HU",
                    size=size,
                    mean=mean,
                    median=median,
                )
            )
            return Reason(LevelFindingCode.FOCAL_LESION, detail)
    return None


def sclerosis(view: BodyView, others: OtherBodies | None = None, *, cemented: bool = False) -> Reason | None:
    """Sclerotic bone beneath an end plate. Metal and cement, and what they blur, are left out.

    Args:
        view: the body.
        others: the patient's other bodies, in place of a body whose own inside is lytic.
        cemented: whether there is cement in the body.
    """
    if view.shape is None:
        return None
    kept = view.away_from(min(view.metal_hu, _CEMENT_HU) if cemented else view.metal_hu)
    bone = kept[view.mask]
    x, y, z = view.local_mm()
    height = float(np.linalg.norm(view.shape.upper_lps_mm - view.shape.lower_lps_mm))
    central = (np.abs(x) < _INNER * np.abs(x).max()) & (np.abs(y) < _INNER * view.shape.depth_mm / 2)
    values = view.smooth_without(kept)[view.mask]
    middle = central & bone & (np.abs(z - height / 2) < _MIDDLE / 2 * height)
    if not middle.any():
        return None
    usual = float(np.median(values[middle]))
    if others is not None and usual < others.median_hu - _UNLIKE_HU:
        usual = others.median_hu
    plates = (
        (phrase("sclerosis beneath the upper end plate"), height - z),
        (phrase("sclerosis beneath the lower end plate"), z),
    )
    for where, depth in plates:
        whole = central & (depth > _LAYER_MM[0]) & (depth < min(_LAYER_MM[1], height / 3))
        layer = whole & bone
        if not layer.any() or layer.sum() < _LEAST_SHOWN * whole.sum():
            continue
        dense = values[layer] > usual + _SCLEROSIS_HU
        share = float(dense.mean())
        if share >= _SCLEROSIS_SHARE:
            mean = float(values[layer][dense].mean())
            said = phrase(
                "{where}: {mean:.0f} HU over {share:.0f} % of its area, {inside:.0f} HU inside the body",
                where=where,
                mean=mean,
                share=100 * share,
                inside=usual,
            )
            return Reason(LevelFindingCode.ENDPLATE_SCLEROSIS, said)
    return None
