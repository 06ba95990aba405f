"""Images that came again with other content under the same SOP Instance UID: how many there are, and what was decided."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa

from node.records.database import Store
from node.records.received import conflicts, instances, studies


class ConflictState(StrEnum):
    """What is known, or was decided, of a second content.

    ``NEW``: not compared with the first one yet. ``SAME``: it says the same, in another encoding. ``OPEN``: it says
    something else, and the first one is valid. ``WANTED``: a person wants it to become valid. ``KEPT``: a person wants the
    first one to stay. ``REPLACED``: another content has taken its place.
    """

    NEW = "new"
    SAME = "same"
    OPEN = "open"
    WANTED = "wanted"
    KEPT = "kept"
    REPLACED = "replaced"


#: In conflict with what was measured, as far as anybody knows.
UNSETTLED = (ConflictState.NEW, ConflictState.OPEN, ConflictState.WANTED)

#: Values of a row of the table of instances.
Columns = Mapping[str, str | float | None]

_IS_UNSETTLED = conflicts.c.state.in_(UNSETTLED)
_OF_INSTANCE = instances.c.sop_instance_uid == conflicts.c.sop_instance_uid


@dataclass(frozen=True, slots=True)
class StudyConflict:
    """A study with images in conflict.

    Attributes:
        n_images: how many of its images came again with other content.
        last_received_s: when the last one came, seconds since the epoch.
    """

    study_instance_uid: str
    n_images: int
    last_received_s: float


@dataclass(frozen=True, slots=True)
class TwoContents:
    """The valid content of an image and another one; the paths are relative to the state directory.

    Attributes:
        is_older: the valid content was received again since.
    """

    study_instance_uid: str
    sop_instance_uid: str
    digest: str
    path: Path
    valid_path: Path
    state: ConflictState
    is_older: bool


class ConflictRecords(Store):
    """The table of second contents; every call is one transaction and may be repeated."""

    def studies(self) -> tuple[StudyConflict, ...]:
        """Studies in conflict, the latest first. A study is the one whose report rests on the images."""
        count = sa.func.count(conflicts.c.sop_instance_uid.distinct()).label("n")
        last = sa.func.max(conflicts.c.received_s).label("last_s")
        query = (
            sa.select(instances.c.study_instance_uid, count, last)
            .join(instances, _OF_INSTANCE)
            .where(_IS_UNSETTLED)
            .group_by(instances.c.study_instance_uid)
            .order_by(last.desc())
        )
        with self._reading.connect() as connection:
            return tuple(StudyConflict(uid, int(n), float(last_s)) for uid, n, last_s in connection.execute(query))

    def in_state(self, states: Sequence[ConflictState], limit: int) -> tuple[TwoContents, ...]:
        """Second contents in one of these states, in the order in which they came."""
        query = (
            sa.select(conflicts, instances.c.study_instance_uid.label("of_study"), instances.c.path.label("valid_path"))
            .add_columns((instances.c.received_s > conflicts.c.received_s).label("is_older"))
            .join(instances, _OF_INSTANCE)
            .where(conflicts.c.state.in_(states))
            .order_by(conflicts.c.received_s, conflicts.c.sop_instance_uid)
            .limit(limit)
        )
        with self._reading.connect() as connection:
            return tuple(
                TwoContents(
                    row.of_study,
                    row.sop_instance_uid,
                    row.digest,
                    Path(row.path),
                    Path(row.valid_path),
                    ConflictState(row.state),
                    bool(row.is_older),
                )
                for row in connection.execute(query)
            )

    def is_now(self, one: TwoContents, state: ConflictState) -> None:
        """What was found out of a second content; nothing, if a person has decided on it since it was read."""
        with self._engine.begin() as connection:
            is_as_read = conflicts.c.state == one.state
            is_this = _is(one.sop_instance_uid, one.digest)
            connection.execute(sa.update(conflicts).where(*is_this, is_as_read).values(state=state))

    def decide(self, study_instance_uid: str, state: ConflictState) -> int:
        """A person has decided on a study in conflict; returns the number of contents that this concerns."""
        of_study = sa.select(instances.c.sop_instance_uid).where(instances.c.study_instance_uid == study_instance_uid)
        is_meant = conflicts.c.sop_instance_uid.in_(of_study) & _IS_UNSETTLED
        with self._engine.begin() as connection:
            return connection.execute(sa.update(conflicts).where(is_meant).values(state=state)).rowcount

    def correction_of(self, study_instance_uid: str) -> str:
        """Digest of the contents of a study that others have replaced; empty if none was."""
        query = (
            sa.select(conflicts.c.sop_instance_uid, conflicts.c.digest)
            .join(instances, _OF_INSTANCE)
            .where(instances.c.study_instance_uid == study_instance_uid, conflicts.c.state == ConflictState.REPLACED)
        )
        with self._reading.connect() as connection:
            replaced = sorted(f"{uid} {digest}\n" for uid, digest in connection.execute(query))
        return hashlib.sha256("".join(replaced).encode("ascii")).hexdigest() if replaced else ""

    def left_by(self, content: Sequence[TwoContents], study_of: dict[str, str]) -> frozenset[str]:
        """Studies that keep no image once these contents are valid.

        Args:
            study_of: Study Instance UID of each content, by SOP Instance UID.
        """
        left: dict[str, set[str]] = {}
        for one in content:
            if study_of.get(one.sop_instance_uid, one.study_instance_uid) != one.study_instance_uid:
                left.setdefault(one.study_instance_uid, set()).add(one.sop_instance_uid)
        count = sa.select(sa.func.count()).select_from(instances)
        with self._reading.connect() as connection:
            return frozenset(
                uid
                for uid, gone in left.items()
                if connection.execute(count.where(instances.c.study_instance_uid == uid)).scalar_one() == len(gone)
            )

    def take(self, contents: Sequence[tuple[TwoContents, Columns]]) -> None:
        """Make second contents the valid ones of their images, and the valid ones the second; their studies wait.

        All in one transaction: a study is not measured with some of them.

        Args:
            contents: each with the values of the row of its image, as read from its file.
        """
        now_s = time.time()
        concerned: set[str] = set()
        with self._engine.begin() as connection:
            for one, new in contents:
                concerned |= _exchange(connection, one, new, now_s)
            waits = sa.func.coalesce(studies.c.waiting_since_s, sa.literal(now_s, sa.Double))
            for uid in sorted(concerned):
                is_study = studies.c.study_instance_uid == uid
                connection.execute(sa.update(studies).where(is_study).values(waiting_since_s=waits))


def _exchange(connection: sa.Connection, one: TwoContents, new: Columns, now_s: float) -> set[str]:
    """Exchange the two contents of an image; the studies that this concerns."""
    is_image = instances.c.sop_instance_uid == one.sop_instance_uid
    old = connection.execute(sa.select(instances).where(is_image)).one()
    if old.digest == one.digest:
        return set()
    connection.execute(
        sa.update(instances).where(is_image).values(**new, path=str(one.path), received_s=now_s, removed_s=None)
    )
    connection.execute(sa.delete(conflicts).where(*_is(one.sop_instance_uid, one.digest)))
    connection.execute(
        sa.insert(conflicts).values(
            sop_instance_uid=one.sop_instance_uid,
            digest=old.digest,
            study_instance_uid=old.study_instance_uid,
            transfer_syntax_uid=old.transfer_syntax_uid,
            path=old.path,
            received_s=old.received_s,
            state=ConflictState.REPLACED,
        )
    )
    return {str(old.study_instance_uid), str(new["study_instance_uid"])}


def conflicts_of(connection: sa.Connection, study_instance_uids: Collection[str]) -> dict[str, int]:
    """How many images of each of these studies are in conflict; studies with none are not in it."""
    query = (
        sa.select(instances.c.study_instance_uid, sa.func.count(conflicts.c.sop_instance_uid.distinct()))
        .join(instances, _OF_INSTANCE)
        .where(_IS_UNSETTLED, instances.c.study_instance_uid.in_(study_instance_uids))
        .group_by(instances.c.study_instance_uid)
    )
    return {uid: int(n) for uid, n in connection.execute(query)}


def _is(sop_instance_uid: str, digest: str) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return conflicts.c.sop_instance_uid == sop_instance_uid, conflicts.c.digest == digest
