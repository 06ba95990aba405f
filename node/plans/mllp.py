"""The MLLP listener: connections, time-outs, TLS. Does not interpret message content."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Self

from node.common.errors import ConfigurationError
from node.plans.framing import Deframer, Frame, FramingFault, framed
from node.plans.hl7_intake import Hl7Intake
from node.settings.plans import PlanHl7Settings

log = logging.getLogger(__name__)

_READ_BYTES = 65536
_MEBIBYTE = 1024 * 1024
_HANDSHAKE_S = 10.0
#: A connection without a message yet gives way to a new one after this time, when all are taken. An assumption.
_GIVES_WAY_S = 5.0
#: On; after 60 s idle, probe every 15 s, four times. An assumption.
_KEEP_ALIVE = (
    ((socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 60),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPINTVL), 15),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPCNT), 4),
)


class MllpListener:
    """Listens while its ``async with`` block runs.

    Args:
        settings: address, TLS, limits.
        intake: answers messages one at a time, in a separate thread, so that a slow disk blocks no connection.
    """

    def __init__(self, settings: PlanHl7Settings, intake: Hl7Intake) -> None:
        self._settings = settings
        self._intake = intake
        self._context = tls_context(settings)
        self._max_bytes = int(settings.max_message_mb * _MEBIBYTE)
        self._storing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="plans-hl7")
        self._server: asyncio.Server | None = None
        self._is_stopping = False
        #: With the time at which each was opened; infinite once a message of it was taken.
        self._connections: dict[asyncio.Task[None], float] = {}

    async def __aenter__(self) -> Self:
        """Start listening.

        Raises:
            ConfigurationError: the address cannot be bound.
        """
        host, port = self._settings.host, self._settings.port
        try:
            handshake_s = None if self._context is None else _HANDSHAKE_S
            self._server = await asyncio.start_server(
                self._serve, host, port, ssl=self._context, ssl_handshake_timeout=handshake_s
            )
        except OSError as error:
            raise ConfigurationError(
                f"the HL7 listener cannot listen on {host}, port {port} ({error.strerror or error}): "
                "set another host or port in [plans_hl7], or stop the program that uses it"
            ) from error
        log.info("HL7 listener on %s, port %d%s", host, port, ", TLS" if self._context else "")
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Stop. A message in progress is still stored; its sender gets no answer and may resend it."""
        self._is_stopping = True
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self._storing.shutdown()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        try:
            if self._is_welcome(writer):
                self._connections[task] = asyncio.get_running_loop().time()
                _keep_alive(writer)
                await self._converse(reader, writer)
        except asyncio.CancelledError:
            if not self._is_stopping:
                return  # it gave way
            raise
        except (OSError, TimeoutError) as error:
            log.info("a sender disconnected: %s", type(error).__name__)
        finally:
            self._connections.pop(task, None)
            writer.close()

    def _is_welcome(self, writer: asyncio.StreamWriter) -> bool:
        peer = writer.get_extra_info("peername")
        if not peer:
            return False  # already disconnected
        address = ipaddress.ip_address(str(peer[0]).partition("%")[0])
        senders = self._settings.senders
        if senders and not any(address in network for network in senders):
            log.warning("connection from %s closed: not in plans_hl7.senders", address)
            return False
        if len(self._connections) >= self._settings.max_connections and not self._makes_room():
            log.warning("connection from %s closed: plans_hl7.max_connections reached", address)
            return False
        return True

    def _makes_room(self) -> bool:
        """End the oldest connection that has brought nothing."""
        task, opened_s = min(self._connections.items(), key=lambda one: one[1])
        if asyncio.get_running_loop().time() - opened_s < _GIVES_WAY_S:
            return False
        log.warning("a connection without a message gives way to a new one")
        self._connections.pop(task)
        task.cancel()
        return True

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        deframer = Deframer(self._max_bytes)
        loop = asyncio.get_running_loop()
        begun_s: float | None = None
        while True:
            rest_s = self._settings.idle_timeout_s
            if begun_s is not None:
                rest_s = max(0.0, begun_s + self._settings.timeout_s - loop.time())
            try:
                data = await asyncio.wait_for(reader.read(_READ_BYTES), rest_s)
            except TimeoutError:
                for frame in deframer.end():
                    await self._answer(frame, writer)
                return
            except (ConnectionError, asyncio.CancelledError):
                self._hung_up(deframer)
                raise
            if not data:
                self._hung_up(deframer)
                return
            for frame in deframer.feed(data):
                begun_s = None
                self._has_brought_something(frame)
                await self._answer(frame, writer)
                if frame.fault is FramingFault.TOO_LARGE:
                    await self._hear_out(reader)
                    return
            if not deframer.is_within_message:
                begun_s = None
            elif begun_s is None:
                begun_s = loop.time()

    def _has_brought_something(self, frame: Frame) -> None:
        task = asyncio.current_task()
        if task in self._connections and frame.fault is None:
            self._connections[task] = float("inf")

    async def _answer(self, frame: Frame, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        if not frame.is_answered:
            await loop.run_in_executor(self._storing, self._intake.keep_unanswered, frame, "it was not ended")
            return
        answer = await loop.run_in_executor(self._storing, self._intake.answer, frame)
        if answer is not None:
            writer.write(framed(answer))
            await asyncio.wait_for(writer.drain(), self._settings.timeout_s)

    async def _hear_out(self, reader: asyncio.StreamReader) -> None:
        """Read until the sender ends: closing with unread bytes resets the connection, and the answer may be lost."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.timeout_s):
                while await reader.read(_READ_BYTES):
                    pass

    def _hung_up(self, deframer: Deframer) -> None:
        for frame in deframer.end():
            self._storing.submit(self._intake.keep_unanswered, frame, "the sender has disconnected")


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """Detect dead idle senders: one without power does not disconnect, and would occupy its connection forever."""
    plain = writer.get_extra_info("socket")
    for option, value in _KEEP_ALIVE:
        plain.setsockopt(*option, value)


def tls_context(settings: PlanHl7Settings) -> ssl.SSLContext | None:
    """Server-side TLS 1.2 or later, with client certificates if the settings have a client CA file.

    Raises:
        ConfigurationError: a file in the settings cannot be used.
    """
    if not settings.certificate_file:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate_file, settings.key_file)
        if settings.client_ca_file:
            context.load_verify_locations(settings.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"plans_hl7: certificate_file, key_file or client_ca_file cannot be used ({error.strerror or error}): "
            "each must be a PEM file that the node's user can read"
        ) from error
    return context
