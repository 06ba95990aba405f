"""Alert: results and planned operations become messages to surgeons.

:func:`decide_patient` is pure and decides what to send to whom and why, or why nothing is sent. A :class:`Channel` sends one
message to one recipient.
"""

from node.alerts.channels.channel import Channel
from node.alerts.channels.registry import channel_for, channels_on
from node.alerts.message import message_for
from node.alerts.rules.decision import Action, ActionKind, Sent, SentState, decide
from node.alerts.rules.of_patient import Case, decide_patient
from node.alerts.rules.operation import operation_id, operation_key, operation_of_order, operation_of_plan
from node.alerts.rules.quiet_hours import site_time
from node.alerts.rules.recipients import second_recipients
from node.alerts.screened import screened
from node.alerts.values import (
    Alert,
    AlertKind,
    ChannelsOn,
    Message,
    Offer,
    Operation,
    Recipient,
    Rule,
    ScreenedResult,
)

__all__ = [
    "Action",
    "ActionKind",
    "Alert",
    "AlertKind",
    "Case",
    "Channel",
    "ChannelsOn",
    "Message",
    "Offer",
    "Operation",
    "Recipient",
    "Rule",
    "ScreenedResult",
    "Sent",
    "SentState",
    "channel_for",
    "channels_on",
    "decide",
    "decide_patient",
    "message_for",
    "operation_id",
    "operation_key",
    "operation_of_order",
    "operation_of_plan",
    "screened",
    "second_recipients",
    "site_time",
]
