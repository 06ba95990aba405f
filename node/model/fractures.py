"""The vertebral fractures of a result: which levels, and how severe. They lead every output.

A finding is a sentence that keeps its values (:mod:`node.language.phrase`), so level and grade are read from the findings
themselves. This also works for results that earlier versions of the node have kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from node.language.phrase import Phrase, as_phrase, joined, phrase
from node.model.finding_codes import LevelFindingCode
from node.model.levels import Level
from node.model.measurement import LevelMeasurement
from node.model.reasons import Reason
from node.model.result import StudyResult

#: The grades of Genant et al., J Bone Miner Res 1993;8:1137-1148, in words.
_GRADE_WORDS = {1: phrase("mild"), 2: phrase("moderate"), 3: phrase("severe")}
#: WHO 1994; ACR practice parameter for QCT.
FRAGILITY = phrase("A fragility fracture means osteoporosis clinically, at any BMD.")
#: Height loss shows neither the age of a fracture nor its cause.
FRACTURE_MEANING = joined((FRAGILITY, phrase("The age and the cause of a fracture are not assessed.")), " ")


@dataclass(frozen=True, slots=True)
class VertebralFracture:
    """A fractured vertebral body.

    Attributes:
        grade: 1 to 3 after Genant; ``None`` if the finding states none.
        finding: the finding in words.
    """

    level: Level
    grade: int | None
    finding: Phrase


def fractures_of(result: StudyResult) -> tuple[VertebralFracture, ...]:
    """The fractures of a study, also of vertebrae that are not measured: the worst first, then from the head downward."""
    return fractures_in(result.levels, result.reasons)


def fractures_in(levels: Iterable[LevelMeasurement], reasons: Iterable[Reason]) -> tuple[VertebralFracture, ...]:
    """The same from the findings of the levels and of the study."""
    found = {
        level.level: VertebralFracture(level.level, _grade(finding.detail), finding.detail)
        for level in levels
        for finding in level.findings
        if finding.code == LevelFindingCode.FRACTURE
    }
    for reason in reasons:
        if reason.code == LevelFindingCode.FRACTURE:
            for fracture in _named_in(reason.detail):
                found.setdefault(fracture.level, fracture)
    return tuple(sorted(found.values(), key=lambda one: (-(one.grade or 0), one.level)))


def fractures_text(fractures: Sequence[VertebralFracture]) -> Phrase:
    """``Vertebral fracture L2, grade 2 (moderate)``, or all of several in their order."""
    if len(fractures) > 1:
        return phrase("Vertebral fractures: {each}", each=joined((_named(one) for one in fractures), ", "))
    (one,) = fractures
    if one.grade is None:
        return phrase("Vertebral fracture {level}", level=one.level.name)
    return phrase(
        "Vertebral fracture {level}, grade {grade} ({word})",
        level=one.level.name,
        grade=one.grade,
        word=_GRADE_WORDS[one.grade],
    )


def _named(one: VertebralFracture) -> Phrase | str:
    if one.grade is None:
        return one.level.name
    return phrase("{level} grade {grade} ({word})", level=one.level.name, grade=one.grade, word=_GRADE_WORDS[one.grade])


def _grade(detail: str) -> int | None:
    grade = detail.values.get("grade") if isinstance(detail, Phrase) else None
    return grade if isinstance(grade, int) and grade in _GRADE_WORDS else None


def _named_in(detail: str) -> Iterator[VertebralFracture]:
    """The fractures that the finding of the study names: a list of level and finding."""
    each = detail.values.get("each") if isinstance(detail, Phrase) else None
    for part in each.values.values() if isinstance(each, Phrase) else ():
        if not isinstance(part, Phrase):
            continue
        level, finding = part.values.get("part_0"), part.values.get("part_1")
        if isinstance(finding, str) and str(level) in Level.__members__:
            yield VertebralFracture(Level[str(level)], _grade(finding), as_phrase(finding))
