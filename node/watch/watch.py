"""Look, record, tell: one mail when something begins, and one when it is over."""

from __future__ import annotations

import logging
import socket
import textwrap
import threading
import uuid
from collections.abc import Sequence
from datetime import datetime
from email.message import EmailMessage
from email.utils import formatdate

from sqlalchemy.exc import SQLAlchemyError

from node.alerts.channels.mail import MailChannel
from node.common.errors import NodeError
from node.common.private import keep_private
from node.records.watch import Known, WatchRecords
from node.settings.tree import Settings
from node.watch.conditions import Conditions

log = logging.getLogger(__name__)

_WIDTH = 76


class Watch:
    """Looks at the node, and tells the administrators."""

    def __init__(self, settings: Settings) -> None:
        """Open the records.

        Raises:
            ConfigurationError: the database cannot be opened, or the settings of the mail server cannot be used.
        """
        self._settings = settings
        self._host = socket.gethostname()[:100]
        self._conditions = Conditions(settings, self._host)
        self._records = WatchRecords.open(settings)
        MailChannel.from_settings(settings.alert)

    def look(self) -> tuple[Known, ...]:
        """Look once, tell what is to be told, and return what is wrong now.

        Raises:
            NodeError: no mail could be sent; the next look tries again.
            sqlalchemy.exc.SQLAlchemyError: the database does not answer.
            OSError: the state directory cannot be read.
        """
        self._records.seen(self._conditions.now(), ("", self._host))
        taken = self._records.claim()
        if taken:
            try:
                self._tell(taken)
            except BaseException:
                self._records.not_told(taken)
                raise
            self._records.told(taken)
        return tuple(one for one in self._records.known() if one.over_s is None)

    def _tell(self, taken: Sequence[Known]) -> None:
        """Send a mail to every administrator. It counts as told if one of them gets it."""
        channel = MailChannel.from_settings(self._settings.alert)
        failure: NodeError | None = None
        n_told = 0
        for address in self._settings.watch.recipients:
            try:
                channel.hand_over(self._mail(address, taken))
            except NodeError as error:
                log.error("mail to an administrator: %s", error)  # noqa: TRY400 - the message is complete
                failure = error
            else:
                n_told += 1
        if failure is not None and not n_told:
            raise failure
        log.info("administrators told: begun=%d over=%d", *_counts(taken))

    def _mail(self, address: str, taken: Sequence[Known]) -> EmailMessage:
        begun, over = _counts(taken)
        parts = [f"{n} {word}" for n, word in ((begun, "new"), (over, "over")) if n]
        sender = self._settings.alert.sender
        mail = EmailMessage()
        mail["From"], mail["To"] = sender, address
        mail["Subject"] = f"bmd-node on {self._host}: problems: {', '.join(parts)}"
        mail["Date"] = formatdate()
        mail["Message-ID"] = f"<{uuid.uuid4()}@{sender.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no automatic reply
        lines = [textwrap.fill(_line(one), _WIDTH, subsequent_indent="  ") for one in taken]
        mail.set_content("\n\n".join(lines) + "\n\nbmd-node doctor says more.\n")
        return mail


def serve_watch(settings: Settings, stop: threading.Event) -> None:
    """Look again and again until ``stop`` is set.

    Raises:
        ConfigurationError: the database cannot be opened, or the settings of the mail server cannot be used.
    """
    keep_private(settings.state_dir)
    watch = Watch(settings)
    log.info("watch ready")
    while True:
        try:
            watch.look()
        except (NodeError, SQLAlchemyError, OSError) as error:
            # not the text of a database error: it may hold the values that were to be stored
            log.error("watch: %s; tried again", error if isinstance(error, NodeError) else type(error).__name__)  # noqa: TRY400
        if stop.wait(settings.watch.every_s):
            return


def _counts(taken: Sequence[Known]) -> tuple[int, int]:
    n_over = sum(one.over_s is not None for one in taken)
    return len(taken) - n_over, n_over


def _line(one: Known) -> str:
    if one.over_s is None:
        return f"Since {_clock(one.since_s)}: {one.said}"
    return f"Over since {_clock(one.over_s)}, it began {_clock(one.since_s)}: {one.said}"


def _clock(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).astimezone().strftime("%Y-%m-%d %H:%M")
