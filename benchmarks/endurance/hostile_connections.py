"""Hostile connections against the listener, and what a scanner notices of them.

``python -m benchmarks.endurance.hostile_connections --minutes 5`` starts a listener on the loopback address, opens
connections of every kind below at an even rate, and asks C-ECHO (PS3.4 annex A) as a scanner would, from the same address.
Prints one line of JSON. Only ever against a listener of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from node.receive.associate_request import AssociateRequest, ProposedContext

_SERVE = """
import logging, signal, sys, threading
from node.receive import serve_listener
from node.settings.tree import ListenerSettings, Settings
from pathlib import Path
logging.basicConfig(level="WARNING")
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
listener = ListenerSettings(host="127.0.0.1", port=int(sys.argv[2]), min_free_disk_mb=0)
serve_listener(Settings(state_dir=Path(sys.argv[1]), listener=listener), stop, lambda: print("ready", flush=True))
"""
_VERIFICATION, _IMPLICIT_VR = "1.2.840.10008.1.1", "1.2.840.10008.1.2"
#: C-ECHO-RQ (PS3.7 9.3.5.1), as a P-DATA-TF with one PDV.
_ECHO_SET = bytes.fromhex(
    "00000000 04000000 38000000 00000200 12000000 312e322e3834302e31303030382e312e3100"
    "00000001 02000000 3000 00001001 02000000 0100 00000008 02000000 0101".replace(" ", "")
)
_ECHO = struct.pack(">BBLLBB", 4, 0, len(_ECHO_SET) + 6, len(_ECHO_SET) + 2, 1, 3) + _ECHO_SET
_RELEASE = struct.pack(">BBLL", 5, 0, 4, 0)
#: A hostile peer that keeps its connection open does so for at most this time.
_HELD_S = 60.0
_WANTED_S = 2.0


def _request(called: str = "BMDNODE") -> bytes:
    context = ProposedContext(1, _VERIFICATION, (_IMPLICIT_VR,))
    return AssociateRequest(called, "HOSTILE", (context,), 16384, "1.2.3", "").pdu()


def _associated(connection: socket.socket) -> None:
    connection.sendall(_request())
    connection.recv(4096)


#: What a hostile peer does after it has connected; it then keeps the connection open.
_KINDS: dict[str, Callable[[socket.socket], None]] = {
    "closes at once": lambda connection: connection.close(),
    "says nothing": lambda _connection: None,
    "half a request": lambda connection: connection.sendall(_request()[:50]),
    "noise": lambda connection: connection.sendall(os.urandom(300)),
    "HTTP": lambda connection: connection.sendall(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n"),
    "a PDU of 4 GB": lambda connection: connection.sendall(struct.pack(">BBL", 1, 0, 2**32 - 1) + bytes(1000)),
    "another AE title": lambda connection: connection.sendall(_request("OTHER")),
    "an association and nothing": _associated,
    "an association and noise": lambda connection: (_associated(connection), connection.sendall(os.urandom(300)))[0],
    "an association and half a PDU": lambda connection: (_associated(connection), connection.sendall(_ECHO[:20]))[0],
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scanner noticed.

    Attributes:
        n_hostile: connections by kind.
        echo_s: time of each C-ECHO with its association; infinite if there was no answer.
        peak_memory_mb: of the listener.
    """

    n_hostile: Counter[str]
    echo_s: tuple[float, ...]
    peak_memory_mb: int

    @property
    def share_in_time(self) -> float:
        """Of the C-ECHOs that were answered within 2 s."""
        return sum(one <= _WANTED_S for one in self.echo_s) / len(self.echo_s)

    def line(self) -> str:
        """One line of JSON."""
        answered = sorted(one for one in self.echo_s if one < float("inf"))
        return json.dumps(
            {
                "hostile": self.n_hostile.total(),
                "kinds": self.n_hostile,
                "echoes": len(self.echo_s),
                "within_2_s": round(self.share_in_time, 4),
                "median_s": round(statistics.median(answered), 3) if answered else None,
                "slowest_s": round(answered[-1], 3) if answered else None,
                "peak_memory_mb": self.peak_memory_mb,
            }
        )


def run(minutes: float, per_minute: int, kinds: tuple[str, ...] = tuple(_KINDS), seed: int = 1) -> Outcome:
    """Attack a listener of its own for some minutes."""
    with tempfile.TemporaryDirectory(prefix="bmd-node-hostile-") as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        probe.close()
        process = subprocess.Popen(
            [sys.executable, "-c", _SERVE, folder, str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            if process.stdout is None or process.stdout.readline() != b"ready\n":
                raise RuntimeError("the listener has not started")
            return _attack(process.pid, port, minutes, per_minute, kinds, random.Random(seed))
        finally:
            process.terminate()
            process.wait(30)


def _attack(pid: int, port: int, minutes: float, per_minute: int, kinds: tuple[str, ...], dice: random.Random) -> Outcome:
    ends_s = time.monotonic() + minutes * 60
    echoes: list[float] = []

    def scan() -> None:
        while time.monotonic() < ends_s:
            echoes.append(echo_s(port))
            time.sleep(0.25)

    scanner = threading.Thread(target=scan)
    scanner.start()
    held: list[tuple[float, socket.socket]] = []
    counted: Counter[str] = Counter()
    next_s = time.monotonic()
    while time.monotonic() < ends_s:
        kind = dice.choice(kinds)
        counted[kind] += 1
        with suppress(OSError):
            connection = socket.create_connection(("127.0.0.1", port), 5)
            connection.settimeout(1)
            held.append((time.monotonic() + dice.uniform(0, _HELD_S), connection))
            _KINDS[kind](connection)
        now_s = time.monotonic()
        for _, old in [one for one in held if one[0] < now_s]:
            old.close()
        held = [one for one in held if one[0] >= now_s]
        next_s += 60 / per_minute
        time.sleep(max(0.0, next_s - time.monotonic()))
    scanner.join()
    for _, connection in held:
        connection.close()
    return Outcome(counted, tuple(echoes), _peak_memory_mb(pid))


def echo_s(port: int) -> float:
    """Seconds for an association, C-ECHO and release; infinite if one of them fails."""
    began_s = time.monotonic()
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as connection:
            connection.settimeout(10)
            connection.sendall(_request())
            if _kind(connection) != 2:
                return float("inf")
            connection.sendall(_ECHO)
            if _kind(connection) != 4:
                return float("inf")
            took_s = time.monotonic() - began_s
            connection.sendall(_RELEASE)
            _kind(connection)
            return took_s
    except OSError:
        return float("inf")


def _kind(connection: socket.socket) -> int:
    """Type of the next PDU."""
    head = connection.recv(6, socket.MSG_WAITALL)
    if len(head) < 6:
        return 0
    kind, _, length = struct.unpack(">BBL", head)
    connection.recv(length, socket.MSG_WAITALL)
    return int(kind)


def _peak_memory_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM:"))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--per-minute", type=int, default=1000)
    parser.add_argument("--kind", choices=tuple(_KINDS), action="append", help="only this kind; may be repeated")
    chosen = parser.parse_args()
    print(run(chosen.minutes, chosen.per_minute, tuple(chosen.kind or _KINDS)).line())


if __name__ == "__main__":
    main()
