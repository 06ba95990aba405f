"""The fractures of a result are read from its findings, also from those that were kept as JSON."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from node.language.catalogue import Language, say
from node.language.phrase import Phrase, joined, phrase
from node.measure.fracture import HeightLoss
from node.model import FractureKind, Level, LevelMeasurement, Reason
from node.model.fractures import fractures_in, fractures_text


def _loss(grade: int) -> Phrase:
    return HeightLoss(FractureKind.WEDGE, 0.3, grade, phrase("compared with its neighbours")).said


def _level(level: Level, *findings: Reason) -> LevelMeasurement:
    return LevelMeasurement(level, (0.0, 0.0, 0.0), 100.0, 20.0, 4000.0, usable=False, findings=findings)


def _of_study(*fractures: tuple[Level, int]) -> Reason:
    each = joined((joined((level.name, _loss(grade)), " ") for level, grade in fractures), "; ")
    return Reason("fracture", phrase("{each}. A fragility fracture matters at any BMD.", each=each))


@pytest.mark.parametrize("is_kept", [False, True])
def test_the_worst_comes_first_and_vertebrae_that_are_not_measured_are_named(is_kept: bool) -> None:
    levels = [_level(Level.L1, Reason("fracture", _loss(1))), _level(Level.L3, Reason("fracture", _loss(2)))]
    seen = _of_study((Level.T12, 1), (Level.L1, 1), (Level.L3, 2), (Level.L5, 3))
    if is_kept:
        kept = TypeAdapter(Reason)
        seen = kept.validate_json(kept.dump_json(seen))
    found = fractures_in(levels, [Reason("noise", phrase("Not measured")), seen])
    assert [(one.level.name, one.grade) for one in found] == [("L5", 3), ("L3", 2), ("T12", 1), ("L1", 1)]
    assert found[0].finding == "wedge fracture, grade 3: 30 % height loss compared with its neighbours"
    assert fractures_text(found) == (
        "Vertebral fractures: L5 grade 3 (severe), L3 grade 2 (moderate), T12 grade 1 (mild), L1 grade 1 (mild)"
    )


def test_one_fracture_in_words() -> None:
    (found,) = fractures_in([], [_of_study((Level.L2, 2))])
    assert fractures_text([found]) == "Vertebral fracture L2, grade 2 (moderate)"
    assert say(fractures_text([found]), Language.DE) == "Wirbelkörperfraktur L2, Grad 2 (mäßig)"


def test_a_finding_without_a_grade_is_a_fracture_all_the_same() -> None:
    old = _level(Level.L3, Reason("fracture", Phrase("wedge shape: front 34 % lower than back")))
    (found,) = fractures_in([old], [])
    assert (found.level, found.grade) == (Level.L3, None)
    assert fractures_text([found]) == "Vertebral fracture L3"


def test_other_findings_are_no_fractures() -> None:
    level = _level(Level.L3, Reason("collapsed_disc", _loss(2)))
    assert fractures_in([level], [Reason("fracture", Phrase("a sentence of another program"))]) == ()
