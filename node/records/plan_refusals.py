"""Messages, resources and lines about an operation that the node could not read; stored so that none is lost.

Of content that is not meant for the node (for example a feed of admissions), only some samples of each kind are stored, and
all are counted. If more of the rest is stored than the settings allow, the oldest is removed. This is counted and reported.

The content is patient data. It is in the folder ``refused-plans`` of the state directory, which only the user of the node
can read. The table holds codes and times only.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from node.clinical.planned_operation import PlanSource
from node.common.errors import StorageFullError
from node.common.files import make_folder, whole_file
from node.records.database import Store, insert_or_keep, metadata, open_database
from node.settings.tree import Settings

log = logging.getLogger(__name__)

FOLDER_NAME = "refused-plans"

_refusals = sa.Table(
    "plan_refusals",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("times", sa.Integer, nullable=False),
    sa.Column("last_s", sa.Double, nullable=False),
)

_counts = sa.Table(
    "plan_refusal_counts",
    metadata,
    sa.Column("source", sa.String(16), primary_key=True),
    # kind of content that is not meant for the node; empty: content that was removed
    sa.Column("detail", sa.String(200), primary_key=True),
    sa.Column("times", sa.Integer, nullable=False),
    sa.Column("last_s", sa.Double, nullable=False),
)
_REMOVED = ""


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """Refusals that are counted but not stored.

    Attributes:
        detail: the kind; empty for stored refusals of any kind that were removed because of the limit.
        last_at: when the last one arrived or was removed.
    """

    source: PlanSource
    detail: str
    times: int
    last_at: dt.datetime

    @property
    def was_removed(self) -> bool:
        """Whether these refusals were stored and then removed."""
        return self.detail == _REMOVED


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal, without its content.

    Attributes:
        digest: SHA-256 of the content; name of its file.
        times: how often the same content arrived.
        last_at: when it last arrived.
    """

    digest: str
    source: PlanSource
    code: str
    detail: str
    times: int
    last_at: dt.datetime


class PlanRefusals(Store):
    """The table of refusals and the files with their content."""

    def __init__(self, engine: sa.Engine, folder: Path, most: int, most_samples: int) -> None:
        """Take a database opened by :func:`node.records.database.open_database`.

        Args:
            folder: folder of the files.
            most: largest number of refusals that are stored.
            most_samples: largest number of samples of one kind that is not meant for the node.
        """
        super().__init__(engine)
        self.folder, self._most, self._most_samples = folder, most, most_samples

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open the database of the settings, and create missing tables.

        Raises:
            ConfigurationError: the database cannot be opened.
        """
        engine, plans = open_database(settings), settings.plans
        return cls(engine, settings.state_dir / FOLDER_NAME, plans.max_refused, plans.refused_samples)

    def keep(self, source: PlanSource, content: bytes, code: str, detail: str, *, is_for_us: bool = True) -> None:
        """Store refused content and the reason. The same content is stored once and counted.

        Args:
            detail: for people, without patient data; if ``is_for_us`` is not set, the same for all content of a kind.
            is_for_us: whether the content appears to be about an operation.

        Raises:
            StorageFullError: the content cannot be written.
        """
        digest, now_s = hashlib.sha256(content).hexdigest(), time.time()
        values: dict[str, str | float | None] = {"code": code, "detail": detail, "last_s": now_s}
        with self._engine.begin() as connection:
            again = sa.update(_refusals).where(_refusals.c.digest == digest)
            if connection.execute(again.values(times=_refusals.c.times + 1, **values)).rowcount:
                _write(self.folder, f"{digest}.{source.value}", content)  # if someone removed only the file
                return
            if not is_for_us:
                same = (_refusals.c.source == source.value) & (_refusals.c.detail == detail)
                n_kept = connection.execute(sa.select(sa.func.count()).select_from(_refusals).where(same)).scalar_one()
                if n_kept >= self._most_samples:
                    _count(connection, source, detail[:200], now_s)
                    return
            _write(self.folder, f"{digest}.{source.value}", content)
            insert_or_keep(connection, _refusals, digest=digest, source=source.value, times=1, **values)
            self._make_room(connection, now_s)

    def _make_room(self, connection: sa.Connection, now_s: float) -> None:
        n_kept = connection.execute(sa.select(sa.func.count()).select_from(_refusals)).scalar_one()
        if n_kept <= self._most:
            return
        oldest = sa.select(_refusals).order_by(_refusals.c.last_s, _refusals.c.digest).limit(n_kept - self._most)
        for row in connection.execute(oldest).all():
            log.warning("more than plans.max_refused refusals: removed the oldest, from source %s", row.source)
            (self.folder / f"{row.digest}.{row.source}").unlink(missing_ok=True)
            connection.execute(sa.delete(_refusals).where(_refusals.c.digest == row.digest))
            _count(connection, PlanSource(row.source), _REMOVED, now_s)

    def only_counted(self) -> tuple[RefusalCount, ...]:
        """Return counts of refusals that are not stored, latest first."""
        query = sa.select(_counts).order_by(_counts.c.last_s.desc(), _counts.c.source, _counts.c.detail)
        with self._reading.connect() as connection:
            rows = connection.execute(query).all()
        return tuple(
            RefusalCount(PlanSource(row.source), row.detail, row.times, dt.datetime.fromtimestamp(row.last_s, dt.UTC))
            for row in rows
        )

    def refusals(self) -> tuple[Refusal, ...]:
        """Return all stored refusals, latest first."""
        with self._reading.connect() as connection:
            rows = connection.execute(sa.select(_refusals).order_by(_refusals.c.last_s.desc(), _refusals.c.digest)).all()
        return tuple(
            Refusal(
                row.digest,
                PlanSource(row.source),
                row.code,
                row.detail,
                row.times,
                dt.datetime.fromtimestamp(row.last_s, dt.UTC),
            )
            for row in rows
        )

    def counts(self) -> dict[PlanSource, int]:
        """Count the different refusals of each source."""
        query = sa.select(_refusals.c.source, sa.func.count()).group_by(_refusals.c.source)
        with self._reading.connect() as connection:
            found = {PlanSource(source): int(n) for source, n in connection.execute(query)}
        return {source: found.get(source, 0) for source in PlanSource}

    def naming(self, numbers: Collection[str]) -> tuple[str, ...]:
        """Names of the files whose content has one of these patient numbers as a word, in any place and field."""
        beyond = rb"[0-9A-Za-z]"
        codes = ("utf-8", "latin-1", "utf-16-le")
        words = [re.escape(number.strip().encode(code, "backslashreplace")) for number in numbers for code in codes]
        found = re.compile(rb"(?<!%b)(?:%b)(?!%b)" % (beyond, b"|".join(sorted(set(words))), beyond))
        if not words or not self.folder.is_dir():
            return ()
        files = sorted(path for path in self.folder.iterdir() if not path.name.startswith("."))
        return tuple(path.name for path in files if found.search(path.read_bytes()))

    def erase(self, names: Collection[str]) -> None:
        """Remove refused content by the names of its files."""
        with self._engine.begin() as connection:
            for name in names:
                (self.folder / name).unlink(missing_ok=True)
                connection.execute(sa.delete(_refusals).where(_refusals.c.digest == name.partition(".")[0]))

    def forget(self, before: dt.datetime) -> int:
        """Remove refusals that last arrived before this time, stored or counted. Returns how many were stored."""
        with self._engine.begin() as connection:
            is_old = _refusals.c.last_s < before.timestamp()
            names = [f"{row.digest}.{row.source}" for row in connection.execute(sa.select(_refusals).where(is_old))]
            for name in names:
                (self.folder / name).unlink(missing_ok=True)
            connection.execute(sa.delete(_refusals).where(is_old))
            connection.execute(sa.delete(_counts).where(_counts.c.last_s < before.timestamp()))
        return len(names)


def _count(connection: sa.Connection, source: PlanSource, detail: str, now_s: float) -> None:
    insert_or_keep(connection, _counts, source=source.value, detail=detail, times=0, last_s=now_s)
    is_same = (_counts.c.source == source.value) & (_counts.c.detail == detail)
    connection.execute(sa.update(_counts).where(is_same).values(times=_counts.c.times + 1, last_s=now_s))


def _write(folder: Path, name: str, content: bytes) -> None:
    if (folder / name).exists():
        return
    try:
        make_folder(folder)
        folder.chmod(0o700)
        with whole_file(folder / name) as file:  # only its owner can read it
            file.write(content)
    except OSError as error:
        raise StorageFullError(f"{folder} cannot be written ({error.strerror})") from error
