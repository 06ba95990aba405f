"""Handing CT studies over to the node: what the Orthanc plugin does, apart from Orthanc itself.

Orthanc's log of changes says which studies got new images. Each of them is owed to the node until all of its CT series
carry a mark (series metadata) of the images that the node has taken. Position in the log, owed studies and the job under
way are one value, the :class:`Ledger`, which Orthanc keeps in its database; so neither a kill of Orthanc nor a node that
is down loses a study. Nothing here depends on a callback having arrived: callbacks only make it quicker.

Needs the standard library only: it runs in the Python of whatever Orthanc loads it.
"""

from __future__ import annotations

import enum
import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from bmd_node_pace import Pace
from bmd_node_settings import METADATA, PluginSettings

#: Manufacturer's Model Name of the node's own objects: they are never handed over.
OWN_MODEL_NAME = "bmd-node"
#: Number of the series metadata that holds the mark; Orthanc leaves 1024 to 65535 to its users.
MARK_METADATA = 10431

_CHANGES_PER_CALL = 500
_JOB_POLL_S = 0.5
_IDLE_POLL_S = 5.0
#: In the place of a mark: a person asked for the series once more.
_AGAIN = "again"
#: What node and plugin say to each other under ``/bmd-node``; to be raised when it changes.
PROTOCOL = 2
#: Studies that a node is offered in one answer: it asks again when it has them.
_OFFERED_AT_ONCE = 5


class OrthancError(Exception):
    """Orthanc did not do what it was asked; the message says what it answered."""


class Orthanc(Protocol):
    """What is needed of Orthanc. Every call is short: older plugins hold Python's lock while they run."""

    def get(self, path: str) -> Any:
        """JSON of a resource; ``None`` if there is no such resource.

        Raises:
            OrthancError: anything else went wrong.
        """

    def get_text(self, path: str) -> str | None:
        """Like :meth:`get`, for plain text."""

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST JSON and return the JSON of the answer."""

    def put_text(self, path: str, text: str) -> None:
        """PUT plain text."""

    def load_ledger(self) -> str:
        """What :meth:`save_ledger` kept; empty at the very first start."""

    def save_ledger(self, text: str) -> None:
        """Keep a text in the database, in one transaction."""

    def log(self, text: str) -> None:
        """Tell the administrator."""


@dataclass(frozen=True)
class Job:
    """The hand-over under way: Orthanc's job, and the mark of each series it sends."""

    job_id: str
    study_id: str
    marks: Mapping[str, str]


class Standing(enum.Enum):
    """How a study of Orthanc stands with the node."""

    NOT_FOR_THE_NODE = "not_for_the_node"
    OWED = "owed"
    UNDER_WAY = "under_way"
    HANDED_OVER = "handed_over"


@dataclass(frozen=True)
class Ledger:
    """What is owed.

    Attributes:
        position: number of the last change that was looked at.
        owed: Orthanc identifiers of the studies that may hold images that the node has not got, oldest first.
        job: the hand-over under way.
        reruns: studies that a person wants measured again, of which the node has not taken note.
        told_s: how far the node has told what became of its studies, seconds since the epoch by the node's clock.
    """

    position: int
    owed: tuple[str, ...] = ()
    job: Job | None = None
    reruns: tuple[str, ...] = ()
    told_s: float = 0.0

    def owing(self, study_ids: Iterable[str]) -> Ledger:
        """The ledger with more studies; one that is owed already keeps its place."""
        return replace(self, owed=tuple(dict.fromkeys((*self.owed, *study_ids))))

    def settled(self, study_id: str) -> Ledger:
        """The ledger without a study."""
        return replace(self, owed=tuple(owed for owed in self.owed if owed != study_id))

    def to_json(self) -> str:
        """The ledger as text."""
        job = self.job
        tree = None if job is None else {"id": job.job_id, "study": job.study_id, "marks": dict(job.marks)}
        said = {"reruns": self.reruns, "told_s": self.told_s}
        return json.dumps({"position": self.position, "owed": self.owed, "job": tree, **said})

    @classmethod
    def from_json(cls, text: str) -> Ledger:
        """The ledger that :meth:`to_json` wrote, of this version of the plugin or of one that knew of no re-runs."""
        tree = json.loads(text)
        job = tree["job"]
        return cls(
            int(tree["position"]),
            tuple(tree["owed"]),
            None if job is None else Job(job["id"], job["study"], dict(job["marks"])),
            tuple(tree.get("reruns", ())),
            float(tree.get("told_s", 0.0)),
        )


def mark_of(instance_ids: Iterable[str]) -> str:
    """Mark of a series: changes with its images, whatever their order."""
    return hashlib.sha256("\n".join(sorted(instance_ids)).encode()).hexdigest()


class HandOver:
    """Brings what is owed to the node, one study at a time, as jobs of Orthanc: this thread only asks how they stand."""

    def __init__(self, orthanc: Orthanc, settings: PluginSettings) -> None:
        """Take up the ledger that Orthanc kept.

        At the very first start the studies that Orthanc holds already are not handed over: only what changes from now on.

        Raises:
            OrthancError: Orthanc cannot be asked.
        """
        self._orthanc = orthanc
        self._settings = settings
        self._pace = Pace(settings)
        kept = orthanc.load_ledger()
        self._lock = threading.Lock()
        self._asked_again: set[str] = set()
        self._ledger = Ledger.from_json(kept) if kept else Ledger(int(orthanc.get("/changes?last")["Last"]))
        if not kept:
            orthanc.save_ledger(self._ledger.to_json())
        if self._ledger.owed:
            orthanc.log(f"{len(self._ledger.owed)} studies are still owed to the node")

    def step(self, now_s: float) -> float:
        """Do what can be done now; returns the seconds after which to call again.

        Args:
            now_s: a clock that never goes back.

        Raises:
            OrthancError: Orthanc cannot be asked; call again later, nothing is lost.
        """
        self._read_changes()
        if self._ledger.job is not None:
            self._look_after_job(self._ledger.job, now_s)
        if self._ledger.job is None:
            self._start_job(now_s)
        if self._ledger.job is not None:
            return _JOB_POLL_S
        wait_s = self._pace.not_before_s - now_s
        return wait_s if 0 < wait_s < _IDLE_POLL_S else _IDLE_POLL_S

    def standing_of(self, study_id: str) -> Standing:
        """How a study stands with the node; any thread may ask.

        Raises:
            OrthancError: Orthanc cannot be asked.
        """
        ledger = self._ledger
        if ledger.job is not None and ledger.job.study_id == study_id:
            return Standing.UNDER_WAY
        if study_id in ledger.owed and self._marks_to_bring(study_id):
            return Standing.OWED
        marks = [self._mark(series) for series in self._series_for_the_node(study_id)]
        return Standing.HANDED_OVER if any(marks) else Standing.NOT_FOR_THE_NODE

    def owe_again(self, study_id: str) -> bool:
        """Hand a study over once more, whatever the node has got of it; false if there is nothing for the node in it.

        That the node has the images already, or has removed them since, must not matter: they are owed again, and when it
        has them, it is offered the wish to have them measured again (:meth:`reruns`). Both are kept when this returns; any
        thread may ask.

        Raises:
            OrthancError: Orthanc cannot be asked.
        """
        series = self._series_for_the_node(study_id)
        for one in series:
            self._orthanc.put_text(f"/series/{one['ID']}/metadata/{MARK_METADATA}", _AGAIN)
        if series:
            self._asked_again.add(study_id)
            self._keep(
                lambda ledger: replace(ledger.owing([study_id]), reruns=tuple(dict.fromkeys((*ledger.reruns, study_id))))
            )
        return bool(series)

    @property
    def way(self) -> str:
        """How studies are handed over: ``store`` or ``pull``."""
        return self._settings.hand_over

    def is_rerun_wanted(self, study_id: str) -> bool:
        """Whether a person wants it measured again, and the node has not taken note."""
        return study_id in self._ledger.reruns

    def reruns(self) -> list[dict[str, str]]:
        """Studies that a person wants measured again and whose images the node has got, by both of their names.

        Raises:
            OrthancError: Orthanc cannot be asked.
        """
        ledger = self._ledger
        offered = []
        for study_id in ledger.reruns:
            if study_id in ledger.owed or (ledger.job is not None and ledger.job.study_id == study_id):
                continue
            study = self._orthanc.get(f"/studies/{study_id}")
            if study is None:
                self.rerun_taken(study_id)
                continue
            offered.append({"id": study_id, "study_instance_uid": study["MainDicomTags"]["StudyInstanceUID"]})
        return offered

    def rerun_taken(self, study_id: str) -> None:
        """The node has taken note of the wish, or there is no such study any more."""
        self._keep(lambda ledger: replace(ledger, reruns=tuple(one for one in ledger.reruns if one != study_id)))

    @property
    def told_s(self) -> float:
        """How far the node has told what became of its studies."""
        return self._ledger.told_s

    def told_until(self, told_s: float) -> None:
        """The node has told everything up to this time of its clock."""
        self._keep(lambda ledger: replace(ledger, told_s=told_s))

    def to_pull(self) -> list[dict[str, Any]]:
        """What the node may read now: the first studies that are stable, with the instances of each series and their mark.

        Raises:
            OrthancError: Orthanc cannot be asked.
        """
        if self._settings.hand_over != "pull":
            return []
        offered: list[dict[str, Any]] = []
        for study_id in self._ledger.owed:
            study = self._orthanc.get(f"/studies/{study_id}")
            if study is None or not study["IsStable"]:
                continue
            marks = self._marks_to_bring(study_id)
            series = [offer for one, mark in marks.items() if (offer := self._offer(one, mark)) is not None]
            if series:
                uid = study["MainDicomTags"]["StudyInstanceUID"]
                offered.append({"id": study_id, "study_instance_uid": uid, "series": series})
            if len(offered) == _OFFERED_AT_ONCE:
                break
        return offered

    def pulled(self, series_id: str, mark: str) -> None:
        """The node has got every image that the mark stands for; the mark, kept in Orthanc, is what settles the study.

        Raises:
            OrthancError: it could not be kept; the node will be offered the series again.
        """
        self._orthanc.put_text(f"/series/{series_id}/metadata/{MARK_METADATA}", mark)

    def _offer(self, series_id: str, mark: str) -> dict[str, Any] | None:
        series = self._orthanc.get(f"/series/{series_id}")
        if series is None:
            return None
        uid = series["MainDicomTags"]["SeriesInstanceUID"]
        return {"id": series_id, "series_instance_uid": uid, "mark": mark, "instances": list(series["Instances"])}

    def _mark(self, series: Mapping[str, Any]) -> str | None:
        return self._orthanc.get_text(f"/series/{series['ID']}/metadata/{MARK_METADATA}")

    def _read_changes(self) -> None:
        """Every study that got an image is owed; whether there is something to hand over shows when it is stable.

        That it became stable is not asked of the log: Orthanc forgets at a restart which studies were not stable yet, and
        never says it of them.
        """
        while True:
            page = self._orthanc.get(f"/changes?since={self._ledger.position}&limit={_CHANGES_PER_CALL}")
            changes = page["Changes"]
            studies = [
                self._orthanc.get(f"/instances/{change['ID']}/study")
                for change in changes
                if change["ChangeType"] == "NewInstance"
            ]
            owed = [study["ID"] for study in studies if study is not None]
            position = max((int(change["Seq"]) for change in changes), default=self._ledger.position)
            self._keep(lambda ledger, owed=owed, position=position: replace(ledger.owing(owed), position=position))
            if page["Done"] or not changes:
                return

    def _start_job(self, now_s: float) -> None:
        """Find an owed study that is stable and has something for the node; those that have nothing are settled."""
        for study_id in self._pace.by_patience(self._ledger.owed):
            if not self._pace.may_try(study_id, now_s):
                continue
            study = self._orthanc.get(f"/studies/{study_id}")
            if study is None:
                self._settle(study_id)
                continue
            if not study["IsStable"]:
                continue
            self._asked_again.discard(study_id)
            marks = self._marks_to_bring(study_id)
            if not marks:
                self._settle(study_id)
                continue
            if self._settings.hand_over == "pull":
                continue
            try:
                answer = self._orthanc.post(
                    f"/modalities/{self._settings.modality}/store",
                    {"Resources": list(marks), "Asynchronous": True, "Permissive": False},
                )
            except OrthancError as error:
                self._failed(study_id, f"Orthanc made no job of it: {error}", now_s)
                return
            job = Job(str(answer["ID"]), study_id, marks)
            self._keep(lambda ledger, job=job: replace(ledger, job=job))
            return

    def _marks_to_bring(self, study_id: str) -> dict[str, str]:
        """Series of which the node has not got every image, with the mark they get then."""
        marks: dict[str, str] = {}
        for series in self._series_for_the_node(study_id):
            mark = mark_of(series["Instances"])
            if self._mark(series) == mark:
                continue
            marks[series["ID"]] = mark
        return marks

    def _series_for_the_node(self, study_id: str) -> list[Mapping[str, Any]]:
        """Series that a rule means, without what the node made itself."""
        found = []
        for series in self._orthanc.get(f"/studies/{study_id}/series") or ():
            values = dict(series["MainDicomTags"])
            if any(rule.asks_for_sender for rule in self._settings.rules):
                for name in METADATA:
                    path = f"/instances/{series['Instances'][0]}/metadata/{name}"
                    values[name] = self._orthanc.get_text(path) or ""
            if any(rule.matches(values) for rule in self._settings.rules) and not self._is_own(series["Instances"][0]):
                found.append(series)
        return found

    def _is_own(self, instance_id: str) -> bool:
        model_name = self._orthanc.get_text(f"/instances/{instance_id}/content/0008-1090")
        return model_name is not None and model_name.strip(" \0") == OWN_MODEL_NAME

    def _look_after_job(self, job: Job, now_s: float) -> None:
        state = self._orthanc.get(f"/jobs/{job.job_id}")
        if state is None:
            # Orthanc keeps the last few jobs only: how this one ended is not known, and the node takes an image twice
            self._keep(lambda ledger: replace(ledger, job=None))
        elif state["State"] == "Success":
            self._took(job, now_s)
        elif state["State"] in ("Failure", "Retry", "Paused"):
            # Orthanc's own wait for a retry, or a person's pause, ends with Orthanc; ours does not
            if state["State"] != "Failure":
                self._orthanc.post(f"/jobs/{job.job_id}/cancel", {})
            self._keep(lambda ledger: replace(ledger, job=None))
            said = state.get("ErrorDetails") or state.get("ErrorDescription") or state["State"]
            self._failed(job.study_id, f"the node did not take it: {said}", now_s)

    def _took(self, job: Job, now_s: float) -> None:
        """The study stays owed until it was looked at again: more images may have come meanwhile."""
        self._keep(lambda ledger: replace(ledger, job=None))
        try:
            for series_id, mark in job.marks.items():
                if self._orthanc.get(f"/series/{series_id}") is not None:
                    self._orthanc.put_text(f"/series/{series_id}/metadata/{MARK_METADATA}", mark)
        except OrthancError as error:
            self._failed(job.study_id, f"the node took it, but Orthanc does not keep the mark: {error}", now_s)
            return
        self._pace.went_through(job.study_id)
        self._orthanc.log(f"study {job.study_id}: the node took {len(job.marks)} series")

    def _failed(self, study_id: str, why: str, now_s: float) -> None:
        wait_s = self._pace.failed(study_id, now_s)
        self._orthanc.log(f"study {study_id}: {why}; next attempt in {wait_s:.0f} s at the earliest")

    def _settle(self, study_id: str) -> None:
        self._pace.forget(study_id)
        if study_id in self._asked_again:  # a person asked while it was looked at
            return
        self._keep(lambda ledger: ledger.settled(study_id))

    def _keep(self, change: Callable[[Ledger], Ledger]) -> None:
        """Change the ledger, and keep it in Orthanc before anyone sees it."""
        with self._lock:
            ledger = change(self._ledger)
            if ledger != self._ledger:
                self._orthanc.save_ledger(ledger.to_json())
                self._ledger = ledger
