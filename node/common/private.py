"""What the node keeps is for its own user: folders 0700, files 0600.

Images, names and patient IDs lie in the state directory in clear. systemd's units set these modes, too; a node that is
started by hand, in a container or by another supervisor has them from here.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

UMASK: Final = 0o077
_OTHERS: Final = 0o077
_FOLDERS: Final = ("received", "incoming", "results", "refused-plans")
_FILES: Final = ("bmd-node.sqlite*", "workflows.sqlite*", "*.secret", "*.beat", "listener.lock")


def keep_private(state_dir: Path) -> int:
    """From now on create nothing for others, in this process and its children; take away what an earlier start gave them.

    Returns:
        Number of files and folders that others could use; they are named in a warning.
    """
    os.umask(UMASK)
    if not state_dir.is_dir():
        return 0
    open_ones = [path for path in _own(state_dir) if _is_open(path)]
    failed = [path for path in open_ones if not _close(path)]
    if open_ones:
        log.warning(
            "others could use %d files and folders of the state directory, such as %s; their modes are 0600 and 0700 now",
            len(open_ones),
            open_ones[0],
        )
    if failed:
        log.error(
            "modes of %d files and folders cannot be changed, such as %s: make them the node's own", len(failed), failed[0]
        )
    return len(open_ones)


def _own(state_dir: Path) -> Iterator[Path]:
    """What the node has made; the directory itself only if there is nothing else in it."""
    files = {file for pattern in _FILES for file in state_dir.glob(pattern)}
    folders = [state_dir / name for name in _FOLDERS if (state_dir / name).is_dir()]
    if {path.name for path in state_dir.iterdir()} <= {path.name for path in (*files, *folders)}:
        yield state_dir
    yield from files
    for folder in folders:
        yield folder
        for root, folder_names, names in os.walk(folder):
            yield from (Path(root, name) for name in (*folder_names, *names))


def _is_open(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False  # gone meanwhile
    return not stat.S_ISLNK(mode) and bool(mode & _OTHERS)


def _close(path: Path) -> bool:
    try:
        path.chmod(stat.S_IMODE(path.lstat().st_mode) & ~_OTHERS)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
