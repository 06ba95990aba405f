"""Storage commitment as SCU (PS3.4 annex J): asks a destination to commit to what it has stored."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from node.common.association import associated
from node.common.commitment import REQUEST, SOP_CLASS, SOP_INSTANCE, Answered, Referenced, request_of, status_of_report
from node.common.errors import TransportError
from node.deliver.send import peer_of
from node.settings.tree import Destination

#: How long the association stays open for a report. Some PACS report on it, others on one of their own, at any time.
_REPORT_ON_SAME_S = 5.0
_POLL_S = 0.1
_SUCCESS = 0x0000


def ask_to_commit(
    destination: Destination,
    calling_ae_title: str,
    timeout_s: float,
    transaction_uid: str,
    references: Sequence[Referenced],
    answered: Answered,
    is_answered: Callable[[], bool],
) -> str:
    """Send a request (N-ACTION), and wait a little for a report (N-EVENT-REPORT) on the same association.

    Args:
        destination: whom to ask.
        calling_ae_title: used if the destination names none of its own.
        timeout_s: for the connection, the association and the response.
        transaction_uid: identifies the request; recorded before the call.
        references: the instances.
        answered: called for a report on this association.
        is_answered: whether a report has come, on whatever association; then there is nothing to wait for.

    Returns:
        Why the destination refuses; empty if it has accepted the request.

    Raises:
        TransportError: no connection, a time-out, an abort, or a temporary rejection.
        RejectedError: the association was rejected permanently.
    """

    def on_report(event: evt.Event) -> tuple[int, None]:
        return status_of_report(event, answered), None

    contexts = [build_context(SOP_CLASS, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])]
    calling = destination.calling_ae_title or calling_ae_title
    handlers = [(evt.EVT_N_EVENT_REPORT, on_report)]
    with associated(peer_of(destination), calling, timeout_s, contexts, handlers=handlers) as assoc:
        if assoc is None:
            return "it does not offer storage commitment (presentation context not accepted)"
        information = request_of(transaction_uid, references)
        response, _ = assoc.send_n_action(information, REQUEST, SOP_CLASS, SOP_INSTANCE)
        if "Status" not in response:
            raise TransportError(f"{destination.name}: no answer to the request for storage commitment")
        if response.Status != _SUCCESS:
            return f"it refuses the request for storage commitment with 0x{response.Status:04X}"
        _wait_for_report(assoc, is_answered)
    return ""


def _wait_for_report(assoc: Association, is_answered: Callable[[], bool]) -> None:
    until_s = time.monotonic() + _REPORT_ON_SAME_S
    while time.monotonic() < until_s and assoc.is_established and not is_answered():
        time.sleep(_POLL_S)
