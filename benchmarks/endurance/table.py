"""The figures of the attacks as a table for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.endurance.site import Outcome

_BEGIN, _END = "<!-- endurance: begin -->", "<!-- endurance: end -->"
_HEAD = (
    "| attack | database | times | studies (measured) | objects | lost | doubled | stuck | tried again by hand | "
    "longest to settle | dciodvfy |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
)


def merged(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Add up the parts of the same attack on the same database."""
    found: dict[tuple[str, str], Outcome] = {}
    for one in outcomes:
        key = (one.attack, one.database)
        before = found.get(key)
        if before is None:
            found[key] = replace(one)
            continue
        for name in ("attacks", "studies", "measured", "objects", "lost", "doubled", "stuck", "retried", "seconds"):
            setattr(before, name, getattr(before, name) + getattr(one, name))
        before.validated += one.validated
        before.invalid += one.invalid
        before.settled_s = max(before.settled_s, one.settled_s)
        before.where = dict(Counter(before.where) + Counter(one.where))
        before.notes = "; ".join(filter(None, (before.notes, one.notes)))
    return list(found.values())


def as_markdown(outcomes: Sequence[Outcome]) -> str:
    """Return the table, and where the attacks hit."""
    rows = [
        f"| {one.attack} | {one.database} | {one.attacks} | {one.studies} ({one.measured}) | {one.objects} | {one.lost} | "
        f"{one.doubled} | {one.stuck} | {one.retried} | {one.settled_s:.0f} s | "
        f"{one.validated - one.invalid} of {one.validated} clean |"
        for one in outcomes
    ]
    where: Counter[str] = Counter()
    for one in outcomes:
        if one.attack.startswith("kill"):
            where.update(one.where)
    hit = ", ".join(f"{place} {n}" for place, n in sorted(where.items(), key=lambda item: (-item[1], item[0])))
    said = f"\n\nWhere kills hit, as far as it was noted: {hit}." if hit else ""
    return "\n".join((_HEAD, *rows)) + said


def put_into(document: Path, outcomes: Sequence[Outcome]) -> None:
    """Replace the table between the two comments of a document."""
    text = document.read_text()
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    document.write_text(f"{before}{_BEGIN}\n{as_markdown(outcomes)}\n{_END}{after}")
