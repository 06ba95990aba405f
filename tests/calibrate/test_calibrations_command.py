"""``bmd-node calibrations``: the list, and what a CT series gets and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from node.cli.main import main
from node.doctor import Outcome
from node.doctor.equations import check_equations
from node.phantom import CtHeader, write_ct_series
from node.settings.tree import CalibrateSettings, Settings

HEADER = CtHeader(
    study_instance_uid="2.25.10",
    series_instance_uid="2.25.11",
    frame_of_reference_uid="2.25.12",
    patient_id="PHANTOM",
    patient_name="PHANTOM",
    study_date="20260310",
    series_description="Lumbar spine",
    manufacturer="Philips",
    manufacturer_model_name="Brilliance 64",
    device_serial_number="7001",
    station_name="CT1",
    kvp=120.0,
    convolution_kernel="B",
    slice_thickness_mm=2.5,
)
SITE = """
[[equation]]
id = "ours-2026"
manufacturer = ["Philips"]
model = ["Brilliance 64"]
kvp = 120
kernel_class = "soft"
device_serial_number = "7001"
valid_from = 2026-01-10
valid_until = 2026-07-10
slope = 0.81
intercept = -2.5
material = "HA"
status = "active"
approved_by = "A. Physicist"
approved_on = 2026-01-12

[equation.fit]
phantom = "QRM-BDC 6-rod"
date = 2026-01-10
n = 30
r2 = 0.9995
slope_se = 0.001
intercept_se = 0.2

[[equation]]
id = "ours-100"
manufacturer = ["Philips"]
model = ["Brilliance 64"]
kvp = 100
slope = 0.7
intercept = 0.0
material = "K2HPO4"
source = "an article that a physicist has to read first"
status = "pending"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "equations.toml").write_text(SITE)
    path = tmp_path / "bmd-node.toml"
    path.write_text(f'[calibrate]\nsite_equations = "{tmp_path / "equations.toml"}"\n')
    return path


def series(folder: Path, header: CtHeader = HEADER) -> Path:
    """A CT series of air and noise: nothing but its header matters here."""
    hu = np.random.default_rng(1).integers(-1000, 400, (70, 32, 32)).astype(np.int16)
    affine = np.array([[0, 0, 8.0, -120], [0, 8.0, 0, -120], [2.5, 0, 0, -90], [0, 0, 0, 1.0]])
    write_ct_series(hu, affine, header, folder)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["calibrations", *map(str, arguments)])


def test_the_list_has_every_entry_with_its_status(config: Path) -> None:
    result = run("--config", config)
    assert result.exit_code == 0, result.output
    heading, *lines = result.output.splitlines()
    assert heading.split()[:3] == ["id", "scanner", "kVp"]
    rows = {line.split()[0]: line for line in lines}
    assert set(rows) >= {"schwaiger2014-120", "schwaiger2014-140", "ours-2026", "ours-100"}
    for part in (
        "120",
        "soft",
        "7001",
        "0.81",
        "-2.5",
        "HA",
        "active",
        "A. Physicist, 2026-01-12",
        "2026-01-10 to 2026-07-10",
    ):
        assert part in rows["ours-2026"]
    assert "QRM-BDC 6-rod" in rows["ours-2026"]
    assert "pending" in rows["ours-100"]


def test_a_ct_gets_the_most_specific_entry_and_every_other_one_says_why_not(tmp_path: Path, config: Path) -> None:
    result = run("explain", series(tmp_path / "ct"), "--config", config)
    assert result.exit_code == 0, result.output
    facts, gets, *others = result.output.splitlines()
    assert "2.25.11: Philips, Brilliance 64, 120 kVp, kernel B (soft)" in facts
    assert "made on 2026-03-10" in facts
    assert gets.startswith("  gets ours-2026: BMD = 0.81 x HU - 2.5 mg/cm3, HA; fit to QRM-BDC 6-rod")
    assert [line.split(":")[0] for line in others] == [
        "  not schwaiger2014-120",
        "  not schwaiger2014-140",
        "  not ours-100",
    ]
    assert "more specific" in others[0]
    assert "for 140 kVp; the CT has 120 kVp" in others[1]
    assert "[no_equation_for_kvp]" in others[2]
    assert "[equation_pending]" in others[2]


def test_config_may_stand_before_explain_too(tmp_path: Path, config: Path) -> None:
    assert "gets ours-2026" in run("--config", config, "explain", series(tmp_path / "ct")).output


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kvp": 130.0}, "[no_equation_for_kvp]"),
        ({"manufacturer_model_name": "Brilliance 16"}, "[no_equation]"),
        ({"series_description": "DE_Abdomen M_0.6"}, "multi-energy image"),
        ({"kvp": None}, "lacks KVP"),
        ({"series_description": "MonoE 70keV"}, "not measurable: 70 of 70 images: computed from several energies"),
        ({"image_type": ("DERIVED", "SECONDARY", "MIP")}, "[projection]"),
    ],
)
def test_a_ct_that_gets_none_says_why(tmp_path: Path, config: Path, change: dict[str, object], says: str) -> None:
    result = run("explain", series(tmp_path / "ct", replace(HEADER, **change)), "--config", config)  # type: ignore[arg-type]
    assert result.exit_code == 3, result.output
    assert says in result.output
    assert "gets ours" not in result.output


def test_what_is_left_of_an_expired_entry(tmp_path: Path, config: Path) -> None:
    output = run("explain", series(tmp_path / "ct", replace(HEADER, study_date="20260711")), "--config", config).output
    assert "gets schwaiger2014-120" in output
    assert "not ours-2026: expired: valid until 2026-07-10; the CT was acquired on 2026-07-11 [equation_expired]" in output


def test_a_kernel_of_no_known_class_is_said(tmp_path: Path, config: Path) -> None:
    header = replace(HEADER, convolution_kernel="unkn")
    output = run("explain", series(tmp_path / "ct", header), "--config", config).output
    assert "gets schwaiger2014-120" in output
    assert "the kernel class is not known; this equation is not restricted to one" in output
    assert "[no_equation_for_kernel]" in output


def test_wrong_usage_and_a_wrong_registry_are_exit_status_2(tmp_path: Path, config: Path) -> None:
    missing = run("explain", tmp_path / "nothing", "--config", config)
    assert (missing.exit_code, "does not exist" in missing.output) == (2, True)
    assert run("explain").exit_code == 2
    (tmp_path / "equations.toml").write_text(SITE + SITE.replace("ours-", "again-"))
    tie = run("--config", config)
    assert tie.exit_code == 2
    assert "ours-2026 and again-2026" in tie.output


def test_the_doctor_counts_what_waits_for_a_person(tmp_path: Path, config: Path) -> None:
    site = Settings(calibrate=CalibrateSettings(site_equations=tmp_path / "equations.toml"))
    (tmp_path / "equations.toml").write_text(SITE.replace("2026-07-10", "2999-07-10"))
    [found] = check_equations(site)
    assert found.outcome is Outcome.OK
    assert "1 pending" in found.detail
    assert "expired" not in found.detail

    (tmp_path / "equations.toml").write_text(SITE.replace("2026-0", "2025-0").replace('"pending"', '"active"'))
    [found] = check_equations(site)
    assert found.outcome is Outcome.WARNING
    assert "1 expired" in found.detail
    assert "no approver is named for ours-100" in found.what_to_do
    assert "no longer get ours-2026" in found.what_to_do
