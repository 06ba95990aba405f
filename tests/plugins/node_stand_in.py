"""A real storage SCP in the node's place."""

from __future__ import annotations

import threading
from collections import Counter

from pydicom.dataset import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.transport import ThreadedAssociationServer


class NodeStandIn:
    """A storage SCP under the node's AE title; remembers how often each object came."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.received: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server: ThreadedAssociationServer | None = None

    def start(self) -> None:
        ae = AE(ae_title="BMDNODE")
        ae.require_called_aet = True
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
        handlers = [(evt.EVT_C_STORE, self._store)]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def has(self, *datasets: Dataset) -> bool:
        with self._lock:
            return all(ds.SOPInstanceUID in self.received for ds in datasets)

    def times(self, *datasets: Dataset) -> list[int]:
        """How often each of them came."""
        with self._lock:
            return [self.received[ds.SOPInstanceUID] for ds in datasets]

    def _store(self, event: evt.Event) -> int:
        with self._lock:
            self.received[event.request.AffectedSOPInstanceUID] += 1
        return 0x0000
