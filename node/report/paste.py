"""The result as two or three lines of plain text that a radiologist can paste into the report of the CT."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from node.language.catalogue import Language, say
from node.language.phrase import Phrase, as_phrase, joined, phrase
from node.model import StudyResult
from node.model.fractures import fractures_of
from node.report.context import low_text
from node.report.wording import (
    SCREENING,
    all_reasons,
    category_limits,
    headline,
    level_bmd,
    not_measured_caveat,
    value_text,
)


@dataclass(frozen=True, slots=True)
class ReportText:
    """Plain text in one language: a line of findings, and a line with the impression."""

    findings: str
    impression: str


def report_text(result: StudyResult, language: Language) -> ReportText:
    """The lines of a result, measured or not."""
    findings = phrase("Findings: {said}", said=joined(_findings(result), " "))
    impression = phrase("Impression: {said}", said=joined(_impression(result), " "))
    return ReportText(say(findings, language), say(impression, language))


def _findings(result: StudyResult) -> Iterator[Phrase]:
    value = value_text(result)
    if value:
        yield phrase("CT bone density (automated): {value}{levels}.", value=value, levels=_levels(result))
    else:
        why = joined((reason.detail for reason in all_reasons(result)[:1]), "")
        yield phrase("CT bone density (automated): not measured ({why}).", why=why)
    for fracture in fractures_of(result):
        yield Phrase("{level}: {finding}.", {"level": fracture.level.name, "finding": fracture.finding})


def _levels(result: StudyResult) -> Phrase:
    """BMD of each level of a mean over several."""
    values = [(level.level.name, level_bmd(result.bmd, level.level)) for level in result.levels if level.usable]
    said = [Phrase("{level} {value}", {"level": name, "value": value}) for name, value in values if value is not None]
    return Phrase(" ({values})", {"values": joined(said, ", ")}) if len(said) > 1 else as_phrase("")


def _impression(result: StudyResult) -> Iterator[Phrase]:
    limits = category_limits(result)
    said = headline(result)
    yield Phrase("{said}.", {"said": joined([said, phrase("(ACR, {limits})", limits=limits)], " ") if limits else said})
    low = low_text(result)
    if low:
        yield Phrase("{said}.", {"said": low})
    yield SCREENING if result.status == "measured" else not_measured_caveat(result)
