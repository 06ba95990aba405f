"""Finds studies by accession number or Patient ID. The database holds neither: only keyed hashes of them.

The keys are HMAC-SHA256 under the secret of :mod:`node.records.patient_key`. Issuers are not part of them: who looks for a
study types a number.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

import sqlalchemy as sa

from node.records.database import Store, insert_or_keep, metadata, open_database
from node.records.node_secret import node_secret
from node.records.received import ignored, instances, studies
from node.settings.tree import Settings

_keys = sa.Table(
    "study_keys",
    metadata,
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("number_key", sa.String(64), primary_key=True),
    sa.Column("study_instance_uid", sa.String(64), primary_key=True, index=True),
)

#: Marks a study whose numbers were looked at, also if it has none.
_SEEN = "seen"
_MOST_NOTED = 10_000


class Number(StrEnum):
    """By what a study can be found."""

    ACCESSION = "accession"
    PATIENT_ID = "patient_id"
    STUDY = "study"


@dataclass(frozen=True, slots=True)
class Received:
    """What was received of a study; times in seconds since the epoch.

    Attributes:
        n_ignored: objects that were acknowledged but not stored.
        is_waiting: whether images are not handed over to the worker yet.
    """

    n_images: int
    n_ignored: int
    first_s: float
    last_s: float
    is_waiting: bool


class StudyKeys(Store):
    """The table of keys."""

    def __init__(self, engine: sa.Engine, secret: bytes) -> None:
        super().__init__(engine)
        self._secret = secret
        self._noted: set[tuple[str, str | None, str | None]] = set()

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the database, and read the secret.

        Raises:
            ConfigurationError: either cannot be used.
        """
        if_lost = "results that were kept under the old one are no longer found as prior results"
        return cls(open_database(settings), node_secret(settings, "patient-key", if_lost))

    def note(self, study_instance_uid: str, accession_number: str | None, patient_id: str | None) -> None:
        """Record the numbers of a study. A second call with the same numbers costs nothing."""
        noted = (study_instance_uid, accession_number, patient_id)
        if noted in self._noted:
            return
        numbers = {Number.ACCESSION: accession_number, Number.PATIENT_ID: patient_id}
        keys = {(kind.value, self._key(kind, number)) for kind, number in numbers.items() if number and number.strip()}
        with self._engine.begin() as connection:
            for kind, key in (*sorted(keys), (_SEEN, "")):
                insert_or_keep(connection, _keys, kind=kind, number_key=key, study_instance_uid=study_instance_uid)
        if len(self._noted) >= _MOST_NOTED:
            self._noted.clear()
        self._noted.add(noted)

    def studies(self, kind: Number, number: str) -> tuple[str, ...]:
        """Return the Study Instance UIDs that have a number, sorted."""
        is_meant = (_keys.c.kind == kind) & (_keys.c.number_key == self._key(kind, number))
        with self._reading.connect() as connection:
            query = sa.select(_keys.c.study_instance_uid).where(is_meant).order_by(_keys.c.study_instance_uid)
            return tuple(connection.execute(query).scalars())

    def unseen(self, limit: int | None = None) -> tuple[str, ...]:
        """Return studies whose numbers are not recorded, newest first: earlier versions did not."""
        seen = sa.select(_keys.c.study_instance_uid).where(_keys.c.kind == _SEEN)
        query = (
            sa.select(studies.c.study_instance_uid)
            .where(studies.c.study_instance_uid.not_in(seen))
            .order_by(studies.c.first_received_s.desc())
            .limit(limit)
        )
        with self._reading.connect() as connection:
            return tuple(connection.execute(query).scalars())

    def files_of(self, study_instance_uid: str) -> tuple[str, ...]:
        """Return the paths of a few received images of a study, relative to the state directory."""
        is_meant = (instances.c.study_instance_uid == study_instance_uid) & instances.c.removed_s.is_(None)
        with self._reading.connect() as connection:
            return tuple(connection.execute(sa.select(instances.c.path).where(is_meant).limit(3)).scalars())

    def received(self, study_instance_uid: str) -> Received | None:
        """What was received of a study; ``None`` if nothing was."""
        with self._reading.connect() as connection:
            study = connection.execute(
                sa.select(studies).where(studies.c.study_instance_uid == study_instance_uid)
            ).one_or_none()
            counted = {
                table: connection.execute(
                    sa.select(sa.func.count(), sa.func.min(table.c.received_s), sa.func.max(table.c.received_s)).where(
                        table.c.study_instance_uid == study_instance_uid
                    )
                ).one()
                for table in (instances, ignored)
            }
        n_images, (n_ignored, first_s, last_s) = counted[instances][0], counted[ignored]
        if study is not None:
            first_s, last_s = study.first_received_s, study.last_activity_s
        elif not n_ignored:
            return None
        is_waiting = study is not None and study.waiting_since_s is not None
        return Received(n_images, n_ignored, first_s, last_s, is_waiting)

    def _key(self, kind: Number, number: str) -> str:
        message = f"study {kind.value} {number.strip().casefold()}"
        return hmac.new(self._secret, message.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
