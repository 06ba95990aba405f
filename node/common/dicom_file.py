"""Opens DICOM files of others: an element that says to be longer than the file costs no memory."""

from __future__ import annotations

import io
import os
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag

#: Shorter reads are left alone, so that reading a header stays fast.
_CHECKED_BYTES = 1 << 16
_FILE_META_GROUP = 0x0002


class DicomFile(io.BufferedReader):
    """A file whose ``read`` takes no more memory than the file has bytes.

    Python allocates as many bytes as are asked for before it reads, and readers of DICOM ask for what an element says: up to
    4 GB.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most ``size`` bytes; fewer at the end of the file."""
        if size is not None and size > _CHECKED_BYTES:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def open_dicom(path: Path) -> DicomFile:
    """Open a file.

    Raises:
        OSError: it cannot be opened.
    """
    return DicomFile(io.FileIO(path))


def read_file_meta(file: DicomFile) -> tuple[Dataset, int]:
    """The File Meta Information (PS3.10 7.1), and where the data set begins; the file is at that place afterwards.

    Raises:
        InvalidDicomError: the prefix is missing. Damaged files raise what pydicom raises for them.
    """

    def is_data_set(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        return tag.group != _FILE_META_GROUP

    read_preamble(file, force=False)
    meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=is_data_set)
    return meta, file.tell()
