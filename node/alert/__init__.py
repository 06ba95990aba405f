"""Alert: results and planned operations become messages to surgeons.

:func:`decide_patient` is pure and says what is to be sent to whom and why, or why nothing is; a :class:`Channel` sends one
message to its one recipient.
"""

from node.alert.channel import Channel, channel_for, channels_on
from node.alert.decision import Action, ActionKind, Sent, SentState, decide
from node.alert.headers import order_text
from node.alert.message import message_for
from node.alert.operation import operation_id, operation_key, operation_of_order, operation_of_plan
from node.alert.patient import Case, decide_patient
from node.alert.quiet import site_time
from node.alert.recipients import second_recipients
from node.alert.screened import screened
from node.alert.values import (
    Alert,
    AlertKind,
    ChannelName,
    Message,
    Offer,
    Operation,
    OrderText,
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
    "ChannelName",
    "Message",
    "Offer",
    "Operation",
    "OrderText",
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
    "order_text",
    "screened",
    "second_recipients",
    "site_time",
]
