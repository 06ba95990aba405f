"""The intake of planned operations: every way that the settings switch on, in one process."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack

from node.errors import ConfigurationError
from node.plan.hl7_intake import Hl7Intake
from node.plan.mllp import MllpListener
from node.plan_refusals import FOLDER_NAME, PlanRefusals
from node.planned_operations import PlannedOperations
from node.settings import Settings

log = logging.getLogger(__name__)

_POLL_S = 0.2
_FORGET_EVERY_S = 3600.0


def is_switched_on(settings: Settings) -> bool:
    """Whether anything tells of planned operations, apart from the images themselves."""
    return bool(settings.plans_hl7.enabled)


def serve_intake(settings: Settings, stop: threading.Event, started: Callable[[], None]) -> None:
    """Take planned operations in until ``stop`` is set.

    Args:
        settings: what is switched on, and how.
        stop: ends it.
        started: called once everything listens.

    Raises:
        ConfigurationError: nothing is switched on, or something that is cannot be used.
    """
    if not is_switched_on(settings):
        raise ConfigurationError("nothing tells of planned operations: set plans_hl7.enabled, for one")
    asyncio.run(_serve(settings, stop, started))


async def _serve(settings: Settings, stop: threading.Event, started: Callable[[], None]) -> None:
    async with AsyncExitStack() as stack:
        if settings.plans_hl7.enabled:
            await stack.enter_async_context(MllpListener(settings.plans_hl7, Hl7Intake(settings)))
        started()
        forget_at_s = 0.0
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            if loop.time() >= forget_at_s:
                await asyncio.to_thread(forget_old, settings)
                forget_at_s = loop.time() + _FORGET_EVERY_S
            await asyncio.sleep(_POLL_S)


def forget_old(settings: Settings) -> None:
    """Remove what is over for longer than ``plans.keep_days``."""
    before = dt.datetime.now(dt.UTC) - dt.timedelta(days=settings.plans.keep_days)
    n_operations = PlannedOperations.open(settings).forget(before)
    n_refusals = PlanRefusals.open(settings).forget(settings.state_dir / FOLDER_NAME, before)
    if n_operations or n_refusals:
        log.info("removed after plans.keep_days: %d planned operations, %d refused messages", n_operations, n_refusals)
