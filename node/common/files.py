"""Write files that are either complete or absent, even after a power cut."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file under a temporary name, sync it, and rename it. After an error, an existing file is unchanged.

    Raises:
        OSError: the file cannot be written.
    """
    # a unique name: two processes that create the same file do not write into the same temporary one
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, and sync them: files in it survive a power cut only if the folder does.

    A folder that is there is synced, too, since a process that was killed may have made it.

    Raises:
        OSError: it cannot be made.
    """
    new = [one for one in folder.parents if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in (folder, *new):
        sync_folder(one.parent)


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that new and renamed files in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
