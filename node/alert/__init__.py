"""Alert: a result and a planned operation become messages to surgeons.

:func:`decide` is pure and says what is to be sent and why, or why nothing is; a :class:`Channel` sends one alert to its one
recipient. The operation is known from the imaging order only so far, the weakest of the sources.
"""

from node.alert.channel import Channel, channel_for
from node.alert.decision import decide
from node.alert.headers import order_text
from node.alert.values import Alert, NoAlert, OrderText, Rule

__all__ = ["Alert", "Channel", "NoAlert", "OrderText", "Rule", "channel_for", "decide", "order_text"]
