"""TLS of DICOM associations (PS3.15 annex B.12, BCP 195: RFC 9325), and what a certificate says of its time."""

from __future__ import annotations

import datetime as dt
import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from node.common.errors import ConfigurationError

ClientCertificate = Literal["required", "optional", "none"]
#: RFC 9325 4.2: forward secrecy and authenticated encryption; TLS 1.3 has only such.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM"
_VERIFY = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """Files of the node's own certificate; ``key_file`` is empty if the key is in the same file."""

    certificate_file: str
    key_file: str

    def load_into(self, context: ssl.SSLContext, setting: str) -> None:
        """Show this certificate.

        Raises:
            ConfigurationError: the files cannot be used, or do not belong together.
        """
        try:
            # without a function, OpenSSL would ask for the password of the key on the terminal
            context.load_cert_chain(self.certificate_file, self.key_file or None, password=lambda: "")
        except (OSError, ValueError) as error:
            files = " and ".join(filter(None, (self.certificate_file, self.key_file)))
            raise ConfigurationError(
                f"{setting}: {files} cannot be used ({_why(error)}): a certificate and its key without a password, as PEM"
            ) from error


def server_context(own: OwnCertificate, client_ca_file: str, client: ClientCertificate, setting: str) -> ssl.SSLContext:
    """For the side that is called.

    Args:
        own: certificate to show.
        client_ca_file: authorities of the callers' certificates.
        client: whether a caller must show one.
        setting: names the settings in errors.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    own.load_into(context, setting)
    if client != "none":
        _trust(context, client_ca_file, setting)
        context.verify_mode = _VERIFY[client]
    return context


def client_context(ca_file: str, own: OwnCertificate | None, *, checks_name: bool, setting: str) -> ssl.SSLContext:
    """For the side that calls; the certificate of the other side is always checked.

    Args:
        ca_file: authorities of the other side; empty: those of the system.
        own: certificate to show, if the other side wants one.
        checks_name: whether the certificate must be for the host that is called.
        setting: names the settings in errors.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context)
    context.check_hostname = checks_name
    if ca_file:
        _trust(context, ca_file, setting)
    else:
        context.load_default_certs()
    if own is not None:
        own.load_into(context, setting)
    return context


def last_day(certificate_file: str) -> dt.datetime:
    """When the first certificate of a file to expire does so.

    Raises:
        ConfigurationError: the file holds no certificate that can be read.
    """
    try:
        found = _CERTIFICATE.findall(Path(certificate_file).read_text(encoding="ascii", errors="replace"))
        return min(_not_after(ssl.PEM_cert_to_DER_cert(pem)) for pem in found)
    except (OSError, ValueError, IndexError) as error:
        raise ConfigurationError(f"{certificate_file} holds no certificate that can be read ({_why(error)})") from error


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _trust(context: ssl.SSLContext, ca_file: str, setting: str) -> None:
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        raise ConfigurationError(f"{setting}: {ca_file} cannot be used ({_why(error)}): authorities, as PEM") from error


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return error.reason or "not PEM"
    return (error.strerror if isinstance(error, OSError) else None) or "not PEM"


def _not_after(der: bytes) -> dt.datetime:
    """RFC 5280 4.1: Certificate, tbsCertificate, then version (if tagged), serial, signature, issuer, validity."""
    rest = _element(_element(der)[1])[1]
    values: list[bytes] = []
    while len(values) < 5 and rest:
        size = _size(rest)
        if rest[0] != 0xA0:
            values.append(rest[:size])
        rest = rest[size:]
    validity = _element(values[3])[1]
    after = validity[_size(validity) :]
    kind, text = _element(after)
    return dt.datetime.strptime(text.decode("ascii"), "%y%m%d%H%M%SZ" if kind == 0x17 else "%Y%m%d%H%M%SZ").replace(
        tzinfo=dt.UTC
    )


def _element(der: bytes) -> tuple[int, bytes]:
    start = 2 if der[1] < 0x80 else 2 + (der[1] & 0x7F)
    return der[0], der[start : _size(der)]


def _size(der: bytes) -> int:
    if der[1] < 0x80:
        return 2 + der[1]
    n = der[1] & 0x7F
    return 2 + n + int.from_bytes(der[2 : 2 + n])
