"""Orthanc plugin: hands CT studies over to bmd-node as soon as they are stable; results come back by C-STORE.

``import orthanc`` exists only inside Orthanc's Python plugin (4.0 and later). This file is the shim between the two: what is
done stands in ``bmd_node_handover.py``, which must lie beside it. Callbacks only wake a thread; the transfers are jobs of
Orthanc, outside of Python.

Settings, in Orthanc's configuration::

    "DicomModalities": {"bmd-node": ["BMDNODE", "127.0.0.1", 11112]},
    "BmdNode": {"Modality": "bmd-node", "Enable": true, "RetryFirstSeconds": 5, "RetryMaxSeconds": 120}
"""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

import orthanc
from bmd_node_handover import ConfigurationError, HandOver, OrthancError, PluginSettings, read_settings

#: Number of the global property that holds the ledger; Orthanc leaves the numbers from 1024 on to plugins.
_LEDGER_PROPERTY = 10431
_AFTER_ERROR_S = 5.0
_STOP_S = 10.0
#: ORTHANC_PLUGIN_ERROR codes: the item, or the resource, is not there.
_NOT_THERE = (7, 17)

_wake = threading.Event()
_stop = threading.Event()
_threads: list[threading.Thread] = []


class _InsideOrthanc:
    """Orthanc's own REST API, called without HTTP."""

    def get(self, path: str) -> Any:
        answer = self._ask(path)
        return None if answer is None else json.loads(answer)

    def get_text(self, path: str) -> str | None:
        answer = self._ask(path)
        return None if answer is None else answer.decode("utf-8", "replace")

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        try:
            return json.loads(orthanc.RestApiPost(path, json.dumps(body)))
        except orthanc.OrthancException as error:
            raise OrthancError(f"POST {path}: {error.args}") from error

    def put_text(self, path: str, text: str) -> None:
        try:
            orthanc.RestApiPut(path, text)
        except orthanc.OrthancException as error:
            raise OrthancError(f"PUT {path}: {error.args}") from error

    def load_ledger(self) -> str:
        kept: str = orthanc.GetGlobalProperty(_LEDGER_PROPERTY, "")
        return kept

    def save_ledger(self, text: str) -> None:
        try:
            orthanc.SetGlobalProperty(_LEDGER_PROPERTY, text)
        except orthanc.OrthancException as error:
            raise OrthancError(f"the list of what is owed cannot be kept: {error.args}") from error

    def log(self, text: str) -> None:
        orthanc.LogWarning(f"bmd-node: {text}")

    def _ask(self, path: str) -> bytes | None:
        try:
            answer: bytes = orthanc.RestApiGet(path)
        except orthanc.OrthancException as error:
            if error.args and error.args[0] in _NOT_THERE:
                return None
            raise OrthancError(f"GET {path}: {error.args}") from error
        return answer


def _work(settings: PluginSettings) -> None:
    """The thread: whatever goes wrong is told, and tried again; what is owed lies in Orthanc's database."""
    hand_over: HandOver | None = None
    while not _stop.is_set():
        # cleared first: a wake-up during the step makes the next one start at once
        _wake.clear()
        try:
            if hand_over is None:
                hand_over = HandOver(_InsideOrthanc(), settings)
            wait_s = hand_over.step(time.monotonic())
        except OrthancError as error:
            orthanc.LogWarning(f"bmd-node: {error}; tried again in {_AFTER_ERROR_S:.0f} s")
            wait_s = _AFTER_ERROR_S
        except Exception:  # noqa: BLE001 - a thread that ends would owe studies for ever without a word
            orthanc.LogError(f"bmd-node: {traceback.format_exc()}")
            wait_s = _AFTER_ERROR_S
        _wake.wait(wait_s)


def _on_change(change_type: int, _level: int, _resource_id: str) -> None:
    """Orthanc waits for this function: it only wakes the thread."""
    if change_type == orthanc.ChangeType.STABLE_STUDY:
        _wake.set()
    elif change_type == orthanc.ChangeType.ORTHANC_STARTED:
        for thread in _threads:
            thread.start()
    elif change_type == orthanc.ChangeType.ORTHANC_STOPPED:
        _stop.set()
        _wake.set()
        for thread in _threads:
            # the REST API goes away after this
            thread.join(_STOP_S)


def _load() -> None:
    """Read the settings and register; a wrong section stops Orthanc's start, with the reason in its log."""
    settings = read_settings(json.loads(orthanc.GetConfiguration()))
    if not settings.enable:
        orthanc.LogWarning('bmd-node: switched off ("BmdNode": {"Enable": false})')
        return
    _threads.append(threading.Thread(target=_work, args=(settings,), name="bmd-node", daemon=True))
    orthanc.RegisterOnChangeCallback(_on_change)
    orthanc.LogWarning(f'bmd-node: CT studies go to the modality "{settings.modality}" when they are stable')


try:
    _load()
except ConfigurationError as wrong:
    orthanc.LogError(f"bmd-node: {wrong}")
    raise
