"""Damaged PDUs, commands and data sets over a real connection: answered in valid PDUs, and the next scanner is served."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hypothesis import strategies as st

from benchmarks.endurance.fuzz_cases import Case, Check, damaged, in_parts
from benchmarks.endurance.fuzz_headers import PATIENT, ct_image, encoded
from benchmarks.endurance.hostile_connections import echo_s
from node.receive.associate_request import AssociateRequest, ProposedContext, RefusedRequestError, read_request

#: A listener; its arguments are the state directory and the port.
_SERVE = """
import logging, signal, sys, threading
from node.receive import serve_listener
from node.settings.tree import ListenerSettings, Settings
from pathlib import Path
logging.basicConfig(level="WARNING")
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
listener = ListenerSettings(host="127.0.0.1", port=int(sys.argv[2]), min_free_disk_mb=0, artim_s=2)
serve_listener(Settings(state_dir=Path(sys.argv[1]), listener=listener), stop, lambda: print("ready", flush=True))
"""
_VERIFICATION, _CT, _IMPLICIT_VR, _EXPLICIT_VR = (
    "1.2.840.10008.1.1",
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
)
#: Types, lengths, items and command elements (PS3.8 9.3, PS3.7 9.3 and E).
_PIECES = (
    *(bytes([kind, 0, 0, 0, 0, n]) for kind in (1, 2, 3, 4, 5, 6, 7, 8, 255) for n in (0, 4, 10)),
    *(bytes.fromhex(one) for one in ("ffffffff", "7fffffff", "00000000", "00100000", "ffff", "0000", "00000001")),
    *(bytes([kind, 0, 0, n]) for kind in (0x10, 0x20, 0x30, 0x40, 0x50, 0x51, 0x52, 0x55, 0x58, 0x99) for n in (0, 4)),
    *(
        struct.pack("<HHL", 0, one, n)
        for one in (0, 2, 0x100, 0x110, 0x700, 0x800, 0x900, 0x1000)
        for n in (0, 2, 2**32 - 1)
    ),
    *(b"\x01\x00", b"\x02\x00", b"\x00\x00", b"\x01\x01", b"\x30\x00", b"\x20\x00", b"\xff\x0f", b"\x21\x80", b"\xff" * 8),
    *(b"BMDNODE", b" " * 16, b"\0" * 16, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
)
_ANSWERS = frozenset({2, 3, 4, 6, 7})
_ANSWERED_S = 0.3
_CLOSED_S = 30.0
_MOST_MEMORY_MB: Final = 600
_ECHO_EVERY: Final = 25
_IN_TIME_S = 20.0


@dataclass(frozen=True, slots=True)
class _Sending:
    """How the bytes are sent.

    Attributes:
        n_first: bytes of the request, after which the peer waits for an answer.
        cuts: where the rest is cut into parts.
        ends: whether the peer says that it sends no more; it may also be gone at once.
    """

    n_first: int
    cuts: tuple[float, ...]
    ends: bool


def _request(*contexts: ProposedContext) -> bytes:
    return AssociateRequest("BMDNODE", "FUZZ", contexts, 16384, "1.2.3", "FUZZ").pdu()


def _p_data(control: int, value: bytes, context_id: int = 1) -> bytes:
    return struct.pack(">BBLLBB", 4, 0, len(value) + 6, len(value) + 2, context_id, control) + value


def _command(field: int, has_data: bool, sop_class: str, uid: str = "") -> bytes:
    values: dict[int, bytes] = {2: sop_class.encode(), 0x100: struct.pack("<H", field), 0x110: b"\x01\x00"}
    values[0x800] = struct.pack("<H", 0x102 if has_data else 0x101)
    if uid:
        values |= {0x700: b"\0\0", 0x1000: uid.encode()}
    body = b""
    for number, value in sorted(values.items()):
        padded = value + b"\0" * (len(value) % 2)
        body += struct.pack("<HHL", 0, number, len(padded)) + padded
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _conversations() -> list[tuple[bytes, bytes]]:
    """A request, and what a peer says once it is accepted."""
    echo = _p_data(3, _command(0x30, has_data=False, sop_class=_VERIFICATION))
    release, abort = struct.pack(">BBLL", 5, 0, 4, 0), struct.pack(">BBLL", 7, 0, 4, 0)
    ds = ct_image(0, "1.2.5")
    image = encoded(ds, _IMPLICIT_VR)
    store = _p_data(1, _command(1, has_data=True, sop_class=_CT, uid=ds.SOPInstanceUID))[:]
    store = store[:11] + b"\x03" + store[12:]
    parts = [image[at : at + 1000] for at in range(0, len(image), 1000)]
    data = b"".join(_p_data(2 if part is parts[-1] else 0, part) for part in parts)
    verification = ProposedContext(1, _VERIFICATION, (_IMPLICIT_VR,))
    ct = ProposedContext(1, _CT, (_EXPLICIT_VR, _IMPLICIT_VR)[1:])
    many = tuple(ProposedContext(2 * n + 1, _CT, (_IMPLICIT_VR, _EXPLICIT_VR)) for n in range(128))
    return [
        (_request(verification), echo + release),
        (_request(verification), echo + echo + abort),
        (_request(ct), store + data + release),
        (_request(ct), store + data + store + data),
        (_request(ct), store + abort),
        (_request(ct), data),
        (_request(verification), _request(verification)),
        (_request(*many), echo),
        (b"", echo),
    ]


class Pdus:
    """Targets ``node.receive``: a listener in a process of its own, and the reader of association requests."""

    examples_per_round = 150

    def cases(self) -> st.SearchStrategy[Case]:
        """A request and the rest, each whole or damaged."""
        conversations = _conversations()
        requests = [request for request, _ in conversations]
        said = [rest for _, rest in conversations]
        request = st.one_of(st.sampled_from(requests), st.sampled_from(requests), damaged(requests, _PIECES, 4))
        rest = st.one_of(damaged(said, _PIECES, 6), st.lists(damaged(said, _PIECES, 2), max_size=3).map(b"".join))
        pair = st.one_of(st.sampled_from(conversations).flatmap(lambda one: _pair(one, rest)), st.tuples(request, rest))
        cuts = st.lists(st.floats(0, 1, exclude_max=True), max_size=4).map(tuple)
        return st.builds(
            lambda pair, cuts, ends: Case(b"".join(pair), _Sending(len(pair[0]), cuts, ends)),
            pair,
            cuts,
            st.sampled_from([True, True, True, False]),
        )

    @contextmanager
    def open(self, folder: Path) -> Iterator[Check]:
        """Start a listener."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        log = folder / "log"
        with log.open("wb") as errors:
            command = [sys.executable, "-c", _SERVE, str(folder / "state"), str(port)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
        try:
            if process.stdout is None or process.stdout.readline() != b"ready\n":
                raise RuntimeError("the listener has not started")
            yield _Peer(process, port, log, folder / "state" / "incoming").check
        finally:
            process.terminate()
            process.wait(60)


def _pair(conversation: tuple[bytes, bytes], rest: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[bytes, bytes]]:
    """The request is right, so that what follows is read."""
    request, said = conversation
    return st.tuples(st.just(request), st.one_of(damaged([said], _PIECES, 6), rest))


@dataclass
class _Peer:
    """Sends the cases, and looks at the listener after each."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    incoming: Path
    n_sent: int = 0
    n_log: int = 0

    def check(self, case: Case) -> str:
        sending = case.known
        assert isinstance(sending, _Sending)
        _read_alone(case.data[: sending.n_first])
        answers = self._converse(case.data, sending)
        kinds = list(_kinds(answers))
        assert self.process.poll() is None, "the listener has ended"
        told = self.log.read_bytes()[self.n_log :]
        self.n_log += len(told)
        for word in (b"Traceback", b" ERROR ", b"ERROR:", PATIENT.encode()):
            assert word not in told, told.decode(errors="replace")
        memory_mb = _memory_mb(self.process.pid)
        assert memory_mb < _MOST_MEMORY_MB, f"the listener takes {memory_mb} MB"
        self.n_sent += 1
        if self.n_sent % _ECHO_EVERY == 0:
            took_s = echo_s(self.port)
            assert took_s < _IN_TIME_S, f"C-ECHO took {took_s} s"
            _eventually_empty(self.incoming)
        return {2: "accepted", 3: "rejected", 7: "aborted"}.get(kinds[0], "other") if kinds else "closed"

    def _converse(self, data: bytes, sending: _Sending) -> bytes:
        received = b""
        with socket.create_connection(("127.0.0.1", self.port), 30) as connection, suppress(ConnectionError):
            connection.sendall(data[: sending.n_first])
            if sending.n_first:
                connection.settimeout(_ANSWERED_S)
                with suppress(TimeoutError):
                    received = connection.recv(65536)
            connection.settimeout(_CLOSED_S)
            for part in in_parts(data[sending.n_first :], sending.cuts):
                connection.sendall(part)
            if not sending.ends:
                return b""  # gone, with whatever was on the way
            with suppress(OSError):  # the listener may have reset it meanwhile
                connection.shutdown(socket.SHUT_WR)
            try:
                while part := connection.recv(65536):
                    received += part
            except TimeoutError:
                raise AssertionError(f"the listener has not closed the connection within {_CLOSED_S:g} s") from None
        return received


def _read_alone(request: bytes) -> None:
    """The reader of requests by itself: what it reads, it reads again in what it writes."""
    if len(request) < 6 or request[0] != 1:
        return
    try:
        read = read_request(request[6:])
    except RefusedRequestError:
        return
    again = read_request(read.pdu()[6:])
    assert again == read, (again, read)


def _kinds(answers: bytes) -> Iterator[int]:
    """Types of the PDUs in an answer. The last one may be incomplete if the connection was reset."""
    at = 0
    while at + 6 <= len(answers):
        kind, _, length = struct.unpack_from(">BBL", answers, at)
        assert kind in _ANSWERS, f"a PDU of type {kind} in the answer"
        assert length < 1 << 20, f"a PDU of {length} bytes in the answer"
        yield kind
        at += 6 + length


def _memory_mb(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") // (1 << 20)


def _eventually_empty(folder: Path) -> None:
    """What a connection has left behind is removed when it has ended, not only at the next start."""
    give_up_s = time.monotonic() + _IN_TIME_S
    while left := list(folder.iterdir()):
        assert time.monotonic() < give_up_s, f"{len(left)} partial files are left"
        time.sleep(0.1)
