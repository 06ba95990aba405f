"""The work of storage commitment: ask, wait for the report, send again what is missing; and report to senders."""

from __future__ import annotations

import logging
import time

from node.common.errors import RejectedError, TransportError
from node.common.retry import retry_delay_s
from node.deliver.committer import CommitAttempt, CommitStep, Committer
from node.deliver.deliverer import destination_of
from node.receive import Held, report_to_sender
from node.records.commitment_orders import CommitmentOrders, OrderState
from node.records.commitments import Commitments
from node.records.destinations import address_of
from node.records.runs import DeliveryState, RunRecords
from node.records.work import Work, WorkKind, WorkRecords, WorkState, work_id_of
from node.settings.tree import Settings

log = logging.getLogger(__name__)


class CommitmentWork:
    """Adds the work, makes its attempts, and wakes it when a report has come."""

    def __init__(self, settings: Settings) -> None:
        """Open the records.

        Raises:
            ConfigurationError: the database cannot be opened.
        """
        self._settings = settings
        self._committer = Committer(settings)
        self._commitments = Commitments.open(settings)
        self._records = RunRecords.open(settings)
        self._work = WorkRecords.open(settings)
        self._orders = CommitmentOrders.open(settings)
        self._held = Held.open(settings)

    def add(self, run_id: str, destination_name: str) -> None:
        """Have a destination asked to commit to what it has stored, if the settings say so. Idempotent."""
        destination = destination_of(self._settings, destination_name)
        if destination is None or not destination.storage_commitment:
            return
        if not self._commitments.of_run(destination_name, address_of(destination), run_id):
            return
        work_id = self._work.add(WorkKind.COMMIT, run_id, destination_name)
        if not self._work.now(work_id):
            self._work.reopen(work_id, time.time(), "")

    def wake(self) -> None:
        """Look at once at the reports that have come. One that comes while its work runs is looked at after that."""
        for run_id, destination_name in self._commitments.news():
            work_id = work_id_of(WorkKind.COMMIT, run_id, destination_name)
            work = self._work.work(work_id)
            if work is None or work.state in (WorkState.FINISHED, WorkState.GIVEN_UP):
                self._commitments.looked_at(destination_name, run_id)  # too late to change anything but the record
            else:
                self._work.now(work_id)

    def forget(self, before_s: float) -> None:
        """Forget the requests of the node and of senders before a time, in seconds since the epoch."""
        self._commitments.forget_requests(before_s)
        self._orders.forget(before_s)

    def take_orders(self) -> None:
        """Add work for the reports that the listener has left to the worker. Idempotent."""
        for order_id, ae_title in self._orders.late():
            work_id = self._work.add(WorkKind.COMMIT_REPORT, order_id, ae_title)
            if not self._work.now(work_id):
                self._work.reopen(work_id, time.time(), "")
            self._orders.handed_over(order_id)

    def report(self, work: Work) -> str:
        """Make one attempt to report to a sender. Returns why the work is to be given up; else empty."""
        order = self._orders.order(work.subject)
        if order is None or order.state is OrderState.REPORTED:
            self._work.finished(work.work_id)
            return ""
        sender = next((one for one in self._settings.senders if one.ae_title.strip() == order.calling_ae_title), None)
        if sender is None or not sender.host:
            return f"no address for reports to {order.calling_ae_title}: set host and port in its entry of [[senders]]"
        failures, refusals, detail = work.failures, work.refusals, ""
        try:
            detail = report_to_sender(self._settings, sender, order, self._held)
        except (TransportError, RejectedError) as error:
            log.warning("report of storage commitment: %s", error)
            failures, detail = failures + 1, str(error)
        else:
            if not detail:
                self._orders.reported(order.order_id)
                self._work.finished(work.work_id)
                return ""
            refusals += 1
        if refusals >= self._settings.deliver.give_up_after:
            return detail
        due_s = time.time() + self._retry_delay_s(failures + refusals)
        self._work.again(work.work_id, due_s, detail, failures=failures, refusals=refusals)
        return ""

    def attempt(self, work: Work) -> str:
        """Make one attempt, and record when the next one is due. Returns why the work is to be given up; else empty."""
        outcome = self._committer.attempt(work.subject, work.target)
        if outcome.step is CommitStep.OVER:
            self._work.finished(work.work_id, outcome.detail)
            return ""
        is_missing = outcome.step is CommitStep.SEND_AGAIN and not self._is_sending(work)
        is_refusal = outcome.is_overdue or is_missing or outcome.step is CommitStep.REFUSED
        refusals = work.refusals + is_refusal
        if is_refusal and refusals >= self._settings.deliver.give_up_after:
            return f"no storage commitment after {refusals} attempts: {outcome.detail}"
        self._go_on(work, outcome, refusals, is_missing=is_missing)
        return ""

    def _go_on(self, work: Work, outcome: CommitAttempt, refusals: int, *, is_missing: bool) -> None:
        deliver = self._settings.deliver
        failures = work.failures + 1 if outcome.step is CommitStep.AWAY else 0
        now_s, wait_s = time.time(), outcome.wait_s
        if outcome.step in (CommitStep.AWAY, CommitStep.REFUSED):
            wait_s = self._retry_delay_s(failures + refusals)
        elif outcome.step is CommitStep.SEND_AGAIN:
            wait_s = deliver.commitment_wait_s
        self._work.again(work.work_id, now_s + wait_s, outcome.detail, failures=failures, refusals=refusals)
        if is_missing:
            # the delivery wakes this work when the destination has stored everything
            self._send_again(work, now_s + self._retry_delay_s(refusals), outcome.detail)

    def _retry_delay_s(self, n_failures: int) -> float:
        return retry_delay_s(n_failures, self._settings.deliver.retry_first_s, self._settings.deliver.retry_max_s)

    def _is_sending(self, work: Work) -> bool:
        delivery = self._work.work(work_id_of(WorkKind.DELIVER, work.subject, work.target))
        return delivery is not None and delivery.state in (WorkState.WAITING, WorkState.RUNNING)

    def _send_again(self, work: Work, due_s: float, detail: str) -> None:
        """Deliver what a destination says that it does not have. A delivery that was given up is left alone."""
        work_id = self._work.add(WorkKind.DELIVER, work.subject, work.target)
        if self._work.reopen(work_id, due_s, detail):
            detail = f"{detail}; sent again"
            self._records.delivery(work.subject, work.target, DeliveryState.PENDING, work.rounds, detail)
