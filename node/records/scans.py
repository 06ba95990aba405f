"""Readings of every scan that describe the scanner: written by the workflows, read by ``bmd-node stability`` and ``doctor``.

The table holds no patient data: a scan is identified by its Study Instance UID.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import asdict, dataclass, fields

import sqlalchemy as sa

from node.model import NOTHING_READ, ContrastPhase, ScanReadings, SeriesFacts
from node.records.database import Store, insert_or_keep, metadata
from node.records.erased import refuse_erased

_READINGS = tuple(field.name for field in fields(ScanReadings))

_scans = sa.Table(
    "scans",
    metadata,
    sa.Column("run_id", sa.String(200), primary_key=True),
    sa.Column("study_instance_uid", sa.String(64), nullable=False, index=True),
    sa.Column("recorded_s", sa.Double, nullable=False),
    sa.Column("manufacturer", sa.Text),
    sa.Column("manufacturer_model_name", sa.Text),
    sa.Column("device_serial_number", sa.Text),
    sa.Column("station_name", sa.Text),
    sa.Column("kvp", sa.Double),
    sa.Column("contrast_phase", sa.String(16), nullable=False),
    # ISO 8601, which sorts as text; null where the header has no date
    sa.Column("acquisition_date", sa.String(10), index=True),
    *(sa.Column(name, sa.Double) for name in _READINGS),
)


@dataclass(frozen=True, slots=True)
class Scanner:
    """One scanner at one tube voltage, spelled as in the headers; ``None`` where a header is silent."""

    manufacturer: str | None
    manufacturer_model_name: str | None
    device_serial_number: str | None
    station_name: str | None
    kvp: float | None


@dataclass(frozen=True, slots=True)
class Scan:
    """Readings of one scan.

    Attributes:
        acquisition_date: ``None`` if the header has none; such a scan is not part of a trend.
    """

    study_instance_uid: str
    scanner: Scanner
    acquisition_date: dt.date | None
    contrast_phase: ContrastPhase
    readings: ScanReadings


class ScanRecords(Store):
    """The table of scans; every call is one transaction and idempotent."""

    def keep(self, run_id: str, facts: SeriesFacts, readings: ScanReadings) -> None:
        """Keep the readings of a run. A known run stays unchanged; a scan without readings is not kept.

        Raises:
            ErasedError: the study was erased.
        """
        if readings == NOTHING_READ:
            return
        date = facts.acquisition_date
        with self._engine.begin() as connection:
            refuse_erased(connection, run_id)
            insert_or_keep(
                connection,
                _scans,
                run_id=run_id,
                study_instance_uid=facts.study_instance_uid,
                recorded_s=time.time(),
                manufacturer=facts.manufacturer,
                manufacturer_model_name=facts.manufacturer_model_name,
                device_serial_number=facts.device_serial_number,
                station_name=facts.station_name,
                kvp=facts.kvp,
                contrast_phase=facts.contrast_phase.value,
                acquisition_date=None if date is None else date.isoformat(),
                **asdict(readings),
            )

    def scans(self, since: dt.date | None = None) -> tuple[Scan, ...]:
        """Return all scans by date, those without a date first. Each study appears once, with its latest readings.

        Args:
            since: omits scans made before this day, and scans without a date.
        """
        query = sa.select(_scans).order_by(_scans.c.recorded_s, _scans.c.run_id)
        if since is not None:
            query = query.where(_scans.c.acquisition_date >= since.isoformat())
        with self._reading.connect() as connection:
            last = {row.study_instance_uid: row for row in connection.execute(query)}
        scans = [
            Scan(
                study_instance_uid=row.study_instance_uid,
                scanner=Scanner(
                    row.manufacturer, row.manufacturer_model_name, row.device_serial_number, row.station_name, row.kvp
                ),
                acquisition_date=None if row.acquisition_date is None else dt.date.fromisoformat(row.acquisition_date),
                contrast_phase=ContrastPhase(row.contrast_phase),
                readings=ScanReadings(**{name: row._mapping[name] for name in _READINGS}),
            )
            for row in last.values()
        ]
        return tuple(sorted(scans, key=lambda scan: (scan.acquisition_date or dt.date.min, scan.study_instance_uid)))
