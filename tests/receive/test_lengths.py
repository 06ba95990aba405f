"""Elements that say to be far longer than their file: read without the memory that they ask for."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from node.common.dicom_file import open_dicom
from node.common.errors import InputError
from node.receive.header import read_header
from node.select import check_file, ct_studies
from node.select.headers import read_headers
from node.settings.tree import SelectSettings
from tests.receive.listener_process import ct_series, write_series

_MOST_BYTES = 64 * 1024 * 1024
_LONG = (2**32 - 2).to_bytes(4, "little")
#: Modality with a length of 4 GB, explicit VR with a length of 4 bytes; and the same in the File Meta Information.
_AT = {"data set": b"\x08\x00\x60\x00", "file meta": b"\x02\x00\x12\x00"}


def _peak_bytes(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        with suppress(InputError):
            call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("place", _AT)
@pytest.mark.parametrize(
    "read",
    [
        read_header,
        read_headers,
        lambda path: check_file(path, SelectSettings()),
        lambda path: ct_studies([path]),
    ],
    ids=["receive", "select", "budget", "studies"],
)
def test_a_length_of_4_gb_costs_nothing(tmp_path: Path, read: Callable[[Path], object], place: str) -> None:
    (ds,) = ct_series(1)
    ds.file_meta.ImplementationClassUID = "1.2.3"
    (path,) = write_series(tmp_path, [ds])
    whole = path.read_bytes()
    at = whole.index(_AT[place])
    path.write_bytes(whole[: at + 4] + b"UT\0\0" + _LONG + whole[at + 12 :])
    assert _peak_bytes(lambda: read(path)) < _MOST_BYTES


def test_what_is_there_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1000)
    with open_dicom(path) as file:
        file.seek(1)
        assert file.read(100_000) == (bytes(range(256)) * 1000)[1:100_001]
        assert len(file.read(2**32)) == 256_000 - 100_001
        assert (file.read(2**32), file.read(), file.read(5)) == (b"", b"", b"")
        file.seek(0)
        assert len(file.read()) == 256_000
