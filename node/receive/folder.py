"""Imports a folder of instances, as if they had been sent."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from node.common.errors import InputError
from node.receive.index import InstanceIndex
from node.receive.storage import InstanceStore, TakenAs
from node.settings.tree import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Imported:
    """Numbers of files found in a folder."""

    n_new: int
    n_duplicates: int
    n_conflicts: int
    n_own: int
    n_not_dicom: int


def import_folder(folder: Path, settings: Settings) -> Imported:
    """Import every DICOM file of a folder and its subfolders; the listener may be running.

    Files that are not DICOM are counted, not refused. The folder is only read.

    Raises:
        InputError: it is not a folder.
        StorageFullError: too little disk space; files imported before remain.
        ConfigurationError: the database cannot be opened.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    index = InstanceIndex.open(settings)
    store = InstanceStore(settings.state_dir, index, settings.listener.min_free_disk_mb * 1024 * 1024)
    taken: Counter[TakenAs] = Counter()
    n_not_dicom = 0
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        copy = store.import_name()
        try:
            shutil.copyfile(file, copy)
            taken[store.take(copy, association_id=None).taken_as] += 1
        except InputError as error:
            log.info("not imported: %s", error)
            n_not_dicom += 1
        finally:
            copy.unlink(missing_ok=True)
    return Imported(
        n_new=taken[TakenAs.NEW],
        n_duplicates=taken[TakenAs.DUPLICATE],
        n_conflicts=taken[TakenAs.CONFLICT],
        n_own=taken[TakenAs.OWN],
        n_not_dicom=n_not_dicom,
    )
