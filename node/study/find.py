"""Finds a study by a number that people know, and says in one sentence what became of it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from node.common.errors import InputError
from node.receive.header import read_header
from node.records.runs import DeliveryState, RunRecord, RunRecords, RunState
from node.records.study_keys import Number, Received, StudyKeys
from node.settings.tree import Settings

_NAMES = {
    Number.ACCESSION: "accession number",
    Number.PATIENT_ID: "Patient ID",
    Number.STUDY: "Study Instance UID",
}
_DELIVERED = {
    DeliveryState.PENDING: "not delivered yet to",
    DeliveryState.STORED: "stored in",
    DeliveryState.REJECTED: "refused by",
    DeliveryState.NOT_TAKEN: "not accepted in any form by",
    DeliveryState.SUPERSEDED: "replaced before it was sent to",
    DeliveryState.GIVEN_UP: "given up for",
}


class _Result(BaseModel):
    """What the sentence needs of ``result.json``."""

    model_config = ConfigDict(extra="ignore")

    hu_mean: float | None = None
    bmd_mg_cm3: float | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study; ``run`` is the report that stands, or the last attempt; ``None`` if there is none yet."""

    study_instance_uid: str
    run: RunRecord | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Search:
    """What was found.

    Attributes:
        never: the sentence if nothing was found; empty otherwise.
        n_not_looked_at: studies of an earlier version whose numbers are not recorded yet; one of them may be meant.
    """

    studies: tuple[FoundStudy, ...]
    never: str
    n_not_looked_at: int


class StudyFinder:
    """Reads the records; writes only the keys of studies that an earlier version received."""

    def __init__(self, keys: StudyKeys, runs: RunRecords, state_dir: Path) -> None:
        self._keys = keys
        self._runs = runs
        self._state_dir = state_dir

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the records.

        Raises:
            ConfigurationError: the database cannot be opened.
        """
        return cls(StudyKeys.open(settings), RunRecords.open(settings), settings.state_dir)

    def find(self, kind: Number, number: str, look_at: int | None = None) -> Search:
        """Find the studies with a number.

        Args:
            look_at: studies of an earlier version to look at first, whose numbers are not recorded; ``None``: all.
        """
        number, left = number.strip(), 0
        if kind is Number.STUDY:
            uids: tuple[str, ...] = (number,)
        else:
            left = self._look_at_older(look_at)
            uids = self._keys.studies(kind, number)
        found = tuple(study for study in map(self._study, uids) if study is not None)
        never = "" if found else f"Never received: no image with this {_NAMES[kind]} has reached the node."
        if never and left:
            never = f"Not found so far: {left} studies of an earlier version have not been looked at yet, search again."
        return Search(tuple(sorted(found, key=_newest_first)), never, left)

    def _look_at_older(self, most: int | None) -> int:
        """Record the numbers of studies of an earlier version; returns how many are left."""
        for uid in self._keys.unseen(most):
            self._keys.note(uid, *self._numbers(uid))
        return 0 if most is None else len(self._keys.unseen())

    def _numbers(self, study_instance_uid: str) -> tuple[str | None, str | None]:
        """Accession number and Patient ID from a received image, or from the headers that a run has kept."""
        for path in self._keys.files_of(study_instance_uid):
            with contextlib.suppress(InputError, OSError):
                header = read_header(self._state_dir / path)
                return header.accession_number, header.patient_id
        # loads highdicom and matplotlib, which the page and the command need for nothing else
        from node.study.run_folder import load_headers

        for run in reversed(self._runs.of_study(study_instance_uid)):
            with contextlib.suppress(InputError):
                for ds in load_headers(run.folder):
                    return str(ds.get("AccessionNumber") or ""), str(ds.get("PatientID") or "")
        return None, None

    def _study(self, study_instance_uid: str) -> FoundStudy | None:
        runs = self._runs.of_study(study_instance_uid)
        standing = [run for run in runs if not run.is_replaced] or list(runs)
        if standing:
            run = standing[-1]
            return FoundStudy(study_instance_uid, run, sentence_of(run))
        received = self._keys.received(study_instance_uid)
        return None if received is None else FoundStudy(study_instance_uid, None, _before_any_run(received))


def sentence_of(run: RunRecord) -> str:
    """What became of a run, in one sentence."""
    if run.state is RunState.MEASURED:
        return f"Measured on {_day(run.updated_s)}: {_value(run)}{_deliveries(run)}{_and(run.said)}."
    if run.state is RunState.NOT_MEASURED:
        return f"Not measured: {_sentence(run.said) or 'see the page of the study'}."
    if run.state is RunState.FAILED:
        why = _sentence(run.said) or "see the log of the node"
        return f"Not measured, because the node failed: {why}; bmd-node rerun {run.study_instance_uid} tries again."
    if run.state is RunState.RUNNING:
        return f"Being measured since {_time(run.queued_s)}, now at the step {run.step}{_and(run.said)}."
    return f"Waiting to be measured since {_time(run.queued_s)}{_and(run.said)}."


def _before_any_run(received: Received) -> str:
    n = received.n_images
    if n == 0:
        many = "object" if received.n_ignored == 1 else "objects"
        return (
            f"Not measured: on {_day(received.last_s)} the node received {received.n_ignored} {many} of this study, none "
            "of them an image to be measured."
        )
    images = f"{n} image{'' if n == 1 else 's'}"
    if received.is_waiting:
        return f"Received ({images}, the last at {_time(received.last_s)}), and waiting until no more images come."
    return f"Received ({images}, the last at {_time(received.last_s)}), and not measured yet."


def _value(run: RunRecord) -> str:
    try:
        result = _Result.model_validate_json((run.folder / "result.json").read_bytes())
    except (OSError, ValueError, ValidationError):
        return "the file of the result cannot be read"
    category = (result.category or "").replace("_", " ")
    if result.bmd_mg_cm3 is not None:
        # as result.json has it: rounded, and never across a threshold of a category
        return f"mean BMD {result.bmd_mg_cm3} mg/cm³{f', ACR category {category}' if category else ', no ACR category'}"
    if result.hu_mean is not None:
        return f"mean attenuation {result.hu_mean:.0f} HU, no BMD"
    return "no mean value"


def _deliveries(run: RunRecord) -> str:
    return "".join(f"; {_DELIVERED[one.state]} {one.destination}" for one in run.deliveries)


def _and(said: str) -> str:
    return f"; {_sentence(said)}" if said else ""


def _sentence(text: str) -> str:
    """Without the stop at its end, since another one follows."""
    return text.strip().rstrip(".")


def _newest_first(study: FoundStudy) -> tuple[float, str]:
    return (-study.run.queued_s if study.run else float("-inf"), study.study_instance_uid)


def _day(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s).strftime("%Y-%m-%d")


def _time(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s).strftime("%Y-%m-%d %H:%M")
