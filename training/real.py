"""Real CTs with masks as training samples on the network's grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from node.segment.body_cut import cut_bodies
from node.segment.grid import IsoGrid, grid_around, resample_to_grid, sample_nearest
from node.segment.network import SPACING_MM, Tissue
from training.anatomy import L1, L5, between_bodies, total_vertebrae
from training.ct import Ct, read_dicom, read_labels, read_nifti
from training.synth import IGNORED, Sample, centres_of

#: Attenuation that separates bone of the sacrum from soft tissue.
SACRUM_HU = 150.0


@dataclass(frozen=True, slots=True, eq=False)
class MaskedCt:
    """A real CT with a mask of whole vertebrae.

    Attributes:
        ct: the CT.
        mask: file, numbered as VerSe does, or (``total``) as TotalSegmentator does, version 2, task total.
        total: which numbering ``mask`` uses.
    """

    ct: Ct
    mask: Path
    total: bool


def masked_cts(data: Path) -> list[MaskedCt]:
    """The real CTs under ``data`` that come with masks."""
    ct = data / "ct"
    [lidc] = read_dicom(ct / "lidc_0001", "lidc_0001")
    verse = read_nifti(ct / "verse014" / "sub-verse014_ct.nii.gz", "verse014")
    l3 = read_nifti(ct / "tptbox_l3" / "sub-ct_label-22_ct.nii.gz", "tptbox_l3")
    return [
        MaskedCt(lidc, data / "labels" / "lidc_0001_totalsegmentator_mask.nii.gz", total=True),
        MaskedCt(verse, ct / "verse014" / "sub-verse014_seg-vert_msk.nii.gz", total=False),
        MaskedCt(l3, ct / "tptbox_l3" / "sub-ct_seg-vert_label-22_msk.nii.gz", total=False),
    ]


def sample_of(case: MaskedCt) -> Sample:
    """A CT with a mask on the network's grid."""
    return _total_sample(case.ct, case.mask) if case.total else _vertebrae_only(case.ct, case.mask)


def labels_on_grid(path: Path, grid: IsoGrid) -> npt.NDArray[np.int16]:
    """The labels of a file at the voxel centres of a grid (nearest), 0 outside."""
    labels, affine = read_labels(path)
    return sample_nearest(labels, np.linalg.inv(affine) @ grid.affine_lps_mm(), grid.shape)


def _total_sample(ct: Ct, mask: Path) -> Sample:
    grid = grid_around(ct.affine_lps_mm, ct.hu.shape, SPACING_MM)
    hu = resample_to_grid(ct.hu, ct.affine_lps_mm, grid)
    labels = labels_on_grid(mask, grid)
    classes, bodies = classes_of(total_vertebrae(labels))
    classes[(labels >= 92) & (labels <= 115)] = Tissue.RIB
    return Sample(ct.name, hu.astype(np.float16), classes, bodies, centres_of(bodies))


def _vertebrae_only(ct: Ct, mask: Path) -> Sample:
    """A CT with some labelled vertebrae; other bone is left out of the loss."""
    grid = grid_around(ct.affine_lps_mm, ct.hu.shape, SPACING_MM)
    hu = resample_to_grid(ct.hu, ct.affine_lps_mm, grid)
    classes, bodies = classes_of(labels_on_grid(mask, grid).astype(np.uint8))
    known = classes > 0
    bone = ndimage.binary_dilation(ndimage.gaussian_filter(hu, 1.0) > 90, iterations=2)
    beyond = np.zeros_like(known)
    rows = np.flatnonzero(known.any(axis=(1, 2)))
    beyond[: rows[0] + 8] = True
    beyond[rows[-1] - 8 :] = True
    unknown = bone & ~known & beyond
    classes[unknown] = IGNORED
    if bodies.max() == L5:
        classes[_below_l5(hu, unknown, bodies)] = Tissue.SACRUM
    return Sample(ct.name, hu.astype(np.float16), classes, bodies, centres_of(bodies))


def _below_l5(
    hu: npt.NDArray[np.float32], unknown: npt.NDArray[np.bool_], bodies: npt.NDArray[np.uint8]
) -> npt.NDArray[np.bool_]:
    """The sacrum of a narrow field of view: the largest piece of unlabelled bone below the middle of L5, holes closed."""
    middle = int(np.argwhere(bodies == L5)[:, 0].mean())
    bone = unknown & (hu > SACRUM_HU)
    bone[middle:] = False
    parts, _ = ndimage.label(bone)
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    return np.asarray(ndimage.binary_closing(np.pad(largest, 4), iterations=3)[4:-4, 4:-4, 4:-4] & unknown)


def classes_of(vertebrae: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Classes and body labels on the network's grid from labels of whole vertebrae (VerSe numbering)."""
    body = cut_bodies(vertebrae, SPACING_MM)
    bodies = np.where(body, vertebrae, 0).astype(np.uint8)
    classes = np.zeros(vertebrae.shape, dtype=np.uint8)
    none = np.zeros(vertebrae.shape, dtype=bool)
    classes[between_bodies(bodies, none, 15.0, SPACING_MM) & (vertebrae == 0)] = Tissue.DISC
    classes[(vertebrae > 0) & ~body] = Tissue.POSTERIOR_ELEMENTS
    classes[body & (vertebrae < L1)] = Tissue.UPPER_BODY
    classes[body & (vertebrae >= L1)] = Tissue.LUMBAR_BODY
    return classes, bodies
