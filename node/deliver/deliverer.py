"""One attempt to bring a result to a destination: chosen, negotiated, sent, and what was learned kept for the next one."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import UID, EncapsulatedPDFStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from node.common.errors import InputError, RejectedError, TransportError
from node.deliver import Form, Part, PartAnswer, ask, deliver, offers_for, read_form
from node.model.object_kinds import SegKind, SrKind, sop_class_name
from node.records.destinations import Answer, DestinationRecords, KnownAbility
from node.records.report_versions import ReportVersions
from node.records.runs import DeliveryState, RunRecords
from node.settings.tree import Destination, Settings

log = logging.getLogger(__name__)

_DAY_S = 86_400.0
REPLACED = "not sent: a later report of this study takes its place"

#: Every SOP class of which the node may make an object, in the order of the offers.
SOP_CLASSES: tuple[UID, ...] = (
    *(kind.sop_class_uid for kind in SegKind),
    *(kind.sop_class_uid for kind in SrKind),
    SecondaryCaptureImageStorage,
    EncapsulatedPDFStorage,
)
#: The one transfer syntax that objects are written and sent in.
TRANSFER_SYNTAX = ExplicitVRLittleEndian


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt ended; ``PENDING`` means that it is to be repeated. ``detail`` is for a person."""

    state: DeliveryState
    detail: str


class Deliverer:
    """Delivers with what is known of the destinations."""

    def __init__(self, settings: Settings) -> None:
        """Open the records of the settings.

        Raises:
            ConfigurationError: the database cannot be opened.
        """
        self._settings = settings
        self._known = DestinationRecords.open(settings)
        self._versions = ReportVersions.open(settings)

    def attempt(self, run_id: str, destination_name: str, files: Sequence[Path]) -> Attempt:
        """Offer the files of a run to a destination, unless a later report has taken their place.

        Objects that the destination holds are not sent again.
        """
        destination = destination_of(self._settings, destination_name)
        if destination is None:
            return Attempt(DeliveryState.REJECTED, "the destination is no longer in the settings")
        if self._versions.replaced_by(run_id) is not None:
            return Attempt(DeliveryState.SUPERSEDED, REPLACED)
        try:
            forms = [read_form(path) for path in files]
        except InputError as error:
            return Attempt(DeliveryState.REJECTED, str(error))
        offers = offers_for(forms, destination)
        if not offers:
            return Attempt(DeliveryState.REJECTED, "by the settings this destination gets no part of it")
        try:
            delivery = deliver(
                offers,
                destination,
                self._settings.listener.ae_title,
                self._settings.deliver.timeout_s,
                self._known.held(destination, [form.sop_instance_uid for form in forms]),
                self._passed_over(destination),
            )
        except (TransportError, RejectedError) as error:
            # an association that is refused is tried again too: an administrator may still enter our AE title there
            log.warning("destination %s: %s", destination_name, error)
            return Attempt(DeliveryState.PENDING, str(error))
        self._known.learn(destination, delivery.abilities)
        taken = [answer.taken for answer in delivery.parts if answer.taken is not None]
        self._known.stored(destination, run_id, [(sent.sop_class_uid, sent.sop_instance_uid) for sent in taken])
        if delivery.failures:
            return Attempt(DeliveryState.PENDING, f"could not store now: {'; '.join(delivery.failures)}")
        attempt = self._judged(destination, delivery.parts)
        if attempt.state is not DeliveryState.STORED:
            log.error("destination %s: %s", destination_name, attempt.detail)
        return attempt

    def learn(self, destination: Destination) -> tuple[KnownAbility, ...]:
        """Ask a destination now which of all our SOP classes it takes, and forget what it answered before.

        Raises:
            TransportError: it cannot be reached, or refuses the association for now.
            RejectedError: it refuses the association for good.
        """
        contexts = [(sop_class_uid, TRANSFER_SYNTAX) for sop_class_uid in SOP_CLASSES]
        settings = self._settings
        answers = ask(contexts, destination, settings.listener.ae_title, settings.deliver.timeout_s)
        self._known.forget(destination.name)
        self._known.learn(destination, answers)
        return self._known.abilities(destination)

    def _passed_over(self, destination: Destination) -> frozenset[tuple[UID, UID]]:
        """What the destination accepts and then refuses: offered again only after a while, since it costs a transfer."""
        asked_before_s = time.time() - self._settings.deliver.ask_again_days * _DAY_S
        return frozenset(
            (UID(known.ability.sop_class_uid), UID(known.ability.transfer_syntax_uid))
            for known in self._known.abilities(destination)
            if known.ability.answer is Answer.REFUSED_STORE and known.learned_s > asked_before_s
        )

    def _judged(self, destination: Destination, parts: Iterable[PartAnswer]) -> Attempt:
        """Whether people at the destination have the result, and what they have of it."""
        answers = {answer.part: answer for answer in parts}
        for_people = [answer for part, answer in answers.items() if part != Part.SEGMENTATION] or list(answers.values())
        missing = [answer for answer in answers.values() if not answer.is_there]
        told = "; ".join(str(answer) for answer in answers.values() if any(not sent.is_stored for sent in answer.tried))
        if any(not answer.is_class_refused for answer in missing):
            again = f"once it is mended there: bmd-node destinations --ask-again {destination.name}"
            return Attempt(DeliveryState.REJECTED, f"{told}. The result is kept; {again}")
        if not any(answer.is_there for answer in for_people):
            return Attempt(DeliveryState.NOT_TAKEN, f"{self._what_to_do(destination, for_people)} It answered: {told}")
        return Attempt(DeliveryState.STORED, told)

    def _what_to_do(self, destination: Destination, missing: Iterable[PartAnswer]) -> str:
        classes = dict.fromkeys(sop_class_name(sent.sop_class_uid) for answer in missing for sent in answer.tried)
        title = destination.calling_ae_title or self._settings.listener.ae_title
        return (
            f"it takes none of: {', '.join(classes)}. Have one of them allowed there for {title}, or widen the settings of "
            f"this destination; then: bmd-node destinations --ask-again {destination.name}. The result is kept, and offered "
            f"again after {self._settings.deliver.ask_again_days:g} days."
        )


def ask_again_what_was_not_taken(settings: Settings) -> int:
    """Have every result sent once more of which a destination took nothing, once its answer is old; says how many."""
    records, known = RunRecords.open(settings), DestinationRecords.open(settings)
    before_s = time.time() - settings.deliver.ask_again_days * _DAY_S
    count = 0
    for destination in settings.destinations:
        for run_id in records.deliveries_in(destination.name, DeliveryState.NOT_TAKEN, before_s):
            known.ask_for_redelivery(run_id, destination.name)
            count += 1
    return count


def send_again_what_was_refused(settings: Settings, destination: Destination) -> int:
    """Forget what a destination refused, and have the worker send it once more what it has not got; says how many runs."""
    records, known = RunRecords.open(settings), DestinationRecords.open(settings)
    known.forget(destination.name)
    refused = [
        run_id
        for state in (DeliveryState.REJECTED, DeliveryState.NOT_TAKEN)
        for run_id in records.deliveries_in(destination.name, state, time.time())
    ]
    for run_id in refused:
        known.ask_for_redelivery(run_id, destination.name)
    return len(refused)


def destination_of(settings: Settings, name: str) -> Destination | None:
    """The destination with a name, if it is in the settings."""
    return next((destination for destination in settings.destinations if destination.name == name), None)


def is_wanted(destination: Destination, forms: Sequence[Form]) -> bool:
    """Whether a destination gets anything of these files."""
    return bool(offers_for(forms, destination))
