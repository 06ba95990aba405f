"""Pathology painted into real CTs: what is drawn is known exactly, and everything around it is a patient.

Every painter takes a volume with the outlines of its vertebral bodies and returns a new image. Lengths are in mm, HU as in
CT. The image keeps its own noise and texture where a lesion is painted, and edges are blurred as by the scanner. None of
this is real pathology: a painted lesion is rounder, a painted wedge smoother than a patient's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.model import Affine, HuArray, LabelArray, Level

FloatArray = npt.NDArray[np.float64]

#: Painted edges are blurred by this SD, mm (an assumption: a standard kernel).
_BLUR_MM = 0.7
#: Bone nearer to the surface of a body than this is cortex and end plate, not its inside.
SHELL_MM = 3.0
#: What CT numbers of 12 bits can hold.
_MOST_HU = 3071.0
#: Noise and texture are what remains after smoothing by this SD, mm.
_TEXTURE_MM = 3.0
#: Ratio of the height that is left in front of a wedge to the original one; less is not painted, because tissue would fold.
_LEAST_LEFT = 0.05


@dataclass(frozen=True, eq=False)
class Canvas:
    """A real CT with the outlines of its vertebral bodies.

    Attributes:
        hu: int16, 3-D.
        labels: uint8, the same shape; ``int(level)`` inside a body.
        affine_lps_mm: 4 x 4; maps the array index to LPS mm.
    """

    hu: HuArray
    labels: LabelArray
    affine_lps_mm: Affine

    @property
    def spacing_mm(self) -> FloatArray:
        """Distance between voxel centres along axis 0, 1 and 2."""
        return np.asarray(np.linalg.norm(self.affine_lps_mm[:3, :3], axis=0))

    def box(self, level: Level, margin_mm: float) -> tuple[slice, ...]:
        """Where a body lies, with a margin, within the volume."""
        found = ndimage.find_objects(self.labels, max_label=int(level))[int(level) - 1]
        if found is None:
            raise ValueError(f"{level.name} is not outlined")
        margins = np.ceil(margin_mm / self.spacing_mm).astype(int)
        return tuple(slice(max(0, part.start - int(n)), part.stop + int(n)) for part, n in zip(found, margins, strict=True))

    def places_mm(self, box: tuple[slice, ...]) -> FloatArray:
        """LPS positions of the voxels of a box, (..., 3)."""
        ticks = [np.arange(*part.indices(length)) for part, length in zip(box, self.hu.shape, strict=True)]
        index = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1)
        return np.asarray(index @ self.affine_lps_mm[:3, :3].T + self.affine_lps_mm[:3, 3])

    def centre_mm(self, level: Level) -> FloatArray:
        """Centre of mass of a body in LPS mm."""
        box = self.box(level, 0.0)
        return np.asarray(self.places_mm(box)[self.labels[box] == level].mean(axis=0))

    def frame(self, level: Level) -> FloatArray:
        """Axes of a body in LPS as rows: to the left, to the back, and along the spine to the head."""
        centres = [self.centre_mm(other) for other in (level - 1, level + 1) if (self.labels == other).any()]
        own = self.centre_mm(level)
        along = centres[0] - own if (self.labels == level - 1).any() else own - centres[0]
        if len(centres) == 2:
            along = centres[0] - centres[1]
        z = along / np.linalg.norm(along)
        x = np.array([1.0, 0.0, 0.0]) - z * z[0]
        x /= np.linalg.norm(x)
        return np.stack([x, np.cross(z, x), z])


def lesion(canvas: Canvas, level: Level, share: float, hu: float, rng: np.random.Generator) -> HuArray:
    """A lytic or dense lesion that fills a share (0 to 1) of the inside of a body, grown from a point inside it."""
    box = canvas.box(level, 6.0)
    mask = canvas.labels[box] == level
    depth = ndimage.distance_transform_edt(mask, sampling=canvas.spacing_mm)
    inside = depth > SHELL_MM
    places = canvas.places_mm(box)
    deep = places[depth >= np.quantile(depth[inside], 0.5)]
    seed = deep[int(rng.integers(len(deep)))]
    # an ellipsoid with axes of its own, so that no two lesions look alike
    stretch = rng.uniform(0.8, 1.25, 3)
    away = np.linalg.norm((places - seed) * stretch, axis=-1)
    painted = inside & (away <= np.quantile(away[inside], min(share, 1.0)))
    return _filled(canvas, box, painted, hu)


def ball(canvas: Canvas, level: Level, diameter_mm: float, hu: float) -> HuArray:
    """A ball of this attenuation in the middle of a body."""
    box = canvas.box(level, 6.0)
    away = np.linalg.norm(canvas.places_mm(box) - canvas.centre_mm(level), axis=-1)
    return _filled(canvas, box, (away <= diameter_mm / 2) & (canvas.labels[box] == level), hu)


def cement(canvas: Canvas, level: Level, radius_mm: float, hu: float, rng: np.random.Generator) -> HuArray:
    """Bone cement: a few merging balls inside a body."""
    box = canvas.box(level, 6.0)
    places, axes = canvas.places_mm(box), canvas.frame(level)
    painted = np.zeros(places.shape[:3], dtype=np.bool_)
    for _ in range(4):
        offset = rng.uniform((-7.0, -4.0, -3.0), (7.0, 4.0, 3.0)) @ axes
        away = np.linalg.norm(places - canvas.centre_mm(level) - offset, axis=-1)
        painted |= away <= radius_mm * float(rng.uniform(0.6, 1.0))
    return _filled(canvas, box, painted & (canvas.labels[box] == level), hu, textured=False)


def screws(canvas: Canvas, level: Level, radius_mm: float, hu: float) -> HuArray:
    """Two pedicle screws, from behind through the pedicles into the body, with their blooming."""
    box = canvas.box(level, 55.0)
    axes = canvas.frame(level)
    local = (canvas.places_mm(box) - canvas.centre_mm(level)) @ axes.T
    painted = np.zeros(local.shape[:3], dtype=np.bool_)
    for side in (-1.0, 1.0):
        entry, tip = np.array([side * 19.0, 48.0, 5.0]), np.array([side * 8.0, -8.0, 2.0])
        way = (tip - entry) / np.linalg.norm(tip - entry)
        along = (local - entry) @ way
        across = np.linalg.norm(local - entry - along[..., None] * way, axis=-1)
        painted |= (across <= radius_mm) & (along >= 0) & (along <= np.linalg.norm(tip - entry))
    return _filled(canvas, box, painted, hu, textured=False)


def wedge(canvas: Canvas, level: Level, loss: float) -> Canvas:
    """A wedge fracture: what lies above a body is turned rigidly about its upper posterior edge.

    The front of the body loses this fraction of its height, the posterior wall keeps its own, and the end plates stay
    plane. Tissue inside the body is compressed, that in front of the spine is partly covered. The outlines are turned with
    the image.
    """
    axes = canvas.frame(level)
    box = canvas.box(level, 0.0)
    body = (canvas.places_mm(box)[canvas.labels[box] == level] - canvas.centre_mm(level)) @ axes.T
    middle = body[np.abs(body[:, 0]) < 8.0]
    back, front = np.quantile(middle[:, 1], [0.97, 0.03])
    upper, lower = np.quantile(middle[:, 2], [0.97, 0.03])
    height, depth = upper - lower, back - front
    slope = loss * height / depth
    out, labels = canvas.hu.copy(), canvas.labels.copy()
    centre, to_index = canvas.centre_mm(level), np.linalg.inv(canvas.affine_lps_mm[:3, :3])
    image = canvas.hu.astype(np.float32)
    for k in range(canvas.hu.shape[0]):
        plane = (slice(k, k + 1), slice(None), slice(None))
        local = (canvas.places_mm(plane) - centre) @ axes.T
        forward, above = _unturned(back - local[..., 1], local[..., 2] - lower, height, slope)
        source = np.stack([local[..., 0], back - forward, above + lower], axis=-1)
        index = (source @ axes + centre - canvas.affine_lps_mm[:3, 3]) @ to_index.T
        at = np.moveaxis(index, -1, 0)
        moved = local[..., 2] > lower
        bent = ndimage.map_coordinates(image, at, order=1, mode="nearest")
        out[plane] = _as_hu(np.where(moved, bent, canvas.hu[plane]))
        named = ndimage.map_coordinates(canvas.labels, at, order=0, mode="constant")
        labels[plane] = np.where(moved, named, canvas.labels[plane])
    return Canvas(out, labels, canvas.affine_lps_mm)


def _unturned(forward: FloatArray, above: FloatArray, height: float, slope: float) -> tuple[FloatArray, FloatArray]:
    """Where a place was before the wedge: mm in front of the posterior wall, and above the lower end plate."""
    angle = float(np.arctan(slope))
    left = np.maximum(height - forward * slope, _LEAST_LEFT * height)
    turned_forward = np.cos(angle) * forward - np.sin(angle) * (above - height)
    turned_above = np.sin(angle) * forward + np.cos(angle) * (above - height) + height
    share = np.clip(above / left, 0.0, 1.0)
    return (
        np.where(above > left, turned_forward, forward * (1 + (1 / np.cos(angle) - 1) * share)),
        np.where(above > left, turned_above, np.where(above > 0, above * height / left, above)),
    )


def _filled(
    canvas: Canvas, box: tuple[slice, ...], painted: npt.NDArray[np.bool_], hu: float, *, textured: bool = True
) -> HuArray:
    """The image with an area of another mean attenuation."""
    spacing = canvas.spacing_mm
    before = canvas.hu[box].astype(np.float64)
    weight = ndimage.gaussian_filter(painted.astype(np.float64), _BLUR_MM / spacing)
    texture = before - ndimage.gaussian_filter(before, _TEXTURE_MM / spacing) if textured else 0.0
    out = canvas.hu.copy()
    out[box] = _as_hu(before * (1 - weight) + (hu + texture) * weight)
    return out


def _as_hu(values: npt.NDArray[np.floating]) -> HuArray:
    return np.clip(np.rint(values), -1024.0, _MOST_HU).astype(np.int16)
