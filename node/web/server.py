"""Serves the status page until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from node.audit import Forwarder
from node.common.http_server import listen, server_of
from node.common.private import keep_private
from node.common.tls import OwnCertificate, server_context
from node.records.alert_links import AlertLinks
from node.records.alerts import AlertRecords
from node.records.audit import Action, AuditEntry, AuditRecords
from node.records.commitments import Commitments
from node.records.conflicts import ConflictRecords
from node.records.destinations import DestinationRecords
from node.records.plan_refusals import PlanRefusals
from node.records.planned_operations import PlannedOperations
from node.records.runs import RunRecords
from node.records.work import WorkRecords
from node.settings.tree import Settings, WebSettings
from node.web.alert_metrics import AlertsCollector
from node.web.alerts import AlertsView
from node.web.app import build_app, is_loopback
from node.web.destinations import DestinationsView
from node.web.metrics import CommitmentsCollector, ConflictsCollector, WorkCollector
from node.web.people import People
from node.web.plan_metrics import PlansCollector

log = logging.getLogger(__name__)

_POLL_S = 0.2
#: Time for the last messages to the syslog server; what is left is sent after the next start.
_LAST_MESSAGES_S = 5.0


def serve_web(settings: Settings, stop: threading.Event) -> None:
    """Serve the status page, ``/health`` and ``/metrics`` until ``stop`` is set.

    Raises:
        ConfigurationError: the address cannot be listened on, or the database cannot be opened.
    """
    keep_private(settings.state_dir)
    web, remedy = settings.web, "set another host or port in [web], or stop the program that uses it"
    with listen(web.host, web.port, "the status page cannot listen", remedy) as listener:
        plans = PlansCollector(PlannedOperations.open(settings), PlanRefusals.open(settings))
        destinations = DestinationsView(settings.destinations, DestinationRecords.open(settings), WorkRecords.open(settings))
        alert_records = AlertRecords.open(settings)
        alerts = AlertsView(alert_records, AlertLinks.open(settings))
        work = WorkRecords.open(settings)
        conflicts = ConflictsCollector(ConflictRecords.open(settings))
        commitments = CommitmentsCollector(Commitments.open(settings))
        collectors = (plans, AlertsCollector(alert_records), WorkCollector(work, settings.state_dir), conflicts, commitments)
        language = settings.report.language
        records = RunRecords.open(settings)
        people, tls = People.open(settings), _tls(web)
        app = build_app(records, web, people, *collectors, destinations=destinations, alerts=alerts, language=language)
        log.info("status page on %s://%s:%d/", "https" if tls else "http", _bracketed(web.host), web.port)
        if not (people.uses_https or is_loopback(web.host)):
            log.warning("passwords are readable on the network: set web.tls_certificate_file, or web.public_url of a proxy")
        if people.users.is_empty():
            log.warning("nobody can log in to the pages yet: bmd-node users add NAME --role administrator")
        server = server_of(app, tls=tls, trusted_proxies=[str(one) for one in web.trusted_proxies])
        with _trail(settings):
            asyncio.run(_serve(server, listener, stop))


async def _serve(server: uvicorn.Server, listener: socket.socket, stop: threading.Event) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not (stop.is_set() or serving.done()):
        await asyncio.sleep(_POLL_S)
    server.should_exit = True
    await serving


@contextmanager
def _trail(settings: Settings) -> Iterator[None]:
    """Write start and stop into the audit trail, and send it to the syslog server meanwhile."""
    records = AuditRecords.open(settings)
    forwarder = Forwarder(records, settings.audit) if settings.audit.syslog_host else None
    stop_sending = threading.Event()
    sending = None
    if forwarder is not None:
        sending = threading.Thread(target=forwarder.run, args=(stop_sending,), name="audit-syslog", daemon=True)
        sending.start()
    records.add(AuditEntry(Action.START, True, "", "local", "", "status page"))
    try:
        yield
    finally:
        records.add(AuditEntry(Action.STOP, True, "", "local", "", "status page"))
        stop_sending.set()
        if sending is not None:
            sending.join(_LAST_MESSAGES_S)


def _tls(web: WebSettings) -> ssl.SSLContext | None:
    if not web.tls_certificate_file:
        return None
    return server_context(OwnCertificate(web.tls_certificate_file, web.tls_key_file), "", "none", "web.tls_certificate_file")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
