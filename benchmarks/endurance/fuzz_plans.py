"""Damaged scheduling messages and theatre lists: each is stored, or refused and kept, and the next one is read."""

from __future__ import annotations

import datetime as dt
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from benchmarks.endurance.fuzz_cases import Case, Check, damaged, in_parts
from benchmarks.plan_messages import FS_CR, VT, message_text
from node.common.errors import InputError
from node.plans import serve_intake
from node.plans.framing import Deframer
from node.plans.list_folder import ListFolder
from node.plans.theatre_list import read_list
from node.settings.plans import PlanHl7Settings, PlanListSettings, PlanSettings
from node.settings.tree import Settings

_CLOSED_S = 60.0
_MAX_MESSAGE_MB = 0.05
_HL7_PIECES = (
    *(VT, FS_CR, b"\x1c", b"\r", b"\n", b"|", b"^", b"~", b"\\", b"&", b"\r\n\r\n", b"\xef\xbb\xbf", b"\xff\xfe", b'""'),
    *(b"MSH|^~\\&|", b"MSH", b"PID|", b"SCH|", b"RGS|", b"AIS|", b"AIP|", b"AIL|", b"NTE|", b"BHS|", b"FHS|", b"ZZZ|"),
    *(b"\\X00\\", b"\\X", b"\\.br\\", b"\\.sp99999\\", b"\\F\\", b"\\H\\", b"\x00", b"\xff\xfe\xfd", b"9" * 40, b"^" * 3000),
    *(b"S12", b"S15", b"A40", b"ACK", b"2.1", b"2.9", b"UNICODE UTF-16", b"8859/1", b"ISO IR87", b"AL", b"NE", b"00010101"),
    *(b"00010101000000+1400", b"99991231235959.9999-1200", b"20300229", b"20300120080000+9999", b"-0500", b"0000"),
)
_LIST_PIECES = (
    *(b";", b";;;;;;;;;;;;", b",", b'"', b'""', b"\r\n", b"\r", b"\n", b"\x00", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"),
    *(b"01.01.0001", b"31.12.9999", b"29.02.2030", b"00.00.0000", b"24:00", b"00:00", b"1.1.1", b"9" * 40, b"A" * 70_000),
    *(b"operation_id;date", b"nein", b"ja", b"\xc3", b"\x81", b"\xe2\x80\xae", b"\xc2\xa0", b"\x0b", b"\x1c", b"\x85"),
)
_COLUMNS = "operation_id;date;time;patient_id;family_name;given_name;birth_date;procedure;surgeon"
_LINES = (
    '1;20.01.2030;08:00;4711;Müller;Anna;01.04.1950;"PLIF L4/5; mit Cage";Dr. Schraube',
    "2;20.01.2030;;4712;Weiß;Jörg;02.05.1960;TLIF L5/S1;Dr. Schraube",
    "3;31.12.2030;23:59;4713;O'Brien;Seán;;Kyphoplastie L1-L3;",
    "",
)
#: What stands in a field: days at the ends of the calendar and on the night when clocks change, and text that is none.
_FIELDS = (
    *(
        "",
        "0",
        "1",
        "4711",
        "01.01.0001",
        "31.12.9999",
        "29.02.2031",
        "28.03.2027",
        "20.01.2030",
        "1.1.30",
        "00:00",
        "02:30",
    ),
    *(
        "24:00",
        "8:00",
        "nein",
        "x",
        "A" * 300,
        "a\0b",
        "a\nb",
        '"',
        "\u202e",
        "\ud800",
        "Müller, Anna",
        "^",
        "L1-L5",
        "L5/4/3/2/1",
    ),
    *("L9", "Th12-S1", "5-836.40", "\u0660\u0661", "\x1c", "\x85", "\u2028", "é" * 200, "1" * 64, "1" * 65),
)
_ENCODINGS = ("utf-8-sig", "cp1252", "utf-16", "iso-8859-15")
_ZONES = ("Europe/Berlin", "America/New_York", "Pacific/Kiritimati")


class _Errors(logging.Handler):
    """What is logged as an error: an exception that nobody expected ends there."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(logging.Formatter().format(record))


@contextmanager
def _errors() -> Iterator[_Errors]:
    handler = _Errors()
    logging.getLogger().addHandler(handler)
    try:
        yield handler
    finally:
        logging.getLogger().removeHandler(handler)


@dataclass(frozen=True, slots=True)
class _Parts:
    """Where the bytes are cut into parts on the wire."""

    cuts: tuple[float, ...]


class Mllp:
    """Targets ``node.plans`` over a real connection."""

    examples_per_round = 200

    def cases(self) -> st.SearchStrategy[Case]:
        """Streams of up to four messages, each whole or damaged, with or without its frame."""
        texts = [
            message_text(number, event, charset=charset).encode()
            for number, event in enumerate(("S12", "S13", "S14", "S15", "S26"))
            for charset in ("UNICODE UTF-8", "")
        ]
        framed = [VT + text + FS_CR for text in texts]
        one = st.one_of(
            damaged(texts, _HL7_PIECES).map(lambda text: VT + text + FS_CR),
            damaged(framed, _HL7_PIECES),
            st.sampled_from(framed),
            st.sampled_from(_HL7_PIECES),
        )
        cuts = st.lists(st.floats(0, 1, exclude_max=True), max_size=5).map(lambda found: _Parts(tuple(found)))
        return st.builds(lambda parts, cut: Case(b"".join(parts), cut), st.lists(one, min_size=1, max_size=4), cuts)

    @contextmanager
    def open(self, folder: Path) -> Iterator[Check]:
        """Start an intake in a thread."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        hl7 = PlanHl7Settings(enabled=True, host="127.0.0.1", port=port, max_message_mb=_MAX_MESSAGE_MB)
        settings = Settings(state_dir=folder / "state", plans_hl7=hl7, plans=PlanSettings(time_zone=_ZONES[0]))
        stop, started = threading.Event(), threading.Event()
        failed: list[BaseException] = []

        def serve() -> None:
            try:
                serve_intake(settings, stop, started.set)
            except BaseException as error:
                failed.append(error)
                raise

        thread = threading.Thread(target=serve)
        with _errors() as errors:
            thread.start()
            if not started.wait(60):
                raise RuntimeError("the intake has not started")

            def check(case: Case) -> str:
                parts = case.known
                assert isinstance(parts, _Parts)
                answers = _exchange(port, list(in_parts(case.data, parts.cuts)))
                assert not failed, failed
                assert not errors.texts, errors.texts.pop()
                codes = [_code_of(answer) for answer in answers]
                deframer = Deframer(int(_MAX_MESSAGE_MB * (1 << 20)))
                expected = [frame for part in in_parts(case.data, parts.cuts) for frame in deframer.feed(part)]
                assert len(codes) <= sum(frame.is_answered for frame in expected)
                return codes[0] if codes else "no answer"

            try:
                yield check
            finally:
                stop.set()
                thread.join(60)


def _exchange(port: int, parts: list[bytes]) -> list[bytes]:
    """Send, and read every answer until the connection ends."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), _CLOSED_S) as connection, suppress(ConnectionError):
        for part in parts:
            connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)
        try:
            while part := connection.recv(65536):
                received += part
        except TimeoutError:
            raise AssertionError(f"the connection is not closed within {_CLOSED_S:g} s") from None
    answers = received.split(FS_CR)
    assert answers.pop() == b"", "an answer without an end"
    assert all(answer.startswith(VT) for answer in answers)
    return [answer.removeprefix(VT) for answer in answers]


def _code_of(answer: bytes) -> str:
    """MSA-1; what the sender wrote can neither end the frame nor begin a segment of its own."""
    assert VT not in answer
    assert b"\x1c" not in answer
    segments = answer.removesuffix(b"\r").split(b"\r")
    names = [segment[:3] for segment in segments]
    assert names in ([b"MSH", b"MSA"], [b"MSH", b"MSA", b"ERR"]), names
    return segments[1].split(segments[0][3:4])[1].decode()


@dataclass(frozen=True, slots=True)
class _Site:
    """How a site writes its lists."""

    encoding: str
    zone: str
    is_full: bool


class TheatreLists:
    """Targets ``node.plans.theatre_list`` and the folder that is watched."""

    examples_per_round = 200

    def cases(self) -> st.SearchStrategy[Case]:
        """Files in several character sets."""
        sites = st.builds(_Site, st.sampled_from(_ENCODINGS), st.sampled_from(_ZONES), st.booleans())
        return sites.flatmap(_files)

    @contextmanager
    def open(self, folder: Path) -> Iterator[Check]:
        """Open a folder for each kind of site."""
        folders: dict[_Site, tuple[Path, ListFolder, PlanListSettings]] = {}
        with _errors() as errors:

            def check(case: Case) -> str:
                site = case.known
                assert isinstance(site, _Site)
                if site not in folders:
                    watched = folder / f"lists{len(folders)}"
                    watched.mkdir()
                    lists = PlanListSettings(
                        folder=str(watched), settle_s=0, encoding=site.encoding, is_full=site.is_full, name=f"{watched.name}"
                    )
                    plans = PlanSettings(time_zone=site.zone)
                    settings = Settings(state_dir=folder / "state", plans_list=lists, plans=plans)
                    folders[site] = watched, ListFolder(settings), lists
                watched, taken, lists = folders[site]
                now, zone = dt.datetime.now(dt.UTC), PlanSettings(time_zone=site.zone).zone
                outcome = "refused"
                with suppress(InputError):
                    listed = read_list(case.data, lists, zone, now, now)
                    outcome = f"{'some' if listed.operations else 'no'} operations"
                    assert all("\n" not in line.why and len(line.why) < 300 for line in listed.bad_lines)
                path = watched / "list.csv"
                path.write_bytes(case.data)
                os.utime(path, (1_800_000_000, 1_800_000_000) if now.timestamp() > 1_800_000_000 else None)
                assert taken.look() == 1
                assert not path.exists(), "the file stays in the folder, and would be read again and again"
                assert not errors.texts, errors.texts.pop()
                return outcome

            yield check


def _files(site: _Site) -> st.SearchStrategy[Case]:
    whole = [
        "\r\n".join([_COLUMNS, *lines]).encode(site.encoding, "replace") for lines in (_LINES, _LINES[:1], _LINES * 20, ())
    ]
    field = st.one_of(st.sampled_from(_FIELDS), st.sampled_from(_LINES[0].split(";")), st.text(max_size=20))
    line = st.lists(field, min_size=9, max_size=9).map(_written)
    lists = st.lists(line, max_size=6).map(lambda lines: "\r\n".join([_COLUMNS, *lines]))
    pieces = [*_LIST_PIECES, *(part.decode("latin-1").encode(site.encoding, "replace") for part in _LIST_PIECES)]
    of_fields = lists.map(lambda text: text.encode(site.encoding, "replace"))
    return st.one_of(damaged(whole, pieces), of_fields, of_fields).map(lambda data: Case(data, site))


def _written(fields: list[str]) -> str:
    """A line of CSV; every other field is quoted."""
    return ";".join(value if n % 2 else '"' + value.replace('"', '""') + '"' for n, value in enumerate(fields))
