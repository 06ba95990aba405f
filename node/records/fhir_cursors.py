"""The time up to which each FHIR search has seen the changes of the server."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa

from node.records.database import Store, insert_or_keep, metadata

_cursors = sa.Table(
    "plan_fhir_cursors",
    metadata,
    sa.Column("name", sa.String(500), primary_key=True),
    sa.Column("seen_until_s", sa.Double, nullable=False),
)


class FhirCursors(Store):
    """The table of cursors; every call is one transaction and idempotent."""

    def get(self, name: str) -> dt.datetime | None:
        """Return the time of the last change that a search has seen; ``None`` if it has seen none."""
        query = sa.select(_cursors.c.seen_until_s).where(_cursors.c.name == name)
        with self._reading.connect() as connection:
            seen_until_s = connection.execute(query).scalar_one_or_none()
        return None if seen_until_s is None else dt.datetime.fromtimestamp(seen_until_s, dt.UTC)

    def set(self, name: str, seen_until: dt.datetime) -> None:
        """Record that a search has seen all changes up to a time."""
        seconds = seen_until.timestamp()
        with self._engine.begin() as connection:
            if not insert_or_keep(connection, _cursors, name=name, seen_until_s=seconds):
                connection.execute(sa.update(_cursors).where(_cursors.c.name == name).values(seen_until_s=seconds))
