"""The alerts of a study on the status page, and the link with which a surgeon acknowledges an alert."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request

from node.language.phrase import Phrase, joined, phrase
from node.records.alert_links import AlertLinks
from node.records.alerts import AlertRecords, MessageRecord, MessageState

_KINDS = {
    "new": phrase("alert"),
    "correction": phrase("correction"),
    "withdrawal": phrase("withdrawal"),
}
_RULES = {
    "osteoporosis": phrase("osteoporosis range"),
    "below_cut": phrase("BMD below the limit"),
    "low_bone_mass": phrase("low bone mass range"),
    "fracture": phrase("vertebral fracture"),
    "low_attenuation": phrase("low attenuation"),
}
_STATES = {
    MessageState.PENDING: phrase("not sent yet"),
    MessageState.TAKEN: phrase("sent"),
    MessageState.REJECTED: phrase("refused by the receiver"),
    MessageState.SUPERSEDED: phrase("replaced by a later message before it was sent"),
    MessageState.NOT_NEEDED: phrase("no longer needed"),
}


def kind_of(record: MessageRecord) -> Phrase:
    """Kind of a message, for its recipient."""
    kind = _KINDS[record.message.kind]
    return phrase("{kind} (not acknowledged by others)", kind=kind) if record.message.escalation else kind


def why_of(record: MessageRecord) -> str:
    """Why a message was sent: the change, or the matching rules."""
    rules = (_RULES[rule] for rule in record.message.rules.split(", "))
    return record.because or joined(rules, ", ")


def state_of(record: MessageRecord) -> Phrase:
    """State of a message."""
    return _STATES[record.state]


@dataclass(frozen=True, slots=True)
class ShownAlert:
    """An alert whose link was followed.

    Attributes:
        messages: all messages of the alert, oldest first.
        signature: of the link.
    """

    alert_id: str
    signature: str
    messages: tuple[MessageRecord, ...]

    @property
    def is_acknowledged(self) -> bool:
        """Whether the last message is acknowledged."""
        return self.messages[-1].acknowledged_s is not None


@dataclass(frozen=True, slots=True)
class AlertsView:
    """The alert records as the pages show them; empty without records."""

    records: AlertRecords | None = None
    links: AlertLinks | None = None

    def of_study(self, study_instance_uid: str) -> tuple[MessageRecord, ...]:
        """All messages about a study, oldest first."""
        return () if self.records is None else self.records.of_study(study_instance_uid)

    def of_link(self, request: Request) -> ShownAlert:
        """The alert whose link was followed.

        Raises:
            HTTPException: the link was not made by this node.
        """
        return self._shown(request.query_params.get("id", ""), request.query_params.get("signature", ""))

    async def acknowledge(self, request: Request) -> ShownAlert:
        """Acknowledge the alert of the form. Opening the link does not: mail programs open links automatically.

        Raises:
            HTTPException: the form was not made by this node.
        """
        form = parse_qs((await request.body()).decode("ascii", "replace"))
        shown = self._shown(*(form.get(name, [""])[0] for name in ("id", "signature")))
        if self.records is not None:
            self.records.acknowledge(shown.alert_id, "link")
        return self._shown(shown.alert_id, shown.signature)

    def _shown(self, alert_id: str, signature: str) -> ShownAlert:
        messages: tuple[MessageRecord, ...] = ()
        if self.records is not None and self.links is not None and self.links.is_signed(alert_id, signature):
            messages = self.records.of_alert(alert_id)
        if not messages:
            raise HTTPException(404, phrase("Alert not found, or the link is incomplete."))
        return ShownAlert(alert_id, signature, messages)
