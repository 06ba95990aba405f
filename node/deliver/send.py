"""C-STORE of finished objects to a destination (PS3.4 annex B), and C-ECHO (PS3.4 annex A)."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from pydicom.uid import UID
from pynetdicom import _config
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.common.association import Peer, associated
from node.common.errors import ConfigurationError, RejectedError, TransportError
from node.common.tls import OwnCertificate, client_context
from node.deliver.delivery import Delivery, PartAnswer, SentObject
from node.deliver.offers import Form, Offer, Part, read_form, report_forms
from node.deliver.status import SOP_CLASS_NOT_SUPPORTED, Outcome, describe_status, outcome_of
from node.records.destinations import Ability, Answer
from node.settings.tree import Destination

log = logging.getLogger(__name__)

#: The response time-out starts when the object is queued, so it is extended for slow links (1 Mbit/s).
_SLOWEST_LINK_BYTES_PER_S = 125_000

_Context = tuple[UID, UID]


def send(files: Sequence[Path], destination: Destination, calling_ae_title: str, timeout_s: float) -> Delivery:
    """Send files over one association, as encoded.

    A permanently refused object does not stop the others. After a retriable failure, repeat the whole call: a destination
    keeps one copy per SOP Instance UID.

    Args:
        files: DICOM files (PS3.10).
        calling_ae_title: used if the destination names none of its own.
        timeout_s: for the connection, the association and each response (longer for objects that take long to transfer).

    Returns:
        Outcome of each object: stored, stored with a warning, or rejected.

    Raises:
        TransportError: no connection, a time-out, an abort, or the destination could not store an object now.
        RejectedError: the association was rejected permanently.
        InputError: one of the files is not DICOM; nothing was sent.
    """
    offers = [Offer(path.name, (read_form(path),)) for path in files]
    delivery = deliver(offers, destination, calling_ae_title, timeout_s)
    if delivery.failures:
        raise TransportError(f"{destination.name} could not store now: {'; '.join(delivery.failures)}")
    return delivery


def deliver(
    offers: Sequence[Offer],
    destination: Destination,
    calling_ae_title: str,
    timeout_s: float,
    held: Collection[str] = frozenset(),
    passed_over: Collection[_Context] = frozenset(),
) -> Delivery:
    """Send the best accepted form of each offer, over one association that proposes all forms.

    A form whose presentation context is not accepted is skipped. If C-STORE of a form is refused, the next form follows,
    whatever the status: receivers reject an unsupported class with different status codes.

    Args:
        offers: in the order of sending.
        calling_ae_title: used if the destination names none of its own.
        timeout_s: as for :func:`send`.
        held: SOP Instance UIDs that the destination already has; offers with one of them are not sent again.
        passed_over: SOP classes and transfer syntaxes that the destination is known to refuse after accepting them.

    Returns:
        Outcome of each offer; retriable failures are in ``failures``.

    Raises:
        TransportError: there was no association: no connection, a time-out, or a temporary rejection.
        RejectedError: the association was rejected permanently.
    """
    # Send the data set from the file unchanged, without decoding it.
    _config.STORE_SEND_CHUNKED_DATASET = True
    sending = _Sending(destination, timeout_s, frozenset(held), frozenset(passed_over))
    due = [form.context for offer in offers if not sending.holds(offer) for form in offer.forms]
    wanted = dict.fromkeys(context for context in due if context not in passed_over)
    accepted: frozenset[_Context] = frozenset()
    if wanted:
        contexts = [build_context(sop_class_uid, [transfer_syntax_uid]) for sop_class_uid, transfer_syntax_uid in wanted]
        try:
            with associated(
                peer_of(destination), destination.calling_ae_title or calling_ae_title, timeout_s, contexts
            ) as assoc:
                accepted = _accepted(assoc)
                sending.run(offers, assoc, accepted)
        except TransportError as error:
            if not sending.has_begun:
                raise
            sending.failures.append(str(error))
    else:
        sending.run(offers, None, accepted)
    sending.log()
    return Delivery(
        destination.name,
        tuple(sending.objects),
        tuple(sending.answers.values()),
        sending.abilities(_abilities(wanted, accepted)),
        tuple(sending.failures),
    )


def ask(
    contexts: Iterable[_Context], destination: Destination, calling_ae_title: str, timeout_s: float
) -> tuple[Ability, ...]:
    """Query the supported SOP classes of a destination, with an association that is released at once.

    Raises:
        TransportError: no connection, a time-out, or a temporary rejection.
        RejectedError: the association was rejected permanently.
    """
    wanted = list(contexts)
    built = [build_context(sop_class_uid, [transfer_syntax_uid]) for sop_class_uid, transfer_syntax_uid in wanted]
    with associated(peer_of(destination), destination.calling_ae_title or calling_ae_title, timeout_s, built) as assoc:
        return _abilities(wanted, _accepted(assoc))


def echo(destination: Destination, calling_ae_title: str, timeout_s: float) -> None:
    """Verify a destination (C-ECHO).

    Args:
        calling_ae_title: used if the destination names none of its own.
        timeout_s: for the connection, the association and the response.

    Raises:
        TransportError: no connection, a time-out or an abort.
        RejectedError: the association or the verification service was refused.
    """
    calling = destination.calling_ae_title or calling_ae_title
    with associated(peer_of(destination), calling, timeout_s, [build_context(UID(Verification))]) as assoc:
        if assoc is None:
            raise RejectedError(f"{destination.name} does not offer verification (C-ECHO)")
        response = assoc.send_c_echo()
        if "Status" not in response:
            raise TransportError(f"{destination.name}: no answer to C-ECHO")
        if response.Status != 0x0000:
            raise RejectedError(f"{destination.name} answered C-ECHO with {describe_status(response.Status)}")


def peer_of(destination: Destination) -> Peer:
    """The destination as the other side of an association.

    Raises:
        TransportError: a file for TLS cannot be used.
    """
    return Peer(destination.name, destination.ae_title, destination.host, destination.port, _tls(destination))


def _tls(destination: Destination) -> ssl.SSLContext | None:
    if not destination.tls:
        return None
    own = None
    if destination.tls_certificate_file:
        own = OwnCertificate(destination.tls_certificate_file, destination.tls_key_file)
    setting = f"destinations, {destination.name}: tls_*"
    try:
        return client_context(destination.tls_ca_file, own, checks_name=destination.tls_check_host, setting=setting)
    except ConfigurationError as error:  # results wait until the certificate is there again
        raise TransportError(str(error)) from error


class _Sending:
    """State of one association: what was sent so far, and the answers."""

    def __init__(
        self, destination: Destination, timeout_s: float, held: frozenset[str], passed_over: frozenset[_Context]
    ) -> None:
        self._destination = destination
        self._timeout_s = timeout_s
        self._held = held
        self._passed_over = passed_over
        self.has_begun = False
        self.objects: list[SentObject] = []
        self.answers: dict[str, PartAnswer] = {}
        self.failures: list[str] = []
        self._refused_classes: list[_Context] = []

    def holds(self, offer: Offer) -> bool:
        """Whether the destination has a form of it from an earlier delivery."""
        return any(form.sop_instance_uid in self._held for form in offer.forms)

    def run(self, offers: Sequence[Offer], assoc: Association | None, accepted: frozenset[_Context]) -> None:
        """Send the offers; temporary failures are recorded, and the other offers continue.

        Raises:
            TransportError: the association broke.
        """
        self.has_begun = True
        segmentations = set(self._held)
        for offer in offers:
            if self.holds(offer):
                self.answers[offer.part] = PartAnswer(offer.part, (), is_held=True, is_class_refused=False)
                continue
            if offer.only_without is not None and not self._is_refused(offer.only_without):
                continue
            forms = report_forms(offer.forms, segmentations) if offer.part == Part.REPORT else offer.forms
            tried = self._try(forms, assoc, accepted)
            if tried is None:
                continue
            by_class = all(sent.status in (None, SOP_CLASS_NOT_SUPPORTED) for sent in tried)
            answer = PartAnswer(offer.part, tried, is_held=False, is_class_refused=by_class)
            self.answers[offer.part] = answer
            if answer.taken is not None:
                segmentations.add(answer.taken.sop_instance_uid)

    def abilities(self, by_context: Iterable[Ability]) -> tuple[Ability, ...]:
        """Answers of the destination; a refused C-STORE overrides an accepted presentation context."""
        refused = {context: _ability(context, Answer.REFUSED_STORE) for context in self._refused_classes}
        return tuple(refused.get((UID(a.sop_class_uid), UID(a.transfer_syntax_uid)), a) for a in by_context)

    def log(self) -> None:
        """Log the outcome of every object."""
        for sent in self.objects:
            level = logging.INFO if sent.outcome is Outcome.STORED else logging.WARNING
            text = "object sent: destination=%s outcome=%s sop_instance_uid=%s detail=%r"
            log.log(level, text, self._destination.name, sent.outcome, sent.sop_instance_uid, sent.detail)

    def _is_refused(self, part: str) -> bool:
        answer = self.answers.get(part)
        return answer is not None and not answer.is_there

    def _try(
        self, forms: Sequence[Form], assoc: Association | None, accepted: frozenset[_Context]
    ) -> tuple[SentObject, ...] | None:
        """Send the first accepted form; returns the forms that were tried, or ``None`` to retry later."""
        tried: list[SentObject] = []
        for form in forms:
            if form.context in self._passed_over:
                detail = f"refused before ({describe_status(SOP_CLASS_NOT_SUPPORTED)}), will be offered again later"
                sent = _sent(form, Outcome.REJECTED, None, detail, "")
            elif assoc is None or form.context not in accepted:
                detail = f"presentation context not accepted ({form.transfer_syntax_uid.name})"
                sent = _sent(form, Outcome.REJECTED, None, detail, "")
            else:
                status, comment = self._store(assoc, form)
                outcome = outcome_of(status)
                detail = "" if outcome is Outcome.STORED else describe_status(status)
                if outcome is None:
                    self.failures.append(f"{form.path.name}: {detail}")
                    return None
                if status == SOP_CLASS_NOT_SUPPORTED:
                    self._refused_classes.append(form.context)
                sent = _sent(form, outcome, status, detail, comment)
            tried.append(sent)
            self.objects.append(sent)
            if sent.is_stored:
                break
        return tuple(tried)

    def _store(self, assoc: Association, form: Form) -> tuple[int, str]:
        name = self._destination.name
        if not assoc.is_established:
            raise TransportError(f"{name}: the association ended before {form.path.name} was sent")
        assoc.dimse_timeout = self._timeout_s + form.path.stat().st_size / _SLOWEST_LINK_BYTES_PER_S
        # Message ID (0000,0110) is an unsigned short; only one message is open at a time
        response = assoc.send_c_store(form.path, msg_id=len(self.objects) % 0xFFFF + 1)
        if "Status" not in response:
            raise TransportError(f"{name}: no answer to C-STORE of {form.path.name}")
        return int(response.Status), str(response.get("ErrorComment", ""))


def _accepted(assoc: Association | None) -> frozenset[_Context]:
    if assoc is None:
        return frozenset()
    return frozenset(
        (cx.abstract_syntax, cx.transfer_syntax[0])
        for cx in assoc.accepted_contexts
        if cx.as_scu and cx.abstract_syntax is not None
    )


def _abilities(wanted: Iterable[_Context], accepted: frozenset[_Context]) -> tuple[Ability, ...]:
    return tuple(_ability(context, Answer.ACCEPTED if context in accepted else Answer.REFUSED_CONTEXT) for context in wanted)


def _ability(context: _Context, answer: Answer) -> Ability:
    sop_class_uid, transfer_syntax_uid = context
    return Ability(str(sop_class_uid), str(transfer_syntax_uid), answer)


def _sent(form: Form, outcome: Outcome, status: int | None, detail: str, comment: str) -> SentObject:
    return SentObject(form.path, str(form.sop_class_uid), str(form.sop_instance_uid), outcome, status, detail, comment)
