"""A PACS in a process of its own that counts what comes, and has moods."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from pynetdicom import AE, evt

from benchmarks.endurance import forks

_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
    "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
    "1.2.840.10008.5.1.4.1.1.7",  # Secondary Capture
)


class Mood(StrEnum):
    """What the receiver does."""

    GOOD = "takes everything"
    DOWN = "is down"
    REJECTS = "rejects associations"
    REFUSES = "refuses objects (0xA700, out of resources)"
    SLOW = "is slow (5 s for each object)"
    ABORTS = "aborts in mid-transfer"
    GARBAGE = "answers garbage"
    SILENT = "accepts connections and says nothing"


class Receiver:
    """Listens on one port; every object that it has confirmed is in its log."""

    def __init__(self, folder: Path) -> None:
        """Take a free port."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._log = folder / "received.jsonl"
        self._log.touch()
        self._errors = folder / "receiver.log"
        self._pid = 0

    def be(self, mood: Mood) -> None:
        """End as it was, at once, and be otherwise."""
        self.close()
        if mood is not Mood.DOWN:
            self._pid = forks.fork(lambda: _run(mood, self.port, self._log), self._errors)

    def close(self) -> None:
        """Be away."""
        if self._pid:
            forks.kill(self._pid)
        self._pid = 0

    def contents(self) -> dict[str, set[str]]:
        """Digests of what was confirmed, by SOP Instance UID: more than one means that an object changed on its way."""
        found = defaultdict(set)
        for line in self._log.read_text().splitlines():
            uid, digest = json.loads(line)
            found[uid].add(digest)
        return dict(found)

    @property
    def n_confirmed(self) -> int:
        """Number of confirmations, repeats included."""
        return len(self._log.read_text().splitlines())


def _run(mood: Mood, port: int, log: Path) -> None:
    if mood in (Mood.GARBAGE, Mood.SILENT):
        _talk(port, (lambda: os.urandom(200)) if mood is Mood.GARBAGE else (lambda: b""))
        return

    def on_store(event: evt.Event) -> int:
        if mood is Mood.REFUSES:
            return 0xA700
        if mood is Mood.ABORTS:
            event.assoc.abort()
            return 0x0110
        if mood is Mood.SLOW:
            time.sleep(5)
        data_set = event.request.DataSet
        assert data_set is not None
        line = json.dumps([str(event.request.AffectedSOPInstanceUID), hashlib.sha256(data_set.getvalue()).hexdigest()])
        out = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.write(out, f"{line}\n".encode())
        os.close(out)
        return 0x0000

    ae = AE(ae_title="PACS")
    for sop_class in _CLASSES:
        ae.add_supported_context(sop_class)
    if mood is Mood.REJECTS:
        ae.require_called_aet = True
        ae.ae_title = "ANOTHER"
    ae.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, on_store)])


def _talk(port: int, words: Callable[[], bytes]) -> None:
    with socket.create_server(("127.0.0.1", port)) as server:
        held = []
        while True:
            connection, _ = server.accept()
            with suppress(OSError):
                connection.sendall(words())
            held.append(connection)
