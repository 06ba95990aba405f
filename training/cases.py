"""The real CTs: those in the data folder, and two that are held out of training."""

from __future__ import annotations

import sys
from pathlib import Path

from node.select import load_volume, select_series
from node.settings.tree import SelectSettings
from training.ct import Ct, read_dicom, read_nifti

#: Test files of TotalSegmentator's source, downloaded by ``make test``.
HELD_OUT = Path(sys.prefix) / "source" / "tests" / "reference_files"
#: Bodies of ``totalsegmentator_abdomen`` as outlined by TotalSegmentator, T12 to L5 = 19 to 24.
HELD_OUT_BODIES = HELD_OUT / "spine_report" / "test_result" / "totalseg_vertebrae_pp_refined.nii.gz"
DICOM_CASES = ("juno_wb", "hcc_tace_006", "hcc_tace_011", "crlm_1004", "lidc_0001", "nlst_chest")


def real_cts(data: Path, names: tuple[str, ...] = ()) -> list[Ct]:
    """Every real CT under ``data``, or those whose name starts with one of ``names``."""
    found: list[Ct] = []
    for name in DICOM_CASES:
        if not names or name.startswith(names):
            found += read_dicom(data / "ct" / name, name)
    if not names or "verse014".startswith(names):
        found.append(read_nifti(data / "ct" / "verse014" / "sub-verse014_ct.nii.gz", "verse014"))
    return found


def selected_ct(folder: Path, name: str) -> Ct:
    """The series of a folder that the node would measure: any orientation, without stray images."""
    paths = tuple(sorted(path for path in folder.rglob("*") if path.is_file()))
    volume = load_volume(select_series(paths, SelectSettings()).candidates[0])
    return Ct(name, volume.hu, volume.affine_lps_mm)


def held_out_cts(names: tuple[str, ...] = ()) -> list[Ct]:
    """Real CTs that are never used in training, if present, or those whose name starts with one of ``names``."""
    cases = {
        "totalsegmentator_abdomen": HELD_OUT / "example_ct.nii.gz",
        "totalsegmentator_chest": HELD_OUT / "aorta_report" / "example_ct.nii.gz",
    }
    wanted = {name: path for name, path in cases.items() if (not names or name.startswith(names)) and path.exists()}
    return [read_nifti(path, name) for name, path in wanted.items()]
