"""The anatomy is stated from three landmarks; a name is given only where they, or the site's convention, allow it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from node.model import Level
from node.segment.naming import name_bodies
from node.segment.reach import Naming
from node.settings.tree import LevelConvention
from training.people import Person, drawn_person


def named(person: Person, convention: LevelConvention = "twelfth_rib") -> Naming:
    return name_bodies(*drawn_person(person), convention)


def without_sacrum(person: Person) -> Naming:
    prediction, instances, chain, inside = drawn_person(person)
    prediction.probability[5] = 0.0
    return name_bodies(prediction, instances, chain, inside)


def numbers(naming: Naming) -> dict[str, int]:
    """Number of the body, counted from the lowest, by its name."""
    return {entry.level.name: entry.body.number for entry in naming.named}


def said(naming: Naming) -> str:
    return " ".join(str(reason.detail) for reason in naming.reasons)


USUAL = {"T12": 6, "L1": 5, "L2": 4, "L3": 3, "L4": 2, "L5": 1}


def test_three_landmarks_that_agree_are_the_most_certain() -> None:
    naming = named(Person(12, 5))
    assert numbers(naming) == USUAL
    assert {entry.evidence for entry in naming.named} == {"counted from sacrum, the last of twelve rib pairs agrees"}
    assert all(entry.confidence > 0.95 for entry in naming.named)


def test_twelve_pairs_without_a_sacrum_are_more_certain_than_the_last_alone() -> None:
    naming = without_sacrum(Person(12, 5))
    assert numbers(naming) == USUAL
    assert all(0.8 < entry.confidence < 0.9 for entry in naming.named)
    assert naming.named[0].evidence == "counted from the last of twelve rib pairs, without the sacrum"


@pytest.mark.parametrize(("pairs", "anatomy"), [(11, "eleven rib pairs: L1 may be T12"), (13, "thirteen rib pairs")])
@pytest.mark.parametrize("lumbar", [4, 5, 6])
def test_eleven_or_thirteen_pairs_are_stated_and_give_no_name(pairs: int, lumbar: int, anatomy: str) -> None:
    for naming in (named(Person(pairs, lumbar)), without_sacrum(Person(pairs, lumbar))):
        assert naming.named == ()
        assert [reason.code for reason in naming.reasons] == ["level_not_certain"]
        assert anatomy in said(naming)
    words = {4: "four", 5: "five", 6: "six"}[lumbar]
    assert f"{words} lumbar-type vertebrae" in said(named(Person(pairs, lumbar)))


def test_six_or_four_lumbar_vertebrae_are_counted_from_the_twelfth_rib() -> None:
    six, four = named(Person(12, 6)), named(Person(12, 4))
    assert numbers(six) == {"T12": 7, "L1": 6, "L2": 5, "L3": 4, "L4": 3, "L5": 2}
    assert numbers(four) == {"T12": 5, "L1": 4, "L2": 3, "L3": 2, "L4": 1}
    assert "six lumbar-type vertebrae, as with a lumbarised S1" in said(six)
    assert "four lumbar-type vertebrae, as with a sacralised L5" in said(four)
    for naming in (six, four):
        assert [reason.code for reason in naming.reasons] == ["anatomical_variant"]
        assert {entry.confidence for entry in naming.named} == {0.8}
        assert naming.named[0].evidence == "counted downward from the last of twelve rib pairs"


@pytest.mark.parametrize(("pairs", "lumbar"), [(12, 6), (12, 4), (11, 5), (13, 4)])
def test_a_site_may_count_from_the_sacrum_or_not_at_all(pairs: int, lumbar: int) -> None:
    person = Person(pairs, lumbar)
    from_sacrum = numbers(named(person, "sacrum"))
    assert from_sacrum == {"L1": 5, "L2": 4, "L3": 3, "L4": 2, "L5": 1}
    assert named(person, "withhold").named == ()
    assert "lumbar-type vertebrae" in said(named(person, "withhold"))


@pytest.mark.parametrize("convention", ["twelfth_rib", "sacrum", "withhold"])
def test_the_convention_does_not_matter_for_usual_anatomy(convention: LevelConvention) -> None:
    assert numbers(named(Person(12, 5), convention)) == USUAL


def test_first_ribs_out_of_view_are_no_witness() -> None:
    """Of a scan that begins below the third ribs, sacrum and last ribs are left."""
    prediction, instances, chain, inside = drawn_person(Person(12, 5, neck=0))
    top = round(chain[3].centre[0]) - 4
    prediction.probability[:, top:] = 0.0
    instances[top:] = 0
    inside[top:] = False
    naming = name_bodies(prediction, instances, chain[4:], inside)
    assert numbers(naming) == USUAL
    assert {entry.evidence for entry in naming.named} == {"counted from sacrum, last rib agrees"}


def test_a_narrow_field_that_cuts_every_rib_is_no_witness() -> None:
    naming = named(replace(Person(11, 5), half_width_mm=55.0))
    assert {entry.evidence for entry in naming.named} <= {"counted from sacrum, last rib agrees"}


def test_a_body_that_was_missed_in_the_chest_does_not_make_eleven_pairs() -> None:
    prediction, instances, chain, inside = drawn_person(Person(12, 5))
    naming = name_bodies(prediction, instances, chain[:6] + chain[7:], inside)
    assert numbers(naming) == USUAL
    assert {entry.evidence for entry in naming.named} == {"counted from sacrum, last rib agrees"}


@pytest.mark.parametrize("seed", range(3))
def test_ribs_that_drift_below_their_bodies_stay_with_them(seed: int) -> None:
    person = Person(12, 5, drift=0.7, slope=0.9, steeper=0.4, seed=seed)
    assert numbers(named(person)) == USUAL


def test_sacrum_without_a_body_is_said() -> None:
    prediction, instances, _, inside = drawn_person(Person(12, 5))
    volume_cm3 = float((prediction.probability[5] > 0.5).sum()) * 0.027
    naming = name_bodies(prediction, instances, [], inside)
    assert said(naming) == f"{volume_cm3:.0f} cm3 of sacrum in view but no vertebral body."


def test_too_little_of_a_sacrum_is_not_called_none() -> None:
    prediction, instances, chain, inside = drawn_person(Person(12, 5))
    top = max(int(z) for z in prediction.probability[5].nonzero()[0])
    prediction.probability[5, :top] = 0.0
    prediction.probability[6] = 0.0
    assert "but only" in said(name_bodies(prediction, instances, chain, inside))
    assert "cm3 of sacrum, too little to count from" in said(name_bodies(prediction, instances, chain, inside))


def test_twelve_pairs_name_what_an_unclear_sacrum_leaves() -> None:
    """A lumbarised S1 that is taken for the lowest body: the sacrum beside it withholds that body alone."""
    prediction, instances, chain, inside = drawn_person(Person(12, 6))
    z = round(chain[-1].centre[0])
    prediction.probability[5, z - 8 : z + 5, :, 40:48] = 1.0
    naming = name_bodies(prediction, instances, chain, inside)
    assert numbers(naming) == {"T12": 7, "L1": 6, "L2": 5, "L3": 4, "L4": 3, "L5": 2}
    assert "may be part of the sacrum" in said(naming)
    assert Level.L5 in {entry.level for entry in naming.named}
