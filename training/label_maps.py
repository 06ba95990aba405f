"""Reads label maps of real people and converts them to tissue maps (:mod:`training.anatomy`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - the name that its own documentation uses

from training.anatomy import L1, MAP_SPACING_MM, Anatomy, Paint, finished, grafted, total_vertebrae

#: The SPL atlas is stored at 0.9375 x 0.9375 x 1.5 mm, at which L1 to L5 would be 67 mm high and L3 19 cm3; with these
#: spacings they have the 140 mm and 55 cm3 of the VerSe masks.
SPL_SPACING_MM = (1.6, 1.6, 3.0)


def load_anatomies(data: Path) -> list[Anatomy]:
    """All anatomies from the label maps under ``data`` (the data folder)."""
    labels = data / "labels"
    spl = _spl(labels / "spl_abdominal_atlas" / "seg.nrrd")
    grafts = {
        "verse004": labels / "verse" / "sub-verse004" / "sub-verse004_seg-vert_msk.nii.gz",
        "verse010": labels / "verse" / "sub-verse010" / "sub-verse010_seg-vert_msk.nii.gz",
        "sample001": labels / "verse" / "sub-sample001" / "sub-sample001_seg-vert_msk.nii.gz",
        "verse014": data / "ct" / "verse014" / "sub-verse014_seg-vert_msk.nii.gz",
    }
    found = [finished("spl", *spl)]
    found += [finished(name, *grafted(isotropic_labels(sitk.ReadImage(str(path))), *spl)) for name, path in grafts.items()]
    found.append(total_anatomy(labels / "lidc_0001_totalsegmentator_mask.nii.gz", "lidc"))
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
    # Coarse slices: the label whose smoothed indicator is largest, so that surfaces have no steps.
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
    """Isotropic paint map and vertebra labels from a map that contains paints, and 100 + label in vertebrae."""
    image = sitk.GetImageFromArray(merged)
    image.CopyInformation(like)
    both = isotropic_labels(image)
    return np.where(both < 100, both, 0).astype(np.uint8), np.where(both > 100, both - 100, 0).astype(np.uint8)


def total_anatomy(path: Path, name: str) -> Anatomy:
    """The person of a TotalSegmentator (version 2, task total) mask."""
    return finished(name, *_total(path))


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
