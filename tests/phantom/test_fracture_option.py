"""``bmd-node phantom --fracture``: the grade that was asked for is the grade that is found, and leads every output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.calibrate import convert, load_registry
from node.cli.main import main
from node.cli.phantom import _LOSS_OF_GRADE
from node.language.catalogue import Language
from node.model import AcrCategory, ContrastPhase, FractureKind, Level, Orientation, SeriesFacts, Software, StudyResult
from node.phantom import Fracture, Pathology, PhantomParameters, make_phantom
from node.report import result_json
from node.report.paste import report_text
from node.report.wording import conclusion
from tests.measure.test_level_findings import COARSE, judged

_SEVERE = "Severe osteoporosis range"


@pytest.mark.parametrize(
    ("grade", "word", "kind", "density", "category", "range_"),
    [
        (1, "mild", FractureKind.WEDGE, 60.0, AcrCategory.OSTEOPOROSIS, _SEVERE),
        (2, "moderate", FractureKind.CRUSH, 150.0, AcrCategory.NORMAL, "Normal range"),
        (3, "severe", FractureKind.BICONCAVE, 100.0, AcrCategory.LOW_BONE_MASS, "Low bone mass range"),
    ],
)
def test_the_grade_is_found_and_leads_at_any_bmd(
    grade: int, word: str, kind: FractureKind, density: float, category: AcrCategory, range_: str
) -> None:
    pathology = Pathology(fractures=(Fracture(Level.L2, kind, _LOSS_OF_GRADE[str(grade)]),))
    made = make_phantom(PhantomParameters(density_mg_cm3=density, pathology=pathology, **COARSE))  # type: ignore[arg-type]
    found = judged(made)
    facts = SeriesFacts(
        "1.2.3", "1.2.3.4", None, "Philips", "Brilliance 64", 120.0, "B", 1.5, (0.9, 0.9, 1.5), Orientation.AXIAL,
        contrast_phase=ContrastPhase.NONE, patient_age_years=70.0, patient_sex="F",
    )  # fmt: skip
    bmd = convert(found.levels, facts, load_registry(None))
    software = Software("0.1.0", "truth")
    result = StudyResult("measured", found.findings, facts, "", (), (), found.levels, found.hu_mean, bmd, (), software)  # type: ignore[arg-type]
    assert bmd.category is category
    assert conclusion(result).startswith(f"Vertebral fracture L2, grade {grade} ({word}). {range_}")
    german = {1: "leicht", 2: "mäßig", 3: "schwer"}[grade]
    assert f"Wirbelkörperfraktur L2, Grad {grade} ({german})" in report_text(result, Language.DE).impression
    tree = json.loads(result_json(result))
    assert [(one["level"], one["grade"]) for one in tree["fractures"]] == [("L2", grade)]
    assert tree["severe"] is (range_ == _SEVERE)


def _phantom(out: Path, *options: str) -> tuple[int, str]:
    coarse = ("--pixel-spacing", "4", "--slice-distance", "8", "--field-of-view", "spine")
    run = CliRunner().invoke(main, ["phantom", "--out", str(out), *coarse, *options])
    return run.exit_code, run.output


def test_fractures_are_options_and_can_be_repeated(tmp_path: Path) -> None:
    status, output = _phantom(tmp_path / "ct", "--fracture", "L2:2", "--fracture", "t12:3:crush")
    assert status == 0, output
    assert "truth.json" in output


@pytest.mark.parametrize("wrong", ["L2", "L2:4", "L2:0", "L9:1", "L2:2:burst", "L2:2:wedge:1"])
def test_what_is_no_fracture_is_refused(tmp_path: Path, wrong: str) -> None:
    status, output = _phantom(tmp_path / "ct", "--fracture", wrong)
    assert status == 2
    assert "such as L2:2" in output


def test_a_level_breaks_once(tmp_path: Path) -> None:
    status, output = _phantom(tmp_path / "ct", "--fracture", "L2:2", "--fracture", "L2:3")
    assert (status, "named twice" in output) == (2, True)
