"""Label maps of real people as tissue maps that a CT can be painted from.

Every map is on an isotropic LPS grid (superior, posterior, left) of :data:`MAP_SPACING_MM`. Maps that hold only vertebrae
are completed with the surroundings of the SPL atlas, warped along the spine so that the vertebrae coincide.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - the name that its own documentation uses
from scipy import ndimage

from node.segment.body_cut import cut_bodies

MAP_SPACING_MM = 2.0
#: The SPL atlas is stored at 0.9375 x 0.9375 x 1.5 mm, at which L1 to L5 would be 67 mm high and L3 19 cm3; with these
#: spacings they have the 140 mm and 55 cm3 of the VerSe masks.
SPL_SPACING_MM = (1.6, 1.6, 3.0)

L5, L1, T12 = 24, 20, 19


class Paint(IntEnum):
    """Tissues that are painted with their own HU."""

    OUTSIDE = 0
    FAT = 1
    MUSCLE = 2
    LIVER = 3
    SPLEEN = 4
    KIDNEY = 5
    URINARY = 6
    ARTERY = 7
    VEIN = 8
    BOWEL = 9
    STOMACH = 10
    SOFT_ORGAN = 11
    LUNG = 12
    HEART = 13
    AIRWAY = 14
    CANAL = 15
    UPPER_BODY = 20
    LUMBAR_BODY = 21
    POSTERIOR = 22
    DISC = 23
    SACRUM = 24
    RIB = 25
    HIP = 26
    OTHER_BONE = 27


BONES = (Paint.UPPER_BODY, Paint.LUMBAR_BODY, Paint.POSTERIOR, Paint.SACRUM, Paint.RIB, Paint.HIP, Paint.OTHER_BONE)


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """One person as a tissue map.

    Attributes:
        name: where it comes from.
        paint: uint8, values of :class:`Paint`.
        bodies: uint8, label of the vertebral body (VerSe: T12 = 19, L1 = 20 ...), 0 elsewhere.
        shell: bool, the outer layer of bone (cortex).
    """

    name: str
    paint: npt.NDArray[np.uint8]
    bodies: npt.NDArray[np.uint8]
    shell: npt.NDArray[np.bool_]


def load_anatomies(data: Path) -> list[Anatomy]:
    """All anatomies that the label maps under ``data`` (the data folder) give."""
    labels = data / "labels"
    spl = _spl(labels / "spl_abdominal_atlas" / "seg.nrrd")
    grafts = {
        "verse004": labels / "verse" / "sub-verse004" / "sub-verse004_seg-vert_msk.nii.gz",
        "verse010": labels / "verse" / "sub-verse010" / "sub-verse010_seg-vert_msk.nii.gz",
        "sample001": labels / "verse" / "sub-sample001" / "sub-sample001_seg-vert_msk.nii.gz",
        "verse014": data / "ct" / "verse014" / "sub-verse014_seg-vert_msk.nii.gz",
    }
    found = [_finished("spl", *spl)]
    found += [_finished(name, *_grafted(isotropic_labels(sitk.ReadImage(str(path))), *spl)) for name, path in grafts.items()]
    found.append(_finished("lidc", *_total(labels / "lidc_0001_totalsegmentator_mask.nii.gz")))
    return found


def isotropic_labels(image: sitk.Image, spacing_mm: float = MAP_SPACING_MM) -> npt.NDArray[np.int16]:
    """A label image on the isotropic LPS grid around it, edges of labels smoothed between slices."""
    size = image.GetSize()
    corners = [
        image.TransformContinuousIndexToPhysicalPoint([(n - 1) * float((c >> i) & 1) for i, n in enumerate(size)])
        for c in range(8)
    ]
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    target = sitk.Image([int(n) for n in np.floor((high - low) / spacing_mm) + 1], sitk.sitkInt16)
    target.SetSpacing([spacing_mm] * 3)
    target.SetOrigin([float(v) for v in low])
    image = sitk.Cast(image, sitk.sitkInt16)
    step = [float(s) for s in image.GetSpacing()]
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(target)
    if max(step) <= 1.2 * spacing_mm:
        resampler.SetInterpolator(sitk.sitkNearestNeighbor)
        return np.asarray(sitk.GetArrayFromImage(resampler.Execute(image)), dtype=np.int16)
    # Coarse slices: the label whose smoothed indicator is largest, so that surfaces are not stairs.
    resampler.SetInterpolator(sitk.sitkLinear)
    best = np.full(sitk.GetArrayViewFromImage(target).shape, 0.0, dtype=np.float32)
    out = np.zeros(best.shape, dtype=np.int16)
    for label in np.unique(sitk.GetArrayViewFromImage(image)):
        indicator = sitk.Cast(image == int(label), sitk.sitkFloat32)
        smooth = sitk.SmoothingRecursiveGaussian(indicator, [max(0.3 * max(step), 0.5)] * 3)
        share = sitk.GetArrayFromImage(resampler.Execute(smooth))
        better = share > best
        out[better] = label
        best[better] = share[better]
    return out


_SPL_PAINT: dict[Paint, tuple[int, ...]] = {
    Paint.LIVER: (3,),
    Paint.SPLEEN: (4,),
    Paint.KIDNEY: (51, 52),
    Paint.URINARY: (141, 142, 145, 146),
    Paint.ARTERY: (7, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 29, 71, 72, 73, 74, 75, 76, 126, 127, 227),
    Paint.VEIN: (8, 11, 12, 81, 82, 83, 84, 85, 86, 117, 128, 129, 151, 152, 153),
    Paint.BOWEL: (9,),
    Paint.STOMACH: (13,),
    Paint.SOFT_ORGAN: (6, 10, 111, 112),
    Paint.MUSCLE: (32, 131, 133, 135, 136, 137, 138, 139, 140, 143, 231, 233, 235, 236, 237, 238, 239, 240, 241),
    Paint.DISC: tuple(range(551, 560)),
    Paint.SACRUM: (600, 700),
    Paint.RIB: tuple(range(681, 693)),
    Paint.HIP: (299, 699),
}


def _spl(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Paint map and vertebra labels (whole vertebrae) of the SPL atlas, padded at the sides for a body wall."""
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS")
    image.SetSpacing(SPL_SPACING_MM)
    image.SetDirection(np.eye(3).ravel().tolist())
    image.SetOrigin((0.0, 0.0, 0.0))
    labels = sitk.GetArrayFromImage(image)
    merged = np.zeros(labels.shape, dtype=np.int16)
    for value, members in _SPL_PAINT.items():
        merged[np.isin(labels, members)] = value
    for first, count, target in ((409, 4, 16), (501, 5, L1)):
        for i in range(count):
            merged[labels == first + i] = 100 + target + i
    return _split(merged, image)


def _split(merged: npt.NDArray[np.int16], like: sitk.Image) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Isotropic paint map and vertebra labels from a map that holds paints, and 100 + label in vertebrae."""
    image = sitk.GetImageFromArray(merged)
    image.CopyInformation(like)
    both = isotropic_labels(image)
    return np.where(both < 100, both, 0).astype(np.uint8), np.where(both > 100, both - 100, 0).astype(np.uint8)


def _grafted(
    vertebrae: npt.NDArray[np.int16], paint: npt.NDArray[np.uint8], host: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Vertebrae of one person in the surroundings of another: the host is warped so that body centres coincide."""
    guest_centres = _body_centres(vertebrae.astype(np.uint8))
    host_centres = _body_centres(host)
    common = [label for label in range(16, 25) if label in guest_centres and label in host_centres]
    guest = np.array([guest_centres[label] for label in common])
    target = np.array([host_centres[label] for label in common])
    shape = host.shape
    # The new volume: the host's extent, shifted so that L5 of the guest lies where the host's is.
    shift = np.round(target[-1] - guest[-1]).astype(int)
    moved = np.zeros(shape, dtype=np.uint8)
    source, destination = _overlap(vertebrae.shape, shape, shift)
    moved[destination] = vertebrae[source]
    guest = guest + shift
    order = np.argsort(guest[:, 0])
    z = np.arange(shape[0], dtype=np.float64)
    stretch = (target[0, 0] - target[-1, 0]) / (guest[0, 0] - guest[-1, 0])
    host_z = np.interp(z, guest[order, 0], target[order, 0])
    below, above = z < guest[order[0], 0], z > guest[order[-1], 0]
    host_z[below] = target[order[0], 0] + (z[below] - guest[order[0], 0])
    host_z[above] = target[order[-1], 0] + (z[above] - guest[order[-1], 0]) * stretch
    offsets = [np.interp(z, guest[order, 0], (target - guest)[order, axis]) for axis in (1, 2)]
    y, x = np.arange(shape[1]), np.arange(shape[2])
    take_z = np.clip(np.round(host_z).astype(int), 0, shape[0] - 1)
    new_paint = np.zeros(shape, dtype=np.uint8)
    new_host = np.zeros(shape, dtype=np.uint8)
    for k in range(shape[0]):
        rows = np.clip(np.round(y + offsets[0][k]).astype(int), 0, shape[1] - 1)
        columns = np.clip(np.round(x + offsets[1][k]).astype(int), 0, shape[2] - 1)
        new_paint[k] = paint[take_z[k]][np.ix_(rows, columns)]
        new_host[k] = host[take_z[k]][np.ix_(rows, columns)]
    keep_host = (new_host > 0) & ~np.isin(new_host, common)
    labels = np.where(keep_host & (moved == 0), new_host, moved).astype(np.uint8)
    # Where the host's vertebrae stick out of the guest's: soft tissue like that around the spine.
    new_paint[np.isin(new_host, common) & (labels == 0)] = Paint.MUSCLE
    new_paint[np.isin(new_paint, (Paint.SACRUM,)) & (labels > 0)] = Paint.FAT
    top = np.flatnonzero((labels > 0).any(axis=(1, 2)))[-1]
    return new_paint[: top + 1], labels[: top + 1]


def _overlap(
    source_shape: tuple[int, ...], target_shape: tuple[int, ...], shift: npt.NDArray[np.int_]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of a source and a target that coincide when the source is moved by ``shift`` voxels."""
    source, target = [], []
    for n, m, s in zip(source_shape, target_shape, shift, strict=True):
        low, high = max(0, int(s)), min(m, n + int(s))
        target.append(slice(low, high))
        source.append(slice(low - int(s), high - int(s)))
    return tuple(source), tuple(target)


def _body_centres(vertebrae: npt.NDArray[np.uint8]) -> dict[int, npt.NDArray[np.float64]]:
    bodies = np.where(cut_bodies(vertebrae, MAP_SPACING_MM), vertebrae, 0)
    return {int(v): np.argwhere(bodies == v).mean(axis=0) for v in np.unique(bodies) if v}


def _total(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Paint map and vertebra labels of a TotalSegmentator (version 2, task total) mask."""
    groups: dict[Paint, tuple[int, ...]] = {
        Paint.SPLEEN: (1,),
        Paint.KIDNEY: (2, 3),
        Paint.SOFT_ORGAN: (4, 7, 8, 9, 17),
        Paint.LIVER: (5,),
        Paint.STOMACH: (6,),
        Paint.LUNG: (10, 11, 12, 13, 14),
        Paint.AIRWAY: (16,),
        Paint.BOWEL: (15, 18, 19, 20),
        Paint.HEART: (51, 61),
        Paint.ARTERY: (52, 54, 55, 56, 57, 58),
        Paint.VEIN: (53, 59, 60, 62, 63, 64),
        Paint.CANAL: (79,),
        Paint.MUSCLE: tuple(range(80, 90)),
        Paint.RIB: tuple(range(92, 116)),
        Paint.OTHER_BONE: (69, 70, 71, 72, 73, 74, 116),
    }
    image = sitk.ReadImage(str(path))
    labels = sitk.GetArrayFromImage(image)
    merged = np.zeros(labels.shape, dtype=np.int16)
    for value, members in groups.items():
        merged[np.isin(labels, members)] = value
    vertebrae = total_vertebrae(labels.astype(np.int16))
    merged[vertebrae > 0] = 100 + vertebrae[vertebrae > 0]
    return _split(merged, image)


def total_vertebrae(labels: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """Vertebrae of a TotalSegmentator mask (27 = L5 ... 50 = C1) in the numbering of VerSe (24 = L5 ... 1 = C1)."""
    inside = (labels >= 27) & (labels <= 50)
    return np.where(inside, 51 - labels, 0).astype(np.uint8)


def _finished(name: str, paint: npt.NDArray[np.uint8], vertebrae: npt.NDArray[np.uint8]) -> Anatomy:
    """Adds what every map needs: bodies, discs, body wall, shell of cortex."""
    paint = paint.copy()
    bodies = np.where(cut_bodies(vertebrae, MAP_SPACING_MM), vertebrae, 0).astype(np.uint8)
    inside = _body_hull(paint > 0)
    paint[inside & (paint == 0)] = Paint.FAT
    paint[between_bodies(bodies, paint == Paint.SACRUM) & (vertebrae == 0) & (paint != Paint.SACRUM)] = Paint.DISC
    paint[(vertebrae > 0) & (bodies == 0)] = Paint.POSTERIOR
    paint[(bodies > 0) & (bodies < L1)] = Paint.UPPER_BODY
    paint[bodies >= L1] = Paint.LUMBAR_BODY
    bone = np.isin(paint, BONES)
    # Bones that touch (facet joints, sacroiliac joint) keep a cortex between them: the shell is taken tissue by tissue.
    same = ndimage.minimum_filter(paint, size=3) == ndimage.maximum_filter(paint, size=3)
    box = (slice(None), *_box_with_margin((paint > 0).any(axis=0), 12))
    return Anatomy(name, *(np.ascontiguousarray(a[box]) for a in (paint, bodies, bone & ~same)))


def _box_with_margin(mask: npt.NDArray[np.bool_], margin: int) -> tuple[slice, ...]:
    """Slices around everything that is set, with a margin in voxels."""
    places = np.argwhere(mask)
    low = np.maximum(places.min(axis=0) - margin, 0)
    high = np.minimum(places.max(axis=0) + margin + 1, mask.shape)
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def between_bodies(
    bodies: npt.NDArray[np.uint8], sacrum: npt.NDArray[np.bool_], most_mm: float = 18.0, spacing_mm: float = MAP_SPACING_MM
) -> npt.NDArray[np.bool_]:
    """Disc spaces: what lies above one body and below the next (or between L5 and the sacrum) within ``most_mm``."""
    out = np.zeros(bodies.shape, dtype=bool)
    reach = int(most_mm / spacing_mm)
    for label in np.unique(bodies):
        if label == 0:
            continue
        below = sacrum if label == L5 else bodies == label + 1
        if not below.any():
            continue
        upper = bodies == label
        rows = np.flatnonzero((upper | below).any(axis=(1, 2)))
        box = slice(max(rows[0] - reach, 0), rows[-1] + reach)
        u, b = upper[box], below[box]
        # Along each column: bone of the upper body above within reach, bone of the lower one below within reach.
        has_above = _seen_along(u, reach, from_below=True)
        has_below = _seen_along(b, reach, from_below=False)
        out[box] |= has_above & has_below & ~u & ~b
    return out


def _seen_along(mask: npt.NDArray[np.bool_], reach: int, *, from_below: bool) -> npt.NDArray[np.bool_]:
    """Voxels from which ``mask`` is met within ``reach`` voxels going up (``from_below``) or down."""
    out = mask.copy()
    current = mask
    for _ in range(reach):
        moved = np.zeros_like(mask)
        if from_below:
            moved[:-1] = current[1:]
        else:
            moved[1:] = current[:-1]
        current = moved
        out |= current
    return out


def _body_hull(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Filled outline of everything labelled, slice by slice."""
    out = np.zeros_like(mask)
    disc = ndimage.generate_binary_structure(2, 1)
    for k, plane in enumerate(mask):
        if plane.any():
            padded = np.pad(plane, 24)
            closed = ndimage.binary_erosion(
                ndimage.binary_fill_holes(ndimage.binary_dilation(padded, disc, iterations=15)), disc, iterations=15
            )
            out[k] = closed[24:-24, 24:-24]
    return out
