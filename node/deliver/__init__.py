"""Delivery: sends finished objects to the destinations, in a form that each accepts, and records their answers."""

from node.deliver.delivery import Delivery, PartAnswer, SentObject
from node.deliver.offers import Form, Offer, Part, offers_for, read_form
from node.deliver.send import ask, deliver, echo, send
from node.deliver.status import SOP_CLASS_NOT_SUPPORTED, Outcome, describe_status

__all__ = [
    "SOP_CLASS_NOT_SUPPORTED",
    "Delivery",
    "Form",
    "Offer",
    "Outcome",
    "Part",
    "PartAnswer",
    "SentObject",
    "ask",
    "deliver",
    "describe_status",
    "echo",
    "offers_for",
    "read_form",
    "send",
]
