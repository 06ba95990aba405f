"""Handles one HL7 v2 message: reads, stores and answers it; AA means that it is on disk."""

from __future__ import annotations

import datetime as dt
import logging

import sqlalchemy as sa

from node.clinical.identity import Issuers
from node.clinical.planned_operation import PlanSource
from node.common.errors import InputError, NodeError
from node.plans.acknowledgement import acknowledgement
from node.plans.adt import ADT, PatientStatement, patient_statement
from node.plans.framing import Frame
from node.plans.hl7_message import NOT_FOR_US, Hl7Code, Hl7Message, RefusedMessageError, read_message
from node.plans.siu import statement_of
from node.records.patient_merges import PatientMerges
from node.records.plan_refusals import PlanRefusals
from node.records.planned_operations import PlannedOperations
from node.settings.tree import Settings

log = logging.getLogger(__name__)


class Hl7Intake:
    """Stores messages as planned operations; thread-safe.

    Raises:
        ConfigurationError: the database cannot be opened.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._operations = PlannedOperations.open(settings)
        self._refusals = PlanRefusals.open(settings)
        self._merges = PatientMerges.open(settings)
        self._issuers = Issuers(settings.plans.issuers, settings.plans.default_issuer)

    def answer(self, frame: Frame) -> bytes | None:
        """Store a message, or record its refusal; never raises for bad input.

        Returns:
            The acknowledgement, without its frame; ``None`` if the sender requests none.
        """
        received_at = dt.datetime.now(dt.UTC)
        message: Hl7Message | None = None
        refusal: RefusedMessageError | None = None
        try:
            _refuse_fault(frame)
            message = read_message(frame.content, self._settings.plans_hl7.encoding)
            self._take(message, received_at)
        except RefusedMessageError as error:
            refusal = error
            self._keep(frame.content, error)
        return acknowledgement(message, frame.content, refusal, received_at)

    def keep_unanswered(self, frame: Frame, why: str) -> None:
        """Record a partial message, or what stood between two messages; ``why`` there is no answer."""
        text = f"{frame.fault}; {why}"
        self._keep(frame.content, RefusedMessageError(Hl7Code.SEGMENT_SEQUENCE, text))

    def _take(self, message: Hl7Message, received_at: dt.datetime) -> None:
        settings = self._settings
        try:
            if message.msh.text(9) == ADT:
                about = patient_statement(message, settings.plans, settings.plans_hl7, received_at)
                kept = self._take_patient(about, received_at)
            else:
                said = statement_of(message, settings.plans, settings.plans_hl7, received_at)
                kept = self._operations.keep(said.operation, said.message_id, keeps_status=said.keeps_status)
        except RefusedMessageError:
            raise
        except InputError as error:
            raise RefusedMessageError(Hl7Code.DATA_TYPE, str(error)) from error
        except sa.exc.SQLAlchemyError as error:
            log.error("message not stored: %s", type(error).__name__)  # noqa: TRY400 - a traceback would contain its content
            text = "the message could not be stored now: resend it"
            raise RefusedMessageError(Hl7Code.APPLICATION_INTERNAL_ERROR, text, is_rejected=True) from error
        log.info("message stored: %s", kept)

    def _take_patient(self, said: PatientStatement, received_at: dt.datetime) -> str:
        """Keep merged numbers, and who the patients of known operations are now."""
        self._merges.keep(said.merges, said.sent_at, self._issuers)
        n_changed = 0
        for patient in said.patients:
            numbers = [one for number in patient.identifiers for one in self._merges.all_numbers(number, self._issuers)]
            n_changed += self._operations.update_patient(
                patient, numbers, self._issuers, said.sent_at, received_at, said.message_id
            )
        return f"{len(said.merges)} numbers merged, {n_changed} operations changed"

    def _keep(self, content: bytes, refusal: RefusedMessageError) -> None:
        log.warning("message refused: code=%s location=%s: %s", refusal.code, refusal.location or "message", refusal)
        try:
            self._refusals.keep(
                PlanSource.HL7_SIU, content, refusal.code, str(refusal), is_for_us=refusal.code not in NOT_FOR_US
            )
        except (NodeError, sa.exc.SQLAlchemyError) as error:
            # the sender still gets its answer, and has the message
            log.error("refused message not stored: %s", type(error).__name__)  # noqa: TRY400


def _refuse_fault(frame: Frame) -> None:
    if frame.fault is not None:
        raise RefusedMessageError(Hl7Code.SEGMENT_SEQUENCE, str(frame.fault), is_rejected=True)
