"""Ports and AE titles: does the node listen, and who may send to it?"""

from __future__ import annotations

import errno
import json
import socket
import ssl
from urllib.error import HTTPError, URLError

import sqlalchemy as sa

from node.common.errors import ConfigurationError, RejectedError, TransportError
from node.deliver import echo
from node.doctor.finding import Finding, Outcome
from node.doctor.http import get
from node.doctor.storage import CONNECT_S, has_records
from node.receive.senders import Senders
from node.settings.tree import Destination, Settings

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - what is asked, not where to listen


def check_listener(settings: Settings) -> tuple[Finding, ...]:
    """Whether the DICOM port is free, or the node listens on it with its AE title."""
    name, listener = "listener", settings.listener
    where = f"AE title {listener.ae_title}, {listener.host}:{listener.port}"
    problem = why_not_bound(listener.host, listener.port)
    if problem is None:
        return (Finding(name, Outcome.OK, f"{where} is free; the listener is not running on this machine"),)
    if problem != errno.EADDRINUSE:
        return (cannot_listen(name, "listener", listener.host, listener.port, problem),)
    if listener.tls_certificate_file and not listener.tls_port:
        return (Finding(name, Outcome.OK, f"{where} is in use; it speaks TLS alone, so C-ECHO is not tried"),)
    try:
        echo(_own_listener(settings), _known_sender(settings), CONNECT_S)
    except (TransportError, RejectedError) as error:
        todo = (
            "if too many associations are open, try again; otherwise another program, or a node with another AE title, uses "
            "the port: stop it, or set listener.port"
        )
        return (Finding(name, Outcome.ERROR, f"{where} is in use, but this node does not answer there: {error}", todo),)
    return (Finding(name, Outcome.OK, f"{where} answers C-ECHO"),)


def check_status_page(settings: Settings) -> tuple[Finding, ...]:
    """Whether the port of the status page is free, or the page of a node answers there."""
    name, web = "status page", settings.web
    if not web.enabled:
        return (Finding(name, Outcome.OK, "switched off (web.enabled)"),)
    problem = why_not_bound(web.host, web.port)
    if problem is None:
        return (Finding(name, Outcome.OK, f"{web.host}:{web.port} is free; the page is not running on this machine"),)
    if problem != errno.EADDRINUSE:
        return (cannot_listen(name, "web", web.host, web.port, problem),)
    try:
        answer = get(f"{web_address(settings)}/health", context=web_context(settings))
        status = json.loads(answer.body)["status"]
    except HTTPError as error:
        detail = f"{web.host}:{web.port} answers /health with {error.code}"
        return (Finding(name, Outcome.ERROR, detail, "if this is the node, its database is down; otherwise set web.port"),)
    except (URLError, OSError, ValueError, LookupError, TypeError):
        detail = f"{web.host}:{web.port} is in use, but not by this node"
        return (Finding(name, Outcome.ERROR, detail, "stop the other program, or set web.port"),)
    return (Finding(name, Outcome.OK, f"{web.host}:{web.port} answers, {status}"),)


def web_address(settings: Settings) -> str:
    """Address of the status page, as seen from this machine."""
    host = _ANY_ADDRESS.get(settings.web.host, settings.web.host)
    scheme = "https" if settings.web.tls_certificate_file else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.web.port}"


def web_context(settings: Settings) -> ssl.SSLContext | None:
    """For a look at the page from its own machine: whatever the certificate says, as nothing secret is sent."""
    if not settings.web.tls_certificate_file:
        return None
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def check_way_back(settings: Settings) -> tuple[Finding, ...]:
    """Who may send to the node, and who has sent.

    The node cannot make another system send, so it cannot test whether a PACS reaches it.
    """
    name, admitted = "senders", settings.listener.allowed_calling_ae_titles
    said = f"allowed: {', '.join(admitted)}" if admitted else "every AE title is allowed"
    unknown = [one for one in settings.destinations if admitted and one.ae_title not in admitted]
    if unknown:
        titles = ", ".join(one.ae_title for one in unknown)
        todo = "add it to listener.allowed_calling_ae_titles, if it is to send CT or C-ECHO to the node"
        return (Finding(name, Outcome.WARNING, f"{said}; not allowed: {titles}", todo),)
    if not has_records(settings):
        return (Finding(name, Outcome.OK, f"{said}; nothing received yet"),)
    try:
        heard = Senders.open(settings).latest()
    except (ConfigurationError, sa.exc.SQLAlchemyError) as error:
        return (Finding(name, Outcome.ERROR, f"not known, the database does not answer ({type(error).__name__})"),)
    if not heard:
        todo = f"send a C-ECHO and a CT from the PACS to AE title {settings.listener.ae_title}"
        return (Finding(name, Outcome.WARNING, f"{said}; nothing received yet", todo),)
    last = ", ".join(f"{sender.ae_title} ({sender.last_at:%Y-%m-%d %H:%M})" for sender in heard)
    return (Finding(name, Outcome.OK, f"{said}; last received from: {last}"),)


def _own_listener(settings: Settings) -> Destination:
    listener = settings.listener
    host = _ANY_ADDRESS.get(listener.host, listener.host)
    return Destination(name="listener", ae_title=listener.ae_title, host=host, port=listener.port)


def _known_sender(settings: Settings) -> str:
    admitted = settings.listener.allowed_calling_ae_titles
    return admitted[0] if admitted else settings.listener.ae_title


def echo_own_listener(settings: Settings) -> None:
    """Send a C-ECHO to the node's own listener.

    Raises:
        TransportError: nothing answers.
        RejectedError: another program answers.
    """
    listener = settings.listener
    if listener.tls_certificate_file and not listener.tls_port:
        try:  # without a certificate of a sender there is no more to ask
            socket.create_connection((_own_listener(settings).host, listener.port), CONNECT_S).close()
        except OSError as error:
            raise TransportError(f"the listener does not answer: {error.strerror}") from error
        return
    echo(_own_listener(settings), _known_sender(settings), CONNECT_S)


def why_not_bound(host: str, port: int) -> int | None:
    """Error number if the port cannot be bound; ``None`` if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except socket.gaierror:
        return errno.EADDRNOTAVAIL
    except OSError as error:
        return error.errno
    return None


def cannot_listen(name: str, section: str, host: str, port: int, problem: int) -> Finding:
    """The finding for a port that is not in use but cannot be bound."""
    todo = f"set {section}.host to an address of this machine"
    if problem == errno.EACCES:
        todo = f"set {section}.port to 1024 or more, or give the service CAP_NET_BIND_SERVICE (deploy/systemd)"
    return Finding(name, Outcome.ERROR, f"cannot listen on {host}:{port} ({errno.errorcode.get(problem, problem)})", todo)
