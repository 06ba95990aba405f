"""Certificates for tests, made by openssl: an authority, and whom it has signed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest


def make_certificates(folder: Path) -> Path:
    """``authority.pem`` has signed ``node``, ``sender`` and ``expired``; ``stranger`` has signed himself."""

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    key = ("-newkey", "rsa:2048", "-nodes")
    for name in ("authority", "stranger"):
        openssl("req", *key, "-x509", "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")
    for name in ("node", "sender", "expired"):
        names = ("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}", *names)
        signed = ("-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial", "-copy_extensions", "copy")
        days = ("-not_before", "20200101000000Z", "-not_after", "20210101000000Z") if name == "expired" else ("-days", "2")
        done = subprocess.run(
            ["openssl", "x509", "-req", "-in", f"{name}.csr", *signed, *days, "-out", f"{name}.pem"],
            cwd=folder,
            capture_output=True,
            check=False,
        )
        if done.returncode and name == "expired":  # before OpenSSL 3.4
            openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-days", "-1", "-out", f"{name}.pem")
    return folder


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of :func:`make_certificates`."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))
