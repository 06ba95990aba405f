"""Settings of the watch: who gets a mail when something is wrong with the node."""

from __future__ import annotations

from pydantic import Field

from node.settings.types import MailAddress, Section


class WatchSettings(Section):
    """Mails to administrators when a part of the node is down, a destination fails, the disk runs low, a scanner drifts, an
    equation expires, work was given up, or images are in conflict: one mail, and one when it is over. They go through the
    mail server of ``[alert]``, and name no patient. See ``docs/administration.md``."""

    recipients: tuple[MailAddress, ...] = ()
    """Addresses of administrators; empty: no mail is sent to them."""

    every_s: float = Field(default=60.0, ge=1)
    """Seconds between two looks."""

    part_down_s: float = Field(default=300.0, ge=0)
    """A part that is down for this long is reported; one that dies is restarted within half a minute. An assumption."""

    destination_fails_s: float = Field(default=3600.0, ge=0)
    """A destination that takes nothing for this long, although results wait for it, is reported."""

    free_disk_mb: int = Field(default=5000, ge=0)
    """Less free space than this in the state directory is reported. Images are refused below
    ``listener.min_free_disk_mb``."""

    equation_days: int = Field(default=30, ge=0)
    """An equation is reported this many days before it expires. An assumption."""
