"""Quiet hours of the site, in its own time zone."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from node.settings.alert import AlertSettings


def site_time(when: dt.datetime, settings: AlertSettings) -> dt.datetime:
    """An aware time in the time zone of the site."""
    return when.astimezone(ZoneInfo(settings.time_zone) if settings.time_zone else None)


def end_of_quiet_hours(now: dt.datetime, settings: AlertSettings) -> dt.datetime | None:
    """When the current quiet hours end; ``None`` outside quiet hours.

    They last from ``quiet_from`` to ``quiet_until``, over midnight if that is earlier; the end itself is not included. If
    both are the same there are none.
    """
    start, end = settings.quiet_from, settings.quiet_until
    if start is None or end is None or start == end:
        return None
    local = site_time(now, settings)
    clock = local.time()
    is_quiet = start <= clock < end if start < end else clock >= start or clock < end
    if not is_quiet:
        return None
    day = local.date() if clock < end else local.date() + dt.timedelta(days=1)
    # with a time zone in the settings the wall clock decides, even over a change to summer time
    return dt.datetime.combine(day, end, tzinfo=local.tzinfo if settings.time_zone else None).astimezone(dt.UTC)
