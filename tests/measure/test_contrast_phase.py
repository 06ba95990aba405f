"""The contrast phase is derived from the image; disagreement with the header is reported."""

from __future__ import annotations

import itertools

import pytest

from node.measure.contrast_phase import conclude_contrast, plausible_kidney_hu
from node.model import ContrastPhase, ScanReadings

NONE, ARTERIAL, PORTAL, UNKNOWN = (
    ContrastPhase.NONE,
    ContrastPhase.ARTERIAL,
    ContrastPhase.PORTAL_VENOUS,
    ContrastPhase.UNKNOWN,
)


def _readings(aorta: float | None, cava: float | None, kidney: float | None) -> ScanReadings:
    return ScanReadings(aorta_hu=aorta, vena_cava_hu=cava, kidney_hu=kidney)


@pytest.mark.parametrize(
    ("values", "phase", "present"),
    [
        ((41, 39, 32), NONE, False),
        ((28, None, None), NONE, False),
        ((None, 40, 30), NONE, False),
        # before the bolus returns from the legs the IVC is unenhanced, so alone it shows nothing
        ((None, 40, None), UNKNOWN, None),
        ((None, None, None), UNKNOWN, None),
        # too bright for unenhanced blood, too dark for enhanced blood
        ((72, 70, None), UNKNOWN, None),
        ((320, 60, 140), ARTERIAL, True),
        ((322, 105, 143), ARTERIAL, True),
        ((350, None, None), ARTERIAL, True),
        ((160, 145, 190), PORTAL, True),
        ((208, 155, 189), PORTAL, True),
        # infrarenal IVC of a portal venous phase, or an early one: undetermined
        ((180, 45, 150), UNKNOWN, True),
        ((180, None, 150), UNKNOWN, True),
        # late: kidneys bright, blood nearly unenhanced
        ((88, 86, 140), UNKNOWN, True),
        ((55, 54, 120), UNKNOWN, True),
        ((None, 130, 180), UNKNOWN, True),
        # no kidney is that bright while blood is unenhanced: it may be bowel with oral contrast
        ((38, 36, 270), UNKNOWN, None),
        ((None, None, 190), UNKNOWN, None),
    ],
)
def test_the_image_decides(values: tuple[float | None, ...], phase: ContrastPhase, present: bool | None) -> None:
    conclusion, _ = conclude_contrast(_readings(*values), UNKNOWN, None)
    assert (conclusion.phase, conclusion.present) == (phase, present)


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ((38, 36, 270), False),
        ((38, None, 140), False),
        ((55, 54, 120), True),
        ((38, 36, 32), True),
        ((None, None, 190), True),
    ],
)
def test_bowel_is_not_taken_for_kidneys(values: tuple[float | None, ...], kept: bool) -> None:
    aorta, cava, kidney = values
    assert plausible_kidney_hu(kidney, aorta, cava) == (kidney if kept else None)


def test_without_contrast_and_without_doubt_nothing_is_said() -> None:
    conclusion, said = conclude_contrast(_readings(41, 39, 32), UNKNOWN, None)
    assert conclusion.detail == "aorta 41 HU, IVC 39 HU, kidneys 32 HU: no contrast"
    assert said == ()


@pytest.mark.parametrize(
    ("values", "header_phase", "agent", "phase", "says"),
    [
        ((152, 138, None), PORTAL, "Ultravist", PORTAL, "aorta 152 HU, IVC 138 HU: portal venous phase"),
        ((152, 138, None), UNKNOWN, None, PORTAL, "portal venous phase; the header records no contrast agent"),
        ((320, 60, None), PORTAL, "Ultravist", ARTERIAL, "arterial phase; the header says portal venous phase"),
        (
            (41, 39, None),
            UNKNOWN,
            "ORAL",
            NONE,
            "the header records a contrast agent, but the image shows no contrast in the vessels",
        ),
        (
            (41, 39, None),
            ARTERIAL,
            "Ultravist",
            NONE,
            "the header records the arterial phase, but the image shows no contrast",
        ),
        # the image shows contrast but not the phase: the header is used if no vessel can contradict it
        ((170, None, None), PORTAL, "Ultravist", PORTAL, "aorta 170 HU: portal venous phase according to the header"),
        ((88, 86, 140), PORTAL, "Ultravist", UNKNOWN, "contrast, phase not known; the header says portal venous phase"),
        ((None, None, None), PORTAL, "Ultravist", PORTAL, "the header records the portal venous phase"),
        ((None, None, None), UNKNOWN, "Ultravist", UNKNOWN, "vessels and kidneys could not be read"),
        ((None, None, None), UNKNOWN, None, UNKNOWN, "neither the image nor the header shows"),
    ],
)
def test_image_goes_before_header_and_disagreement_is_said(
    values: tuple[float | None, ...], header_phase: ContrastPhase, agent: str | None, phase: ContrastPhase, says: str
) -> None:
    conclusion, (reason,) = conclude_contrast(_readings(*values), header_phase, agent)
    assert conclusion.phase is phase
    assert says in conclusion.detail
    assert (reason.code, reason.detail) == ("contrast_phase", conclusion.detail)
    # free text of a header stays in the header
    assert agent is None or agent not in conclusion.detail


@pytest.mark.parametrize(
    ("values", "phase", "probable"),
    [
        ((99.5, 85, 150), PORTAL, True),
        ((100.1, 85, 150), PORTAL, True),
        ((89.0, 80, 150), UNKNOWN, False),
        ((125, 105, 150), PORTAL, False),
        ((218, 60, 150), ARTERIAL, True),
        ((222, 60, 150), ARTERIAL, True),
        ((320, 60, 140), ARTERIAL, False),
    ],
)
def test_near_a_limit_a_phase_is_probable(values: tuple[float, ...], phase: ContrastPhase, probable: bool) -> None:
    conclusion, (said,) = conclude_contrast(_readings(*values), UNKNOWN, None)
    assert (conclusion.phase, conclusion.probable) == (phase, probable)
    assert ("probably" in said.detail) == probable


@pytest.mark.parametrize("cava", [60, 85, 120])
def test_a_step_of_half_a_unit_never_gives_opposite_statements(cava: float) -> None:
    told = []
    for aorta in range(160, 640):
        conclusion, _ = conclude_contrast(_readings(aorta / 2, cava, 150), UNKNOWN, None)
        told.append((conclusion.phase, conclusion.probable))
    for (phase, probable), (next_phase, next_probable) in itertools.pairwise(told):
        assert phase is next_phase or probable or next_probable
