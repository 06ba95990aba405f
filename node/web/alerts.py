"""The alerts of a study as the page shows them, and the link with which a surgeon acknowledges one."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request

from node.language.phrase import Phrase, joined, phrase
from node.records.alert_links import AlertLinks
from node.records.alerts import AlertRecords, MessageRecord, MessageState

#: A form holds an id and a signature, and nothing else.
_MOST_BYTES = 4096


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
    MessageState.SUPERSEDED: phrase("replaced by a later one before it was sent"),
    MessageState.NOT_NEEDED: phrase("not needed any more"),
}


def kind_of(record: MessageRecord) -> Phrase:
    """What a message is to its recipient."""
    kind = _KINDS[record.message.kind]
    return phrase("{kind} (not acknowledged by others)", kind=kind) if record.message.escalation else kind


def why_of(record: MessageRecord) -> str:
    """Why a message was sent: what has changed, or the rules that hold."""
    rules = (_RULES[rule] for rule in record.message.rules.split(", "))
    return record.because or joined(rules, ", ")


def state_of(record: MessageRecord) -> Phrase:
    """What became of a message."""
    return _STATES[record.state]


@dataclass(frozen=True, slots=True)
class ShownAlert:
    """An alert whose link was followed.

    Attributes:
        messages: what was sent of it, oldest first.
        signature: of the link.
    """

    alert_id: str
    signature: str
    messages: tuple[MessageRecord, ...]

    @property
    def is_acknowledged(self) -> bool:
        """Whether the last message was."""
        return self.messages[-1].acknowledged_s is not None


@dataclass(frozen=True, slots=True)
class AlertsView:
    """What the pages ask of the records of alerts; made without them, there is nothing to show."""

    records: AlertRecords | None = None
    links: AlertLinks | None = None

    def of_study(self, study_instance_uid: str) -> tuple[MessageRecord, ...]:
        """Every message that spoke of a study, oldest first."""
        return () if self.records is None else self.records.of_study(study_instance_uid)

    def of_link(self, request: Request) -> ShownAlert:
        """The alert whose link was followed.

        Raises:
            HTTPException: the link is not one of this node.
        """
        return self._shown(request.query_params.get("id", ""), request.query_params.get("signature", ""))

    async def acknowledge(self, request: Request) -> ShownAlert:
        """Acknowledge the alert of the form. Following the link does not: mail programs follow links by themselves.

        Raises:
            HTTPException: the form is not one of this node.
        """
        body = await request.body()
        if len(body) > _MOST_BYTES:
            raise HTTPException(413, phrase("This form is too long."))
        form = parse_qs(body.decode("ascii", "replace"))
        shown = self._shown(*(form.get(name, [""])[0] for name in ("id", "signature")))
        if self.records is not None:
            self.records.acknowledge(shown.alert_id, "link")
        return self._shown(shown.alert_id, shown.signature)

    def _shown(self, alert_id: str, signature: str) -> ShownAlert:
        messages: tuple[MessageRecord, ...] = ()
        if self.records is not None and self.links is not None and self.links.is_signed(alert_id, signature):
            messages = self.records.of_alert(alert_id)
        if not messages:
            raise HTTPException(404, phrase("There is no such alert, or the link is not complete."))
        return ShownAlert(alert_id, signature, messages)
