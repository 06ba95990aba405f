"""The ways to a surgeon: would a message be taken?"""

from __future__ import annotations

from node.alert import channel_for
from node.doctor.finding import Finding, Outcome
from node.errors import ConfigurationError, NodeError
from node.settings import Settings

_NAME = "alerts"


def check_alerts(settings: Settings) -> tuple[Finding, ...]:
    """Whether the mail server greets the node, encrypts, and takes the login; no message is sent."""
    try:
        channel = channel_for(settings.alert)
    except ConfigurationError as error:
        return (Finding(_NAME, Outcome.ERROR, str(error)),)
    if channel is None:
        return (Finding(_NAME, Outcome.OK, "no channel is switched on: no message leaves the node"),)
    try:
        channel.probe()
    except NodeError as error:
        todo = "correct the section [alert], or have this machine admitted there; alerts wait until then"
        return (Finding(f"{_NAME} by {channel.name}", Outcome.ERROR, str(error), todo),)
    return (Finding(f"{_NAME} by {channel.name}", Outcome.OK, "the server answers and takes the login; nothing was sent"),)
