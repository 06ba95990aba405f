"""Records of received data: instances, associations, conflicts, ignored objects.

Every method is one transaction; when it returns, the record survives a power failure.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from node.receive.header import InstanceHeader
from node.records.conflicts import ConflictState
from node.records.database import Store, insert_or_keep, open_database
from node.records.erased import came_again
from node.records.received import (
    association_studies,
    associations,
    conflicts,
    ignored,
    instances,
    own_instances,
    studies,
)
from node.records.study_keys import StudyKeys
from node.settings.tree import Settings


class Ending(StrEnum):
    """How an association ended; only a release means that the sender had finished."""

    RELEASED = "released"
    ABORTED = "aborted"
    LOST = "lost"  # it was open when the listener's process ended


class Recorded(StrEnum):
    """Outcome of recording an instance."""

    NEW = "new"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class KnownInstance:
    """A recorded instance; ``path`` is relative to the state directory."""

    digest: str
    path: Path
    is_removed: bool


@dataclass(frozen=True, slots=True)
class Found:
    """The record of a SOP Instance UID; ``is_own`` if the node created this instance."""

    known: KnownInstance | None
    is_own: bool


_KNOWN = sa.select(instances.c.digest, instances.c.path, instances.c.removed_s).where(
    instances.c.sop_instance_uid == sa.bindparam("uid")
)
_OWN = sa.select(own_instances.c.sop_instance_uid).where(own_instances.c.sop_instance_uid == sa.bindparam("uid"))
_STUDY_IS = studies.c.study_instance_uid == sa.bindparam("uid")
_TOUCH = sa.update(studies).where(_STUDY_IS).values(last_activity_s=sa.bindparam("now_s"))
_TOUCH_WITH_NEW = _TOUCH.values(
    waiting_since_s=sa.func.coalesce(studies.c.waiting_since_s, sa.bindparam("now_s", type_=sa.Double))
)


class InstanceIndex(Store):
    """The records that the receiving side writes."""

    def __init__(self, engine: sa.Engine, keys: StudyKeys | None = None) -> None:
        """Take a database.

        Args:
            keys: where studies are found by their numbers; ``None``: not recorded.
        """
        super().__init__(engine)
        self._keys = keys

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the database of the settings.

        Raises:
            ConfigurationError: the database cannot be opened, or the secret of the keys cannot be read.
        """
        return cls(open_database(settings), StudyKeys.open(settings))

    def find(self, sop_instance_uid: str) -> Found:
        """Look up an instance."""
        with self._reading.connect() as connection:
            parameters = {"uid": sop_instance_uid}
            row = connection.execute(_KNOWN, parameters).one_or_none()
            is_own = connection.execute(_OWN, parameters).one_or_none() is not None
        known = None if row is None else KnownInstance(row.digest, Path(row.path), row.removed_s is not None)
        return Found(known, is_own)

    def record_instance(self, header: InstanceHeader, path: Path, association_id: str | None) -> Recorded:
        """Record an instance whose file is on disk.

        The first content of a SOP Instance UID remains valid; different content is recorded as a conflict.

        Args:
            path: relative to the state directory.
            association_id: the association that brought it; ``None`` for an import.
        """
        now_s = time.time()
        self._note_numbers(header)
        with self._engine.begin() as connection:
            recorded = _record_content(connection, header, path, now_s)
            _touch_study(connection, header.study_instance_uid, now_s, is_new=recorded is Recorded.NEW)
            if association_id is not None:
                insert_or_keep(
                    connection,
                    association_studies,
                    association_id=association_id,
                    study_instance_uid=header.study_instance_uid,
                )
        return recorded

    def record_ignored(self, header: InstanceHeader, reason: str) -> None:
        """Record an object that was acknowledged but not stored; it creates no study."""
        self._note_numbers(header)
        with self._engine.begin() as connection:
            insert_or_keep(
                connection,
                ignored,
                sop_instance_uid=header.sop_instance_uid,
                study_instance_uid=header.study_instance_uid,
                series_instance_uid=header.series_instance_uid,
                sop_class_uid=header.sop_class_uid,
                reason=reason,
                received_s=time.time(),
            )

    def _note_numbers(self, header: InstanceHeader) -> None:
        if self._keys is not None:
            self._keys.note(header.study_instance_uid, header.accession_number, header.patient_id)

    def open_association(self, association_id: str, calling_ae_title: str) -> None:
        """Record an association that sends instances."""
        with self._engine.begin() as connection:
            insert_or_keep(
                connection,
                associations,
                association_id=association_id,
                calling_ae_title=calling_ae_title,
                opened_s=time.time(),
                ended_s=None,
                ending=None,
            )

    def end_association(self, association_id: str, ending: Ending) -> None:
        """Record the end of an association; the first recorded end remains."""
        change = sa.update(associations).where(
            associations.c.association_id == association_id, associations.c.ended_s.is_(None)
        )
        with self._engine.begin() as connection:
            connection.execute(change.values(ended_s=time.time(), ending=ending.value))

    def end_lost_associations(self) -> int:
        """End the associations that an earlier process left open; returns their number."""
        change = sa.update(associations).where(associations.c.ended_s.is_(None))
        with self._engine.begin() as connection:
            return connection.execute(change.values(ended_s=time.time(), ending=Ending.LOST.value)).rowcount

    def recorded_paths(self) -> frozenset[str]:
        """All recorded paths whose file should exist, relative to the state directory."""
        with self._reading.connect() as connection:
            paths = connection.execute(
                sa.union_all(sa.select(instances.c.path).where(instances.c.removed_s.is_(None)), sa.select(conflicts.c.path))
            ).scalars()
            return frozenset(paths)


def _record_content(connection: sa.Connection, header: InstanceHeader, path: Path, now_s: float) -> Recorded:
    is_inserted = insert_or_keep(
        connection, instances, **columns_of(header), path=str(path), received_s=now_s, removed_s=None
    )
    if is_inserted:
        return Recorded.NEW
    is_this = instances.c.sop_instance_uid == header.sop_instance_uid
    known = connection.execute(sa.select(instances.c.digest, instances.c.removed_s).where(is_this)).one()
    if known.digest == header.digest:
        if known.removed_s is None:
            _valid_came_again(connection, header.sop_instance_uid, now_s)
            return Recorded.DUPLICATE
        connection.execute(sa.update(instances).where(is_this).values(removed_s=None, received_s=now_s, path=str(path)))
        return Recorded.NEW
    is_first_time = insert_or_keep(
        connection,
        conflicts,
        sop_instance_uid=header.sop_instance_uid,
        digest=header.digest,
        study_instance_uid=header.study_instance_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        path=str(path),
        received_s=now_s,
    )
    if is_first_time:
        came_again(connection, header.study_instance_uid)
    return Recorded.CONFLICT if is_first_time or _came_again(connection, header, now_s) else Recorded.DUPLICATE


def columns_of(header: InstanceHeader) -> dict[str, str | float | None]:
    """What the table of instances holds of a header."""
    plane = header.plane
    return {
        "sop_instance_uid": header.sop_instance_uid,
        "study_instance_uid": header.study_instance_uid,
        "series_instance_uid": header.series_instance_uid,
        "sop_class_uid": header.sop_class_uid,
        "transfer_syntax_uid": header.transfer_syntax_uid,
        "digest": header.digest,
        "orientation_key": None if plane is None else plane.orientation_key,
        "slice_position_mm": None if plane is None else plane.position_mm,
    }


def _valid_came_again(connection: sa.Connection, sop_instance_uid: str, now_s: float) -> None:
    """The valid content of an image in conflict is now also the latest one."""
    has_other = sa.exists().where(conflicts.c.sop_instance_uid == sop_instance_uid)
    is_this = instances.c.sop_instance_uid == sop_instance_uid
    connection.execute(sa.update(instances).where(is_this, has_other).values(received_s=now_s))


def _came_again(connection: sa.Connection, header: InstanceHeader, now_s: float) -> bool:
    """A second content is the latest one; whether it is in conflict again, after another one had taken its place."""
    is_this = (conflicts.c.sop_instance_uid == header.sop_instance_uid) & (conflicts.c.digest == header.digest)
    connection.execute(sa.update(conflicts).where(is_this).values(received_s=now_s))
    was_replaced = is_this & (conflicts.c.state == ConflictState.REPLACED)
    return connection.execute(sa.update(conflicts).where(was_replaced).values(state=ConflictState.NEW)).rowcount > 0


def _touch_study(connection: sa.Connection, study_instance_uid: str, now_s: float, *, is_new: bool) -> None:
    is_inserted = insert_or_keep(
        connection,
        studies,
        study_instance_uid=study_instance_uid,
        first_received_s=now_s,
        last_activity_s=now_s,
        waiting_since_s=now_s if is_new else None,
    )
    if is_inserted:
        came_again(connection, study_instance_uid)
        return
    connection.execute(_TOUCH_WITH_NEW if is_new else _TOUCH, {"uid": study_instance_uid, "now_s": now_s})
