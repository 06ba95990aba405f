"""Prepares all inputs of the trainings in one folder: ``python -m training.prepare --data ../shared/data --out
runs/inputs``.

It takes minutes and needs the data. The trainings then need only the folder, which can be copied to a machine with a GPU.
The weights that label the real CTs without masks are those of the package, unless others are given.
"""

from __future__ import annotations

import argparse
import hashlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the name that its own documentation uses

from node.segment.grid import grid_around, resample_to_grid
from training.anatomy import total_vertebrae
from training.inputs import Inputs, store_inputs
from training.label_maps import isotropic_labels, load_anatomies
from training.real import MaskedCt, labels_on_grid, masked_cts, sample_of
from training.refine_crops import Block, blocks
from training.semi import label_semi_automatically


def main() -> None:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="weights that label the real CTs without masks")
    options = parser.parse_args()
    prepare(options.data, options.out, options.weights)


def prepare(data: Path, out: Path, weights: Path | None = None) -> None:
    """Write the inputs of both trainings into the folder ``out``."""
    labelling = (
        weights.read_bytes() if weights else files("node.segment").joinpath("weights", "spine.safetensors").read_bytes()
    )
    digests = input_digests(data) | {"labelling weights": hashlib.sha256(labelling).hexdigest()[:12]}
    print("reading label maps", flush=True)
    anatomies = load_anatomies(data)
    masked = masked_cts(data)
    real = [*map(sample_of, masked), *label_semi_automatically(data, labelling, print)]
    print("cutting out bodies", flush=True)
    own = [block for case in masked for block in blocks_of_ct(case)]
    store_inputs(Inputs(tuple(anatomies), tuple(real), tuple(map_blocks(data)), tuple(own), digests), out)


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
    """A block per complete body of every VerSe mask (T10 to L5), to be painted."""
    found = []
    paths = [*sorted((data / "labels" / "verse").rglob("*_seg-vert_msk.nii.gz"))]
    paths += [data / "ct" / "verse014" / "sub-verse014_seg-vert_msk.nii.gz"]
    for path in paths:
        vertebrae = isotropic_labels(sitk.ReadImage(str(path)), 1.0).astype(np.uint8)
        found += blocks(path.name[:14], None, np.where(vertebrae >= 17, vertebrae, 0).astype(np.uint8))
    return found


def blocks_of_ct(case: MaskedCt) -> list[Block]:
    """Blocks of a CT with a mask."""
    grid = grid_around(case.ct.affine_lps_mm, case.ct.hu.shape, 1.0)
    labels = labels_on_grid(case.mask, grid)
    vertebrae = total_vertebrae(labels) if case.total else labels.astype(np.uint8)
    # Bodies above T8 are smaller than those that are measured.
    vertebrae = np.where(vertebrae >= 15, vertebrae, 0).astype(np.uint8)
    return blocks(case.ct.name, resample_to_grid(case.ct.hu, case.ct.affine_lps_mm, grid).astype(np.int16), vertebrae)


if __name__ == "__main__":
    main()
