"""The order of the reports of each study: which one is current, and which one it replaces.

A study gets a new report when images arrive late, when an equation was corrected, or when settings or software have changed.
The new report refers to the previous one as its predecessor. A replaced report is never sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from node.records.database import Store, insert_or_keep, metadata
from node.records.erased import refuse_erased

_versions = sa.Table(
    "report_versions",
    metadata,
    sa.Column("run_id", sa.String(200), primary_key=True),
    sa.Column("study_instance_uid", sa.String(64), nullable=False, index=True),
    sa.Column("identity", sa.String(64), nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    # when the content of the run was known; how long a run took does not decide which content is newer
    sa.Column("ordered_s", sa.Double, nullable=False),
    sa.Column("replaces", sa.String(200)),
    sa.Column("is_made", sa.Boolean, nullable=False),
)


@dataclass(frozen=True, slots=True)
class ReportVersion:
    """The report of a run.

    Attributes:
        identity: digest of the inputs and content of the report. Two reports of a study with the same digest are the same.
        folder: folder of the run.
        ordered_s: when the run was handed over, seconds since the epoch: the order of the versions.
        replaces: the run whose report this one replaces; ``None`` for the first.
    """

    run_id: str
    study_instance_uid: str
    identity: str
    folder: Path
    ordered_s: float
    replaces: str | None


class ReportVersions(Store):
    """The table of versions; every call is one transaction and idempotent."""

    def enter(self, run_id: str, study_instance_uid: str, identity: str, folder: Path, ordered_s: float) -> ReportVersion:
        """Find and record the place of a report that is about to be created.

        The report replaces the latest report of the earlier runs of the study. If that one has the same identity, it is the
        same report; the new one then replaces what that one replaced, so that the same objects are created.

        Raises:
            ErasedError: the study was erased.
        """
        with self._engine.begin() as connection:
            refuse_erased(connection, run_id)
            known = connection.execute(sa.select(_versions).where(_versions.c.run_id == run_id)).one_or_none()
            if known is not None and known.identity == identity:
                return _version(known)
            before = connection.execute(
                sa.select(_versions)
                .where(
                    _versions.c.study_instance_uid == study_instance_uid,
                    _versions.c.run_id != run_id,
                    _versions.c.ordered_s <= ordered_s,
                    _versions.c.is_made,
                )
                .order_by(_versions.c.ordered_s.desc(), _versions.c.run_id.desc())
                .limit(1)
            ).one_or_none()
            replaces = None
            if before is not None:
                replaces = before.replaces if before.identity == identity else before.run_id
            version = ReportVersion(run_id, study_instance_uid, identity, folder, ordered_s, replaces)
            if known is not None:
                # restarted by another version of the software before its report was created
                connection.execute(
                    sa.update(_versions).where(_versions.c.run_id == run_id).values(identity=identity, replaces=replaces)
                )
            else:
                insert_or_keep(
                    connection,
                    _versions,
                    run_id=run_id,
                    study_instance_uid=study_instance_uid,
                    identity=identity,
                    folder=str(folder),
                    ordered_s=ordered_s,
                    replaces=replaces,
                    is_made=False,
                )
            return version

    def mark_made(self, run_id: str) -> None:
        """Record that the report is written. From now on it replaces the earlier ones."""
        with self._engine.begin() as connection:
            connection.execute(sa.update(_versions).where(_versions.c.run_id == run_id).values(is_made=True))

    def version(self, run_id: str) -> ReportVersion | None:
        """Return the report of a run; ``None`` for a run of an old version that did not record this."""
        with self._reading.connect() as connection:
            row = connection.execute(sa.select(_versions).where(_versions.c.run_id == run_id)).one_or_none()
        return None if row is None else _version(row)

    def replaced_by(self, run_id: str) -> str | None:
        """Return the run with the current report, unless that is this run or its report is the same."""
        with self._reading.connect() as connection:
            mine = connection.execute(sa.select(_versions).where(_versions.c.run_id == run_id)).one_or_none()
            if mine is None:
                return None
            latest = connection.execute(
                sa.select(_versions)
                .where(_versions.c.study_instance_uid == mine.study_instance_uid, _versions.c.is_made)
                .order_by(_versions.c.ordered_s.desc(), _versions.c.run_id.desc())
                .limit(1)
            ).one_or_none()
        if latest is None or latest.identity == mine.identity or latest.ordered_s < mine.ordered_s:
            return None
        return str(latest.run_id)


def _version(row: sa.Row[tuple[object, ...]]) -> ReportVersion:
    return ReportVersion(row.run_id, row.study_instance_uid, row.identity, Path(row.folder), row.ordered_s, row.replaces)
