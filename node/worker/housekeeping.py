"""Removes what is older than the settings want to keep; the worker does this every hour.

:meth:`Housekeeping.due` changes nothing, so ``bmd-node retention`` shows what goes next.
"""

from __future__ import annotations

import logging
import shutil
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from node.receive import ReceivedStudies
from node.records.erased import ErasedRecords
from node.records.erasure import Erasure
from node.records.work import WorkRecords
from node.settings.tree import Settings
from node.study.run_folder import folder_of
from node.worker.history import History

log = logging.getLogger(__name__)

#: No work that was running when its study was erased is running after this time.
_MARKS_DAYS = 30.0
#: A trend of a scanner begins with its first scans.
_KEPT_TABLES = ("scans",)


@dataclass(frozen=True, slots=True)
class Due:
    """What is older than the settings want to keep.

    Attributes:
        n_images: received files, by ``study.keep_days``.
        results: runs whose folder goes, by ``retention.results_days``.
        studies: Study Instance UIDs whose records go, by ``retention.runs_days``.
        workflow_ids, n_work: by ``retention.workflows_days``.
        n_associations: by ``retention.associations_days``.
    """

    n_images: int
    results: tuple[str, ...]
    studies: tuple[str, ...]
    workflow_ids: tuple[str, ...]
    n_work: int
    n_associations: int


class Housekeeping:
    """Finds and removes what is too old; safe beside other workers and a running node."""

    def __init__(self, settings: Settings) -> None:
        """Open the records.

        Raises:
            ConfigurationError: the database cannot be opened.
        """
        self._settings = settings
        self._received = ReceivedStudies.open(settings)
        self._records = Erasure.open(settings)
        self._work = WorkRecords.open(settings)
        self._erased = ErasedRecords.open(settings)
        self._history = History(settings)

    def due(self, now: datetime) -> Due:
        """Find what :meth:`do` would remove; changes nothing.

        Args:
            now: time with zone.
        """
        retention = self._settings.retention
        workflows_s = _before_s(now, retention.workflows_days)
        old = self._records.old_studies(_before_s(now, retention.runs_days))
        return Due(
            n_images=self._received.count_images_older_than(now - timedelta(days=self._settings.study.keep_days)),
            results=self._old_results(now),
            studies=tuple(sorted(old.keys() - self._records.with_images(old.keys()))),
            workflow_ids=self._history.old(workflows_s),
            n_work=self._work.count_finished(workflows_s),
            n_associations=self._records.count_associations(_before_s(now, retention.associations_days)),
        )

    def do(self, now: datetime) -> None:
        """Remove what is too old, and what a worker wrote while its study was erased."""
        keep_days, retention = self._settings.study.keep_days, self._settings.retention
        n_images = self._received.remove_images_older_than(now - timedelta(days=keep_days))
        log.info("%d images of finished studies removed after %g days", n_images, keep_days)
        results = self._old_results(now)
        # first what leads to the folders: a decision on alerts would miss them
        self._records.forget_alerts(results)
        for run_id in results:
            with suppress(FileNotFoundError):  # another worker does the same
                shutil.rmtree(self._folder(run_id))
        old = self._records.old_studies(_before_s(now, retention.runs_days))
        gone = old.keys() - self._records.with_images(old.keys())
        if gone:
            self._records.remove(gone, (), kept_tables=_KEPT_TABLES)
        n_work = self._work.forget_finished(_before_s(now, retention.workflows_days))
        n_associations = self._records.forget_associations(_before_s(now, retention.associations_days))
        workflows = self._history.old(_before_s(now, retention.workflows_days))
        self._history.remove(workflows)
        if results or gone or n_work or n_associations or workflows:
            log.info(
                "removed by the settings in [retention]: %d folders of results, records of %d studies, %d workflows, "
                "%d pieces of finished work, %d associations",
                *(len(results), len(gone), len(workflows), n_work, n_associations),
            )
        self._remove_what_was_erased(now)

    def _old_results(self, now: datetime) -> tuple[str, ...]:
        old = self._records.old_studies(_before_s(now, self._settings.retention.results_days))
        return tuple(run_id for run_ids in old.values() for run_id in run_ids if self._folder(run_id).is_dir())

    def _remove_what_was_erased(self, now: datetime) -> None:
        for digest in self._erased.digests():
            shutil.rmtree(self._settings.state_dir.absolute() / "results" / digest[:32], ignore_errors=True)
        n_workflows = self._history.remove_erased()
        if n_workflows:
            log.info("%d workflows of erased studies removed", n_workflows)
        self._erased.forget(_before_s(now, _MARKS_DAYS))

    def _folder(self, run_id: str) -> Path:
        return folder_of(self._settings.state_dir, run_id)


def _before_s(now: datetime, days: float) -> float:
    return (now - timedelta(days=days)).timestamp()
