"""The ways to a surgeon: would a message be taken?"""

from __future__ import annotations

from node.alert.mail import MailChannel
from node.doctor.finding import Finding, Outcome
from node.errors import NodeError
from node.settings.tree import Settings


def check_alerts(settings: Settings) -> tuple[Finding, ...]:
    """Whether the mail server greets the node, encrypts, and takes the login; no message is sent."""
    if not settings.alert.smtp_host:
        return (Finding("alerts by mail", Outcome.OK, "switched off: no mail leaves the node"),)
    try:
        MailChannel.from_settings(settings.alert).probe()
    except NodeError as error:
        todo = "correct the section [alert], or have this machine admitted there; alerts wait until then"
        return (Finding("alerts by mail", Outcome.ERROR, str(error), todo),)
    return (Finding("alerts by mail", Outcome.OK, "the server answers and takes the login; nothing was sent"),)
