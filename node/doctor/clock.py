"""The clock, compared with other clocks."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from node.common.errors import ConfigurationError
from node.doctor.finding import Finding, Outcome
from node.doctor.http import get
from node.doctor.orthanc import login_of
from node.doctor.storage import CONNECT_S
from node.settings.tree import Settings

#: IHE Consistent Time (ITI TF-1, 7) requires a median error below 1 s; part of the difference is network delay.
LIMIT_S = 2.0
#: Format of ``/tools/now`` of Orthanc's REST API, in UTC.
_ORTHANC_TIME = "%Y%m%dT%H%M%S"


def check_clock(settings: Settings) -> tuple[Finding, ...]:
    """Offset of this clock to those of Orthanc and PostgreSQL, and the time zone of reports.

    DICOM cannot query the time, so the clock of a destination is not compared. Whether this clock is synchronised by NTP is
    not checked.
    """
    now = datetime.now().astimezone()
    zone = f"times in reports are {now.tzname()} (UTC{now:%z})"
    others = tuple(_others(settings))
    if not others:
        detail = f"{zone}; not compared: neither orthanc.url nor PostgreSQL is set, and DICOM cannot query the time"
        return (Finding("clock", Outcome.OK, detail),)
    told = "; ".join(f"{off_s:+.1f} s from {name}" for name, off_s in others)
    if any(abs(off_s) > LIMIT_S for _, off_s in others):
        todo = f"synchronise both with the same time server (NTP); above {LIMIT_S:g} s the order of events is wrong"
        return (Finding("clock", Outcome.WARNING, f"{told}; {zone}", todo),)
    return (Finding("clock", Outcome.OK, f"{told}; {zone}"),)


def _others(settings: Settings) -> Iterator[tuple[str, float]]:
    """Name of each clock, and how far this one is ahead; another check reports clocks that do not answer."""
    if settings.orthanc.url:
        off_s = _offset_of_orthanc_s(settings)
        if off_s is not None:
            yield "Orthanc", off_s
    if settings.database_url is not None:
        off_s = _offset_of_postgresql_s(settings)
        if off_s is not None:
            yield "PostgreSQL", off_s


def _offset_of_orthanc_s(settings: Settings) -> float | None:
    """Least number of seconds that this clock is ahead of Orthanc's; ``None`` if Orthanc gives no time."""
    before = datetime.now(UTC)
    try:
        body = get(f"{settings.orthanc.url.rstrip('/')}/tools/now", login_of(settings)).body
        theirs = datetime.strptime(body.decode("ascii"), _ORTHANC_TIME).replace(tzinfo=UTC)
    except (ConfigurationError, OSError, ValueError):
        return None
    # Orthanc gives whole seconds, at some moment between request and answer
    ahead_s = (before - theirs).total_seconds() - 1.0
    behind_s = (datetime.now(UTC) - theirs).total_seconds()
    return max(ahead_s, 0.0) + min(behind_s, 0.0)


def _offset_of_postgresql_s(settings: Settings) -> float | None:
    try:
        url = sa.engine.make_url(settings.sqlalchemy_url)
        if url.get_backend_name() != "postgresql":
            return None
        engine = sa.create_engine(url, connect_args={"connect_timeout": CONNECT_S}, poolclass=sa.NullPool)
        with engine.connect() as connection:
            theirs = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
            offset: timedelta = datetime.now().astimezone() - theirs
            return offset.total_seconds()
    except (ConfigurationError, sa.exc.SQLAlchemyError, ModuleNotFoundError):
        return None
