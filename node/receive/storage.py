"""Instances on disk: a file becomes part of the node's state only when complete, synced and recorded.

The steps of :meth:`InstanceStore.take`, and what a crash after each step leaves:

1. the data set is in ``incoming/`` with a temporary name: removed at the next start;
2. the file is synced, moved to ``received/<study>/<instance>-<content>.dcm`` and the directories are synced: a complete
   file without a record, recorded at the next start;
3. the record is committed: the caller may acknowledge.

File names are SHA-256 digests of UIDs and content: no sender-controlled text becomes a path, different contents have
different names, and equal contents the same name.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from node.common.errors import InputError, StorageFullError
from node.common.files import sync_folder
from node.receive.header import InstanceHeader, read_header
from node.receive.index import InstanceIndex, Recorded

log = logging.getLogger(__name__)

#: Manufacturer's Model Name (0008,1090) of objects created by the node.
OWN_MODEL_NAME = "bmd-node"
_IMPORT_PREFIX = "import-"
#: Remembered folders of studies; later ones are synced again, which costs little.
_MOST_SYNCED = 1000


class TakenAs(StrEnum):
    """Outcome of storing an instance."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    OWN = "own"


@dataclass(frozen=True, slots=True)
class Taken:
    """An instance that is safe to acknowledge."""

    taken_as: TakenAs
    header: InstanceHeader


class InstanceStore:
    """The files of the received instances; safe to share between threads.

    Args:
        state_dir: the state directory.
        min_free_bytes: with less free space, nothing is stored.
    """

    def __init__(self, state_dir: Path, index: InstanceIndex, min_free_bytes: int) -> None:
        self._state_dir = state_dir
        self._index = index
        self._min_free_bytes = min_free_bytes
        self._received_dir = state_dir / "received"
        self.incoming_dir = state_dir / "incoming"
        #: Folders of studies whose name in ``received/`` is synced; another association may have made one a moment ago.
        self._synced: set[Path] = set()
        for folder in (self._received_dir, self.incoming_dir):
            folder.mkdir(parents=True, exist_ok=True)
        sync_folder(state_dir)

    def check_room(self) -> None:
        """Check the free disk space.

        Raises:
            StorageFullError: there is less free space than the settings require.
        """
        free_bytes = shutil.disk_usage(self._state_dir).free
        if free_bytes < self._min_free_bytes:
            raise StorageFullError(
                f"{free_bytes >> 20} MB free in the state directory, {self._min_free_bytes >> 20} MB required"
            )

    def take(self, temporary: Path, association_id: str | None) -> Taken:
        """Store a file of ``incoming/``: sync, move, record.

        The file is no longer in ``incoming/`` when this returns; after an error it may still be there.

        Args:
            association_id: the association that brought it; ``None`` for an import.

        Raises:
            StorageFullError: too little disk space.
            InputError: the file is not DICOM or lacks a UID.
            OSError: the disk failed.
            sqlalchemy.exc.SQLAlchemyError: the database failed.
        """
        self.check_room()
        header = read_header(temporary)
        return self.take_with_header(temporary, header, association_id)

    def take_with_header(self, temporary: Path, header: InstanceHeader, association_id: str | None) -> Taken:
        """Like :meth:`take`, after reading the header and checking the free space."""
        found = self._index.find(header.sop_instance_uid)
        if header.manufacturer_model_name == OWN_MODEL_NAME or found.is_own:
            self._index.record_ignored(header, "made by this node")
            temporary.unlink()
            log.info("own object received, ignored: sop_instance_uid=%s", header.sop_instance_uid)
            return Taken(TakenAs.OWN, header)
        path = self._path_of(header)
        known = found.known
        if (
            known is not None
            and known.digest == header.digest
            and not known.is_removed
            and (self._state_dir / known.path).is_file()
        ):
            temporary.unlink()
        else:
            self._place(temporary, self._state_dir / path)
        recorded = self._index.record_instance(header, path, association_id)
        if recorded is Recorded.CONFLICT:
            log.warning(
                "different content for a known instance, stored beside the first: sop_instance_uid=%s path=%s",
                header.sop_instance_uid,
                path,
            )
        return Taken(TakenAs(recorded.value), header)

    def import_name(self) -> Path:
        """A new temporary path in ``incoming/`` for an imported file."""
        return self.incoming_dir / f"{_IMPORT_PREFIX}{os.urandom(8).hex()}.dcm"

    def remove_stale_incoming(self, older_than_s: float) -> int:
        """Remove stale temporary files; returns their number.

        Imports run in other processes, so their files are kept for at least an hour.
        """
        n_removed = 0
        now_s = time.time()
        for file in self.incoming_dir.iterdir():
            limit_s = max(older_than_s, 3600.0) if file.name.startswith(_IMPORT_PREFIX) else older_than_s
            try:
                if now_s - file.stat().st_mtime >= limit_s:
                    file.unlink()
                    n_removed += 1
            except FileNotFoundError:
                continue  # stored meanwhile
        return n_removed

    def record_unrecorded(self) -> int:
        """Record complete files that a crash left without a record; returns their number.

        Their senders got no acknowledgement and will resend them. Recording instead of removing them is always safe, even if
        another process is storing the instance at this moment.
        """
        recorded_paths = self._index.recorded_paths()
        n_recorded = 0
        for path in self._files():
            if str(path) in recorded_paths:
                continue
            try:
                header = read_header(self._state_dir / path)
            except InputError as error:
                log.error("a received file is not readable, skipped: path=%s: %s", path, error)  # noqa: TRY400
                continue
            self._index.record_instance(header, path, association_id=None)
            n_recorded += 1
        return n_recorded

    def _files(self) -> Iterator[Path]:
        for study_dir in self._received_dir.iterdir():
            for file in study_dir.iterdir():
                yield file.relative_to(self._state_dir)

    def _path_of(self, header: InstanceHeader) -> Path:
        study = hashlib.sha256(header.study_instance_uid.encode("ascii")).hexdigest()[:32]
        instance = hashlib.sha256(header.sop_instance_uid.encode("ascii")).hexdigest()[:32]
        return Path("received", study, f"{instance}-{header.digest[:16]}.dcm")

    def _place(self, temporary: Path, final: Path) -> None:
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        folder = final.parent
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            self._synced.discard(folder)
        if folder not in self._synced:
            sync_folder(self._received_dir)
            if len(self._synced) >= _MOST_SYNCED:
                self._synced.clear()
            self._synced.add(folder)
        temporary.replace(final)
        sync_folder(final.parent)
