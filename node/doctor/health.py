"""``bmd-node health``: are the processes of the node alive? For container engines, which restart them if not."""

from __future__ import annotations

import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Literal, get_args
from urllib.error import HTTPError, URLError

import sqlalchemy as sa

from node.common.errors import ConfigurationError, NodeError, TransportError
from node.doctor.finding import Finding, Outcome
from node.doctor.http import get
from node.doctor.network import echo_own_listener, web_address, web_context
from node.doctor.storage import has_records
from node.plans import BEAT_FILE as INTAKE_BEAT_FILE
from node.plans import is_switched_on
from node.receive import BEAT_FILE
from node.records.workers import BEAT_S, Workers
from node.settings.tree import Settings

Part = Literal["listener", "worker", "web", "intake", "puller"]
PARTS: tuple[Part, ...] = get_args(Part)
#: A worker that loads a large study may miss a few heartbeats.
_LATE_S = 12 * BEAT_S


def health(settings: Settings, parts: tuple[Part, ...]) -> tuple[Finding, ...]:
    """One finding per part; by default the parts that ``bmd-node serve`` runs."""
    switched_on = {"web": settings.web.enabled, "intake": is_switched_on(settings), "puller": settings.orthanc.is_asked}
    wanted = parts or tuple(part for part in PARTS if switched_on.get(part, True))
    return tuple(_of_part(part, _ASK[part], settings) for part in wanted)


def _of_part(part: Part, ask: Callable[[Settings], str], settings: Settings) -> Finding:
    try:
        return Finding(part, Outcome.OK, ask(settings))
    except (NodeError, OSError, sa.exc.SQLAlchemyError) as error:
        # SQLAlchemy's message contains the statement, which is not useful here
        said = str(error) if isinstance(error, NodeError | OSError) else type(error).__name__
        return Finding(part, Outcome.ERROR, said)


def _listener(settings: Settings) -> str:
    echo_own_listener(settings)
    return "answers C-ECHO"


def _worker(settings: Settings) -> str:
    if not has_records(settings):
        raise ConfigurationError(f"no worker has run with the state directory {settings.state_dir} yet")
    found = [one for one in Workers.open(settings).known() if one.worker_id == settings.worker_id]
    if found and found[0].stopped:
        raise ConfigurationError(f"the worker {settings.worker_id} has stopped")
    if not found or found[0].is_lost(time.time(), _LATE_S):
        raise ConfigurationError(f"the worker {settings.worker_id} has had no heartbeat for {_LATE_S:g} s")
    return f"{settings.worker_id} is alive"


def _web(settings: Settings) -> str:
    address = web_address(settings)
    try:
        get(f"{address}/health", context=web_context(settings))
    except HTTPError as error:
        raise TransportError(f"{address} answers /health with {error.code}: its database is down") from error
    except URLError as error:
        raise TransportError(f"{address} does not answer: {error.reason}") from error
    except HTTPException as error:
        raise TransportError(f"{address} is in use, but not by this node") from error
    return "answers, and so does its database"


def _intake(settings: Settings) -> str:
    return _beat(settings, INTAKE_BEAT_FILE, "the intake of planned operations")


def _puller(settings: Settings) -> str:
    return _beat(settings, BEAT_FILE, "the link with Orthanc")


def _beat(settings: Settings, name: str, who: str) -> str:
    file = settings.state_dir / name
    late_s = max(_LATE_S, 3 * settings.orthanc.poll_s)
    try:
        silent_s = time.time() - file.stat().st_mtime
    except FileNotFoundError:
        raise ConfigurationError(f"{who} has not run with the state directory {settings.state_dir} yet") from None
    if silent_s > late_s:
        raise ConfigurationError(f"{who} has had no heartbeat for {late_s:g} s")
    return "is alive"


_ASK: dict[Part, Callable[[Settings], str]] = {
    "listener": _listener,
    "worker": _worker,
    "web": _web,
    "intake": _intake,
    "puller": _puller,
}
