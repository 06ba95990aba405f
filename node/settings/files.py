"""Files that the settings name: secrets and certificates.

Secrets stand in files of their own, which the node reads: not in settings that people copy, nor in what others see.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from node.common.errors import ConfigurationError


def secret_of(file: Path, setting: str, what: str = "password") -> str:
    """Read the one line of a file that holds a secret.

    Args:
        file: a relative path is looked for among the credentials that systemd gives to a service (LoadCredential=), if it
            does; they lie in another directory for every service.
        setting: its name, for the message.
        what: the kind of secret, for the message.

    Raises:
        ConfigurationError: it cannot be read, or does not hold one line; the message never has the secret.
    """
    file = Path(os.environ.get("CREDENTIALS_DIRECTORY", "")) / file
    try:
        secret = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no text in UTF-8"
        raise ConfigurationError(f"{setting}: {file} cannot be read ({reason}): write the {what} into it") from error
    if not secret.strip() or not secret.isprintable():
        raise ConfigurationError(f"{setting}: {file} must hold one line with the {what} and nothing else")
    return secret


def ascii_secret(file: str, setting: str) -> str:
    """:func:`secret_of` for a protocol that takes ASCII alone; empty if no file is set.

    Raises:
        ConfigurationError: as there, or it is not ASCII.
    """
    secret = secret_of(Path(file), setting, "secret") if file else ""
    if not secret.isascii():
        raise ConfigurationError(f"{setting}: {file} must hold one line with the secret in ASCII")
    return secret


def url_with_password(database_url: str, password_file: Path) -> str:
    """A database URL with the password from its file.

    Raises:
        ConfigurationError: the URL is none, holds a password already, or the file cannot be used.
    """
    try:
        url = make_url(database_url)
    except ArgumentError as error:
        raise ConfigurationError(f"database_url is not a database URL: {error}") from error
    if url.password is not None:
        raise ConfigurationError("database_url holds a password, and database_password_file is set: keep only the file")
    password = secret_of(password_file, "database_password_file")
    return url.set(password=password).render_as_string(hide_password=False)


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
