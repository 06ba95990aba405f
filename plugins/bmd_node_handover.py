"""Hands CT studies over to the node: the part of the Orthanc plugin that is independent of Orthanc itself.

Orthanc's change log shows which studies got new images. Each of them is owed to the node until all its CT series have a mark
(series metadata) of the images that the node has received. The position in the log, the owed studies and the current job
are one value, the :class:`Ledger`, which Orthanc stores in its database: no study is lost if Orthanc is killed or the node
is down. Nothing depends on callbacks; they only make it faster.

Uses only the standard library, because it runs in the Python of Orthanc.
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

#: Manufacturer's Model Name of the node's own objects, which are never handed over.
OWN_MODEL_NAME = "bmd-node"
#: Number of the series metadata with the mark; Orthanc reserves 1024 to 65535 for users.
MARK_METADATA = 10431

_CHANGES_PER_CALL = 500
_JOB_POLL_S = 0.5
_IDLE_POLL_S = 5.0
#: Instead of a mark: the series was requested again.
_AGAIN = "again"
#: Version of the protocol under ``/bmd-node``; increase it with every change.
PROTOCOL = 2
#: Studies offered in one answer; the node asks again when it has them.
_OFFERED_AT_ONCE = 5


class OrthancError(Exception):
    """A request to Orthanc failed; the message contains its answer."""


class Orthanc(Protocol):
    """The required calls to Orthanc. All are short: older plugins hold Python's lock meanwhile."""

    def get(self, path: str) -> Any:
        """JSON of a resource; ``None`` if it does not exist.

        Raises:
            OrthancError: any other failure.
        """

    def get_text(self, path: str) -> str | None:
        """Like :meth:`get`, for plain text."""

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """POST JSON and return the JSON of the answer."""

    def put_text(self, path: str, text: str) -> None:
        """PUT plain text."""

    def load_ledger(self) -> str:
        """The text stored by :meth:`save_ledger`; empty at the first start."""

    def save_ledger(self, text: str) -> None:
        """Store a text in the database, in one transaction."""

    def log(self, text: str) -> None:
        """Write to Orthanc's log."""


@dataclass(frozen=True)
class Job:
    """The current hand-over: Orthanc's job, and the mark of each series it sends."""

    job_id: str
    study_id: str
    marks: Mapping[str, str]


class Standing(enum.Enum):
    """State of the hand-over of a study."""

    NOT_FOR_THE_NODE = "not_for_the_node"
    OWED = "owed"
    UNDER_WAY = "under_way"
    HANDED_OVER = "handed_over"


@dataclass(frozen=True)
class Ledger:
    """What is owed to the node.

    Attributes:
        position: number of the last processed change.
        owed: Orthanc identifiers of studies with images that the node may not have, oldest first.
        job: the current hand-over.
        reruns: studies to be measured again, which the node has not accepted yet.
        told_s: time up to which the node has reported states, seconds since the epoch by the node's clock.
    """

    position: int
    owed: tuple[str, ...] = ()
    job: Job | None = None
    reruns: tuple[str, ...] = ()
    told_s: float = 0.0

    def owing(self, study_ids: Iterable[str]) -> Ledger:
        """The ledger with more studies; those already owed keep their place."""
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
        """The ledger written by :meth:`to_json`, also of an earlier version without re-runs."""
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
    """Mark of a series: a digest of its images, independent of their order."""
    return hashlib.sha256("\n".join(sorted(instance_ids)).encode()).hexdigest()


class HandOver:
    """Hands owed studies over to the node, one at a time, as jobs of Orthanc, whose state this thread polls."""

    def __init__(self, orthanc: Orthanc, settings: PluginSettings) -> None:
        """Load the ledger that Orthanc stored.

        At the first start, existing studies are not handed over: only changes from now on.

        Raises:
            OrthancError: Orthanc does not answer.
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
        """Do what is possible now; returns the seconds until the next call.

        Args:
            now_s: a monotonic clock.

        Raises:
            OrthancError: Orthanc does not answer; call again later, nothing is lost.
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
        """State of the hand-over of a study; thread-safe.

        Raises:
            OrthancError: Orthanc does not answer.
        """
        ledger = self._ledger
        if ledger.job is not None and ledger.job.study_id == study_id:
            return Standing.UNDER_WAY
        if study_id in ledger.owed and self._marks_to_bring(study_id):
            return Standing.OWED
        marks = [self._mark(series) for series in self._series_for_the_node(study_id)]
        return Standing.HANDED_OVER if any(marks) else Standing.NOT_FOR_THE_NODE

    def owe_again(self, study_id: str) -> bool:
        """Hand a study over again, whatever the node has of it; false if no series matches the rules.

        It does not matter whether the node still has the images: they are owed again, and when the node has them, it gets
        the request to measure again (:meth:`reruns`). Both are stored when this returns; thread-safe.

        Raises:
            OrthancError: Orthanc does not answer.
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
        """Whether a re-run is requested that the node has not accepted yet."""
        return study_id in self._ledger.reruns

    def reruns(self) -> list[dict[str, str]]:
        """Studies to be measured again whose images the node has, by both identifiers.

        Raises:
            OrthancError: Orthanc does not answer.
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
        """The node has accepted the request, or the study no longer exists."""
        self._keep(lambda ledger: replace(ledger, reruns=tuple(one for one in ledger.reruns if one != study_id)))

    @property
    def told_s(self) -> float:
        """Time up to which the node has reported states."""
        return self._ledger.told_s

    def told_until(self, told_s: float) -> None:
        """The node has reported everything up to this time of its clock."""
        self._keep(lambda ledger: replace(ledger, told_s=told_s))

    def to_pull(self) -> list[dict[str, Any]]:
        """What the node may read now: the first stable studies, with the instances and mark of each series.

        Raises:
            OrthancError: Orthanc does not answer.
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
        """The node has all images of the mark; storing the mark in Orthanc completes the hand-over.

        Raises:
            OrthancError: it could not be stored; the series will be offered again.
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
        """Add every study with a new image to the owed ones; what to hand over is decided when it is stable.

        The log is not used to detect stable studies: after a restart, Orthanc never reports those that were not stable yet.
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
        """Start the hand-over of a stable owed study; studies without anything for the node are settled."""
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
                self._failed(study_id, f"Orthanc could not start a job: {error}", now_s)
                return
            job = Job(str(answer["ID"]), study_id, marks)
            self._keep(lambda ledger, job=job: replace(ledger, job=job))
            return

    def _marks_to_bring(self, study_id: str) -> dict[str, str]:
        """Series with images that the node does not have, with their new mark."""
        marks: dict[str, str] = {}
        for series in self._series_for_the_node(study_id):
            mark = mark_of(series["Instances"])
            if self._mark(series) == mark:
                continue
            marks[series["ID"]] = mark
        return marks

    def _series_for_the_node(self, study_id: str) -> list[Mapping[str, Any]]:
        """Series that match a rule, without the node's own objects."""
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
            # Orthanc keeps only the last jobs: the outcome is not known, and the node accepts an image twice
            self._keep(lambda ledger: replace(ledger, job=None))
        elif state["State"] == "Success":
            self._took(job, now_s)
        elif state["State"] in ("Failure", "Retry", "Paused"):
            # a retry or pause in Orthanc does not survive its restart; ours does
            if state["State"] != "Failure":
                self._orthanc.post(f"/jobs/{job.job_id}/cancel", {})
            self._keep(lambda ledger: replace(ledger, job=None))
            said = state.get("ErrorDetails") or state.get("ErrorDescription") or state["State"]
            self._failed(job.study_id, f"the node did not accept it: {said}", now_s)

    def _took(self, job: Job, now_s: float) -> None:
        """Store the marks; the study stays owed until checked again, as more images may have arrived."""
        self._keep(lambda ledger: replace(ledger, job=None))
        try:
            for series_id, mark in job.marks.items():
                if self._orthanc.get(f"/series/{series_id}") is not None:
                    self._orthanc.put_text(f"/series/{series_id}/metadata/{MARK_METADATA}", mark)
        except OrthancError as error:
            self._failed(job.study_id, f"the node accepted it, but Orthanc could not store the mark: {error}", now_s)
            return
        self._pace.went_through(job.study_id)
        self._orthanc.log(f"study {job.study_id}: the node accepted {len(job.marks)} series")

    def _failed(self, study_id: str, why: str, now_s: float) -> None:
        wait_s = self._pace.failed(study_id, now_s)
        self._orthanc.log(f"study {study_id}: {why}; next attempt in {wait_s:.0f} s or later")

    def _settle(self, study_id: str) -> None:
        self._pace.forget(study_id)
        if study_id in self._asked_again:  # requested again meanwhile
            return
        self._keep(lambda ledger: ledger.settled(study_id))

    def _keep(self, change: Callable[[Ledger], Ledger]) -> None:
        """Change the ledger, and store it in Orthanc before it is visible."""
        with self._lock:
            ledger = change(self._ledger)
            if ledger != self._ledger:
                self._orthanc.save_ledger(ledger.to_json())
                self._ledger = ledger
