"""Images that came again with other content: compared with the first ones, and followed as ``study.on_conflict`` says."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from node.common.errors import InputError
from node.receive.header import InstanceHeader, read_header
from node.receive.index import columns_of
from node.records.conflicts import ConflictRecords, ConflictState, TwoContents
from node.records.database import open_database
from node.settings.tree import Settings

log = logging.getLogger(__name__)

#: Contents that are looked at in one turn of the worker's loop: to compare pixels takes a moment.
_AT_ONCE = 50


class Corrections:
    """What the worker does with second contents."""

    def __init__(self, engine: sa.Engine, settings: Settings, is_same: Callable[[Path, Path], bool]) -> None:
        """Take a database, and what compares two files of one image."""
        self._records = ConflictRecords(engine)
        self._state_dir = settings.state_dir.absolute()
        self._takes_latest = settings.study.on_conflict == "take_latest"
        self._is_same = is_same

    @classmethod
    def open(cls, settings: Settings, is_same: Callable[[Path, Path], bool]) -> Self:
        """Open the database of the settings.

        Raises:
            ConfigurationError: the database cannot be opened.
        """
        return cls(open_database(settings), settings, is_same)

    def follow(self, leave: Callable[[str], object]) -> None:
        """Compare what has come, and make valid what is to be valid. What is not done now is done at the next turn.

        Args:
            leave: called for a study of which no image is left, before the last one leaves it.
        """
        compared = self._records.in_state([ConflictState.NEW], _AT_ONCE)
        for one in compared:
            self._compare(one)
        if len(compared) == _AT_ONCE:
            return  # first all of a study is compared
        states = [ConflictState.WANTED, *([ConflictState.OPEN] if self._takes_latest else [])]
        # all of a study in one turn, so that it is not measured with some of them
        self._take(self._records.in_state(states, 100_000), leave)

    def _compare(self, one: TwoContents) -> None:
        valid, other = self._state_dir / one.valid_path, self._state_dir / one.path
        is_same = valid.is_file() and other.is_file() and self._is_same(valid, other)
        self._records.is_now(one, ConflictState.SAME if is_same else ConflictState.OPEN)
        if not is_same:
            # the study and not the patient: nothing of the patient is in a log
            log.warning("study %s: an image came again with other content: %s", one.study_instance_uid, one.sop_instance_uid)

    def _take(self, contents: tuple[TwoContents, ...], leave: Callable[[str], object]) -> None:
        latest = {one.sop_instance_uid: one for one in contents}  # the last that came
        headers: dict[str, InstanceHeader] = {}
        for one in latest.values():
            if (header := self._header(one)) is not None:
                headers[one.sop_instance_uid] = header
        study_of = {uid: header.study_instance_uid for uid, header in headers.items()}
        for study in self._records.left_by(tuple(latest.values()), study_of):
            leave(study)
        taken = []
        for one in contents:
            if one is not latest[one.sop_instance_uid] or (one.is_older and one.state is ConflictState.OPEN):
                self._records.is_now(one, ConflictState.REPLACED)  # overtaken by a later content
            elif one.sop_instance_uid in headers:
                taken.append((one, columns_of(headers[one.sop_instance_uid])))
        self._records.take(taken)
        for study in sorted({one.study_instance_uid for one, _ in taken}):
            log.warning("study %s: corrected images take the place of earlier ones; it is measured again", study)

    def _header(self, one: TwoContents) -> InstanceHeader | None:
        """Header of a content that may become valid; ``None`` if its file is gone or damaged."""
        try:
            return read_header(self._state_dir / one.path)
        except (InputError, OSError) as error:
            log.error("study %s: corrected images cannot be read: %s", one.study_instance_uid, type(error).__name__)  # noqa: TRY400
            self._records.is_now(one, ConflictState.KEPT)
            return None
