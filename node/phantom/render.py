"""From parts to an image: sample on a fine grid, average over the slice, blur with the kernel, add noise.

The fine grid has the axes of the output grid and an odd number of points per output voxel and axis, so that one of them is
the voxel's centre: its label is the voxel's label. It is rendered a few slices at a time, to limit memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.ndimage
from scipy.spatial.transform import Rotation

from node.model import Affine, HuArray, LabelArray, Orientation, Vector
from node.phantom.anatomy import Part
from node.phantom.parameters import Kernel, PatientPosition, PhantomParameters
from node.phantom.shapes import Matrix, Points, Trunk
from node.phantom.streaks import streaks

#: Range of a 12-bit scanner.
LOWEST_HU, HIGHEST_HU = -1024, 3071
_AIR_HU = -1000.0
#: The fine grid is not coarser than this; the partial volume of a solid is computed from its distance, not by sampling.
_COARSEST_MM = 1.6
#: Fine voxels rendered at a time.
_SLAB_VOXELS = 1_500_000
_FWHM_PER_SIGMA = 2.3548
#: Noise power of CT rises with the spatial frequency (ramp filter) from a small floor, in cycles per mm.
_NOISE_FLOOR_PER_MM = 0.02
#: Number of waves in the tissue texture, and their lengths: those that a CT resolves in a vertebral body (rounded).
_TEXTURE_WAVES = 64
_TEXTURE_WAVELENGTHS_MM = (3.0, 14.0)

Shape = tuple[int, int, int]
FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Output grid: (slices, rows, columns) and the 4 x 4 affine from the array index to LPS mm."""

    shape: Shape
    affine_lps_mm: Affine

    @property
    def spacing_mm(self) -> Vector:
        """Distance between voxel centres along axis 0, 1 and 2."""
        a, b, c = np.linalg.norm(self.affine_lps_mm[:3, :3], axis=0)
        return (float(a), float(b), float(c))


def grid_of(parameters: PhantomParameters) -> Grid:
    """The grid that the parameters describe."""
    x, y, z = np.eye(3)
    size_x, size_y, size_z = parameters.field_of_view.extent_mm
    # Direction of the slices, of a column (with rising row) and of a row (with rising column), and the extents along them.
    normal, down, right, extents = {
        Orientation.AXIAL: (z, y, x, (size_z, size_y, size_x)),
        Orientation.SAGITTAL: (x, -z, y, (size_x, size_z, size_y)),
        Orientation.CORONAL: (y, -z, x, (size_y, size_z, size_x)),
    }[parameters.orientation]
    if parameters.orientation is Orientation.AXIAL and parameters.patient_position in (
        PatientPosition.HEAD_FIRST_PRONE,
        PatientPosition.FEET_FIRST_PRONE,
    ):
        down, right = -down, -right
    if parameters.reverse_slices:
        normal = -normal
    turn = Rotation.from_rotvec(parameters.slice_rotation_deg, degrees=True).as_matrix()
    pixel = parameters.pixel_spacing_mm
    spacing = (parameters.slice_distance_mm, pixel, pixel)
    slices, rows, columns = (max(1, round(e / s)) for e, s in zip(extents, spacing, strict=True))
    shape = (slices, rows, columns)
    affine = np.eye(4)
    affine[:3, :3] = turn @ (np.stack([normal, down, right], axis=1) * np.array(spacing))
    centre = np.array(parameters.l3_position_lps_mm) + np.array(parameters.field_of_view.centre_mm)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def render(parts: Sequence[Part], grid: Grid, parameters: PhantomParameters) -> tuple[HuArray, LabelArray]:
    """Paint parts, whose frames are in LPS mm, onto the grid.

    Returns:
        The image in HU, int16, and the values of ``Anatomy`` at the voxels' centres, uint8; both (slices, rows, columns).
    """
    fine = tuple(_odd(s) for s in grid.spacing_mm)
    step = grid.spacing_mm[0] / fine[0]
    weights = _slice_profile(parameters.thickness_mm, step)
    halo = len(weights) // 2
    fine_affine = grid.affine_lps_mm.copy()
    fine_affine[:3, :3] /= np.array(fine)
    fine_affine[:3, 3] -= grid.affine_lps_mm[:3, :3] @ ((1 - 1 / np.array(fine)) / 2)
    placed = [_Placed.of(part, fine_affine) for part in parts]

    slices, rows, columns = grid.shape
    plane = (rows * fine[1], columns * fine[2])
    slab = max(2, int(_SLAB_VOXELS / (plane[0] * plane[1] * fine[0])) // 2 * 2)
    hu = np.empty(grid.shape, np.int16)
    anatomy = np.empty(grid.shape, np.uint8)
    noise = _noise(grid, parameters)
    starved = np.random.default_rng((parameters.seed, 4))
    for first in range(0, slices, slab):
        count = min(slab, slices - first)
        start = first * fine[0] + fine[0] // 2 - halo
        image, labels = _paint(placed, (start, 0, 0), ((count - 1) * fine[0] + 2 * halo + 1, *plane))
        if parameters.texture_sd_hu:
            image += _texture(parameters, fine_affine, start, image.shape) * np.clip((image + 500) / 400, 0, 1)
        averaged = np.zeros((count, *plane), np.float32)
        for k, weight in enumerate(weights):
            averaged += np.float32(weight) * image[k : k + (count - 1) * fine[0] + 1 : fine[0]]
        if parameters.screws is not None and parameters.orientation is Orientation.AXIAL:
            in_plane = (grid.spacing_mm[1] / fine[1], grid.spacing_mm[2] / fine[2])
            for plane_hu in averaged:
                plane_hu += streaks(plane_hu, in_plane, parameters.screws.streaks, starved)
        blurred = _blur(averaged, parameters.kernel, (grid.spacing_mm[1] / fine[1], grid.spacing_mm[2] / fine[2]))
        if fine[1] * fine[2] > 1:
            blurred = blurred.reshape(count, rows, fine[1], columns, fine[2]).mean(axis=(2, 4))
        for k in range(count):
            scanned = blurred[k] + next(noise) if parameters.noise_sd_hu else blurred[k]
            hu[first + k] = np.clip(np.rint(scanned), LOWEST_HU, HIGHEST_HU)
        centre = labels[halo : halo + (count - 1) * fine[0] + 1 : fine[0]]
        anatomy[first : first + count] = centre[:, fine[1] // 2 :: fine[1], fine[2] // 2 :: fine[2]]
    return hu, anatomy


def _texture(parameters: PhantomParameters, affine: Affine, start: int, shape: Shape) -> FloatImage:
    """Random inhomogeneity of a block of the fine grid that begins with slice ``start``: waves of random directions."""
    rng = np.random.default_rng((parameters.seed, 3))
    directions = rng.normal(size=(_TEXTURE_WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    wavelengths_mm = rng.uniform(*_TEXTURE_WAVELENGTHS_MM, size=(_TEXTURE_WAVES, 1))
    waves = 2 * np.pi * directions / wavelengths_mm
    shift = waves @ affine[:3, 3] + rng.uniform(0, 2 * np.pi, _TEXTURE_WAVES)
    per_index = waves @ affine[:3, :3]
    k, i, j = (
        np.exp(1j * np.outer(np.arange(first, first + n), per_index[:, axis]))
        for axis, (first, n) in enumerate(zip((start, 0, 0), shape, strict=True))
    )
    # A wave over the block is a product of its three axes; one matrix product adds all waves up.
    left = (k[:, None, :] * i[None, :, :] * np.exp(1j * shift)).reshape(-1, _TEXTURE_WAVES)
    both = np.concatenate([left.real, -left.imag], axis=1).astype(np.float32)
    field: FloatImage = both @ np.concatenate([j.real, j.imag], axis=1).astype(np.float32).T
    return field.reshape(shape) * np.float32(parameters.texture_sd_hu * np.sqrt(2 / _TEXTURE_WAVES))


def _odd(spacing_mm: float) -> int:
    """Smallest odd number of points that makes the fine grid fine enough."""
    return int(np.ceil(spacing_mm / _COARSEST_MM)) // 2 * 2 + 1


def _slice_profile(thickness_mm: float, step_mm: float) -> npt.NDArray[np.float64]:
    """Weights of the fine slices around the centre of a slice: a box of the slice's thickness, sum 1."""
    reach = int(np.ceil(max(0.0, thickness_mm / step_mm - 1) / 2 - 1e-6))
    edges = (np.arange(-reach, reach + 2) - 0.5) * step_mm
    overlap = np.diff(np.clip(edges, -thickness_mm / 2, thickness_mm / 2))
    weights: npt.NDArray[np.float64] = overlap / overlap.sum()
    return weights


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """A part on the fine grid: ``to_local`` (3 x 4) maps the index to the solid's frame; and its index box."""

    part: Part
    to_local: Matrix
    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]
    voxel_mm: float

    @classmethod
    def of(cls, part: Part, affine: Affine) -> _Placed:
        axes, origin = part.frame.axes, part.frame.origin_mm
        to_local = np.hstack([axes @ affine[:3, :3], (axes @ (affine[:3, 3] - origin))[:, None]])
        to_index = np.linalg.inv(affine[:3, :3])
        centre = to_index @ (origin - affine[:3, 3])
        reach = np.abs(to_index @ axes.T) @ np.array(part.solid.half_mm) + 1.0
        voxel_mm = float(np.linalg.norm(affine[:3, :3], axis=0).mean())
        low, high = np.floor(centre - reach).astype(np.int64), np.ceil(centre + reach).astype(np.int64) + 1
        return cls(part, to_local, low, high, voxel_mm)


def _paint(placed: Sequence[_Placed], start: Shape, shape: Shape) -> tuple[FloatImage, LabelArray]:
    """Paint all parts onto a block of the fine grid that begins at index ``start``."""
    image = np.full(shape, _AIR_HU, np.float32)
    labels = np.zeros(shape, np.uint8)
    skin = np.zeros(shape, np.float32)
    for item in placed:
        low = np.maximum(item.low, start)
        high = np.minimum(item.high, np.add(start, shape))
        if np.any(low >= high):
            continue
        ticks = [np.arange(a, b, dtype=np.float64) for a, b in zip(low, high, strict=True)]
        distance = item.part.solid.distance(*(_coordinate(row, ticks) for row in item.to_local))
        box = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        here, names = image[box], labels[box]
        distance = np.broadcast_to(distance, here.shape)
        if isinstance(item.part.solid, Trunk):
            skin[box] = distance
        elif item.part.least_depth_mm is not None:
            distance = np.maximum(distance, skin[box] + np.float32(item.part.least_depth_mm))
        for layer in item.part.layers:
            # Partial volume: the fraction of a voxel inside, from the distance of its centre to the surface.
            cover = np.float32(0.5 - layer.inset_mm / item.voxel_mm) - distance * np.float32(1 / item.voxel_mm)
            np.clip(cover, 0, 1, out=cover)
            cover *= np.float32(layer.hu) - here
            here += cover
            if layer.anatomy is not None:
                np.copyto(names, np.uint8(layer.anatomy), where=distance < -layer.inset_mm)
    return image, labels


def _coordinate(row: npt.NDArray[np.float64], ticks: Sequence[npt.NDArray[np.float64]]) -> Points:
    """One local coordinate over a block; axes that it does not depend on keep length 1."""
    total = np.full((1, 1, 1), row[3])
    for axis, tick in enumerate(ticks):
        if abs(row[axis]) > 1e-9:
            along = [1, 1, 1]
            along[axis] = -1
            total = total.astype(np.float32) if total.size > 1 else total
            total = total + (row[axis] * tick).reshape(along).astype(np.float32 if total.size > 1 else np.float64)
    return total.astype(np.float32)


def _sigmas_mm(kernel: Kernel) -> tuple[float, float]:
    """Standard deviations of the kernel's blur and of the wider blur that its edge enhancement subtracts."""
    sigma = kernel.fwhm_mm / _FWHM_PER_SIGMA
    return sigma, 2.0 * max(sigma, 0.3)


def _blur(image: FloatImage, kernel: Kernel, spacing_mm: tuple[float, float]) -> FloatImage:
    """Blur every slice with the kernel. Its sum is 1, so that the mean of a large region is unchanged."""
    narrow, wide = _sigmas_mm(kernel)

    def gauss(sigma_mm: float) -> FloatImage:
        blurred = image
        for axis in (1, 2):
            blurred = scipy.ndimage.gaussian_filter1d(
                blurred, sigma_mm / spacing_mm[axis - 1], axis=axis, mode="nearest", truncate=3.5
            )
        return blurred

    sharp = gauss(narrow) if narrow > 0 else image
    if kernel.edge == 0:
        return sharp
    return (1 + np.float32(kernel.edge)) * sharp - np.float32(kernel.edge) * gauss(wide)


def _noise(grid: Grid, parameters: PhantomParameters) -> Iterator[FloatImage]:
    """Noise of one slice after the other: (rows, columns), power spectrum of filtered backprojection."""
    _, rows, columns = grid.shape
    narrow, wide = _sigmas_mm(parameters.kernel)
    frequency = np.hypot(
        np.fft.fftfreq(rows, grid.spacing_mm[1])[:, None],
        np.fft.fftfreq(columns, grid.spacing_mm[2])[None, :],
    )
    edge = parameters.kernel.edge

    def passed(sigma: float) -> npt.NDArray[np.float64]:
        gauss: npt.NDArray[np.float64] = np.exp(-2 * (np.pi * sigma * frequency) ** 2)
        return gauss

    transfer = (1 + edge) * passed(narrow) - edge * passed(wide)
    amplitude = np.sqrt(frequency + _NOISE_FLOOR_PER_MM) * np.abs(transfer)
    # Rounding to whole HU adds a variance of 1/12.
    wanted = np.sqrt(max(parameters.noise_sd_hu**2 - 1 / 12, 0.0))
    amplitude = (amplitude * wanted * rows * columns / np.sqrt((amplitude**2).sum())).astype(np.float32)
    # Overlapping slices share noise: neighbours are correlated by their overlap.
    shared = min(0.45, max(0.1, 1 - parameters.slice_distance_mm / parameters.thickness_mm))
    own = np.float32(np.cos(np.arcsin(2 * shared) / 2))
    other = np.float32(np.sin(np.arcsin(2 * shared) / 2))
    rng = np.random.default_rng((parameters.seed, 2))

    def white() -> Iterator[FloatImage]:
        while True:
            # Real and imaginary part of a complex field are two independent slices.
            field = rng.standard_normal((2, rows, columns), np.float32)
            both = scipy.fft.ifft2((field[0] + 1j * field[1]) * amplitude)
            yield both.real
            yield both.imag

    planes = white()
    before = next(planes)
    for plane in planes:
        yield own * plane + other * before
        before = plane
