"""MLLP receivers on hl7apy, another library than the node's: they parse, acknowledge, refuse, and hang up."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from hl7apy.core import Message
from hl7apy.mllp import AbstractErrorHandler, AbstractHandler, MLLPServer
from hl7apy.parser import parse_message

from tests.alerts.arrivals import Arrivals

#: What an acknowledgement says beside its code: segments that end with a carriage return.
ERR_INTERNAL = "ERR|||207^Application internal error^HL70357|E\r"
ERR_REQUIRED = "ERR||PID^1^3|101^Required field missing^HL70357|E\r"
ERR_UNSUPPORTED = "ERR|||200^Unsupported message type^HL70357|E\r"


@dataclass
class Received:
    """What a receiver has taken, and how it answers.

    Attributes:
        code: MSA-1.
        errors: ERR segments of the answer.
        of_message: MSA-2 instead of the control ID of the message.
        asked: counts the messages, accepted or not.
    """

    code: str = "AA"
    errors: str = ""
    of_message: str = ""
    taken: list[Message] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    asked: Arrivals = field(default_factory=Arrivals)

    def answer(self, text: str) -> str:
        assert parse_message(text).validate()
        # without groups the segments can be asked for by their names
        message = parse_message(text, find_groups=False)
        if self.code == "AA":
            self.taken.append(message)
            self.texts.append(text)
        self.asked.add()
        of_message = self.of_message or message.msh.msh_10.value
        header = "MSH|^~\\&|KIS|HOSP|BMDNODE||20300101||ACK^R01^ACK|1|P|2.5.1"
        return f"\x0b{header}\rMSA|{self.code}|{of_message}\r{self.errors}\x1c\r"


class _Handler(AbstractHandler):
    def __init__(self, message: str, received: Received) -> None:
        super().__init__(message)
        self._received = received

    def reply(self) -> str:
        """The acknowledgement."""
        return self._received.answer(self.incoming_message)


class _Errors(AbstractErrorHandler):
    def reply(self) -> str:
        """What hl7apy cannot parse is an error of the test."""
        raise self.exc


class Receiver:
    """A server for one kind of message, ORU^R01, in a thread."""

    def __init__(self, received: Received, context: ssl.SSLContext | None = None) -> None:
        handlers = {"ORU^R01^ORU_R01": (_Handler, received), "ERR": (_Errors,)}
        self.received = received
        self._server = MLLPServer("127.0.0.1", 0, handlers, timeout=5)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class RudeReceiver:
    """Takes one connection and does as it likes with it."""

    def __init__(self, behave: Callable[[socket.socket], None]) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._behave = behave
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def _run(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        with connection:
            self._behave(connection)

    def stop(self) -> None:
        # wakes a thread that still waits for a connection
        with socket.create_connection(("127.0.0.1", self.port)):
            pass
        self._thread.join()
        self._socket.close()
