"""Serves the status page until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading

import uvicorn

from node.common.http_server import listen, server_of
from node.common.private import keep_private
from node.records.alert_links import AlertLinks
from node.records.alerts import AlertRecords
from node.records.commitments import Commitments
from node.records.conflicts import ConflictRecords
from node.records.destinations import DestinationRecords
from node.records.plan_refusals import PlanRefusals
from node.records.planned_operations import PlannedOperations
from node.records.runs import RunRecords
from node.records.work import WorkRecords
from node.settings.tree import Settings
from node.web.alert_metrics import AlertsCollector
from node.web.alerts import AlertsView
from node.web.app import build_app
from node.web.destinations import DestinationsView
from node.web.metrics import CommitmentsCollector, ConflictsCollector, WorkCollector
from node.web.plan_metrics import PlansCollector

log = logging.getLogger(__name__)

_POLL_S = 0.2


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
        app = build_app(records, web, *collectors, destinations=destinations, alerts=alerts, language=language)
        log.info("status page on http://%s:%d/", _bracketed(web.host), web.port)
        asyncio.run(_serve(server_of(app), listener, stop))


async def _serve(server: uvicorn.Server, listener: socket.socket, stop: threading.Event) -> None:
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not (stop.is_set() or serving.done()):
        await asyncio.sleep(_POLL_S)
    server.should_exit = True
    await serving


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
