"""Messages about patients, as hospital systems send them."""

from __future__ import annotations

from benchmarks.plan_messages import FS_CR, VT, Sent


def adt_text(
    event: str,
    pid: str,
    mrg: str | None = None,
    *,
    name: str = "Müller^Anna",
    second: int = 0,
    more: str = "",
    sex: str = "F",
) -> str:
    """An ADT message of a second of the evening of 1 September 2026, after those of ``benchmarks.plan_messages``."""
    lines = [
        f"MSH|^~\\&|KIS|SUED|BMDNODE|RAD|202609012359{second:02d}+0200||ADT^{event}|T{second}|P|2.5||||||UNICODE UTF-8",
        f"EVN|{event}|20260901235900",
        f"PID|1||{pid}||{name}||19500401|F",
        *([] if mrg is None else [f"MRG|{mrg}"]),
        *([more] if more else []),
    ]
    return "\r".join(lines) + "\r"


def adt(event: str, pid: str, mrg: str | None = None, *, answer: str = "AA", **more: object) -> Sent:
    """The same on the wire, with the correct answer."""
    return Sent(event, VT + adt_text(event, pid, mrg, **more).encode() + FS_CR, (answer,))  # type: ignore[arg-type]
