"""The studies that files belong to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread

from node.common.dicom_file import open_dicom
from node.select.headers import READ_ERRORS, values_judged_here


@dataclass(frozen=True, slots=True)
class StudyFiles:
    """Files of one study that holds CT images; other objects of the study are among them."""

    study_instance_uid: str
    paths: tuple[Path, ...]


def ct_studies(paths: Sequence[Path]) -> tuple[StudyFiles, ...]:
    """The studies with CT images among the files, in the order of their first file.

    Files that cannot be read, and studies of other modalities, belong to none of them.
    """
    files: dict[str, list[Path]] = defaultdict(list)
    with_ct: set[str] = set()
    with values_judged_here():
        for path in paths:
            try:
                with open_dicom(path) as file:
                    ds = dcmread(file, stop_before_pixels=True, force=True, specific_tags=["StudyInstanceUID", "Modality"])
                uid = str(ds.get("StudyInstanceUID") or "").strip(" \0")
                is_ct = str(ds.get("Modality") or "").strip() == "CT"
            except READ_ERRORS:
                continue
            if uid:
                files[uid].append(path)
            if uid and is_ct:
                with_ct.add(uid)
    return tuple(StudyFiles(uid, tuple(held)) for uid, held in files.items() if uid in with_ct)
