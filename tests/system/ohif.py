"""OHIF, the viewer that hospitals use: its built application from npm's registry, served by nginx with our own site.

``python -m tests.system.ohif`` fetches it once into the virtual environment; no npm is needed.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from node.demo.pacs import free_port
from tests.plugins.orthanc_server import REPOSITORY, wait_until

VERSION = "3.12.10"
_URL = f"https://registry.npmjs.org/@ohif/app/-/app-{VERSION}.tgz"
#: SHA-512 as npm's registry states it (``dist.integrity``).
_SHA512 = "0kuF66Mq9c9dMD++bUsTjMrJpXJwaZhz9B4uS244DawAjSkTwIYFU93pxPuRUQixaRi7QAHlF3Fe1qudBlZrmA=="
FOLDER = Path(sys.prefix) / f"ohif-{VERSION}"

needs_ohif = pytest.mark.skipif(
    not FOLDER.is_dir() or shutil.which("nginx") is None,
    reason="needs OHIF (python -m tests.system.ohif) and the Debian package nginx-light",
)


def fetch() -> None:
    """Fetch, check and unpack the application unless it is there."""
    if FOLDER.is_dir():
        return
    with urllib.request.urlopen(_URL, timeout=600) as response:
        packed = response.read()
    if base64.b64encode(hashlib.sha512(packed).digest()).decode() != _SHA512:
        raise SystemExit(f"{_URL} is not the file it was: its SHA-512 differs")
    unpacked = FOLDER.with_suffix(".part")
    shutil.rmtree(unpacked, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(unpacked, filter="data")
    unpacked.rename(FOLDER)


@contextmanager
def running_ohif(folder: Path, orthanc_http_port: int) -> Iterator[str]:
    """Serve the viewer with the project's own site of nginx; yields its URL.

    Only paths and ports are others than in ``deploy/ohif/nginx.conf``.
    """
    port = free_port()
    site = (REPOSITORY / "deploy" / "ohif" / "nginx.conf").read_text(encoding="utf-8")
    for shipped, here in (
        ("127.0.0.1:8044", f"127.0.0.1:{port}"),
        ("127.0.0.1:8042", f"127.0.0.1:{orthanc_http_port}"),
        ("/opt/ohif/dist", str(FOLDER / "package" / "dist")),
        ("/opt/bmd-node/", f"{REPOSITORY}/"),
    ):
        assert shipped in site
        site = site.replace(shipped, here)
    temporary = "\n".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
    configuration = folder / "nginx.conf"
    configuration.write_text(
        f"{user} daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n"
        f"events {{}}\nhttp {{ include /etc/nginx/mime.types; access_log off;\n{temporary}\n{site}\n}}\n",
        encoding="utf-8",
    )
    with (folder / "nginx.out").open("wb") as output:
        process = subprocess.Popen(["nginx", "-c", str(configuration)], stdout=output, stderr=output)
        try:
            wait_until(lambda: process.poll() is not None or _listens(port), "nginx listens")
            assert process.poll() is None, (folder / "nginx.out").read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    fetch()
