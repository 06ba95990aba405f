"""One attempt to obtain the storage commitment of a destination for the objects of a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from pydicom.uid import generate_uid

from node.common.errors import RejectedError, TransportError
from node.deliver.commitment import ask_to_commit
from node.deliver.deliverer import REPLACED, destination_of
from node.records.commitments import Commitment, Commitments, CommitmentState
from node.records.destinations import address_of
from node.records.report_versions import ReportVersions
from node.settings.tree import Destination, Settings

log = logging.getLogger(__name__)


class CommitStep(Enum):
    """What follows an attempt."""

    #: nothing: everything is committed, or the destination is not asked any more
    OVER = "over"
    #: the destination was asked, and its report is awaited
    WAIT = "wait"
    #: the destination cannot be reached
    AWAY = "away"
    #: the destination refuses, or has not reported in time
    REFUSED = "refused"
    #: it does not have an object that it had stored
    SEND_AGAIN = "send_again"


@dataclass(frozen=True, slots=True)
class CommitAttempt:
    """How an attempt ended.

    Attributes:
        detail: for a person.
        wait_s: seconds until the destination is asked again.
        is_overdue: whether an earlier request was not answered in time, which counts as a refusal.
    """

    step: CommitStep
    detail: str
    wait_s: float = 0.0
    is_overdue: bool = False


class Committer:
    """Asks destinations to commit to what they have stored, and reads their reports from the records."""

    def __init__(self, settings: Settings) -> None:
        """Open the records.

        Raises:
            ConfigurationError: the database cannot be opened.
        """
        self._settings = settings
        self._commitments = Commitments.open(settings)
        self._versions = ReportVersions.open(settings)

    def attempt(self, run_id: str, destination_name: str) -> CommitAttempt:
        """Look at the reports of a destination, and ask it for what is still open."""
        destination = destination_of(self._settings, destination_name)
        if destination is None or not destination.storage_commitment:
            return CommitAttempt(CommitStep.OVER, "the settings no longer ask this destination for storage commitment")
        self._commitments.looked_at(destination_name, run_id)
        objects = self._commitments.of_run(destination_name, address_of(destination), run_id)
        missing = [one for one in objects if one.state is CommitmentState.NOT_COMMITTED]
        if missing:
            if self._versions.replaced_by(run_id) is not None:
                return CommitAttempt(CommitStep.OVER, REPLACED)
            reasons = ", ".join(dict.fromkeys(one.detail for one in missing))
            detail = f"{len(missing)} of {len(objects)} objects are not committed ({reasons})"
            log.error("destination %s: run %s: %s", destination_name, run_id, detail)
            return CommitAttempt(CommitStep.SEND_AGAIN, detail)
        still_open = [one for one in objects if one.state is not CommitmentState.COMMITTED]
        if not still_open:
            return CommitAttempt(CommitStep.OVER, f"{len(objects)} objects are committed")
        left_s = self._left_s(still_open)
        if left_s > 0:
            return CommitAttempt(CommitStep.WAIT, "asked, no report yet", left_s)
        return self._ask(destination, run_id, still_open)

    def _left_s(self, still_open: Sequence[Commitment]) -> float:
        """Time for a report on the last request, in seconds; 0 if there is one to ask for, or if the time is over."""
        if any(one.state is CommitmentState.DUE for one in still_open):
            return 0.0
        wait_s = self._settings.deliver.commitment_wait_s
        since_s = time.time() - max(one.updated_s for one in still_open)
        return wait_s - since_s if 0 <= since_s < wait_s else 0.0  # below 0, the clock was set back

    def _ask(self, destination: Destination, run_id: str, still_open: Sequence[Commitment]) -> CommitAttempt:
        is_overdue = any(one.state is CommitmentState.ASKED for one in still_open)
        references = [one.referenced for one in still_open]
        transaction_uid = str(generate_uid(prefix=None))
        uids = [one.sop_instance_uid for one in references]
        self._commitments.asked(transaction_uid, destination.name, run_id, uids)
        settings = self._settings
        try:
            refusal = ask_to_commit(
                destination,
                settings.listener.ae_title,
                settings.deliver.timeout_s,
                transaction_uid,
                references,
                self._commitments.answered,
                lambda: self._commitments.is_answered(transaction_uid),
            )
        except (TransportError, RejectedError) as error:
            # a rejected association is also retried: an administrator may still register the AE title
            log.warning("destination %s: %s", destination.name, error)
            self._commitments.not_asked(transaction_uid, str(error))
            return CommitAttempt(CommitStep.AWAY, str(error))
        if refusal:
            log.warning("destination %s: %s", destination.name, refusal)
            self._commitments.not_asked(transaction_uid, refusal)
            return CommitAttempt(CommitStep.REFUSED, refusal)
        late = "no report on the request before; " if is_overdue else ""
        detail = f"{late}asked for {len(references)} objects, no report yet"
        return CommitAttempt(CommitStep.WAIT, detail, settings.deliver.commitment_wait_s, is_overdue)
