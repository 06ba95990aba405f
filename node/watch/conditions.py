"""What is wrong with the node now. Texts have counts and names of parts, destinations and scanners: no patient data."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
import time
from collections import Counter

from node.calibrate import load_registry
from node.common.errors import ConfigurationError
from node.doctor import Outcome
from node.doctor.health import health
from node.records.conflicts import ConflictRecords
from node.records.scans import ScanRecords
from node.records.watch import Condition
from node.records.work import Work, WorkKind, WorkRecords, WorkState
from node.scanners.stability import scanner_name, scanner_trends
from node.settings.tree import Settings

#: Drift is a matter of weeks, and its computation reads every scan.
_SCANNERS_EVERY_S = 3600.0
_GIVEN_UP = "see bmd-node deliveries list, then bmd-node deliveries retry or drop"


class Conditions:
    """Looks at every part, at the disk and at the records."""

    def __init__(self, settings: Settings, host: str) -> None:
        """Open the records.

        Args:
            settings: the whole tree.
            host: name of this machine: its parts and its disk are its own.

        Raises:
            ConfigurationError: the database cannot be opened.
        """
        self._settings = settings
        self._host = host
        self._work = WorkRecords.open(settings)
        self._conflicts = ConflictRecords.open(settings)
        self._scans = ScanRecords.open(settings)
        self._scanners: tuple[Condition, ...] = ()
        self._scanners_until_s = 0.0

    def now(self) -> tuple[Condition, ...]:
        """Everything that is wrong.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database does not answer.
            OSError: the state directory cannot be read.
        """
        return (
            *self._parts(),
            *self._disk(),
            *self._destinations(),
            *self._given_up(),
            *self._in_conflict(),
            *self._equations(),
            *self._drifting(),
        )

    def _here(self, name: str, said: str, patience_s: float) -> Condition:
        return Condition(f"{name}@{self._host}"[:200], self._host, said, patience_s)

    def _parts(self) -> list[Condition]:
        found = health(self._settings, ())
        down = [one for one in found if one.outcome is Outcome.ERROR]
        wait_s = self._settings.watch.part_down_s
        return [self._here(f"part {one.check}", f"{one.check} is down on {self._host}", wait_s) for one in down]

    def _disk(self) -> list[Condition]:
        limit_mb = self._settings.watch.free_disk_mb
        if shutil.disk_usage(self._settings.state_dir).free >= limit_mb * 2**20:
            return []
        said = (
            f"less than {limit_mb} MB are free in the state directory on {self._host}: free some, or keep images for fewer "
            "days (study.keep_days)"
        )
        return [self._here("disk", said, 0.0)]

    def _destinations(self) -> list[Condition]:
        kinds = (WorkKind.DELIVER, WorkKind.COMMIT)
        waiting = (*self._work.in_state(WorkState.WAITING), *self._work.in_state(WorkState.RUNNING))
        failing = Counter(one.target for one in waiting if one.kind in kinds and _fails(one))
        wait_s = self._settings.watch.destination_fails_s
        return [
            Condition(
                f"destination {name}",
                "",
                f"the destination {name} fails, and results wait: see bmd-node doctor",
                wait_s,
            )
            for name in sorted(failing)
        ]

    def _given_up(self) -> list[Condition]:
        counts = self._work.count_given_up()
        names = [kind.value.replace("_", " ") for kind, n in counts.items() if n]
        return [Condition(f"given up {name}", "", f"work was given up ({name}): {_GIVEN_UP}", 0.0) for name in names]

    def _in_conflict(self) -> list[Condition]:
        if not self._conflicts.studies():
            return []
        said = "images came again with other content, so studies are in conflict: see bmd-node conflicts list"
        return [Condition("conflict", "", said, 0.0)]

    def _equations(self) -> list[Condition]:
        try:
            registry = load_registry(self._settings.calibrate.site_equations)
        except ConfigurationError:
            return [Condition("equations", "", "the equations cannot be read: see bmd-node doctor", 0.0)]
        day = dt.datetime.now().astimezone().date() + dt.timedelta(days=self._settings.watch.equation_days)
        return [
            Condition(
                f"equation {one.id}"[:200],
                "",
                f"the equation {one.id} is valid until {one.validity[1]}; then its scanner gets HU alone: calibrate again",
                0.0,
            )
            for one in registry.expired(day)
        ]

    def _drifting(self) -> tuple[Condition, ...]:
        if time.monotonic() >= self._scanners_until_s:
            trends = scanner_trends(self._scans.scans(), self._settings.stability)
            self._scanners = tuple(
                _of_scanner(scanner_name(one.scanner), ", ".join(one.drifts)) for one in trends if one.drifts
            )
            self._scanners_until_s = time.monotonic() + _SCANNERS_EVERY_S
        return self._scanners


def _fails(work: Work) -> bool:
    return work.failures > 0 or work.refusals > 0


def _of_scanner(name: str, drifts: str) -> Condition:
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    return Condition(f"scanner {digest}", "", f"the scanner {name} drifts: {drifts}. See bmd-node stability", 0.0)
