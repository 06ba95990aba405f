"""Digital calibration phantoms show the densities of their rods, at the places of their truth."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from node.cli.main import main
from node.model import Level
from node.model.calibration_phantoms import known_phantom, known_phantoms
from node.phantom import (
    Anatomy,
    CalibrationSetup,
    FieldOfView,
    PatientPosition,
    PhantomParameters,
    Scanner,
    make_phantom,
)

QUIET = PhantomParameters(
    noise_sd_hu=0.0,
    pixel_spacing_mm=1.0,
    slice_distance_mm=5.0,
    field_of_view=FieldOfView((0.0, 120.0, 0.0), (190.0, 110.0, 20.0)),
    scanner=Scanner(slope_mg_cm3_per_hu=0.8, intercept_mg_cm3=-3.0),
)


@pytest.mark.parametrize("phantom", known_phantoms(), ids=lambda phantom: phantom.name)
@pytest.mark.parametrize(
    "setup", [{"patient": False}, {"turned": True, "roll_deg": 3.0, "yaw_deg": 2.0}], ids=["alone", "beneath a patient"]
)
def test_rods_read_what_their_truth_says(phantom: object, setup: dict[str, object]) -> None:
    made = make_phantom(dataclasses.replace(QUIET, calibration=CalibrationSetup(phantom, **setup)))  # type: ignore[arg-type]
    to_index = np.linalg.inv(made.affine_lps_mm)
    for truth in made.truth.rods:
        k, row, column = np.rint(to_index[:3] @ np.array([*truth.centre_lps_mm, 1.0])).astype(int)
        inside = made.hu[k, row - 3 : row + 4, column - 3 : column + 4]
        assert np.abs(inside - truth.hu).max() <= 1.0
        assert np.all(made.truth.anatomy[k, row - 3 : row + 4, column - 3 : column + 4] == Anatomy.ROD)
    assert bool(made.truth.levels) is setup.get("patient", True)


def test_hydroxyapatite_rods_are_on_the_scanners_line_and_mindways_by_its_procedure() -> None:
    assert known_phantom("QRM-BDC-3").rod_hu(0.8, -3.0) == pytest.approx([103 / 0.8, 403 / 0.8, 803 / 0.8])
    # s_CT = 1.25, b_CT = 3.75: HU = water + 1.4674 density - 995.85, worked out on paper for the first and the last rod
    first, *_, last = known_phantom("mindways 3").rod_hu(0.8, -3.0)
    assert first == pytest.approx(1012.25 - 1.4674 * 51.83 - 995.85, abs=0.01)
    assert last == pytest.approx(923.20 + 1.4674 * 375.83 - 995.85, abs=0.01)


def test_the_table_makes_room_and_the_patient_stays() -> None:
    with_rods = make_phantom(dataclasses.replace(QUIET, calibration=CalibrationSetup(known_phantom("B-MAS-200"))))
    without = make_phantom(QUIET)
    fat = without.truth.anatomy == Anatomy.FAT
    assert fat.any()
    np.testing.assert_array_equal(with_rods.truth.anatomy[fat], without.truth.anatomy[fat])
    plate = np.argwhere(with_rods.truth.anatomy == Anatomy.CALIBRATION_PHANTOM)
    assert plate[:, 1].min() > np.argwhere(fat)[:, 1].max(), "the plate lies below the patient"
    assert not np.any(without.truth.anatomy == Anatomy.ROD)


def test_the_plate_lies_on_the_table_of_a_prone_patient() -> None:
    prone = dataclasses.replace(
        QUIET,
        patient_position=PatientPosition.HEAD_FIRST_PRONE,
        calibration=CalibrationSetup(known_phantom("QRM-BDC-3")),
        field_of_view=FieldOfView((0.0, -150.0, 0.0), (190.0, 120.0, 20.0)),
    )
    made = make_phantom(prone)
    assert all(rod.centre_lps_mm[1] < made.truth.level(Level.L3).centroid_lps_mm[1] - 100 for rod in made.truth.rods)
    assert np.any(made.truth.anatomy == Anatomy.ROD)


def test_the_command_makes_one_with_its_truth(tmp_path: Path) -> None:
    options = ["--calibration-phantom", "image-analysis", "--no-patient", "--slice-distance", "10", "--pixel-spacing", "2"]
    result = CliRunner().invoke(main, ["phantom", "--out", str(tmp_path), *options])
    assert result.exit_code == 0, result.output
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert [rod["density_mg_cm3"] for rod in truth["rods"]] == [8.0, 97.3, 189.8]
    assert truth["levels"] == []
    assert len(list(tmp_path.glob("*.dcm"))) == 25
    wrong = CliRunner().invoke(main, ["phantom", "--out", str(tmp_path), "--no-patient"])
    assert (wrong.exit_code, "--calibration-phantom" in wrong.output) == (2, True)
