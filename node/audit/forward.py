"""Sends the audit trail to a syslog server, from where an earlier process has stopped."""

from __future__ import annotations

import logging
import threading
import time
import uuid

import sqlalchemy as sa

from node.audit.message import audit_message
from node.audit.syslog import SyslogServer, syslog_message
from node.common.errors import TransportError
from node.records.audit import AuditRecords
from node.settings.login import AuditSettings

log = logging.getLogger(__name__)

_BATCH = 200
_POLL_S = 2.0
_LONGEST_WAIT_S = 60.0
#: One process alone sends; another one takes over when it has been silent for this long.
_HELD_S = 60.0


class Forwarder:
    """Sends what is new every two seconds. What was not sent stays due, however long the server is away; after a crash at
    the wrong moment an entry may come twice, with the same time."""

    def __init__(self, records: AuditRecords, settings: AuditSettings) -> None:
        """Read the certificates.

        Raises:
            ConfigurationError: a file cannot be used.
        """
        self._records = records
        self._settings = settings
        self._server = SyslogServer.of(settings)
        self._holder = uuid.uuid4().hex
        self._is_failing = False
        # from now on entries are due
        self._records.claim(self._server.name, self._holder, time.time(), 0.0)

    def run(self, stop: threading.Event) -> None:
        """Send until ``stop`` is set, and then what is left."""
        wait_s = _POLL_S
        while not stop.wait(wait_s):
            wait_s = _POLL_S if self.send_new() else min(2 * wait_s, _LONGEST_WAIT_S)
        self.send_new()

    def send_new(self) -> bool:
        """Send what is new. Returns ``False`` if that failed, so that it is tried later."""
        try:
            while self._send_some() == _BATCH:
                pass
        except (TransportError, sa.exc.SQLAlchemyError) as error:
            if not self._is_failing:
                said = str(error) if isinstance(error, TransportError) else type(error).__name__
                log.warning("the audit trail cannot be sent, it is kept and tried again: %s", said)
            self._is_failing = True
            return False
        if self._is_failing:
            log.info("the audit trail is sent again")
        self._is_failing = False
        return True

    def _send_some(self) -> int:
        """Send some entries; returns how many."""
        one = self._settings
        after = self._records.claim(self._server.name, self._holder, time.time(), _HELD_S)
        if after is None:
            return 0
        rows = list(self._records.rows(after, _BATCH))
        if rows:
            self._server.send(
                [
                    syslog_message(row, one.source_id, audit_message(row, one.source_id, one.enterprise_site_id))
                    for row in rows
                ]
            )
            self._records.sent(self._server.name, rows[-1].number)
        return len(rows)
