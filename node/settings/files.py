"""Files that the settings name: secrets and certificates.

Secrets are in separate files, so that they are not in settings that people copy or show to others.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from node.common.errors import ConfigurationError


def secret_of(file: Path, setting: str, what: str = "password") -> str:
    """Read a secret from a file with one line.

    Args:
        file: a relative path is looked up among the credentials of the systemd service (LoadCredential=), if there are any;
            every service has them in another directory.
        setting: name of the setting, for the message.
        what: the kind of secret, for the message.

    Raises:
        ConfigurationError: the file cannot be read, or does not contain one line. The message never contains the secret.
    """
    file = Path(os.environ.get("CREDENTIALS_DIRECTORY", "")) / file
    try:
        secret = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigurationError(f"{setting}: {file} cannot be read ({reason}): write the {what} into it") from error
    if not secret.strip() or not secret.isprintable():
        raise ConfigurationError(f"{setting}: {file} must hold one line with the {what} and nothing else")
    return secret


def ascii_secret(file: str, setting: str) -> str:
    """:func:`secret_of` for a protocol that only accepts ASCII; empty if no file is set.

    Raises:
        ConfigurationError: as for :func:`secret_of`, or the secret is not ASCII.
    """
    secret = secret_of(Path(file), setting, "secret") if file else ""
    if not secret.isascii():
        raise ConfigurationError(f"{setting}: {file} must hold one line with the secret in ASCII")
    return secret


def url_with_password(database_url: str, password_file: Path) -> str:
    """A database URL with the password from its file.

    Raises:
        ConfigurationError: the URL is not valid or already contains a password, or the file cannot be used.
    """
    try:
        url = make_url(database_url)
    except ArgumentError as error:
        raise ConfigurationError(f"database_url is not a database URL: {error}") from error
    if url.password is not None:
        raise ConfigurationError("database_url contains a password, and database_password_file is set: keep only the file")
    password = secret_of(password_file, "database_password_file")
    return url.set(password=password).render_as_string(hide_password=False)


def trusting(ca_file: str, setting: str) -> ssl.SSLContext:
    """The TLS context that checks the certificate of the other side.

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
    """Load the node's own certificate into the context.

    Raises:
        ConfigurationError: the files cannot be used, or do not belong together.
    """
    try:
        context.load_cert_chain(cert_file, key_file or None)
    except OSError as error:
        raise ConfigurationError(f"{setting} {cert_file} cannot be used: {error}") from error
