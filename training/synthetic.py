"""Synthetic CTs with their truth, at the resolution of a CT, for evaluation: digital phantoms and painted label maps.

None of these are used in training: the seeds differ, but the label maps and the method of painting do not. The figures
therefore show how the segmenter performs with other densities, poses, fields of view and scanners, less so with other
people.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional
from scipy import ndimage
from torch import Tensor

from node.model import Level
from node.phantom import make_phantom
from node.phantom.anatomy import Anatomy as PhantomAnatomy
from training.anatomy import L5, MAP_SPACING_MM, T12, Anatomy, Paint
from training.ct import Ct
from training.phantoms import FIRST_TRAINING_SEED, PATHOLOGY_SHARE, parameters_with_pathology
from training.synth import add_streaks, bent_grid, screwed
from training.variants import ribs_of, varied
from training.worn import WORN_PEOPLE_EVALUATED, painted_person

#: Separates the seeds of evaluation from those of training, which are small numbers.
STREAM = 20_000_101
#: A sacrum or a last rib counts as in view from this volume on, in cm3; L5, or T12 and L1, must be whole too.
SACRUM_IN_VIEW_CM3, RIB_IN_VIEW_CM3 = 30.0, 2.0
#: Distance in mm between the samples of a thick slice.
THROUGH_MM = 1.5
MOST_VOXELS = 12_000_000
_SPACING_MM = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticCt:
    """A CT whose bodies are known.

    Attributes:
        ct: the CT.
        labels: uint8, true bodies (L1 = 20 ...) on the CT's grid.
        usual: five lumbar vertebrae, the last rib at T12.
        sacrum: the sacrum is in view, below a whole L5.
        last_rib: the last rib is in view, with a whole T12 and L1.
    """

    ct: Ct
    labels: npt.NDArray[np.uint8]
    usual: bool
    sacrum: bool
    last_rib: bool

    @property
    def can_be_counted(self) -> bool:
        """Normal anatomy with a landmark in view: withholding every level is a loss."""
        return self.usual and (self.sacrum or self.last_rib)

    @property
    def cannot_be_seen(self) -> bool:
        """Variant anatomy with only one landmark in view: no count can recognise it."""
        return not self.usual and not (self.sacrum and self.last_rib)


def whole_levels(labels: npt.NDArray[np.uint8]) -> set[int]:
    """Labels of the bodies that are not cut by the edge of the volume."""
    inner = tuple(slice(1, -1) for _ in labels.shape)
    edge = np.ones(labels.shape, dtype=bool)
    edge[inner] = False
    return {int(v) for v in np.unique(labels) if v} - {int(v) for v in np.unique(labels[edge]) if v}


def phantom_ct(seed: int) -> SyntheticCt:
    """A phantom, some with fractures, degenerated discs and cages; seeds must be below FIRST_TRAINING_SEED."""
    if seed >= FIRST_TRAINING_SEED:
        raise ValueError(f"Phantoms of seed {FIRST_TRAINING_SEED} and above are used in training.")
    parameters = parameters_with_pathology(seed, PATHOLOGY_SHARE)
    phantom = make_phantom(parameters)
    anatomy = phantom.truth.anatomy
    voxel_cm3 = abs(float(np.linalg.det(phantom.affine_lps_mm[:3, :3]))) / 1000.0
    lowest = L5 if parameters.spine.lumbar_vertebrae == 5 else int(Level.L6)
    whole = whole_levels(np.where((anatomy >= PhantomAnatomy.T7) & (anatomy <= lowest), anatomy, 0).astype(np.uint8))
    sacrum = float((anatomy == PhantomAnatomy.SACRUM).sum()) * voxel_cm3
    rib = float((anatomy == PhantomAnatomy.RIB_12).sum()) * voxel_cm3
    return SyntheticCt(
        Ct(f"phantom {seed}", phantom.hu, phantom.affine_lps_mm),
        phantom.truth.labels,
        parameters.spine.lumbar_vertebrae == 5,
        lowest in whole and sacrum >= SACRUM_IN_VIEW_CM3,
        {T12, int(Level.L1)} <= whole and rib >= RIB_IN_VIEW_CM3,
    )


@dataclass(frozen=True, slots=True)
class View:
    """The imaging of a patient; sizes in mm along (superior, posterior, left), centre relative to the middle of L3."""

    kind: str
    centre_mm: tuple[float, float, float]
    extent_mm: tuple[float, float, float]
    pixel_mm: float
    slice_mm: float
    thickness_mm: float
    axis: int  # of the slices: 0 axial, 1 coronal, 2 sagittal
    reverse: bool


def painted_ct(anatomies: list[Anatomy], seed: int) -> SyntheticCt:
    """A painted label map as a CT, with random person, pose, contrast, implants, scanner, field of view."""
    rng = np.random.default_rng([STREAM, seed])
    torch.manual_seed(seed)
    base = anatomies[int(rng.integers(len(anatomies)))]
    anatomy = varied(base, rng)
    anatomy, hu = painted_person(anatomy, rng, np.random.default_rng([STREAM, seed, 1]), WORN_PEOPLE_EVALUATED)
    metal = rng.random() < 0.12
    if metal:
        hu = screwed(hu, anatomy, rng)
        add_streaks(hu, rng)
    # A voxel of the map is already an average over its volume; sampling between voxels blurs again.
    view = _view(rng)
    body = torch.from_numpy(anatomy.bodies > 0).float()
    label = torch.from_numpy(_grown(anatomy.bodies)).float()
    landmarks = torch.from_numpy(np.stack([anatomy.paint == Paint.SACRUM, ribs_of(anatomy, T12)]).astype(np.float32))
    lumbar = anatomy.bodies >= Level.L1
    middle = np.argwhere(lumbar).mean(axis=0) if lumbar.any() else np.array(anatomy.paint.shape) / 2
    pose = _Pose(rng, anatomy.paint.shape, middle)
    axes, affine = _axes(view)
    image = np.empty([len(a) for a in axes], dtype=np.float32)
    truth = np.empty(image.shape, dtype=np.uint8)
    samples = max(1, round(view.thickness_mm / THROUGH_MM))
    shifts = (np.arange(samples) - (samples - 1) / 2) * view.thickness_mm / samples
    above_air = hu[None] + 1024.0
    for k in range(image.shape[view.axis]):
        at = list(axes)
        slab = tuple(slice(k, k + 1) if axis == view.axis else slice(None) for axis in range(3))
        at[view.axis] = axes[view.axis][k : k + 1]
        centre = where = pose.in_map(at)
        if samples > 1:
            at[view.axis] = axes[view.axis][k : k + 1] + shifts
            where = pose.in_map(at)
        image[slab] = _sample(above_air, where)[0].mean(dim=view.axis, keepdim=True).numpy() - 1024.0
        inside = _sample(body[None], centre)[0] >= 0.5
        names = _sample(label[None], centre, mode="nearest")[0]
        truth[slab] = torch.where(inside, names, torch.zeros(())).round().to(torch.uint8).numpy()
    coarse = [np.arange(a.min(), a.max(), _SPACING_MM) for a in axes]
    sacrum, rib = _sample(landmarks, pose.in_map(coarse)).sum(dim=(1, 2, 3)).numpy() * _SPACING_MM**3 / 1000.0
    image = _scanned(image, view, rng)
    whole = whole_levels(truth)
    # Fractures and fusions keep the level, other numbers of vertebrae or ribs do not.
    usual = anatomy.name == base.name
    lowest = int(anatomy.bodies.max())
    order = tuple(slice(None, None, -1) if view.reverse and axis == view.axis else slice(None) for axis in range(3))
    turned = (view.axis, *(axis for axis in range(3) if axis != view.axis))
    name = f"{view.kind} {seed} ({anatomy.name}{', screws' if metal else ''})"
    return SyntheticCt(
        Ct(name, np.ascontiguousarray(image[order].transpose(turned)).astype(np.int16), affine),
        np.ascontiguousarray(np.where(truth >= Level.L1, truth, 0)[order].transpose(turned)),
        usual,
        lowest in whole and sacrum >= SACRUM_IN_VIEW_CM3,
        {T12, int(Level.L1)} <= whole and rib >= RIB_IN_VIEW_CM3,
    )


def _view(rng: np.random.Generator) -> View:
    u = rng.uniform
    kinds = ["trunk", "abdomen", "spine", "lumbar", "upper", "sagittal"]
    kind = str(rng.choice(kinds, p=[0.2, 0.2, 0.2, 0.15, 0.1, 0.15]))
    shift = (u(-25, 25), u(-10, 20), u(-15, 15))
    heights = {"trunk": (380, 600), "abdomen": (230, 330), "spine": (200, 300), "lumbar": (160, 230)}
    widths = {"trunk": (360, 480), "abdomen": (300, 420), "spine": (110, 180), "lumbar": (180, 320)}
    height, width = u(*heights.get(kind, (200, 280))), u(*widths.get(kind, (160, 360)))
    centre = (shift[0], shift[1] - (0.15 * width if width > 250 else 0.0), shift[2])
    if kind == "upper":
        # Ends at L2 or L3, as many scans of the liver do.
        centre = (height / 2 - u(-15, 35), centre[1], centre[2])
    axis, slice_mm = 0, float(rng.choice([0.6, 1.0, 1.25, 2.0, 2.5, 3.0, 5.0]))
    extent = (height, min(width, 340.0), width)
    if kind == "sagittal":
        axis, slice_mm = 2, float(rng.choice([2.0, 3.0, 4.0]))
        extent = (height, u(160, 260), min(slice_mm * u(24, 34), 110.0))
    elif rng.random() < 0.08:
        axis, slice_mm = 1, float(rng.choice([2.0, 3.0]))
    plane = [e for i, e in enumerate(extent) if i != axis]
    pixel = max(u(0.5, 1.1), (plane[0] * plane[1] * extent[axis] / slice_mm / MOST_VOXELS) ** 0.5)
    thickness = slice_mm * float(rng.choice([1.0, 1.0, 1.25]))
    return View(kind, centre, extent, pixel, slice_mm, thickness, axis, bool(rng.random() < 0.5))


def _axes(view: View) -> tuple[list[npt.NDArray[np.float64]], npt.NDArray[np.float64]]:
    """Positions of the voxel centres along (superior, posterior, left) in mm, and the CT's index-to-LPS matrix."""
    steps = [view.slice_mm if axis == view.axis else view.pixel_mm for axis in range(3)]
    counts = [max(16, int(e / s)) for e, s in zip(view.extent_mm, steps, strict=True)]
    axes = [c + (np.arange(n) - (n - 1) / 2) * s for c, n, s in zip(view.centre_mm, counts, steps, strict=True)]
    columns = [np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0])]
    first = np.array([a[0] for a in axes])
    affine = np.eye(4)
    sign = [1.0, 1.0, 1.0]
    if view.reverse:
        first[view.axis], sign[view.axis] = axes[view.axis][-1], -1.0
    for column, axis in enumerate((view.axis, *(a for a in range(3) if a != view.axis))):
        affine[:3, column] = columns[axis] * steps[axis] * sign[axis]
    affine[:3, 3] = first[::-1]
    return axes, affine


class _Pose:
    """Maps a point of the posed patient to the label map: scaled, rotated, bent."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...], middle: npt.NDArray[np.float64]) -> None:
        self._scale = rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)
        extent = np.array(shape) * MAP_SPACING_MM * self._scale
        self._coarse = [int(n) for n in np.ceil(extent * 1.3 / _SPACING_MM)]
        points = bent_grid(
            (self._coarse[0], self._coarse[1], self._coarse[2]), rng, turn_deg=12.0, bend_mm=14.0, spine_mm=(0.0, 0.0)
        )
        self._points = points.permute(3, 0, 1, 2)[None].contiguous()
        self._middle = middle
        self._size = torch.tensor(shape, dtype=torch.float32)

    def in_map(self, at: list[npt.NDArray[np.float64]]) -> Tensor:
        """Positions for ``grid_sample`` in the map, (1, a, b, c, 3), of the points with these coordinates in mm."""
        points = torch.stack(torch.meshgrid(*[torch.from_numpy(a.astype(np.float32)) for a in at], indexing="ij"), dim=-1)
        half = torch.tensor([(n - 1) / 2 * _SPACING_MM for n in self._coarse], dtype=torch.float32)
        bent = functional.grid_sample(
            self._points, (points / half).flip(-1)[None], mode="bilinear", padding_mode="border", align_corners=True
        )[0].permute(1, 2, 3, 0)
        index = bent / torch.tensor(self._scale * MAP_SPACING_MM, dtype=torch.float32) + torch.tensor(
            self._middle, dtype=torch.float32
        )
        return (index * 2 / (self._size - 1) - 1).flip(-1)[None]


def _sample(volume: Tensor, where: Tensor, mode: str = "bilinear") -> Tensor:
    """(channels, ...) of a map at positions; zero outside of it."""
    return functional.grid_sample(volume[None], where, mode=mode, padding_mode="zeros", align_corners=True)[0]


def _grown(bodies: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Every label grown by two voxels, so that smooth surfaces find their label."""
    near = ndimage.distance_transform_edt(bodies == 0, return_distances=False, return_indices=True)
    return np.asarray(bodies[tuple(near)])


def _scanned(image: npt.NDArray[np.float32], view: View, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Kernel and noise in the plane of the slices."""
    plane = [0.0 if axis == view.axis else 1.0 for axis in range(3)]
    if rng.random() < 0.35:
        soft = ndimage.gaussian_filter(image, [p * 1.2 / view.pixel_mm for p in plane])
        image = image + float(rng.uniform(0.3, 1.2)) * (image - soft)
    noise = min(float(rng.exponential(20.0)), 70.0)
    grain = ndimage.gaussian_filter(
        rng.standard_normal(image.shape, dtype=np.float32), [p * rng.uniform(0.4, 1.1) / view.pixel_mm for p in plane]
    )
    grain *= noise / max(float(grain.std()), 1e-6)
    return np.clip(np.round(image + grain), -1024, 3071)
