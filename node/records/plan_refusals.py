"""Messages, resources and lines that tell of an operation and could not be taken: kept, so that none is lost.

What came is patient data. It lies in ``refused-plans`` of the state directory, which the node's user alone can read; the
table holds codes and times only.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from node.errors import StorageFullError
from node.patient.planned_operation import PlanSource
from node.records.database import Store, insert_or_keep

FOLDER_NAME = "refused-plans"

_metadata = sa.MetaData()

_refusals = sa.Table(
    "plan_refusals",
    _metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("times", sa.Integer, nullable=False),
    sa.Column("last_s", sa.Double, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that was refused, without what it says.

    Attributes:
        digest: SHA-256 of what came; the name of its file.
        times: how often the same came.
        last_at: when it came last.
    """

    digest: str
    source: PlanSource
    code: str
    detail: str
    times: int
    last_at: dt.datetime


class PlanRefusals(Store):
    """The table of refusals, with the files beside it."""

    metadata = _metadata

    def keep(self, folder: Path, source: PlanSource, content: bytes, code: str, detail: str) -> None:
        """Keep what came, and why it was refused; the same content is kept once, and counted.

        Args:
            folder: :data:`FOLDER_NAME` in the state directory.
            detail: for a person, without patient data.

        Raises:
            StorageFullError: it cannot be written.
        """
        digest = hashlib.sha256(content).hexdigest()
        _write(folder, f"{digest}.{source.value}", content)
        values: dict[str, str | float | None] = {"code": code, "detail": detail, "last_s": time.time()}
        with self._engine.begin() as connection:
            is_new = insert_or_keep(connection, _refusals, digest=digest, source=source.value, times=1, **values)
            if not is_new:
                again = sa.update(_refusals).where(_refusals.c.digest == digest)
                connection.execute(again.values(times=_refusals.c.times + 1, **values))

    def refusals(self) -> tuple[Refusal, ...]:
        """All of them, the latest first."""
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
        """How many different ones each source has sent."""
        query = sa.select(_refusals.c.source, sa.func.count()).group_by(_refusals.c.source)
        with self._reading.connect() as connection:
            found = {PlanSource(source): int(n) for source, n in connection.execute(query)}
        return {source: found.get(source, 0) for source in PlanSource}

    def forget(self, folder: Path, before: dt.datetime) -> int:
        """Remove those that came before this time for the last time; say how many."""
        with self._engine.begin() as connection:
            is_old = _refusals.c.last_s < before.timestamp()
            names = [f"{row.digest}.{row.source}" for row in connection.execute(sa.select(_refusals).where(is_old))]
            for name in names:
                (folder / name).unlink(missing_ok=True)
            connection.execute(sa.delete(_refusals).where(is_old))
        return len(names)


def _write(folder: Path, name: str, content: bytes) -> None:
    if (folder / name).exists():
        return
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:  # readable by its owner alone
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).rename(folder / name)
    except OSError as error:
        raise StorageFullError(f"{folder} cannot be written ({error.strerror})") from error
