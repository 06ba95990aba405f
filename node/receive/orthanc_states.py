"""Reports the state of studies to Orthanc's plugin, and takes its requests to measure studies again.

The node makes all requests and Orthanc never calls: this works however images arrive, and behind any firewall that lets the
node reach Orthanc. Orthanc stores how far states were reported, so a restart of either side loses none.
"""

from __future__ import annotations

import json
import logging
import math

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from node.common.errors import InputError, RejectedError
from node.receive.orthanc_client import OrthancClient
from node.receive.studies import ReceivedStudies
from node.records.runs import RunRecord, RunRecords
from node.settings.tree import Settings

log = logging.getLogger(__name__)

#: Of ``plugins/bmd_node_handover.py``; plugin and node work together only with the same number.
PROTOCOL = 2
#: Changes reported in one request.
_LOOKED_AT_ONCE = 100
#: Several processes may write out of order, so this much time is read again.
_READ_AGAIN_S = 30.0


class _Wanted(BaseModel):
    model_config = ConfigDict(frozen=True)
    id: str = Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{8}){4}$")
    study_instance_uid: str = Field(pattern=r"^[0-9.]{1,64}$")


class PluginAnswer(BaseModel):
    """Answer of ``/bmd-node/plugin`` in Orthanc."""

    model_config = ConfigDict(frozen=True)
    protocol: int
    hand_over: str
    told_s: float
    reruns: tuple[_Wanted, ...]


def plugin_answer(client: OrthancClient) -> PluginAnswer:
    """Query the plugin.

    Raises:
        TransportError: Orthanc does not answer.
        RejectedError: it has no such plugin, or another version of it.
    """
    try:
        answer = PluginAnswer.model_validate_json(client.ask("/bmd-node/plugin"))
    except ValidationError as error:
        raise RejectedError(f"{client.url} does not answer like the plugin of this node: update plugins/") from error
    if answer.protocol != PROTOCOL:
        raise RejectedError(
            f"the plugin of Orthanc at {client.url} has another version than this node (protocol {answer.protocol}, the "
            f"node {PROTOCOL}): install plugins/ of this node and restart Orthanc"
        )
    return answer


class OrthancStates:
    """Reports to one Orthanc.

    Raises:
        ConfigurationError: the database cannot be used.
    """

    def __init__(self, client: OrthancClient, settings: Settings) -> None:
        self._client = client
        self._records = RunRecords.open(settings)
        self._studies = ReceivedStudies.open(settings)
        self._told: dict[str, RunRecord] = {}

    def round(self) -> int:
        """Take requests to measure again, then report changed states; returns the number of reported studies.

        Raises:
            TransportError, RejectedError: see :func:`plugin_answer`; nothing is lost, call again.
            sqlalchemy.exc.SQLAlchemyError: the database does not answer.
        """
        answer = plugin_answer(self._client)
        for wanted in answer.reruns:
            self._measure_again(wanted)
        n_told, told_s, since_s = 0, answer.told_s, answer.told_s - _READ_AGAIN_S
        while True:
            changes = self._records.changed_since(since_s, _LOOKED_AT_ONCE)
            news = {run.study_instance_uid: run for run in changes.runs if self._told.get(run.study_instance_uid) != run}
            told_s = max(told_s, changes.until_s or 0.0)
            # also without changes: Orthanc shows whether the node is reachable
            body = {"until_s": told_s, "studies": [_said(run) for run in news.values()]}
            self._client.ask("/bmd-node/states", json.dumps(body).encode())
            self._told |= news
            n_told += len(news)
            if changes.is_all:
                return n_told
            since_s = math.nextafter(told_s, math.inf)

    def _measure_again(self, wanted: _Wanted) -> None:
        """Ask for a re-run; a second request before a worker starts has no effect."""
        why_not = ""
        try:
            self._studies.ask_for_rerun(wanted.study_instance_uid)
        except InputError as error:
            why_not = str(error)
            log.warning("study %s is not measured again: %s", wanted.study_instance_uid, error)
        self._client.ask(f"/bmd-node/reruns/{wanted.id}", why_not.encode())
        # forget the reported state: the plugin has set another one
        self._told.pop(wanted.study_instance_uid, None)


def _said(run: RunRecord) -> dict[str, object]:
    """The form that ``plugins/bmd_node_told.py`` reads."""
    return {
        "study_instance_uid": run.study_instance_uid,
        "state": run.state.value,
        "step": run.step,
        "detail": run.said,
        "updated_s": run.updated_s,
        "deliveries": [
            {"destination": one.destination, "state": one.state.value, "detail": one.detail} for one in run.deliveries
        ],
    }
