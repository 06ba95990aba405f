"""Sends messages to a syslog server: RFC 5424, over TLS (RFC 5425) or UDP (RFC 5426)."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from node.common.errors import TransportError
from node.common.tls import OwnCertificate, client_context
from node.records.audit import AuditRow
from node.settings.login import AuditSettings

_WAIT_S = 10.0
#: RFC 5424 6.2.1: facility 10 (security and authorization), severity 5 (notice); PS3.15 A.6.
_PRIORITY = 10 * 8 + 5
#: PS3.15 A.6.
_MESSAGE_ID = "DICOM+RFC3881"
_APP_NAME = "bmd-node"
_BOM = b"\xef\xbb\xbf"


def syslog_message(row: AuditRow, host_name: str, xml: bytes) -> bytes:
    """An entry of the trail as a message of RFC 5424."""
    at = row.at.isoformat(timespec="milliseconds")
    head = f"<{_PRIORITY}>1 {at} {host_name} {_APP_NAME} {os.getpid()} {_MESSAGE_ID} - "
    return head.encode("ascii") + _BOM + xml


@dataclass(frozen=True, slots=True)
class SyslogServer:
    """The server of the settings; ``context`` is ``None`` for UDP."""

    host: str
    port: int
    context: ssl.SSLContext | None

    @classmethod
    def of(cls, settings: AuditSettings) -> SyslogServer:
        """Read the certificates.

        Raises:
            ConfigurationError: a file cannot be used.
        """
        if settings.syslog_protocol == "udp":
            return cls(settings.syslog_host, settings.syslog_port, None)
        own = None
        if settings.syslog_certificate_file:
            own = OwnCertificate(settings.syslog_certificate_file, settings.syslog_key_file)
        context = client_context(settings.syslog_ca_file, own, checks_name=True, setting="audit.syslog_*")
        return cls(settings.syslog_host, settings.syslog_port, context)

    @property
    def name(self) -> str:
        """Name of the server, for what was sent to it."""
        return f"{'udp' if self.context is None else 'tls'}://{self.host}:{self.port}"

    def send(self, messages: Sequence[bytes]) -> None:
        """Send messages in their order. Syslog has no answer: over TLS the server has read them, over UDP nobody knows.

        Raises:
            TransportError: the server does not answer, or cannot be trusted.
        """
        try:
            if self.context is None:
                self._by_udp(messages)
            else:
                self._by_tls(messages, self.context)
        except OSError as error:
            why = error.reason if isinstance(error, ssl.SSLError) else error.strerror
            raise TransportError(f"the syslog server {self.name} does not answer: {why or type(error).__name__}") from error

    def _by_udp(self, messages: Sequence[bytes]) -> None:
        family, kind, protocol, _, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as udp:
            udp.connect(address)
            for message in messages:
                udp.send(message)

    def _by_tls(self, messages: Sequence[bytes], context: ssl.SSLContext) -> None:
        with socket.create_connection((self.host, self.port), _WAIT_S) as tcp:
            tls = context.wrap_socket(tcp, server_hostname=self.host)
            with tls:
                for message in messages:
                    tls.sendall(f"{len(message)} ".encode("ascii") + message)  # RFC 5425 4.3
                # RFC 5425 4.4: a server that closes its side, too, has read what came before; some only hang up
                with contextlib.suppress(OSError):
                    tls.unwrap()
