"""Levels are read where they are named, and never guessed."""

from __future__ import annotations

import pytest

from node.plans.levels import named_levels


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("Spondylodese L4-S1", ["L4", "L5", "S1"]),
        ("PLIF L4/5", ["L4", "L5"]),
        ("TLIF L4/L5", ["L4", "L5"]),
        ("LWK 3/4/5", ["L3", "L4", "L5"]),
        ("l3 bis l5", ["L3", "L4", "L5"]),
        ("Th12 – L2", ["T12", "L1", "L2"]),
        ("BWK 11 - LWK 1", ["T11", "T12", "L1"]),
        ("T10 to L2", ["T10", "T11", "T12", "L1", "L2"]),
        ("Kyphoplastie L1, L3", ["L1", "L3"]),
        ("L5-L6", ["L5", "L6"]),
        ("L4-S1 bei L6", ["L4", "L5", "L6", "S1"]),
        ("L6/S1", ["L6", "S1"]),
        ("SWK1", ["S1"]),
        ("L5-3", []),
        ("L4-L4", []),
        ("L7", []),
        ("L4/9", []),
        ("Spondylodese", []),
        ("HL7, ABL4, L4a, 5L4", []),
        ("Tumor T2 N0", []),
        ("Th2", ["T2"]),
        ("T3-T5", ["T3", "T4", "T5"]),
    ],
)
def test_levels(text: str, levels: list[str]) -> None:
    assert list(named_levels([text])) == levels


def test_several_texts() -> None:
    assert named_levels(["Schraube L5", "", "Cage L3/4"]) == ("L3", "L4", "L5")
