"""Any number of scheduling messages, one in ten malformed, each with its correct answer.

``python -m benchmarks.plan_messages --messages 10000`` sends them to the intake over MLLP and prints the rate per second.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from node.plans import serve_intake
from node.records.plan_refusals import PlanRefusals
from node.records.planned_operations import PlannedOperations
from node.settings.plans import PlanHl7Settings
from node.settings.tree import Settings

VT, FS_CR = b"\x0b", b"\x1c\r"
_EVENTS = ("S12", "S12", "S12", "S13", "S14", "S15", "S17", "S26")
_NAMES = ("Müller^Anna", "Çelik^Ayşe", "O'Brien^Seán", "Żak^Łukasz", "Meier-Schmidt^Eva Maria")
_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sent:
    """One message on the wire.

    Attributes:
        data: the bytes, framed or deliberately not.
        answers: the correct codes (MSA-1), one per answer.
        refused: contents that must be stored as refused.
        accepted: control ID, if the message must be stored.
        hangs_up: the connection is closed after it, by the sender or the listener.
    """

    kind: str
    data: bytes = field(repr=False)
    answers: tuple[str, ...]
    refused: tuple[bytes, ...] = field(default=(), repr=False)
    accepted: str = ""
    hangs_up: bool = False


def message_text(
    number: int,
    event: str = "S12",
    *,
    operation: str = "",
    name: str = "Müller^Anna",
    charset: str = "UNICODE UTF-8",
    **fields: str,
) -> str:
    """A scheduling message as hospital systems send it. ``fields`` replace whole segments; an empty one is omitted."""
    operation = operation or f"A{number}"
    second = f"{number // 3600 % 24:02d}{number // 60 % 60:02d}{number % 60:02d}"
    segments = {
        "MSH": f"MSH|^~\\&|KIS|SUED|BMDNODE|RAD|20260901{second}+0200||SIU^{event}^SIU_S12|M{number}|P|2.5||||||{charset}",
        "SCH": f"SCH|P{number}^KIS|{operation}^KIS|||||^LWS-OP||60|min|^^60^20300120080000^20300120090000",
        "PID": f"PID|1||47{number % 1000:04d}^^^KIS^PI||{name}||19500401|F",
        "RGS": "RGS|1|A",
        "AIS": "AIS|1|A|5-836.40^PLIF L4/5^OPS|20300120080000",
        "AIP": "AIP|1|A|17^Schraube^Petra^^^Dr.^^^KIS|surgeon",
        "AIL": "AIL|1|A|OP^3",
        **fields,
    }
    return "\r".join(segment for segment in segments.values() if segment) + "\r"


def messages(n: int, seed: int = 7) -> Iterator[Sent]:
    """``n`` messages in sending order, every tenth malformed."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    for number in range(n):
        if number % 10 == 9:
            yield malformed(number, _MALFORMED[number // 10 % len(_MALFORMED)], rng)
        else:
            name, event = rng.choice(_NAMES), rng.choice(_EVENTS)
            text = message_text(number, event, operation=f"A{rng.randrange(max(1, n // 3))}", name=name)
            yield Sent(event, VT + text.encode() + FS_CR, ("AA",), accepted=f"M{number}")


_MALFORMED = (
    "latin-1 bytes declared as utf-8",
    "no SCH",
    "no PID",
    "two PID",
    "time that is none",
    "admission",
    "other event",
    "huge field",
    "too large",
    "no start block",
    "start block twice",
    "end block without CR",
    "hang-up",
    "noise",
    "no message",
    "cut off",
    "unknown character set",
    "no control ID",
    "many delimiters",
    "latin-1 declared as such",
)


#: Some of these are kept as samples; the others are only counted.
_NOT_FOR_US = {"admission": "ADT^A01", "other event": "S25"}


def malformed(number: int, kind: str, rng: random.Random) -> Sent:
    """A message of one kind of ``_MALFORMED``. Two of the kinds are unusual but valid, and are accepted."""
    good = message_text(number).encode()
    accepted = f"M{number}"
    texts = {
        "no SCH": message_text(number, SCH=""),
        "no PID": message_text(number, PID=""),
        "two PID": message_text(number, RGS="PID|2||4712^^^KIS"),
        "time that is none": message_text(number, SCH="SCH|P1|A1|||||||||^^^20301320080000"),
        "no control ID": message_text(number).replace(f"|M{number}|", "||", 1),
        "unknown character set": message_text(number, charset="KLINGON"),
        "cut off": message_text(number)[:150],
        "many delimiters": message_text(number, PID="PID" + "|~^&" * 5000),
    }
    if kind in texts:
        content = texts[kind].encode()
        return Sent(kind, VT + content + FS_CR, ("AE",), (content,))
    match kind:
        case "latin-1 bytes declared as utf-8":
            content = message_text(number).encode("latin-1")
            return Sent(kind, VT + content + FS_CR, ("AE",), (content,))
        case "latin-1 declared as such":
            content = message_text(number, charset="8859/1").encode("latin-1")
            return Sent(kind, VT + content + FS_CR, ("AA",), accepted=accepted)
        case "admission":
            content = message_text(number).replace("SIU^S12^SIU_S12", "ADT^A01^ADT_A01").encode()
            return Sent(kind, VT + content + FS_CR, ("AR",), (content,))
        case "other event":
            content = message_text(number, "S25").encode()
            return Sent(kind, VT + content + FS_CR, ("AR",), (content,))
        case "huge field":
            content = message_text(number, AIL="NTE|1||" + "x" * 300_000).encode()
            return Sent(kind, VT + content + FS_CR, ("AA",), accepted=accepted)
        case "too large":
            content = message_text(number, AIL="NTE|1||" + "x" * (2 * _MAX_BYTES)).encode()
            return Sent(kind, VT + content + FS_CR, ("AR",), hangs_up=True)
        case "no start block":
            return Sent(kind, good + FS_CR, ("AR",), (good,))
        case "start block twice":
            half = good[:100]
            return Sent(kind, VT + half + VT + good + FS_CR, ("AR", "AA"), (half,), accepted=accepted)
        case "end block without CR":
            first = message_text(number, operation="lost").replace(f"|M{number}|", f"|L{number}|").encode() + b"\x1c"
            return Sent(kind, VT + first + VT + good + FS_CR, ("AR", "AA"), (first,), accepted=accepted)
        case "hang-up":
            content = good[: rng.randrange(20, len(good))]
            return Sent(kind, VT + content, (), (content,), hangs_up=True)
        case "noise":
            content = bytes(rng.randrange(32, 256) for _ in range(200))
            return Sent(kind, content + FS_CR, ("AR",), (content,))
        case "no message":
            content = b"GET / HTTP/1.1"
            return Sent(kind, VT + content + FS_CR, ("AE",), (content,))
    raise ValueError(kind)


class Sender:
    """A system that sends over one connection and reconnects if it was closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None
        self._received = b""

    def send(self, sent: Sent) -> tuple[str, ...]:
        """Send a message, wait for its answers, and return their MSA-1."""
        return tuple(answer.split(b"\rMSA|", 1)[1][:2].decode() for answer in self.exchange(sent))

    def exchange(self, sent: Sent) -> list[bytes]:
        """Send a message and wait for the expected number of answers."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=60)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket.sendall(sent.data)
        except ConnectionError:  # the listener answered and closed before everything was sent
            if not sent.hangs_up:
                raise
        answers = [self._answer() for _ in sent.answers]
        if sent.hangs_up:
            self.close()
        return answers

    def _answer(self) -> bytes:
        if self._socket is None:
            raise ConnectionError("not connected")
        while FS_CR not in self._received:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("no answer")
            self._received += data
        answer, _, self._received = self._received.partition(FS_CR)
        return answer.removeprefix(VT)

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._received = None, b""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of many messages. Each of the tuples should be empty."""

    answers: Counter[str]
    wrong: tuple[str, ...]
    not_stored: tuple[str, ...]
    not_kept: tuple[str, ...]
    duration_s: float
    n_operations: int


def send_all(n: int, settings: Settings, port: int) -> Outcome:
    """Send ``n`` messages to a listener with these settings, and look for each one in the store or among the refused."""
    sender, answers, wrong, accepted, refused = Sender(port), Counter[str](), [], set(), []
    began_s = time.perf_counter()
    for sent in messages(n):
        got = sender.send(sent)
        answers.update(got or ["none, hung up"])
        if got != sent.answers:
            wrong.append(f"{sent.kind}: {got}, not {sent.answers}")
        accepted |= {sent.accepted} - {""}
        refused += [(sent.kind, hashlib.sha256(content).hexdigest()) for content in sent.refused]
    duration_s = time.perf_counter() - began_s
    sender.close()
    store, refusals = PlannedOperations.open(settings), PlanRefusals.open(settings)
    kept = {one.digest for one in refusals.refusals()}
    files = {path.name.partition(".")[0] for path in (settings.state_dir / "refused-plans").iterdir()}
    not_kept = [kind for kind, digest in refused if digest not in kept & files]
    for count in refusals.only_counted():
        for kind, event in _NOT_FOR_US.items():
            if count.detail.endswith(f"not {event}"):
                for _ in range(count.times):
                    not_kept.remove(kind)
    return Outcome(
        answers,
        tuple(wrong),
        tuple(sorted(accepted - store.message_ids())),
        tuple(not_kept),
        duration_s,
        len(store.current()),
    )


def free_port() -> int:
    """A free TCP port of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def main() -> None:
    """The benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=10_000)
    n = parser.parse_args().messages
    port, stop, started = free_port(), threading.Event(), threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        hl7 = PlanHl7Settings(enabled=True, host="127.0.0.1", port=port)
        settings = Settings(state_dir=Path(folder), plans_hl7=hl7)
        thread = threading.Thread(target=serve_intake, args=(settings, stop, started.set))
        thread.start()
        started.wait()
        outcome = send_all(n, settings, port)
        stop.set()
        thread.join()
    sys.stdout.write(
        f"{n} messages in {outcome.duration_s:.1f} s: {n / outcome.duration_s:.0f} per second over one connection\n"
        f"answers: {dict(outcome.answers)}; {outcome.n_operations} operations known\n"
        f"wrong answers: {len(outcome.wrong)}; not stored: {len(outcome.not_stored)}; not kept: {len(outcome.not_kept)}\n"
    )
    for line in (*outcome.wrong[:10], *outcome.not_stored[:10], *outcome.not_kept[:10]):
        sys.stdout.write(f"  {line}\n")


if __name__ == "__main__":
    main()
