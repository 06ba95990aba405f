"""The watched folder with theatre lists: each file is read once, stored, and moved away."""

from __future__ import annotations

import datetime as dt
import logging
from dataclasses import replace
from pathlib import Path

from node.clinical.planned_operation import PlanSource, PlanStatus
from node.common.errors import ConfigurationError, InputError
from node.plans.theatre_list import TheatreList, read_list
from node.records.plan_refusals import PlanRefusals
from node.records.planned_operations import PlannedOperations
from node.settings.tree import Settings

log = logging.getLogger(__name__)

_SUFFIXES = (".csv", ".txt")
_READ, _REFUSED = "read", "refused"
#: Message id of an operation that the file no longer lists.
_VANISHED = "vanished"


class ListFolder:
    """Reads the theatre lists of a folder.

    A line that is missing in a later list has no effect, unless ``plans_list.is_full``: then the operation counts as
    cancelled, if the file contains its day, is newer, and has no unreadable line (which might be that operation). A file
    never cancels operations on days that it does not contain.

    Raises:
        ConfigurationError: the folder does not exist or is not writable, or the database cannot be opened.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.plans_list
        self._zone = settings.plans.zone
        self._folder = Path(settings.plans_list.folder)
        self._operations = PlannedOperations.open(settings)
        self._refusals = PlanRefusals.open(settings)
        try:
            for name in (_READ, _REFUSED):
                (self._folder / name).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"plans_list.folder: {self._folder} does not exist or is not writable ({error.strerror}): "
                "the node moves files within it"
            ) from error

    def look(self) -> int:
        """Read every complete file, oldest first; returns their number.

        Raises:
            sqlalchemy.exc.SQLAlchemyError: the database does not answer; the file stays in place.
            OSError: a file cannot be read or moved; it stays in place.
        """
        now = dt.datetime.now(dt.UTC)
        files = []
        for path in self._folder.iterdir():
            if path.suffix.lower() in _SUFFIXES and path.is_file():
                written_s = path.stat().st_mtime
                # a share whose clock is ahead must not block its files
                if not now.timestamp() - self._settings.settle_s < written_s <= now.timestamp():
                    files.append((min(written_s, now.timestamp()), path))
        for written_s, path in sorted(files):
            self._take(path, dt.datetime.fromtimestamp(written_s, dt.UTC), now)
        return len(files)

    def _take(self, path: Path, sent_at: dt.datetime, received_at: dt.datetime) -> None:
        content = path.read_bytes()
        try:
            listed = read_list(content, self._settings, self._zone, sent_at, received_at)
        except InputError as error:
            log.warning("theatre list refused: %s: %s", path.name, error)
            self._refusals.keep(PlanSource.THEATRE_LIST, content, "file", f"{path.name}: {error}")
            self._put_aside(path, _REFUSED, received_at, [str(error)])
            return
        for one in listed.operations:
            self._operations.keep(one.operation, one.message_id)
        n_vanished = self._cancel_vanished(listed, sent_at, received_at)
        faults = []
        for line in listed.bad_lines:
            fault = f"line {line.number}: {line.why}"
            faults.append(fault)
            log.warning("theatre list %s, %s", path.name, fault)
            self._refusals.keep(PlanSource.THEATRE_LIST, line.content.encode(), "line", f"{path.name}, {fault}")
        self._put_aside(path, _READ, received_at, faults)
        log.info(
            "theatre list %s read: %d operations, %d lines refused, %d vanished",
            path.name,
            len(listed.operations),
            len(faults),
            n_vanished,
        )

    def _cancel_vanished(self, listed: TheatreList, sent_at: dt.datetime, received_at: dt.datetime) -> int:
        if not self._settings.is_full or listed.bad_lines:
            return 0
        named = {one.operation.key.operation_id for one in listed.operations}
        vanished = [
            known
            for known in self._operations.current()
            if known.key.source is PlanSource.THEATRE_LIST
            and known.key.source_name == self._settings.name
            and known.key.operation_id not in named
            and known.is_active
            and known.starts is not None
            and known.starts.astimezone(self._zone).date() in listed.days
            and known.sent_at <= sent_at
        ]
        for known in vanished:
            said = replace(known, status=PlanStatus.CANCELLED, sent_at=sent_at, received_at=received_at)
            self._operations.keep(said, f"{listed.id}:{_VANISHED}")
        return len(vanished)

    def _put_aside(self, path: Path, where: str, now: dt.datetime, faults: list[str]) -> None:
        aside = self._folder / where / f"{now:%Y%m%d-%H%M%S-%f}-{path.name}"
        if faults:
            aside.with_name(f"{aside.name}.errors").write_text("\n".join(faults) + "\n", encoding="utf-8")
        path.rename(aside)
