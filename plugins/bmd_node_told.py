"""What the node has told of its studies: kept as metadata in Orthanc, so that it is there while the node is not.

Needs the standard library only: it runs in the Python of whatever Orthanc loads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bmd_node_handover import Orthanc, OrthancError

#: Number of the study metadata that holds what the node said last; Orthanc leaves 1024 to 65535 to its users.
TOLD_METADATA = 10432

#: States of a run of the node, and how Orthanc calls them; the last one is the answer to a wish that cannot be granted.
STATES = {
    "queued": "waiting",
    "running": "working",
    "measured": "measured",
    "not_measured": "not_measured",
    "failed": "failed",
    "rerun_refused": "rerun_refused",
}


class WrongBodyError(Exception):
    """The node said something that this plugin does not understand: the two are of different versions."""


@dataclass(frozen=True)
class ToldDelivery:
    """How one destination of the node stands with the results."""

    destination: str
    state: str
    detail: str


@dataclass(frozen=True)
class Told:
    """What the node said last of a study.

    Attributes:
        state: a key of :data:`STATES`.
        step: the room that the study is in, or was in last.
        detail: reasons, or the error, for a person.
        updated_s: since when, seconds since the epoch by the node's clock.
    """

    state: str
    step: str = ""
    detail: str = ""
    updated_s: float = 0.0
    deliveries: tuple[ToldDelivery, ...] = ()

    @classmethod
    def from_tree(cls, tree: Any) -> Told:
        """What the node wrote, or :meth:`keep_told` kept.

        Raises:
            WrongBodyError: something is missing, or is of another kind.
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
        raise ValueError(f"no state {state!r} is known")
    return str(state)


def keep_told(orthanc: Orthanc, study_id: str, told: Told) -> None:
    """Keep what the node said of a study.

    Raises:
        OrthancError: it could not be kept.
    """
    orthanc.put_text(f"/studies/{study_id}/metadata/{TOLD_METADATA}", json.dumps(asdict(told)))


def told_of(orthanc: Orthanc, study_id: str) -> Told | None:
    """What the node said last of a study; ``None`` if it has not said anything.

    Raises:
        OrthancError: Orthanc cannot be asked.
    """
    text = orthanc.get_text(f"/studies/{study_id}/metadata/{TOLD_METADATA}")
    if not text:
        return None
    try:
        return Told.from_tree(json.loads(text))
    except (ValueError, WrongBodyError) as error:
        raise OrthancError(f"metadata {TOLD_METADATA} of study {study_id} is not this plugin's: {error}") from error


def read_body(body: bytes | str) -> tuple[float, dict[str, Told]]:
    """What the node posts: how far it has told, and what it says of each Study Instance UID.

    Raises:
        WrongBodyError: it is none of this version.
    """
    try:
        tree: Mapping[str, Any] = json.loads(body)
        return float(tree["until_s"]), {str(one["study_instance_uid"]): Told.from_tree(one) for one in tree["studies"]}
    except (KeyError, TypeError, ValueError) as error:
        raise WrongBodyError(f"{type(error).__name__}: {error}") from error
