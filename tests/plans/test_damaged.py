"""Messages damaged at random: each is read, or refused with a reason and an answer; nothing else ever happens."""

from __future__ import annotations

import datetime as dt
import random
from contextlib import suppress

import pytest

from benchmarks.plan_messages import message_text
from node.plans.acknowledgement import acknowledgement
from node.plans.hl7_message import Hl7Message, RefusedMessageError, read_message
from node.plans.siu import statement_of
from node.settings.plans import PlanHl7Settings, PlanSettings

NOW = dt.datetime(2026, 9, 2, tzinfo=dt.UTC)
BERLIN = PlanSettings(time_zone="Europe/Berlin")
PIECES = (
    *(
        b"|",
        b"^",
        b"~",
        b"\\",
        b"&",
        b"\r",
        b"\n",
        b"MSH",
        b"PID|",
        b"SCH|",
        b'""',
        b"\\X",
        b"\\X41\\",
        b"\\.sp9\\",
        b"\x00",
    ),
    *(b"\xff", b"\x0b", b"\x1c", b"9" * 20, b"-0500", b"+9999", b"20301320", b"D", b"#", b"MSH|^~\\&|", b"BHS|", b"FHS|"),
)
WHOLE = [
    message_text(1, event, charset=charset).encode() for event in ("S12", "S14", "S15") for charset in ("UNICODE UTF-8", "")
]


def damaged(rng: random.Random) -> bytes:
    content = bytearray(rng.choice(WHOLE))
    for _ in range(rng.choice((1, 1, 2, 4, 12))):
        start = rng.randrange(len(content) + 1)
        end = min(len(content), start + rng.choice((0, 1, 3, 20, 80)))
        content[start:end] = rng.choice((b"", rng.choice(PIECES), bytes(rng.randrange(256) for _ in range(end - start))))
    return bytes(content)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_messages(seed: int) -> None:
    rng = random.Random(seed)
    n_read = 0
    for _ in range(250):
        content = damaged(rng)
        message: Hl7Message | None = None
        refusal: RefusedMessageError | None = None
        with suppress(RefusedMessageError):
            message = read_message(content, "utf-8")
        try:
            statement_of(read_message(content, "utf-8"), BERLIN, PlanHl7Settings(), NOW)
            n_read += 1
        except RefusedMessageError as error:
            refusal = error
        answer = acknowledgement(message, content, refusal, NOW)
        assert answer is None or (b"\rMSA" in answer and b"\x0b" not in answer and b"\x1c" not in answer)
    assert 0 < n_read < 250
