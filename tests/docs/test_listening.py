"""What the node listens on by default is what docs/reliability.md says: in a network of its own, seen through /proc."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from node.records.workers import Workers
from node.settings.tree import Settings

pytestmark = pytest.mark.system

DOCS = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
#: A network namespace of its own, in which every port is free. Starts the node, and says what listens until it is stopped.
_UNSHARE = ["unshare", "--net"]
_SERVE = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    # SIOCSIFFLAGS: the loopback interface is up and running
    fcntl.ioctl(probe, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))
os.execv(sys.executable, [sys.executable, "-m", "node.cli", "serve"])
"""
_LISTENS = "0A"  # TCP_LISTEN, include/net/tcp_states.h


def _documented() -> set[tuple[str, int]]:
    """Address and port of what the table names with a port; no other part of the node listens."""
    table = DOCS.read_text(encoding="utf-8").partition("## What listens")[2]
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| `", table, re.MULTILINE)
    assert rows
    addresses = {"all interfaces": "0.0.0.0", "loopback": "127.0.0.1"}  # noqa: S104 - as it is documented
    found = set()
    for _, where in rows:
        if (match := re.fullmatch(r"(all interfaces|loopback), TCP (\d+)", where.strip())) is not None:
            found.add((addresses[match[1]], int(match[2])))
    return found


def _listening(pid: int) -> set[tuple[str, int]]:
    """Every TCP socket that listens, and every UDP socket, in the network of a process."""
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if table.startswith("udp") or state == _LISTENS:
                address, port = local.split(":")
                text = ".".join(str(part) for part in reversed(bytes.fromhex(address))) if len(address) == 8 else address
                found.add((text, int(port, 16)))
    return found


def _has_worker(state_dir: Path) -> bool:
    """Whether a worker has given a sign of life."""
    if not (state_dir / "bmd-node.sqlite").exists():
        return False
    return bool(Workers.open(Settings(state_dir=state_dir)).known())


def test_the_table_is_that_of_the_settings() -> None:
    settings = Settings()
    defaults = {(settings.listener.host, settings.listener.port), (settings.web.host, settings.web.port)}
    assert _documented() == defaults
    assert not settings.plans_hl7.enabled
    assert settings.plans_fhir.hook_port == 0
    assert settings.plans_fhir.hook_host == "127.0.0.1"
    public = {port for address, port in defaults if not address.startswith("127.")}
    assert public == {settings.listener.port}, "loopback, unless told otherwise; DICOM excepted"


def test_a_node_with_default_settings_listens_on_that_and_nothing_else(tmp_path: Path) -> None:
    if subprocess.run([*_UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a network namespace (root)")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BMD_NODE_")}
    environment["BMD_NODE_STATE_DIR"] = str(tmp_path / "state")
    # small disks of test machines: not about what listens
    environment["BMD_NODE_LISTENER__MIN_FREE_DISK_MB"] = "0"
    with (tmp_path / "log").open("wb") as log:
        node = subprocess.Popen(
            [*_UNSHARE, sys.executable, "-c", _SERVE],
            env=environment,
            cwd=DOCS.parents[1],
            stdout=log,
            stderr=log,
        )
    try:
        give_up_s = time.monotonic() + 200
        # the worker is the last to be ready, and might open something: it gives signs of life then
        while not _has_worker(tmp_path / "state") or not _documented() <= _listening(node.pid):
            assert node.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < give_up_s, (tmp_path / "log").read_text()
            time.sleep(0.2)
        assert _listening(node.pid) == _documented()
    finally:
        node.send_signal(signal.SIGTERM)
        node.wait(60)
