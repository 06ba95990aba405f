"""The real CTs of the data folder."""

from __future__ import annotations

from pathlib import Path

from training.ct import Ct, read_dicom, read_nifti

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
