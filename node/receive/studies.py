"""Which studies are complete: the workflow's view of received data.

DICOM has no message for this. A study counts as complete when the sender has released its association and no stack of slices
has a gap, or when nothing has arrived for a while, or when it has waited too long. A study that gets more images later
becomes complete again, with another content digest.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from node.common.errors import InputError
from node.receive.elapsed import Elapsed
from node.receive.index import Ending
from node.records.conflicts import UNSETTLED, ConflictState
from node.records.database import insert_or_keep, open_database
from node.records.engine import for_reading
from node.records.erased import refuse_erased
from node.records.received import (
    association_studies,
    associations,
    conflicts,
    handovers,
    instances,
    own_instances,
    reruns,
    studies,
)
from node.settings.tree import Settings, StudySettings

log = logging.getLogger(__name__)

#: Positions nearer than this are the same slice (several phases or echoes of it).
_SAME_POSITION_MM = 0.01
#: A distance between neighbours above this multiple of the typical one is a gap.
_GAP_FACTOR = 1.5


class QuietReason(StrEnum):
    """Why a study counts as complete."""

    RELEASED = "released"  # the sender released its association, and no stack has a gap
    NOTHING_NEW = "nothing_new"  # nothing arrived for a while
    WAITED_TOO_LONG = "waited_too_long"  # it never became stable
    ASKED_FOR = "asked_for"  # a person wants it measured again


@dataclass(frozen=True, slots=True)
class QuietStudy:
    """A study to process.

    Attributes:
        content_digest: SHA-256 over the SOP Instance UIDs and digests of its instances.
        paths: its files, absolute, in the order of their SOP Instance UIDs.
        n_removed: earlier instances that were deleted since (retention); if not 0, ``paths`` is incomplete.
    """

    study_instance_uid: str
    content_digest: str
    paths: tuple[Path, ...]
    n_instances: int
    n_removed: int
    reason: QuietReason


@dataclass(frozen=True, slots=True)
class Rerun:
    """A request to measure a study again; ``number`` counts from 1 for each study."""

    study: QuietStudy
    number: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """A second content for a SOP Instance UID; the first one is valid. ``path`` is absolute."""

    sop_instance_uid: str
    digest: str
    path: Path
    received_at: datetime


class ReceivedStudies:
    """The received studies for the workflow; any process may open them.

    Args:
        engine: a database opened by :func:`node.records.database.open_database`.
        state_dir: its state directory.
    """

    def __init__(self, engine: sa.Engine, state_dir: Path) -> None:
        self._silence, self._waiting = Elapsed(), Elapsed()
        self._engine = engine
        self._reading = for_reading(engine)
        self._state_dir = state_dir.absolute()

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the database in the settings.

        Raises:
            ConfigurationError: the database cannot be opened.
        """
        return cls(open_database(settings), settings.state_dir)

    def quiet_studies(self, now: datetime, settings: StudySettings) -> list[QuietStudy]:
        """Complete studies that were not handed over with this content, longest waiting first.

        Args:
            now: time with zone.
        """
        now_s = now.timestamp()
        query = sa.select(studies).where(studies.c.waiting_since_s.is_not(None)).order_by(studies.c.waiting_since_s)
        quiet: list[QuietStudy] = []
        settled: list[str] = []
        with self._reading.connect() as connection:
            rows = connection.execute(query).all()
            for study in rows:
                study_instance_uid = study.study_instance_uid
                silent_s = self._silence.since(study_instance_uid, study.last_activity_s, now_s)
                waiting_s = self._waiting.since(study_instance_uid, study.waiting_since_s, now_s)
                reason = _due(connection, study, silent_s, waiting_s, settings)
                if reason is None:
                    continue
                stored = _StoredInstances.of(connection, study_instance_uid)
                if not stored.present or (reason is QuietReason.RELEASED and stored.has_gap):
                    continue
                if _is_handed_over(connection, study_instance_uid, stored.content_digest):
                    settled.append(study_instance_uid)
                else:
                    quiet.append(self._quiet(study_instance_uid, stored, reason))
        waiting = {study.study_instance_uid for study in rows}
        self._silence.forget_all_but(waiting)
        self._waiting.forget_all_but(waiting)
        for study_instance_uid in settled:
            with self._engine.begin() as connection:
                _ask_again_if_changed_back(connection, study_instance_uid, now_s)
                _stop_waiting(connection, study_instance_uid, now_s)
        return quiet

    def mark_handed_over(self, study_instance_uid: str, content_digest: str, workflow_id: str) -> None:
        """Record that a workflow has taken the study with this content; it is not returned again.

        Idempotent. Images that arrived meanwhile keep the study waiting.

        Raises:
            ErasedError: the study was erased.
        """
        now_s = time.time()
        with self._engine.begin() as connection:
            refuse_erased(connection, study_instance_uid)
            insert_or_keep(
                connection,
                handovers,
                study_instance_uid=study_instance_uid,
                content_digest=content_digest,
                workflow_id=workflow_id,
                handed_over_s=now_s,
                finished_s=None,
            )
            _stop_waiting(connection, study_instance_uid, now_s)

    def ask_for_rerun(self, study_instance_uid: str) -> None:
        """Request that a received study is measured again; a waiting request is not duplicated.

        Raises:
            InputError: the study is not known, or images of it were deleted.
        """
        with self._reading.connect() as connection:
            stored = _StoredInstances.of(connection, study_instance_uid)
        if not stored.present and not stored.n_removed:
            raise InputError(f"study {study_instance_uid} was not received")
        if stored.n_removed:
            raise InputError(
                f"{stored.n_removed} images of study {study_instance_uid} were deleted after keep_days: resend it first"
            )
        with self._engine.begin() as connection:
            refuse_erased(connection, study_instance_uid)
            _ask_for_rerun(connection, study_instance_uid)

    def reruns(self) -> list[Rerun]:
        """Requested re-runs that no worker has taken yet."""
        found = []
        with self._reading.connect() as connection:
            for row in connection.execute(sa.select(reruns).where(reruns.c.is_waiting)).all():
                stored = _StoredInstances.of(connection, row.study_instance_uid)
                found.append(Rerun(self._quiet(row.study_instance_uid, stored, QuietReason.ASKED_FOR), row.number))
        return found

    def mark_rerun_taken(self, rerun: Rerun) -> None:
        """Record that a worker has taken it; it is not returned again."""
        is_meant = (reruns.c.study_instance_uid == rerun.study.study_instance_uid) & (reruns.c.number == rerun.number)
        with self._engine.begin() as connection:
            connection.execute(sa.update(reruns).where(is_meant).values(is_waiting=False))

    def _quiet(self, study_instance_uid: str, stored: _StoredInstances, reason: QuietReason) -> QuietStudy:
        return QuietStudy(
            study_instance_uid=study_instance_uid,
            content_digest=stored.content_digest,
            paths=tuple(self._state_dir / row.path for row in stored.present),
            n_instances=len(stored.present),
            n_removed=stored.n_removed,
            reason=reason,
        )

    def of_run(self, run_id: str, study_instance_uid: str) -> QuietStudy | None:
        """What a run measures; ``None`` if the study holds another content now: images came or were removed since."""
        with self._reading.connect() as connection:
            stored = _StoredInstances.of(connection, study_instance_uid)
        if not stored.present or not run_id.startswith(run_id_of(study_instance_uid, stored.content_digest)):
            return None
        return self._quiet(study_instance_uid, stored, QuietReason.ASKED_FOR)

    def mark_run_finished(self, run_id: str) -> None:
        """Record that the run has ended, well or not: from now on retention counts."""
        with self._engine.begin() as connection:
            is_meant = (handovers.c.workflow_id == run_id) & handovers.c.finished_s.is_(None)
            connection.execute(sa.update(handovers).where(is_meant).values(finished_s=time.time()))

    def record_own_instances(self, run_id: str, sop_instance_uids: Iterable[str]) -> bool:
        """Record instances that a run created, to recognise them when a PACS sends them back. Call before delivery.

        Returns:
            Whether one of them is new.

        Raises:
            ErasedError: the study was erased.
        """
        now_s, are_new = time.time(), False
        with self._engine.begin() as connection:
            refuse_erased(connection, run_id)
            for uid in sop_instance_uids:
                are_new |= insert_or_keep(connection, own_instances, sop_instance_uid=uid, recorded_s=now_s)
        return are_new

    def conflicts(self, study_instance_uid: str) -> list[Conflict]:
        """Instances of the study that arrived again with different content and are not decided on, in order of arrival."""
        query = (
            sa.select(conflicts)
            .where(conflicts.c.study_instance_uid == study_instance_uid, conflicts.c.state.in_(UNSETTLED))
            .order_by(conflicts.c.received_s, conflicts.c.sop_instance_uid)
        )
        with self._reading.connect() as connection:
            return [
                Conflict(
                    sop_instance_uid=row.sop_instance_uid,
                    digest=row.digest,
                    path=self._state_dir / row.path,
                    received_at=datetime.fromtimestamp(row.received_s, UTC),
                )
                for row in connection.execute(query)
            ]

    def remove_images_older_than(self, cutoff: datetime) -> int:
        """Delete the images of studies that were finished and last received anything before a time; keep the records.

        A file is deleted before its record is updated: after a crash in between, the next call completes the work.

        Args:
            cutoff: time with zone.

        Returns:
            The number of deleted files.

        Raises:
            OSError: a file cannot be deleted.
        """
        cutoff_s = cutoff.timestamp()
        return sum(self._remove_images(study_instance_uid, cutoff_s) for study_instance_uid in self._old_studies(cutoff_s))

    def count_images_older_than(self, cutoff: datetime) -> int:
        """Number of the files that :meth:`remove_images_older_than` would delete."""
        cutoff_s = cutoff.timestamp()
        with self._reading.connect() as connection:
            paths = [
                path
                for study_instance_uid in self._old_studies(cutoff_s)
                for path in connection.execute(_old_paths(study_instance_uid, cutoff_s)).scalars()
            ]
        return sum((self._state_dir / path).exists() for path in paths)

    def _old_studies(self, cutoff_s: float) -> Sequence[str]:
        unfinished = sa.select(handovers.c.study_instance_uid).where(
            sa.or_(handovers.c.finished_s.is_(None), handovers.c.finished_s >= cutoff_s)
        )
        query = (
            sa.select(studies.c.study_instance_uid)
            .join(instances, instances.c.study_instance_uid == studies.c.study_instance_uid)
            .where(
                instances.c.removed_s.is_(None),
                studies.c.last_activity_s < cutoff_s,
                studies.c.waiting_since_s.is_(None),
                studies.c.study_instance_uid.not_in(unfinished),
            )
            .distinct()
        )
        with self._reading.connect() as connection:
            return connection.execute(query).scalars().all()

    def _remove_images(self, study_instance_uid: str, cutoff_s: float) -> int:
        is_old = sa.and_(instances.c.study_instance_uid == study_instance_uid, instances.c.received_s < cutoff_s)
        n_removed = 0
        with self._reading.connect() as connection:
            for path in connection.execute(_old_paths(study_instance_uid, cutoff_s)).scalars().all():
                file = self._state_dir / path
                n_removed += file.exists()
                file.unlink(missing_ok=True)
        with self._engine.begin() as connection:
            connection.execute(
                sa.update(instances).where(is_old, instances.c.removed_s.is_(None)).values(removed_s=time.time())
            )
        log.info("images deleted: study_instance_uid=%s files=%d", study_instance_uid, n_removed)
        return n_removed


@dataclass(frozen=True, slots=True)
class _StoredInstances:
    """The instances of a study that are on disk, in the order of their SOP Instance UIDs."""

    present: tuple[sa.Row[tuple[Any, ...]], ...]
    n_removed: int

    @classmethod
    def of(cls, connection: sa.Connection, study_instance_uid: str) -> Self:
        rows = connection.execute(sa.select(instances).where(instances.c.study_instance_uid == study_instance_uid)).all()
        present = [row for row in rows if row.removed_s is None]
        # Sorted here, not by the database: collations differ between databases, but the digest must not.
        return cls(tuple(sorted(present, key=lambda row: row.sop_instance_uid)), len(rows) - len(present))

    @property
    def content_digest(self) -> str:
        lines = "".join(f"{row.sop_instance_uid} {row.digest}\n" for row in self.present)
        return hashlib.sha256(lines.encode("ascii")).hexdigest()

    @property
    def has_gap(self) -> bool:
        stacks: dict[tuple[str, str], list[float]] = defaultdict(list)
        for row in self.present:
            if row.orientation_key is not None:
                stacks[row.series_instance_uid, row.orientation_key].append(row.slice_position_mm)
        return any(has_gap(positions) for positions in stacks.values())


def _old_paths(study_instance_uid: str, cutoff_s: float) -> sa.CompoundSelect[Any]:
    is_old = sa.and_(instances.c.study_instance_uid == study_instance_uid, instances.c.received_s < cutoff_s)
    is_old_conflict = sa.and_(conflicts.c.study_instance_uid == study_instance_uid, conflicts.c.received_s < cutoff_s)
    return sa.union_all(
        sa.select(instances.c.path).where(is_old, instances.c.removed_s.is_(None)),
        sa.select(conflicts.c.path).where(is_old_conflict),
    )


def run_id_of(study_instance_uid: str, content_digest: str) -> str:
    """Name of the run of one content of a study."""
    return f"{study_instance_uid}-{content_digest[:16]}"


def has_gap(positions_mm: Sequence[float]) -> bool:
    """Whether a stack lacks a slice, judged by the typical distance between neighbours.

    Fewer than three different positions show no gap.
    """
    steps = [
        after - before for before, after in itertools.pairwise(sorted(positions_mm)) if after - before > _SAME_POSITION_MM
    ]
    return len(steps) >= 2 and max(steps) > _GAP_FACTOR * statistics.median_low(steps)


def _due(
    connection: sa.Connection, study: sa.Row[tuple[Any, ...]], silent_s: float, waiting_s: float, settings: StudySettings
) -> QuietReason | None:
    """Why the study may be complete, as far as times tell; gaps are not looked at."""
    if silent_s >= settings.stable_after_s:
        return QuietReason.NOTHING_NEW
    if waiting_s >= settings.max_wait_s:
        return QuietReason.WAITED_TOO_LONG
    released_s = _released_s(connection, study.study_instance_uid)
    if released_s is None:
        return None
    # how long after the last activity the release came is a difference of one clock; the silence since is measured here
    after_release_s = silent_s - max(0.0, released_s - study.last_activity_s)
    return QuietReason.RELEASED if after_release_s >= settings.stable_after_release_s else None


def _ask_for_rerun(connection: sa.Connection, study_instance_uid: str) -> None:
    if not insert_or_keep(connection, reruns, study_instance_uid=study_instance_uid, number=1, is_waiting=True):
        is_done = (reruns.c.study_instance_uid == study_instance_uid) & reruns.c.is_waiting.is_(False)
        connection.execute(sa.update(reruns).where(is_done).values(number=reruns.c.number + 1, is_waiting=True))


def _ask_again_if_changed_back(connection: sa.Connection, study_instance_uid: str, now_s: float) -> None:
    """Corrected images were corrected back to what was measured before: the latest report is of another content."""
    is_study = handovers.c.study_instance_uid == study_instance_uid
    latest = sa.select(handovers.c.content_digest).where(is_study).order_by(handovers.c.handed_over_s.desc()).limit(1)
    was_replaced = (
        sa.select(conflicts.c.digest)
        .join(instances, instances.c.sop_instance_uid == conflicts.c.sop_instance_uid)
        .where(instances.c.study_instance_uid == study_instance_uid, conflicts.c.state == ConflictState.REPLACED)
    )
    if connection.execute(was_replaced.limit(1)).one_or_none() is None:
        return
    content_digest = _StoredInstances.of(connection, study_instance_uid).content_digest
    if connection.execute(latest).scalar_one_or_none() == content_digest:
        return
    _ask_for_rerun(connection, study_instance_uid)
    is_content = is_study & (handovers.c.content_digest == content_digest)
    connection.execute(sa.update(handovers).where(is_content).values(handed_over_s=now_s))


def _stop_waiting(connection: sa.Connection, study_instance_uid: str, now_s: float) -> None:
    """Stop waiting, unless the study has images that no hand-over covers: then it waits from now on."""
    is_study = studies.c.study_instance_uid == study_instance_uid
    # The lock excludes instances being recorded: they also update this row, so they are seen or come later.
    connection.execute(sa.select(studies.c.study_instance_uid).where(is_study).with_for_update())
    content_digest = _StoredInstances.of(connection, study_instance_uid).content_digest
    is_covered = _is_handed_over(connection, study_instance_uid, content_digest)
    connection.execute(sa.update(studies).where(is_study).values(waiting_since_s=None if is_covered else now_s))


def _released_s(connection: sa.Connection, study_instance_uid: str) -> float | None:
    """When the last association of the study was released; ``None`` if one is open or the last one was aborted."""
    query = (
        sa.select(associations.c.ended_s, associations.c.ending)
        .join(association_studies, association_studies.c.association_id == associations.c.association_id)
        .where(association_studies.c.study_instance_uid == study_instance_uid)
    )
    ends = connection.execute(query).all()
    if not ends or any(row.ended_s is None for row in ends):
        return None
    last = max(ends, key=lambda row: row.ended_s)
    return float(last.ended_s) if last.ending == Ending.RELEASED else None


def _is_handed_over(connection: sa.Connection, study_instance_uid: str, content_digest: str) -> bool:
    query = sa.select(handovers.c.workflow_id).where(
        handovers.c.study_instance_uid == study_instance_uid, handovers.c.content_digest == content_digest
    )
    return connection.execute(query).one_or_none() is not None
