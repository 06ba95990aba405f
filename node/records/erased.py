"""What was erased, so that work which is still running on it brings nothing back.

``bmd-node erase`` may remove a study while a worker measures it, and the worker's next write would bring rows back. So an
erasure leaves a mark: a digest, from which no UID can be read. Whoever adds a row about a run or study asks for the mark
first, in the same transaction. A study that is sent again is new, and its marks are removed.
"""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Collection

import sqlalchemy as sa

from node.common.errors import PermanentError
from node.records.database import Store, insert_or_keep, metadata

#: Any number that nothing else in the database uses. An erasure waits for those who add rows, and they wait for it.
_POSTGRES_LOCK_KEY = 0x65726173
_SAID = "the study was erased (bmd-node erase): nothing of it is kept"

_erased = sa.Table(
    "erased",
    metadata,
    # SHA-256 of the run id or Study Instance UID
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("study_digest", sa.String(64), nullable=False, index=True),
    sa.Column("erased_s", sa.Double, nullable=False, index=True),
)


class ErasedError(PermanentError):
    """The study or run was erased by ``bmd-node erase``: nothing about it is kept any more."""


class ErasedRecords(Store):
    """The table of marks."""

    def is_erased(self, run_id: str) -> bool:
        """Whether a run, or its study, was erased."""
        with self._reading.connect() as connection:
            return _is_erased(connection, run_id)

    def refuse(self, run_id: str) -> None:
        """Go on only if neither the run nor its study was erased.

        Raises:
            ErasedError: it was erased.
        """
        if self.is_erased(run_id):
            raise ErasedError(_SAID)

    def digests(self) -> tuple[str, ...]:
        """SHA-256 of the ids of erased runs and studies, as hexadecimal digits."""
        with self._reading.connect() as connection:
            return tuple(connection.execute(sa.select(_erased.c.digest)).scalars())

    def forget(self, before_s: float) -> int:
        """Remove marks that were left before a time; no work of that time is running any more."""
        with self._engine.begin() as connection:
            return connection.execute(sa.delete(_erased).where(_erased.c.erased_s < before_s)).rowcount


def refuse_erased(connection: sa.Connection, run_id_or_study: str) -> None:
    """Go on only if neither the run nor its study was erased; call this in the transaction that adds the rows.

    Args:
        run_id_or_study: id of a run, which begins with its Study Instance UID, or this UID.

    Raises:
        ErasedError: it was erased.
    """
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(_POSTGRES_LOCK_KEY)))
    if _is_erased(connection, run_id_or_study):
        raise ErasedError(_SAID)


def mark_erased(connection: sa.Connection, studies: Collection[str], run_ids: Collection[str]) -> None:
    """Leave marks for whole studies and single runs; nobody adds rows about them from now on."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_POSTGRES_LOCK_KEY)))
    for name in sorted({*studies, *run_ids}):
        digests = {"digest": _digest(name), "study_digest": _digest(_study_of(name))}
        insert_or_keep(connection, _erased, **digests, erased_s=time.time())


def came_again(connection: sa.Connection, study_instance_uid: str) -> None:
    """Images of a study came: it is new, whatever was erased of it."""
    connection.execute(sa.delete(_erased).where(_erased.c.study_digest == _digest(study_instance_uid)))


def digests_of(run_id: str) -> list[str]:
    """The marks that erase a run: those of its study and of each run that its id begins with, as a rerun's does."""
    names = itertools.accumulate(run_id.split("-"), lambda start, part: f"{start}-{part}")
    return [_digest(name) for name in names]


def _is_erased(connection: sa.Connection, run_id: str) -> bool:
    query = sa.select(_erased.c.digest).where(_erased.c.digest.in_(digests_of(run_id)))
    return connection.execute(query.limit(1)).one_or_none() is not None


def _study_of(run_id: str) -> str:
    return run_id.partition("-")[0]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()
