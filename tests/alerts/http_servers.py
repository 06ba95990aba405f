"""An HTTP server that takes, fails, delays, hangs up, and says that it knows a message already."""

from __future__ import annotations

import json
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.alerts.arrivals import Arrivals


@dataclass
class Mailbox:
    """What the server has taken, and how it answers.

    Attributes:
        statuses: of the next answers; then ``status``. 0: hang up before the answer; -1: never answer.
        bodies, headers: of every request, in their order.
        asked: counts the requests.
    """

    status: int = 200
    statuses: list[int] = field(default_factory=list)
    answer: bytes = b""
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    asked: Arrivals = field(default_factory=Arrivals)


class HttpServer:
    """Runs in a thread; made with a certificate it speaks HTTPS only."""

    def __init__(self, mailbox: Mailbox, context: ssl.SSLContext | None = None) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                mailbox.bodies.append(self.rfile.read(int(self.headers["content-length"])))
                mailbox.headers.append({name.lower(): value for name, value in self.headers.items()})
                mailbox.asked.add()
                status = mailbox.statuses.pop(0) if mailbox.statuses else mailbox.status
                if status == -1:
                    mailbox.released.wait()
                if status <= 0:
                    self.close_connection = True
                    return
                self.send_response(status)
                if status in (301, 302, 307, 308):
                    self.send_header("location", "/elsewhere")
                self.send_header("content-length", str(len(mailbox.answer)))
                self.end_headers()
                self.wfile.write(mailbox.answer)

            def log_message(self, *_args: object) -> None:
                pass

        self.mailbox = mailbox
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def stop(self) -> None:
        self.mailbox.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def outcome(code: str) -> bytes:
    """An OperationOutcome whose text names somebody."""
    issue = {"severity": "error", "code": code, "diagnostics": "Musterfrau, Erika is unknown"}
    return json.dumps({"resourceType": "OperationOutcome", "issue": [issue]}).encode()
