"""One delivery attempt to a destination: selects, negotiates, sends, and records the answers for the next attempt."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import UID, EncapsulatedPDFStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from node.common.commitment import Referenced
from node.common.errors import InputError, RejectedError, TransportError
from node.deliver import Form, Part, PartAnswer, ask, deliver, offers_for, read_form
from node.model.object_kinds import SegKind, SrKind, sop_class_name
from node.records.commitments import Commitments
from node.records.destinations import Answer, DestinationRecords, KnownAbility, address_of
from node.records.report_versions import ReportVersions
from node.records.runs import DeliveryState, RunRecords
from node.settings.tree import Destination, Settings

log = logging.getLogger(__name__)

_DAY_S = 86_400.0
REPLACED = "not sent: a later report of this study replaces it"

#: All SOP classes that the node can create, in the order of the offers.
SOP_CLASSES: tuple[UID, ...] = (
    *(kind.sop_class_uid for kind in SegKind),
    *(kind.sop_class_uid for kind in SrKind),
    SecondaryCaptureImageStorage,
    EncapsulatedPDFStorage,
)
#: The only transfer syntax of created objects.
TRANSFER_SYNTAX = ExplicitVRLittleEndian


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt ended.

    Attributes:
        state: ``PENDING`` means that it is to be repeated.
        detail: for a person.
        is_refusal: whether the destination was there, and could not store something for now.
        is_damaged: whether a file of the run cannot be read.
    """

    state: DeliveryState
    detail: str
    is_refusal: bool = False
    is_damaged: bool = False


class Deliverer:
    """Delivers results, using the recorded answers of the destinations."""

    def __init__(self, settings: Settings) -> None:
        """Open the records.

        Raises:
            ConfigurationError: the database cannot be opened.
        """
        self._settings = settings
        self._known = DestinationRecords.open(settings)
        self._versions = ReportVersions.open(settings)
        self._commitments = Commitments.open(settings)

    def attempt(self, run_id: str, destination_name: str, files: Sequence[Path]) -> Attempt:
        """Send the files of a run to a destination, unless a later report replaces them.

        Objects that the destination already has are not sent again.
        """
        destination = destination_of(self._settings, destination_name)
        if destination is None:
            return Attempt(DeliveryState.REJECTED, "the destination is no longer in the settings")
        if self._versions.replaced_by(run_id) is not None:
            return Attempt(DeliveryState.SUPERSEDED, REPLACED)
        try:
            forms = [read_form(path) for path in files]
        except InputError as error:
            return Attempt(DeliveryState.PENDING, str(error), is_damaged=True)
        offers = offers_for(forms, destination)
        if not offers:
            return Attempt(DeliveryState.REJECTED, "the settings of this destination exclude every part of it")
        try:
            delivery = deliver(
                offers,
                destination,
                self._settings.listener.ae_title,
                self._settings.deliver.timeout_s,
                self._held(destination, [form.sop_instance_uid for form in forms]),
                self._passed_over(destination),
            )
        except (TransportError, RejectedError) as error:
            # a rejected association is also retried: an administrator may still register the AE title
            log.warning("destination %s: %s", destination_name, error)
            return Attempt(DeliveryState.PENDING, str(error))
        self._known.learn(destination, delivery.abilities)
        taken = [answer.taken for answer in delivery.parts if answer.taken is not None]
        if destination.storage_commitment:
            # before the record that it is there: after a kill in between, it is sent again, and then asked for
            stored = [Referenced(sent.sop_class_uid, sent.sop_instance_uid) for sent in taken]
            self._commitments.due(destination.name, address_of(destination), run_id, stored)
        self._known.stored(destination, run_id, [(sent.sop_class_uid, sent.sop_instance_uid) for sent in taken])
        if delivery.failures:
            detail = f"could not store now: {'; '.join(delivery.failures)}"
            return Attempt(DeliveryState.PENDING, detail, is_refusal=True)
        attempt = self._judged(destination, delivery.parts)
        if attempt.state is not DeliveryState.STORED:
            log.error("destination %s: %s", destination_name, attempt.detail)
        return attempt

    def learn(self, destination: Destination) -> tuple[KnownAbility, ...]:
        """Query the supported SOP classes of a destination now, and replace its recorded answers.

        Raises:
            TransportError: it cannot be reached, or rejects the association temporarily.
            RejectedError: it rejects the association permanently.
        """
        contexts = [(sop_class_uid, TRANSFER_SYNTAX) for sop_class_uid in SOP_CLASSES]
        settings = self._settings
        answers = ask(contexts, destination, settings.listener.ae_title, settings.deliver.timeout_s)
        self._known.forget(destination.name)
        self._known.learn(destination, answers)
        return self._known.abilities(destination)

    def _held(self, destination: Destination, sop_instance_uids: list[str]) -> frozenset[str]:
        """What the destination has stored, and has not said since that it does not have."""
        held = self._known.held(destination, sop_instance_uids)
        return held - self._commitments.not_committed(destination.name, held)

    def _passed_over(self, destination: Destination) -> frozenset[tuple[UID, UID]]:
        """What the destination accepts but refuses on C-STORE; offered again only after a while, to save transfers."""
        asked_before_s = time.time() - self._settings.deliver.ask_again_days * _DAY_S
        return frozenset(
            (UID(known.ability.sop_class_uid), UID(known.ability.transfer_syntax_uid))
            for known in self._known.abilities(destination)
            if known.ability.answer is Answer.REFUSED_STORE and known.learned_s > asked_before_s
        )

    def _judged(self, destination: Destination, parts: Iterable[PartAnswer]) -> Attempt:
        """Whether people at the destination can read the result, and which parts they have."""
        answers = {answer.part: answer for answer in parts}
        for_people = [answer for part, answer in answers.items() if part != Part.SEGMENTATION] or list(answers.values())
        missing = [answer for answer in answers.values() if not answer.is_there]
        told = "; ".join(str(answer) for answer in answers.values() if any(not sent.is_stored for sent in answer.tried))
        if any(not answer.is_class_refused for answer in missing):
            again = f"once this is fixed there, run: bmd-node destinations --ask-again {destination.name}"
            return Attempt(DeliveryState.REJECTED, f"{told}. The result is kept; {again}")
        if not any(answer.is_there for answer in for_people):
            return Attempt(DeliveryState.NOT_TAKEN, f"{self._what_to_do(destination, for_people)} It answered: {told}")
        return Attempt(DeliveryState.STORED, told)

    def _what_to_do(self, destination: Destination, missing: Iterable[PartAnswer]) -> str:
        classes = dict.fromkeys(sop_class_name(sent.sop_class_uid) for answer in missing for sent in answer.tried)
        title = destination.calling_ae_title or self._settings.listener.ae_title
        return (
            f"it accepts none of: {', '.join(classes)}. Allow one of them there for {title}, or allow more forms in the "
            f"settings of this destination; then run: bmd-node destinations --ask-again {destination.name}. The result is "
            f"kept, and offered again after {self._settings.deliver.ask_again_days:g} days."
        )


def ask_again_what_was_not_taken(settings: Settings) -> int:
    """Resend every result of which a destination accepted nothing, once its answer is old; returns their number."""
    records, known = RunRecords.open(settings), DestinationRecords.open(settings)
    before_s = time.time() - settings.deliver.ask_again_days * _DAY_S
    count = 0
    for destination in settings.destinations:
        for run_id in records.deliveries_in(destination.name, DeliveryState.NOT_TAKEN, before_s):
            known.ask_for_redelivery(run_id, destination.name)
            count += 1
    return count


def send_again_what_was_refused(settings: Settings, destination: Destination) -> int:
    """Forget the refusals of a destination, and have the worker resend what it refused; returns the number of runs."""
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
    """The destination with this name, if it is in the settings."""
    return next((destination for destination in settings.destinations if destination.name == name), None)


def is_wanted(destination: Destination, forms: Sequence[Form]) -> bool:
    """Whether a destination gets anything of these files."""
    return bool(offers_for(forms, destination))
