"""Orthanc plugin: hands CT studies over to bmd-node as soon as they are stable; results come back by C-STORE.

``import orthanc`` exists only inside Orthanc's Python plugin (4.0 and later). This file connects the two; the work is done
in the other files ``bmd_node_*``, which must be in the same folder. Callbacks of Orthanc only wake a thread; transfers are
jobs of Orthanc, outside of Python. Features missing in an older plugin are skipped, with a log entry.

In Orthanc's REST API, behind its own authentication. All that the node calls is for its own user (``NodeUser``); a program
that asks for a re-run sends the header ``X-BMD-Node``, a browser the token of the page (``bmd_node_guard.py``):

=============================== ================================================================
GET /bmd-node/studies/{id}       state, result and objects of a study, as JSON; {id} is Orthanc's
                                 identifier or a Study Instance UID
GET /bmd-node/studies/{id}/view  the same for people, with the summary page
POST .../{id}/rerun              hand the study over again, and have it measured again
GET /bmd-node/plugin             for the node: version, and requests to measure again
POST /bmd-node/reruns/{study}    the node has accepted a request, or the body says why it cannot
POST /bmd-node/states            the node reports the state of its studies
GET /bmd-node/owed               what the node may read now, with "HandOver": "pull"
POST /bmd-node/owed/{series}     the node has read a series; the body is the mark of the offer
=============================== ================================================================

Settings, in Orthanc's configuration::

    "DicomModalities": {"bmd-node": ["BMDNODE", "127.0.0.1", 11112]},
    "BmdNode": {"Modality": "bmd-node", "Enable": true, "NodeUser": "bmd-node", "RetryFirstSeconds": 5,
                "RetryMaxSeconds": 120, "Rules": [{"Modality": "CT", "RemoteAET": "CT_*"}]}
"""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orthanc
from bmd_node_guard import Guard
from bmd_node_handover import PROTOCOL, HandOver, OrthancError
from bmd_node_results import page_of, state_of
from bmd_node_settings import ConfigurationError, PluginSettings, is_authenticated, read_settings
from bmd_node_told import Told, WrongBodyError, keep_told, read_body

#: Number of the global property with the ledger; Orthanc reserves numbers from 1024 for plugins.
_LEDGER_PROPERTY = 10431
_AFTER_ERROR_S = 5.0
_STOP_S = 10.0
#: ORTHANC_PLUGIN_ERROR codes: the item or resource does not exist.
_NOT_THERE = (7, 17)

#: The button in Orthanc Explorer.
_BUTTON = Path(__file__).with_name("bmd_node_explorer.js")

_wake = threading.Event()
_stop = threading.Event()
_threads: list[threading.Thread] = []
#: Who may change something; one, once the settings are read.
_guards: list[Guard] = []
#: The hand-over of the thread, once it has started.
_hand_over: list[HandOver] = []
#: Time of the last contact from the node (monotonic clock), under "node".
_heard: dict[str, float] = {}


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
            raise OrthancError(f"the list of pending studies cannot be stored: {error.args}") from error

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
    """The thread: failures are logged and retried; pending studies are in Orthanc's database."""
    while not _stop.is_set():
        # cleared first: a wake-up during the step makes the next one start at once
        _wake.clear()
        try:
            if not _hand_over:
                _hand_over.append(HandOver(_InsideOrthanc(), settings))
            wait_s = _hand_over[0].step(time.monotonic())
        except OrthancError as error:
            orthanc.LogWarning(f"bmd-node: {error}; retrying in {_AFTER_ERROR_S:.0f} s")
            wait_s = _AFTER_ERROR_S
        except Exception:  # noqa: BLE001 - if the thread ended, studies would silently stay pending
            orthanc.LogError(f"bmd-node: {traceback.format_exc()}")
            wait_s = _AFTER_ERROR_S
        _wake.wait(wait_s)


def _on_change(change_type: int, _level: int, _resource_id: str) -> None:
    """Wake the thread, and nothing else: Orthanc waits for this function."""
    if change_type == orthanc.ChangeType.STABLE_STUDY:
        _wake.set()
    elif change_type == orthanc.ChangeType.ORTHANC_STARTED:
        for thread in _threads:
            thread.start()
    elif change_type == orthanc.ChangeType.ORTHANC_STOPPED:
        _stop.set()
        _wake.set()
        for thread in _threads:
            # the REST API is not available after this
            thread.join(_STOP_S)


def _study(output: Any, uri: str, **request: Any) -> None:
    """Answer ``/bmd-node/studies/...`` with short calls to Orthanc, without waiting for the node."""
    name, what = request["groups"][0], request["groups"][1] or ""
    wanted = "POST" if what == "/rerun" else "GET"
    if not _is(request["method"], wanted):
        output.SendMethodNotAllowed(wanted)
        return
    try:
        inside = _InsideOrthanc()
        study_id = _study_id(name)
        if study_id is None:
            output.SendHttpStatusCode(404)
        elif not _hand_over:
            output.SendHttpStatusCode(503)
        elif what == "/rerun":
            if not _guards[0].is_asked_here(study_id, request["headers"], request["body"]):
                orthanc.LogWarning(f"bmd-node: {uri}: refused, neither the page of the study nor a program has sent it")
                output.SendHttpStatusCode(403)
                return
            if not _hand_over[0].owe_again(study_id):
                output.SendHttpStatusCode(409)
                return
            _wake.set()
            output.Redirect("view")
        else:
            hand_over = _hand_over[0]
            study = state_of(
                inside,
                study_id,
                hand_over.standing_of(study_id),
                is_rerun_wanted=hand_over.is_rerun_wanted(study_id),
                heard_s_ago=time.monotonic() - _heard["node"] if _heard else None,
            )
            if what == "/view":
                token = _guards[0].token(study_id, request["headers"])
                output.SetHttpHeader("Cache-Control", "no-store")
                # the button is not for a page that lays another one over it
                output.SetHttpHeader("Content-Security-Policy", "frame-ancestors 'self'")
                output.AnswerBuffer(page_of(study, token), "text/html; charset=utf-8")
            else:
                output.AnswerBuffer(json.dumps(study.as_json()), "application/json")
    except OrthancError as error:
        orthanc.LogWarning(f"bmd-node: {uri}: {error}")
        output.SendHttpStatusCode(503)
    except Exception:  # noqa: BLE001 - Orthanc discards exceptions of this function
        orthanc.LogError(f"bmd-node: {uri}: {traceback.format_exc()}")
        output.SendHttpStatusCode(500)


def _owed(output: Any, uri: str, **request: Any) -> None:
    """Answer ``/bmd-node/owed`` for the node."""
    series_id = (request["groups"][0] or "").strip("/")

    def answer(hand_over: HandOver) -> Any:
        if not series_id:
            return hand_over.to_pull()
        hand_over.pulled(series_id, _text(request["body"]))
        _wake.set()
        return {}

    _answer_node(output, uri, request, "POST" if series_id else "GET", answer)


def _plugin(output: Any, uri: str, **request: Any) -> None:
    """Answer ``/bmd-node/plugin`` for the node and its doctor."""

    def answer(hand_over: HandOver) -> Any:
        return {
            "protocol": PROTOCOL,
            "hand_over": hand_over.way,
            "told_s": hand_over.told_s,
            "reruns": hand_over.reruns(),
        }

    _answer_node(output, uri, request, "GET", answer)


def _rerun_taken(output: Any, uri: str, **request: Any) -> None:
    """Answer ``/bmd-node/reruns/{study}``: the node has accepted the request, or says why it cannot."""
    study_id = request["groups"][0]

    def answer(hand_over: HandOver) -> Any:
        why_not = _text(request["body"])
        inside = _InsideOrthanc()
        if inside.get(f"/studies/{study_id}") is not None:
            keep_told(inside, study_id, Told("rerun_refused", detail=why_not) if why_not else Told("queued"))
        hand_over.rerun_taken(study_id)
        return {}

    _answer_node(output, uri, request, "POST", answer)


def _states(output: Any, uri: str, **request: Any) -> None:
    """Answer ``/bmd-node/states``: store the state of studies that are in this Orthanc."""

    def answer(hand_over: HandOver) -> Any:
        # posted every few seconds, even without changes
        _heard["node"] = time.monotonic()
        until_s, told = read_body(request["body"])
        inside = _InsideOrthanc()
        for study_instance_uid, one in told.items():
            study_id = _study_id(study_instance_uid)
            if study_id is not None:
                keep_told(inside, study_id, one)
        hand_over.told_until(until_s)
        return {}

    _answer_node(output, uri, request, "POST", answer)


def _answer_node(output: Any, uri: str, request: Mapping[str, Any], wanted: str, answer: Callable[[HandOver], Any]) -> None:
    """Answer the node, and nobody else, in JSON, without waiting for anything."""
    if not _is(request["method"], wanted):
        output.SendMethodNotAllowed(wanted)
    elif not _guards[0].is_node(request["headers"]):
        orthanc.LogWarning(f'bmd-node: {uri}: refused, this is for the user "{_guards[0].node_user}" ("NodeUser")')
        output.SendHttpStatusCode(403)
    elif not _hand_over:
        output.SendHttpStatusCode(503)
    else:
        try:
            output.AnswerBuffer(json.dumps(answer(_hand_over[0])), "application/json")
        except WrongBodyError as error:
            orthanc.LogWarning(f"bmd-node: {uri}: the node has another version than this plugin: {error}")
            output.SendHttpStatusCode(400)
        except OrthancError as error:
            orthanc.LogWarning(f"bmd-node: {uri}: {error}")
            output.SendHttpStatusCode(503)
        except Exception:  # noqa: BLE001 - as above
            orthanc.LogError(f"bmd-node: {uri}: {traceback.format_exc()}")
            output.SendHttpStatusCode(500)


def _let_in(uri: str, **request: Any) -> bool:
    """Orthanc asks before each request: nobody but the node writes the metadata of the node."""
    if not _is(request["method"], "PUT") and not _is(request["method"], "DELETE"):
        return True
    return _guards[0].may_change(uri, request["headers"])


def _is(method: Any, wanted: str) -> bool:
    """Whether a request has this method: text, or a number in newer plugins."""
    return method in (wanted, getattr(getattr(orthanc, "HttpMethod", None), wanted, wanted))


def _text(body: bytes | str) -> str:
    """Decode a body: text or bytes, depending on the version of the plugin."""
    return body if isinstance(body, str) else body.decode("utf-8", "replace")


def _study_id(name: str) -> str | None:
    """Orthanc's identifier of a study, from that identifier or the Study Instance UID."""
    if "." not in name:
        return name if _InsideOrthanc().get(f"/studies/{name}") is not None else None
    found = json.loads(orthanc.RestApiPost("/tools/lookup", name))
    return next((one["ID"] for one in found if one["Type"] == "Study"), None)


def _load() -> None:
    """Read the settings and register; an invalid section stops Orthanc's start, with the reason in its log."""
    configuration = json.loads(orthanc.GetConfiguration())
    settings = read_settings(configuration)
    if not settings.enable:
        orthanc.LogWarning('bmd-node: switched off ("BmdNode": {"Enable": false})')
        return
    guard = Guard(settings.node_user, is_authenticated(configuration))
    _guards.append(guard)
    if guard.node_user and not guard.is_authenticated:
        orthanc.LogWarning('bmd-node: Orthanc checks no logins ("AuthenticationEnabled"): any program may report states')
    _threads.append(threading.Thread(target=_work, args=(settings,), name="bmd-node", daemon=True))
    orthanc.RegisterOnChangeCallback(_on_change)
    orthanc.RegisterRestCallback("/bmd-node/studies/([0-9a-f.-]+)(/view|/rerun)?", _study)
    orthanc.RegisterRestCallback("/bmd-node/owed(/[0-9a-f-]+)?", _owed)
    orthanc.RegisterRestCallback("/bmd-node/plugin", _plugin)
    orthanc.RegisterRestCallback("/bmd-node/reruns/([0-9a-f-]+)", _rerun_taken)
    orthanc.RegisterRestCallback("/bmd-node/states", _states)
    if hasattr(orthanc, "RegisterIncomingHttpRequestFilter"):
        orthanc.RegisterIncomingHttpRequestFilter(_let_in)
    else:
        orthanc.LogWarning("bmd-node: this plugin cannot keep other users from the metadata of the node")
    if hasattr(orthanc, "ExtendOrthancExplorer"):
        orthanc.ExtendOrthancExplorer(_BUTTON.read_text(encoding="utf-8"))
    else:
        orthanc.LogWarning("bmd-node: this plugin cannot add a button to Orthanc's pages; use /bmd-node/studies/{id}/view")
    where = f'goes to the modality "{settings.modality}"' if settings.hand_over == "store" else "is offered to the node"
    orthanc.LogWarning(f"bmd-node: when a study is stable, what matches the rules {where}")


try:
    _load()
except ConfigurationError as wrong:
    orthanc.LogError(f"bmd-node: {wrong}")
    raise
