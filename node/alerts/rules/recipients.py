"""Who gets the alerts of an operation."""

from __future__ import annotations

from collections.abc import Collection

from node.alerts.values import ChannelName, Operation, Recipient
from node.settings.alert import AlertSettings

#: Channels with one receiver, which the settings name.
_FIRST_MACHINES = (ChannelName.HL7, ChannelName.FHIR, ChannelName.WEBHOOK)
_SECOND_MACHINES = (ChannelName.SECOND_HL7, ChannelName.SECOND_FHIR, ChannelName.SECOND_WEBHOOK)


def first_recipients(
    operation: Operation, settings: AlertSettings, channels: Collection[ChannelName]
) -> tuple[Recipient, ...]:
    """Everyone who is told at first: the addresses that get every alert, the surgeons of the operation, the machines."""
    mails: list[str] = []
    if ChannelName.MAIL in channels:
        mails += settings.recipients
        mails += [settings.surgeons[surgeon.id] for surgeon in operation.surgeons if surgeon.id in settings.surgeons]
    return (*_mail(mails), *(Recipient(name) for name in _FIRST_MACHINES if name in channels))


def second_recipients(settings: AlertSettings, channels: Collection[ChannelName]) -> tuple[Recipient, ...]:
    """Everyone who is told if nobody has acknowledged in time."""
    mails = settings.escalation_recipients if ChannelName.MAIL in channels else ()
    return (*_mail(mails), *(Recipient(name) for name in _SECOND_MACHINES if name in channels))


def can_still_be_told(recipient: Recipient, settings: AlertSettings, channels: Collection[ChannelName]) -> bool:
    """Whether somebody who got an alert may get a correction: the channel is on, and the settings still know the address."""
    if recipient.channel not in channels:
        return False
    known = (*settings.recipients, *settings.surgeons.values(), *settings.escalation_recipients)
    return recipient.channel is not ChannelName.MAIL or recipient.address.casefold() in {one.casefold() for one in known}


def _mail(addresses: Collection[str]) -> tuple[Recipient, ...]:
    """Each address once, as it is written first."""
    once: dict[str, str] = {}
    for address in addresses:
        once.setdefault(address.casefold(), address)
    return tuple(Recipient(ChannelName.MAIL, address) for address in once.values())
