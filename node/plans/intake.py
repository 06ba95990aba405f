"""The intake of planned operations: all enabled sources, in one process."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import threading
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from node.common.errors import ConfigurationError, NodeError
from node.common.private import keep_private
from node.plans.fhir_hook import FhirHook
from node.plans.fhir_search import FhirSearch
from node.plans.hl7_intake import Hl7Intake
from node.plans.list_folder import ListFolder
from node.plans.mllp import MllpListener
from node.records.plan_refusals import PlanRefusals
from node.records.planned_operations import PlannedOperations
from node.settings.tree import Settings

log = logging.getLogger(__name__)

_POLL_S = 0.2
_FORGET_EVERY_S = 3600.0
_BEAT_S = 10.0
#: Touched regularly, as heartbeat for ``bmd-node health intake``.
BEAT_FILE = "intake.beat"


def is_switched_on(settings: Settings) -> bool:
    """Whether any source of planned operations is enabled, apart from image headers."""
    return bool(settings.plans_hl7.enabled or settings.plans_list.folder or settings.plans_fhir.base_url)


def serve_intake(settings: Settings, stop: threading.Event, started: Callable[[], None]) -> None:
    """Receive planned operations until ``stop`` is set.

    Args:
        settings: the whole tree.
        stop: ends the intake.
        started: called when all sources are ready.

    Raises:
        ConfigurationError: no source is enabled, or one cannot be used.
    """
    if not is_switched_on(settings):
        raise ConfigurationError(
            "no source of planned operations is enabled: set plans_hl7.enabled, plans_fhir.base_url or plans_list.folder"
        )
    keep_private(settings.state_dir)
    asyncio.run(_serve(settings, stop, started))


async def _serve(settings: Settings, stop: threading.Event, started: Callable[[], None]) -> None:
    operations, refusals = PlannedOperations.open(settings), PlanRefusals.open(settings)

    def forget() -> None:
        forget_old(settings, operations, refusals)

    async with AsyncExitStack() as stack:
        tasks: list[Callable[[], Coroutine[None, None, None]]] = [
            partial(_repeat, "removal of old data", forget, _FORGET_EVERY_S),
            partial(_repeat, "heartbeat", (settings.state_dir / BEAT_FILE).touch, _BEAT_S),
        ]
        if settings.plans_hl7.enabled:
            await stack.enter_async_context(MllpListener(settings.plans_hl7, Hl7Intake(settings)))
        if settings.plans_list.folder:
            tasks.append(partial(_repeat, "theatre lists", ListFolder(settings).look, settings.plans_list.poll_s))
        if settings.plans_fhir.base_url:
            wake = asyncio.Event()
            tasks.append(partial(_repeat, "FHIR server", FhirSearch(settings).look, settings.plans_fhir.poll_s, wake))
            if settings.plans_fhir.hook_port:
                hook = FhirHook(settings.plans_fhir, wake.set)
                stack.callback(hook.stop)
                tasks.append(hook.serve)
        running = [asyncio.create_task(task()) for task in tasks]
        started()
        try:
            while not stop.is_set():
                for task in running:
                    if task.done():
                        task.result()  # an unexpected error ends the process, which is restarted
                await asyncio.sleep(_POLL_S)
        finally:
            await _ended(running)


async def _repeat(name: str, work: Callable[[], object], every_s: float, wake: asyncio.Event | None = None) -> None:
    """Repeat work at intervals, or at once when ``wake`` is set; failures are logged and retried."""
    wake = wake or asyncio.Event()
    while True:
        try:
            await asyncio.to_thread(work)
        except (NodeError, SQLAlchemyError, OSError) as error:
            # not its text: a database error may contain the data
            log.error("planned operations, %s: %s", name, _described(error))  # noqa: TRY400
        with suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), every_s)
        wake.clear()


def _described(error: Exception) -> str:
    return str(error) if isinstance(error, NodeError) else type(error).__name__


async def _ended(running: list[asyncio.Task[None]]) -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def forget_old(settings: Settings, operations: PlannedOperations, refusals: PlanRefusals) -> None:
    """Remove what has been past for longer than ``plans.keep_days``."""
    before = dt.datetime.now(dt.UTC) - dt.timedelta(days=settings.plans.keep_days)
    n_operations = operations.forget(before)
    n_refusals = refusals.forget(before)
    if n_operations or n_refusals:
        log.info("removed after plans.keep_days: %d planned operations, %d refused messages", n_operations, n_refusals)
