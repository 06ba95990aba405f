"""Certificates of TLS: can they be read, and how long are they valid?"""

from __future__ import annotations

import datetime as dt

from node.common.errors import ConfigurationError
from node.common.tls import OwnCertificate, client_context, last_day, server_context
from node.doctor.finding import Finding, Outcome
from node.settings.tree import Destination, Settings

#: Hospitals need weeks for a new certificate. An assumption.
SOON_DAYS = 30
_TODO = "get a new certificate from whoever runs the authority, and restart the node"


def check_certificates(settings: Settings) -> tuple[Finding, ...]:
    """One line for the listener, the status page and each destination with TLS."""
    listener = settings.listener
    found = []
    if listener.tls_certificate_file:
        files = (listener.tls_certificate_file, listener.tls_client_ca_file)
        try:
            own = OwnCertificate(listener.tls_certificate_file, listener.tls_key_file)
            server_context(own, listener.tls_client_ca_file, listener.tls_client_certificate, "listener.tls_*")
            found.append(_judged("listener's certificates", files))
        except ConfigurationError as error:
            found.append(Finding("listener's certificates", Outcome.ERROR, str(error)))
    web = settings.web
    if web.tls_certificate_file:
        name = "status page's certificate"
        try:
            own = OwnCertificate(web.tls_certificate_file, web.tls_key_file)
            server_context(own, "", "none", "web.tls_*")
            found.append(_judged(name, (web.tls_certificate_file,)))
        except ConfigurationError as error:
            found.append(Finding(name, Outcome.ERROR, str(error)))
    return (*found, *(_of_destination(one) for one in settings.destinations if one.tls))


def _of_destination(destination: Destination) -> Finding:
    name = f"certificates for {destination.name}"
    own = None
    if destination.tls_certificate_file:
        own = OwnCertificate(destination.tls_certificate_file, destination.tls_key_file)
    try:
        client_context(destination.tls_ca_file, own, checks_name=destination.tls_check_host, setting="tls_*")
        return _judged(name, (destination.tls_certificate_file, destination.tls_ca_file))
    except ConfigurationError as error:
        return Finding(name, Outcome.ERROR, str(error))


def _judged(name: str, files: tuple[str, ...]) -> Finding:
    ends = {file: last_day(file) for file in files if file}
    if not ends:
        return Finding(name, Outcome.OK, "the authorities of the system")
    file, end = min(ends.items(), key=lambda one: one[1])
    days = (end - dt.datetime.now(dt.UTC)).total_seconds() / 86400
    detail = f"{file} is valid until {end:%Y-%m-%d}"
    if days < 0:
        return Finding(name, Outcome.ERROR, f"{file} expired on {end:%Y-%m-%d}: nobody accepts it", _TODO)
    return Finding(name, Outcome.WARNING, detail, _TODO) if days < SOON_DAYS else Finding(name, Outcome.OK, detail)
