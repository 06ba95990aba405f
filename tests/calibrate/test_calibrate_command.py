"""From phantom scans to an equation that patients' CTs get; and rods beneath a patient."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from node.calibrate import convert_with_rods, load_registry
from node.cli.main import main
from node.common.errors import ConfigurationError
from node.doctor import Outcome
from node.doctor.equations import check_equations
from node.model import Calibration, Level, LevelMeasurement, Selection
from node.phantom import CtHeader, header_of, write_ct_series
from node.select import find_dicom, select_series
from node.settings.tree import CalibrateSettings, SegmentSettings, SelectSettings, Settings
from node.study.pipeline import MeasureOutcome, Pipeline, SegmentOutcome
from tests.calibrate.phantom_scans import PHANTOMS, SCANNER, scan_of, volume_of
from tests.calibrate.test_calibrations_command import HEADER, series

QRM_3 = PHANTOMS["QRM-BDC-3"]
OWN_RODS = """
[[phantom]]
name = "ours"
serial_number = "BDC-12"
material = "HA"
rod_diameter_mm = 18
rod_distance_mm = 40
rods = [{ density_mg_cm3 = 100.0 }, { density_mg_cm3 = 400.0 }, { density_mg_cm3 = 800.0 }]
"""


def write_scan(folder: Path, seed: int, slope: float = 0.83, **header: object) -> Path:
    """One repeat, as the scanner of the other tests of the command sends it."""
    made = scan_of(
        QRM_3,
        {"seed": seed, "scanner": dataclasses.replace(SCANNER, slope_mg_cm3_per_hu=slope)},
        patient=False,
        turned=seed % 2 == 0,
    )
    unit: dict[str, object] = {"device_serial_number": "7001", "station_name": "CT1", "study_date": "20260110"}
    written: CtHeader = dataclasses.replace(header_of(made), **{**unit, **header})  # type: ignore[arg-type]
    write_ct_series(made.hu, made.affine_lps_mm, written, folder)
    return folder


@pytest.fixture(scope="module")
def repeats(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("repeats")
    return write_scan(folder / "1", 1), write_scan(folder / "2", 2)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "bmd-node.toml"
    path.write_text(f'[calibrate]\nsite_equations = "{tmp_path / "equations.toml"}"\n')
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def test_from_the_phantom_to_the_equation_of_a_patient(tmp_path: Path, config: Path, repeats: tuple[Path, Path]) -> None:
    result = run("calibrate", *repeats, "--phantom", "qrm-bdc-3", "--out", tmp_path / "out", "--config", config)
    assert result.exit_code == 0, result.output
    assert "2 repeats" in result.output
    assert "800.00" in result.output
    (entry,) = load_registry(tmp_path / "equations.toml").site
    assert entry.id == "brilliance-64-7001-120-soft-2026-01-10"
    assert entry.slope == pytest.approx(0.83, rel=0.01)
    assert entry.intercept == pytest.approx(-4.0, abs=1.0)
    picture = Image.open(tmp_path / "out" / "calibration.png")
    assert min(picture.size) > 300
    assert (tmp_path / "out" / "entry.toml").read_text() in (tmp_path / "equations.toml").read_text()

    # pending is not enough
    ct = series(tmp_path / "ct", HEADER)
    pending = run("calibrations", "explain", ct, "--config", config).output
    assert "gets schwaiger2014-120" in pending
    assert f"not {entry.id}: pending" in pending

    approved = run("calibrations", "approve", entry.id, "--by", "A. Physicist", "--on", "2026-01-12", "--config", config)
    assert approved.exit_code == 0, approved.output
    explained = run("calibrations", "explain", ct, "--config", config).output
    assert f"gets {entry.id}: BMD = {entry.slope:g} x HU" in explained
    assert "2 repeats" in explained
    assert entry.id in run("calibrations", "--config", config).output


def test_a_phantom_of_ones_own_and_a_file_of_ones_own(tmp_path: Path, repeats: tuple[Path, Path]) -> None:
    (tmp_path / "rods.toml").write_text(OWN_RODS)
    site = tmp_path / "site.toml"
    arguments = ("calibrate", repeats[0], "--rods", tmp_path / "rods.toml", "--site-file", site)
    result = run(*arguments, "--out", tmp_path, "--id", "mine", "--months", 6, "--insert", 125, 100)
    assert result.exit_code == 0, result.output
    (entry,) = load_registry(site).site
    assert entry.fit is not None
    assert entry.fit.phantom == "ours, serial number BDC-12"
    assert entry.fit.insert_error_percent == pytest.approx(-0.3, abs=1.0)
    assert str(entry.valid_until) == "2026-07-10"
    before = site.read_bytes()
    again = run(*arguments, "--out", tmp_path, "--id", "mine")
    assert (again.exit_code, "--id" in again.output) == (2, True)
    off = run(*arguments, "--out", tmp_path, "--id", "other", "--insert", 160, 100)
    assert (off.exit_code, "independent insert" in off.output) == (2, True)
    assert site.read_bytes() == before


def test_an_unusual_slope_is_entered_and_doubted_aloud(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    scan = write_scan(tmp_path / "scan", 1, slope=0.95)
    result = run("calibrate", scan, "--phantom", "QRM-BDC-3", "--out", tmp_path / "out", "--site-file", site)
    assert result.exit_code == 0, result.output
    assert "outside the usual 0.65 to 0.9" in result.output
    settings = Settings(calibrate=CalibrateSettings(site_equations=site))
    [found] = check_equations(settings)
    assert found.outcome is Outcome.WARNING
    assert "outside the usual 0.65 to 0.9" in found.what_to_do
    config = tmp_path / "c.toml"
    config.write_text(f'[calibrate]\nsite_equations = "{site}"\n')
    assert "outside the usual 0.65 to 0.9" in run("calibrations", "--config", config).output


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"kvp": 100.0}, "differ in KVP"),
        ({"device_serial_number": "7002"}, "differ in Device Serial Number"),
        ({"device_serial_number": None}, "lacks Device Serial Number"),
    ],
)
def test_nothing_is_entered_of_scans_that_do_not_belong_together(
    tmp_path: Path, config: Path, repeats: tuple[Path, Path], header: dict[str, object], says: str
) -> None:
    other = write_scan(tmp_path / "other", 3, **header)
    result = run("calibrate", repeats[0], other, "--phantom", "QRM-BDC-3", "--out", tmp_path / "out", "--config", config)
    assert (result.exit_code, says in result.output) == (2, True), result.output
    assert not (tmp_path / "equations.toml").exists()


def test_a_refusal_names_the_series_and_enters_nothing(tmp_path: Path, config: Path, repeats: tuple[Path, Path]) -> None:
    uid = pydicom.dcmread(next(repeats[0].glob("*.dcm"))).SeriesInstanceUID
    result = run("calibrate", repeats[0], "--phantom", "B-MAS-200", "--out", tmp_path / "out", "--config", config)
    assert result.exit_code == 2
    assert f"series {uid} is refused" in result.output
    assert not (tmp_path / "equations.toml").exists()


def test_the_help_names_every_phantom() -> None:
    words = run("calibrate", "--help").output.replace(",", " ").replace(";", " ").split()
    assert set(PHANTOMS) <= set(words)


def test_wrong_usage_says_what_to_do(tmp_path: Path, config: Path, repeats: tuple[Path, Path]) -> None:
    out = ("--out", tmp_path / "out", "--config", config)
    for arguments, says in (
        (("--phantom", "QRM"), "known are QRM-BDC-3"),
        ((), "--phantom"),
        (("--phantom", "QRM-BDC-3", "--rods", tmp_path / "rods.toml"), "give either"),
        (("--rods", tmp_path / "rods.toml"), "cannot be read"),
    ):
        result = run("calibrate", repeats[0], *arguments, *out)
        assert (result.exit_code, says in result.output) == (2, True), result.output
    config.write_text("")
    result = run("calibrate", repeats[0], "--phantom", "QRM-BDC-3", *out)
    assert (result.exit_code, "--site-file" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("rods = [", 'colour = "red"\nrods = ['), "colour"),
        (("{ density_mg_cm3 = 400.0 }", "{ density_mg_cm3 = 100.0 }"), "same density"),
        (("rod_distance_mm = 40", "rod_distance_mm = 10"), "a diameter apart"),
        (("{ density_mg_cm3 = 400.0 }", "{ density_mg_cm3 = 400.0, water_mg_cm3 = 1000.0 }"), "for every rod or for none"),
        (('material = "HA"', 'material = "chalk"'), "material"),
    ],
)
def test_a_wrong_file_of_rods_says_where(
    tmp_path: Path, config: Path, repeats: tuple[Path, Path], change: tuple[str, str], says: str
) -> None:
    (tmp_path / "rods.toml").write_text(OWN_RODS.replace(*change))
    result = run("calibrate", repeats[0], "--rods", tmp_path / "rods.toml", "--out", tmp_path, "--config", config)
    assert (result.exit_code, says in result.output) == (2, True), result.output


LEVELS = tuple(
    LevelMeasurement(level, (0.0, 0.0, 0.0), hu, 20.0, 1500.0, True, ())
    for level, hu in ((Level.L1, 110.0), (Level.L2, 100.0))
)


def test_rods_beneath_a_patient_go_before_the_registry() -> None:
    scan = volume_of(scan_of(QRM_3))
    bmd = convert_with_rods(LEVELS, scan, QRM_3, load_registry(None))
    assert isinstance(bmd.calibration, Calibration)
    assert bmd.calibration.id == "simultaneous:QRM-BDC-3"
    assert "R2" in bmd.calibration.source
    assert bmd.bmd_mg_cm3 == pytest.approx(0.83 * 105.0 - 4.0, abs=1.0)
    assert "no_simultaneous_calibration" not in [reason.code for reason in bmd.reasons]

    # without rods, or with rods that cannot be used: the registry, and the reason
    other = convert_with_rods(LEVELS, scan, PHANTOMS["B-MAS-200"], load_registry(None))
    assert other.calibration is not None
    assert other.calibration.id == "schwaiger2014-120"
    assert other.bmd_mg_cm3 == pytest.approx(0.78 * 105.0)
    assert [r.code for r in other.reasons if "B-MAS-200" in r.detail] == ["no_simultaneous_calibration"]


def test_the_workflow_looks_for_the_rods_that_the_settings_name(tmp_path: Path) -> None:
    made = scan_of(QRM_3)
    write_ct_series(made.hu, made.affine_lps_mm, header_of(made), tmp_path / "ct")
    selection: Selection = select_series(find_dicom(tmp_path / "ct"), SelectSettings(min_extent_mm=20.0))
    segmented = SegmentOutcome(selection.candidates[0], "", None, (), (), (), 0.0)
    measured = MeasureOutcome(LEVELS, 105.0, None, 0.0)
    (tmp_path / "rods.toml").write_text(OWN_RODS)
    digests, used = set(), []
    for beneath in (None, "QRM-BDC-3", f"rods:{tmp_path / 'rods.toml'}"):
        pipeline = Pipeline(Settings(segment=SegmentSettings(), calibrate=CalibrateSettings(simultaneous=beneath)))
        bmd = pipeline.calibrate(segmented, measured)
        assert bmd.calibration is not None
        used.append(bmd.calibration.id)
        digests.add(pipeline.settings_digest)
    assert used == ["schwaiger2014-120", "simultaneous:QRM-BDC-3", "simultaneous:ours"]
    assert len(digests) == 3, "the rods belong to what a result depends on"
    with pytest.raises(ConfigurationError, match="known are"):
        Pipeline(Settings(calibrate=CalibrateSettings(simultaneous="QRM")))
    [found] = check_equations(Settings(calibrate=CalibrateSettings(simultaneous="QRM")))
    assert found.outcome is Outcome.ERROR
