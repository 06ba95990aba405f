"""Finds DICOM files by their content; names and extensions are ignored."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from node.common.errors import InputError

_logger = logging.getLogger(__name__)

#: PS3.10 7.1: 128 bytes of preamble, then this prefix.
_PREFIX = b"DICM"
_PREFIX_AT = 128
#: Files without the preamble (some archives write them) begin with an element of group 0002 or 0008; the second number is
#: the highest element that a data set or file meta information begins with in practice (0008,0018).
_FIRST_GROUPS = (0x0002, 0x0008)
_FIRST_ELEMENT_MAX = 0x0018


def find_dicom(path: Path) -> list[Path]:
    """Find the DICOM files in a folder, or check that a file is one.

    Other files are left out and counted in the log. A DICOMDIR looks like DICOM but contains no image: it is left out by
    its name, which PS3.10 8.6 fixes. A file that cannot be opened is kept, so that its reason is reported.

    Args:
        path: a file, or a folder that is searched with all its subfolders (links to folders are not followed).

    Returns:
        The files in the order of their paths.

    Raises:
        InputError: the path does not exist or contains no DICOM, or a folder cannot be listed.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist")
    files = [path] if path.is_file() else _files_below(path)
    found = [file for file in files if file.name.upper() != "DICOMDIR" and _looks_like_dicom(file)]
    if not found:
        counted = "is not a DICOM file" if path.is_file() else f"contains no DICOM file ({len(files)} other files)"
        raise InputError(f"{path} {counted}")
    if len(found) < len(files):
        _logger.info("%d of %d files are not DICOM and are ignored", len(files) - len(found), len(files))
    return found


def _files_below(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"folder {error.filename} cannot be listed: {error.strerror}") from error

    return sorted(Path(root, name) for root, _, names in os.walk(folder, onerror=refuse) for name in names)


def _looks_like_dicom(file: Path) -> bool:
    if not file.is_file():
        return False  # a socket, a pipe, a dangling link
    try:
        with file.open("rb") as stream:
            start = stream.read(_PREFIX_AT + len(_PREFIX))
    except OSError:
        return True  # reading its header fails again later, where the reason can be reported
    if start[_PREFIX_AT:] == _PREFIX:
        return True
    group = int.from_bytes(start[0:2], "little")
    element = int.from_bytes(start[2:4], "little")
    return len(start) > _PREFIX_AT and group in _FIRST_GROUPS and element <= _FIRST_ELEMENT_MAX
