"""Who gets the alerts of an operation."""

from __future__ import annotations

from collections.abc import Collection

from node.alerts.values import ChannelsOn, Operation, Recipient
from node.settings.alert import MAIL, AlertSettings


def first_recipients(operation: Operation, settings: AlertSettings, channels: ChannelsOn) -> tuple[Recipient, ...]:
    """Everyone who is alerted first: the addresses that get every alert, the surgeons of the operation, the receivers."""
    mails: list[str] = []
    if channels.mail:
        mails += settings.recipients
        mails += [settings.surgeons[surgeon.id] for surgeon in operation.surgeons if surgeon.id in settings.surgeons]
    return (*_mail(mails), *(Recipient(name) for name in channels.first))


def second_recipients(settings: AlertSettings, channels: ChannelsOn) -> tuple[Recipient, ...]:
    """Everyone who is alerted if nobody has acknowledged in time."""
    mails = settings.escalation_recipients if channels.mail else ()
    return (*_mail(mails), *(Recipient(name) for name in channels.second))


def can_still_be_told(recipient: Recipient, settings: AlertSettings, channels: ChannelsOn) -> bool:
    """Whether somebody who got an alert may get a correction: the channel is on, and the settings still have the address."""
    if recipient.channel not in channels.names:
        return False
    known = (*settings.recipients, *settings.surgeons.values(), *settings.escalation_recipients)
    return recipient.channel != MAIL or recipient.address.casefold() in {one.casefold() for one in known}


def _mail(addresses: Collection[str]) -> tuple[Recipient, ...]:
    """Each address once, as it is written first."""
    once: dict[str, str] = {}
    for address in addresses:
        once.setdefault(address.casefold(), address)
    return tuple(Recipient(MAIL, address) for address in once.values())
