"""What the node keeps is for its own user."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.common.private import keep_private
from tests.receive.listener_process import ct_series, debian_tool, eventually, free_port, write_series


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> set[int]:
    """Of a folder and everything in it."""
    return {stat.S_IMODE(path.lstat().st_mode) for path in (folder, *folder.rglob("*"))}


def test_what_an_earlier_start_left_open_is_closed_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = tmp_path / "state"
    (state / "received" / "study").mkdir(parents=True)
    for name in ("bmd-node.sqlite", "bmd-node.sqlite-wal", "alerts.secret", "received/study/image.dcm"):
        (state / name).write_text("x")
    assert keep_private(state) == 7
    assert "7 files and folders" in caplog.text
    assert modes(state) == {0o600, 0o700}
    assert keep_private(state) == 0


def test_a_directory_that_is_not_the_nodes_alone_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "bmd-node.sqlite").write_text("x")
    before = stat.S_IMODE(tmp_path.stat().st_mode)
    keep_private(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == before
    assert stat.S_IMODE((tmp_path / "others").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "bmd-node.sqlite").stat().st_mode) == 0o600


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    (tmp_path / "state" / "received").mkdir(parents=True)
    (tmp_path / "state" / "received" / "link").symlink_to(outside)
    keep_private(tmp_path / "state")
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644


def test_a_listener_with_an_open_umask_keeps_its_state_private(tmp_path: Path) -> None:
    port = free_port()
    environment = {
        **os.environ,
        "BMD_NODE_STATE_DIR": str(tmp_path / "state"),
        "BMD_NODE_LISTENER__PORT": str(port),
        "BMD_NODE_LISTENER__HOST": "127.0.0.1",
        "BMD_NODE_LISTENER__MIN_FREE_DISK_MB": "0",
    }
    process = subprocess.Popen([sys.executable, "-m", "node.cli", "listener"], env=environment)
    try:
        echo = [debian_tool("echoscu"), "-aec", "BMDNODE", "127.0.0.1", str(port)]
        eventually(lambda: subprocess.run(echo, capture_output=True, check=False).returncode == 0, "it listens", 60)
        files = map(str, write_series(tmp_path / "images", ct_series(2)))
        subprocess.run([debian_tool("storescu"), "-aec", "BMDNODE", "127.0.0.1", str(port), *files], check=True)
        assert modes(tmp_path / "state") <= {0o600, 0o700}
    finally:
        process.terminate()
        process.wait(30)
