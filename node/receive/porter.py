"""Who may use which AE title: decided when the request is read, before a slot is taken."""

from __future__ import annotations

import logging
import socket
from ipaddress import ip_address

from node.common.errors import ConfigurationError
from node.common.tls import OwnCertificate, server_context
from node.receive.associate_request import CALLED_NOT_RECOGNISED, CALLING_NOT_RECOGNISED, AssociateRequest, Refusal
from node.receive.door import Admit, Caller, Entrance, listening_socket
from node.settings.tree import ListenerSettings, Settings

log = logging.getLogger(__name__)


class Porter:
    """Looks at the AE titles, then lets in.

    Args:
        settings: the whole tree.
        let_in: takes a slot and starts the association.
    """

    def __init__(self, settings: Settings, let_in: Admit) -> None:
        self._ae_title = settings.listener.ae_title.strip()
        self._allowed = frozenset(title.strip() for title in settings.listener.allowed_calling_ae_titles)
        self._senders = {sender.ae_title.strip(): sender for sender in settings.senders}
        self._let_in = let_in

    def admit(self, connection: socket.socket, request: AssociateRequest, caller: Caller) -> Refusal | None:
        """Let the association in, or say why not."""
        if request.called_ae_title != self._ae_title:
            return CALLED_NOT_RECOGNISED
        if self._allowed and request.calling_ae_title not in self._allowed:
            return CALLING_NOT_RECOGNISED
        if not self._may_use(request.calling_ae_title, caller):
            return CALLING_NOT_RECOGNISED
        return self._let_in(connection, request, caller)

    def _may_use(self, ae_title: str, caller: Caller) -> bool:
        sender = self._senders.get(ae_title)
        if sender is None:
            return True
        address = ip_address(caller.address[0].partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        if sender.addresses and not any((mapped or address) in network for network in sender.addresses):
            log.warning("AE title used from an address that is not its own: calling_ae_title=%r", ae_title)
            return False
        if sender.certificate_names and not caller.certificate_names & frozenset(sender.certificate_names):
            log.warning("AE title used without its certificate: calling_ae_title=%r", ae_title)
            return False
        return True


def entrances_of(listener: ListenerSettings) -> tuple[Entrance, ...]:
    """The sockets that the settings ask for.

    Raises:
        ConfigurationError: a port is in use, an address is not of this machine, or a certificate cannot be used.
    """
    tls = None
    if listener.tls_certificate_file:
        own = OwnCertificate(listener.tls_certificate_file, listener.tls_key_file)
        tls = server_context(own, listener.tls_client_ca_file, listener.tls_client_certificate, "listener.tls_*")
    ports = {"port": (listener.port, None if listener.tls_port else tls)}
    if listener.tls_port:
        ports["tls_port"] = (listener.tls_port, tls)
    entrances: list[Entrance] = []
    for name, (port, context) in ports.items():
        try:
            listening = listening_socket(listener.host, port)
        except OSError as error:
            for entrance in entrances:
                entrance.listening.close()
            raise ConfigurationError(
                f"listener.host and listener.{name}: cannot listen on {listener.host}:{port}: {error.strerror}; "
                "set a free port"
            ) from error
        entrances.append(Entrance(listening, context))
        encrypted = " TLS" if context else ""
        log.info("listening: ae_title=%r host=%s port=%d%s", listener.ae_title, listener.host, port, encrypted)
    return tuple(entrances)
