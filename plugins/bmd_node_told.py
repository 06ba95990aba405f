"""States reported by the node, stored as metadata in Orthanc, so that they are available without the node.

Uses only the standard library, because it runs in the Python of Orthanc.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bmd_node_handover import Orthanc, OrthancError

#: Number of the study metadata with the last reported state; Orthanc reserves 1024 to 65535 for users.
TOLD_METADATA = 10432

#: States of a run of the node, and their names here; the last one is the answer to a refused re-run.
STATES = {
    "queued": "waiting",
    "running": "working",
    "measured": "measured",
    "not_measured": "not_measured",
    "failed": "failed",
    "rerun_refused": "rerun_refused",
}


class WrongBodyError(Exception):
    """The plugin does not understand the node: the versions differ."""


@dataclass(frozen=True)
class ToldDelivery:
    """State of the results at one destination of the node."""

    destination: str
    state: str
    detail: str


@dataclass(frozen=True)
class Told:
    """The last state of a study reported by the node.

    Attributes:
        state: a key of :data:`STATES`.
        step: the current or last room of the study.
        detail: reasons, or the error, for people.
        updated_s: time of the change, seconds since the epoch by the node's clock.
    """

    state: str
    step: str = ""
    detail: str = ""
    updated_s: float = 0.0
    deliveries: tuple[ToldDelivery, ...] = ()

    @classmethod
    def from_tree(cls, tree: Any) -> Told:
        """Parse what the node sent, or :func:`keep_told` stored.

        Raises:
            WrongBodyError: something is missing, or has another type.
        """
        try:
            told = cls(
                _known(tree["state"]),
                str(tree["step"]),
                str(tree["detail"]),
                float(tree["updated_s"]),
                tuple(
                    ToldDelivery(str(one["destination"]), str(one["state"]), str(one["detail"]))
                    for one in tree["deliveries"]
                ),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise WrongBodyError(f"{type(error).__name__}: {error}") from error
        return told


def _known(state: Any) -> str:
    if state not in STATES:
        raise ValueError(f"unknown state {state!r}")
    return str(state)


def keep_told(orthanc: Orthanc, study_id: str, told: Told) -> None:
    """Store the reported state of a study.

    Raises:
        OrthancError: it could not be stored.
    """
    orthanc.put_text(f"/studies/{study_id}/metadata/{TOLD_METADATA}", json.dumps(asdict(told)))


def told_of(orthanc: Orthanc, study_id: str) -> Told | None:
    """The last reported state of a study; ``None`` if there is none.

    Raises:
        OrthancError: Orthanc does not answer.
    """
    text = orthanc.get_text(f"/studies/{study_id}/metadata/{TOLD_METADATA}")
    if not text:
        return None
    try:
        return Told.from_tree(json.loads(text))
    except (ValueError, WrongBodyError) as error:
        raise OrthancError(f"metadata {TOLD_METADATA} of study {study_id} is not this plugin's: {error}") from error


def read_body(body: bytes | str) -> tuple[float, dict[str, Told]]:
    """Parse a report of the node: the time up to which it has reported, and the state of each Study Instance UID.

    Raises:
        WrongBodyError: it has another version.
    """
    try:
        tree: Mapping[str, Any] = json.loads(body)
        return float(tree["until_s"]), {str(one["study_instance_uid"]): Told.from_tree(one) for one in tree["studies"]}
    except (KeyError, TypeError, ValueError) as error:
        raise WrongBodyError(f"{type(error).__name__}: {error}") from error
