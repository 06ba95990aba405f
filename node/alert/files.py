"""Files that the settings name: certificates and secrets, read when a channel is made."""

from __future__ import annotations

import ssl
from pathlib import Path

from node.errors import ConfigurationError


def trusting(ca_file: str, setting: str) -> ssl.SSLContext:
    """How the other side's certificate is checked.

    Args:
        ca_file: PEM file with authorities; empty: those of the system.
        setting: name of the setting, for the error.

    Raises:
        ConfigurationError: the file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError(f"{setting} {ca_file} cannot be used: {error}") from error


def show_certificate(context: ssl.SSLContext, cert_file: str, key_file: str, setting: str) -> None:
    """Let the context show the node's own certificate.

    Raises:
        ConfigurationError: the files cannot be used, or do not belong together.
    """
    try:
        context.load_cert_chain(cert_file, key_file or None)
    except OSError as error:
        raise ConfigurationError(f"{setting} {cert_file} cannot be used: {error}") from error


def secret_in(path: str, setting: str) -> str:
    """The one line of a file, in printable ASCII; empty if no file is set.

    Raises:
        ConfigurationError: it cannot be read, or holds something else.
    """
    if not path:
        return ""
    try:
        secret = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{setting} {path} cannot be read: {error}") from error
    if not secret or not secret.isascii() or not secret.isprintable():
        raise ConfigurationError(f"{setting} {path} must hold one line with the secret in ASCII")
    return secret
