"""Everything that the trainings read, in one folder: ``python -m training.prepare --data ../shared/data --out runs/inputs``.

It takes minutes and needs the data; the trainings then need the folder alone, so that it can be taken to a machine with a
GPU. The weights that label the real CTs without masks are those of the package, unless others are given.
"""

from __future__ import annotations

import argparse
import hashlib
import pickle
from importlib.resources import files
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name that its own documentation uses

from node.segment.grid import grid_around, resample_to_grid
from training.anatomy import Anatomy, total_vertebrae
from training.ct import Ct, read_dicom, read_nifti
from training.inputs import Inputs, store_inputs
from training.label_maps import isotropic_labels, load_anatomies
from training.real import labels_on_grid, load_masked
from training.refine_crops import Block, blocks
from training.semi import label_semi_automatically


def main() -> None:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="label the real CTs without masks with these")
    options = parser.parse_args()
    prepare(options.data, options.out, options.weights)


def prepare(data: Path, out: Path, weights: Path | None = None) -> None:
    """Writes the inputs of both trainings into the folder ``out``."""
    labelling = (
        weights.read_bytes() if weights else files("node.segment").joinpath("weights", "spine.safetensors").read_bytes()
    )
    digests = input_digests(data) | {"labelling weights": hashlib.sha256(labelling).hexdigest()[:12]}
    print("reading label maps", flush=True)
    anatomies = cached_anatomies(data, out)
    real = [*load_masked(data), *label_semi_automatically(data, labelling, print)]
    print("cutting out bodies", flush=True)
    store_inputs(Inputs(tuple(anatomies), tuple(real), tuple(map_blocks(data)), tuple(real_blocks(data)), digests), out)


def cached_anatomies(data: Path, out: Path) -> list[Anatomy]:
    """The anatomies, made once per output folder (it takes minutes)."""
    cache = out / "anatomies.pickle"
    if not cache.exists():
        out.mkdir(parents=True, exist_ok=True)
        cache.write_bytes(pickle.dumps(load_anatomies(data)))
    anatomies: list[Anatomy] = pickle.loads(cache.read_bytes())  # noqa: S301 - our own file
    return anatomies


def input_digests(data: Path) -> dict[str, str]:
    """First 12 digits of the SHA-256 of every file set under ``data`` (per folder of ``ct`` and ``labels``)."""
    out = {}
    for folder in sorted([*(data / "ct").iterdir(), *(data / "labels").iterdir()]):
        paths = sorted(p for p in ([folder] if folder.is_file() else folder.rglob("*")) if p.is_file())
        digest = hashlib.sha256()
        for path in paths:
            digest.update(path.read_bytes())
        out[folder.name] = digest.hexdigest()[:12]
    return out


def map_blocks(data: Path) -> list[Block]:
    """A block per whole body of every VerSe mask (T10 to L5), to be painted."""
    found = []
    paths = [*sorted((data / "labels" / "verse").rglob("*_seg-vert_msk.nii.gz"))]
    paths += [data / "ct" / "verse014" / "sub-verse014_seg-vert_msk.nii.gz"]
    for path in paths:
        vertebrae = isotropic_labels(sitk.ReadImage(str(path)), 1.0).astype(np.uint8)
        found += blocks(path.name[:14], None, np.where(vertebrae >= 17, vertebrae, 0).astype(np.uint8))
    return found


def real_blocks(data: Path) -> list[Block]:
    """Blocks of the real CTs with masks."""
    ct = data / "ct"
    [lidc] = read_dicom(ct / "lidc_0001", "lidc_0001")
    verse = read_nifti(ct / "verse014" / "sub-verse014_ct.nii.gz", "verse014")
    l3 = read_nifti(ct / "tptbox_l3" / "sub-ct_label-22_ct.nii.gz", "tptbox_l3")
    found = []
    for case, path in (
        (lidc, data / "labels" / "lidc_0001_totalsegmentator_mask.nii.gz"),
        (verse, ct / "verse014" / "sub-verse014_seg-vert_msk.nii.gz"),
        (l3, ct / "tptbox_l3" / "sub-ct_seg-vert_label-22_msk.nii.gz"),
    ):
        found += blocks_of_ct(case, path, total=case is lidc)
    return found


def blocks_of_ct(ct: Ct, path: Path, *, total: bool) -> list[Block]:
    """Blocks of a CT with a mask of whole vertebrae, numbered as TotalSegmentator (``total``) or as VerSe does."""
    grid = grid_around(ct.affine_lps_mm, ct.hu.shape, 1.0)
    labels = labels_on_grid(path, grid)
    vertebrae = total_vertebrae(labels) if total else labels.astype(np.uint8)
    # Smaller bodies than T8's are not what will be measured.
    vertebrae = np.where(vertebrae >= 15, vertebrae, 0).astype(np.uint8)
    return blocks(ct.name, resample_to_grid(ct.hu, ct.affine_lps_mm, grid).astype(np.int16), vertebrae)


if __name__ == "__main__":
    main()
