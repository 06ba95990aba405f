"""Delivery: finished objects go to the destinations, and what each of them answered is told."""

from node.deliver.retry import retry_delay_s
from node.deliver.send import Delivery, SentObject, echo, send
from node.deliver.status import Outcome

__all__ = ["Delivery", "Outcome", "SentObject", "echo", "retry_delay_s", "send"]
