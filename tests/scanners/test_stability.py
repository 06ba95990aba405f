"""What scans say of their scanner: kept in a real database, its trend, and what is flagged."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from node.cli.main import main
from node.doctor import Outcome
from node.doctor.equations import check_scanners
from node.model import ContrastPhase, Orientation, ScanReadings, SeriesFacts
from node.records.scans import ScanRecords
from node.scanners.stability import ScannerTrends, scanner_trends, stability_table
from node.settings.tree import Settings, StabilitySettings, load_settings

FIRST = dt.date(2024, 1, 1)
#: What patients differ by, HU: far more than a scanner drifts in a year.
SCATTER_HU = {"air_hu": 0.5, "fat_hu": 6.0, "muscle_hu": 8.0, "aorta_hu": 6.0, "noise_sd_hu": 3.0}
MEAN_HU = {"air_hu": -1000.0, "fat_hu": -105.0, "muscle_hu": 52.0, "aorta_hu": 42.0, "noise_sd_hu": 18.0}


def facts(n: int, date: dt.date | None, **more: object) -> SeriesFacts:
    values: dict[str, object] = {
        "study_instance_uid": f"2.25.{n}",
        "series_instance_uid": f"2.25.{n}.1",
        "frame_of_reference_uid": None,
        "manufacturer": "Philips",
        "manufacturer_model_name": "Brilliance 64",
        "kvp": 120.0,
        "convolution_kernel": "B",
        "slice_thickness_mm": 1.0,
        "spacing_mm": (1.0, 1.0, 1.0),
        "orientation": Orientation.AXIAL,
        "contrast_phase": ContrastPhase.NONE,
        "device_serial_number": "7001",
        "station_name": "CT1",
        "acquisition_date": date,
    }
    return SeriesFacts(**(values | more))  # type: ignore[arg-type]


def keep_two_years(
    records: ScanRecords, added_hu: Callable[[float], float], first: int = 1, n: int = 100, **more: object
) -> None:
    """A scan a week; ``added_hu`` is what the scanner adds to every reading after so many years."""
    rng = np.random.default_rng(11)
    for k in range(n):
        date = FIRST + dt.timedelta(days=7 * k)
        readings = {
            name: float(rng.normal(mean, SCATTER_HU[name])) + (0 if name == "noise_sd_hu" else added_hu(7 * k / 365.25))
            for name, mean in MEAN_HU.items()
        }
        records.keep(f"run-{first + k}", facts(first + k, date, **more), ScanReadings(**readings))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "bmd-node.toml").write_text(f'state_dir = "{tmp_path / "state"}"\n')
    return load_settings(tmp_path / "bmd-node.toml")


def only(found: tuple[ScannerTrends, ...]) -> ScannerTrends:
    [one] = found
    return one


def test_a_scanner_that_stays_as_it_was_is_not_flagged(settings: Settings) -> None:
    records = ScanRecords.open(settings)
    keep_two_years(records, lambda _: 0.0)
    found = only(scanner_trends(records.scans(), settings.stability))
    assert found.drifts == ()
    assert [(trend.reading.name, len(trend.dates)) for trend in found.trends] == [
        ("air", 100),
        ("fat", 100),
        ("muscle", 100),
        ("aorta", 100),
        ("noise (SD)", 100),
    ]
    [found_now] = check_scanners(settings)
    assert found_now.outcome is Outcome.OK


def test_a_slow_drift_is_found_with_its_slope(settings: Settings) -> None:
    """4 HU per year on all tissues: more than any source reports of a scanner."""
    records = ScanRecords.open(settings)
    keep_two_years(records, lambda years: 4.0 * years)
    found = only(scanner_trends(records.scans(), settings.stability))
    air = found.trends[0]
    assert air.slope_hu_per_year == pytest.approx(4.0, abs=0.2)
    assert air.deviation_hu == pytest.approx(4.0 * 80 * 7 / 365.25, abs=0.6)
    assert len(air.drifts) == 2, "beyond the limit of the deviation and of the slope"
    assert {"air", "fat"} <= {drift.split()[0] for drift in found.drifts}
    [warning] = check_scanners(settings)
    assert warning.outcome is Outcome.WARNING
    assert "Philips Brilliance 64, serial number 7001" in warning.detail


def test_a_drift_as_scanners_have_it_is_shown_but_not_flagged(settings: Settings) -> None:
    records = ScanRecords.open(settings)
    keep_two_years(records, lambda years: 1.0 * years)
    found = only(scanner_trends(records.scans(), settings.stability))
    assert found.trends[0].slope_hu_per_year == pytest.approx(1.0, abs=0.2)
    assert found.drifts == ()


def test_a_jump_is_found_and_since_makes_a_new_baseline(settings: Settings, tmp_path: Path) -> None:
    records = ScanRecords.open(settings)
    keep_two_years(records, lambda years: 12.0 if years > 1 else 0.0)
    run = CliRunner().invoke(main, ["stability", "--config", str(tmp_path / "bmd-node.toml")])
    assert run.exit_code == 1, run.output
    [air] = [line for line in run.output.splitlines() if line.split()[:1] == ["air"]]
    assert "DRIFT: +1" in air
    since = ["--since", "2025-01-15"]
    run = CliRunner().invoke(main, ["stability", "--config", str(tmp_path / "bmd-node.toml"), *since])
    assert run.exit_code == 0, run.output
    assert "DRIFT" not in run.output


def test_noise_is_shown_and_never_flagged(settings: Settings) -> None:
    """A new kernel doubles it, and the scanner is the same."""
    records = ScanRecords.open(settings)
    for k in range(60):
        reading = ScanReadings(noise_sd_hu=15.0 if k < 30 else 40.0)
        records.keep(f"run-{k}", facts(k + 1, FIRST + dt.timedelta(days=7 * k)), reading)
    found = only(scanner_trends(records.scans(), settings.stability))
    assert found.trends[0].deviation_hu == 25.0
    assert found.drifts == ()


@pytest.mark.parametrize("phase", [ContrastPhase.PORTAL_VENOUS, ContrastPhase.ARTERIAL, ContrastPhase.UNKNOWN])
def test_scans_that_may_hold_contrast_do_not_count_for_blood_and_muscle(settings: Settings, phase: ContrastPhase) -> None:
    records = ScanRecords.open(settings)
    keep_two_years(records, lambda _: 0.0, n=30)
    keep_two_years(records, lambda _: 60.0, first=1000, n=30, contrast_phase=phase)
    found = only(scanner_trends(records.scans(), settings.stability))
    counted = {trend.reading.name: len(trend.dates) for trend in found.trends}
    assert counted == {"air": 60, "fat": 60, "muscle": 30, "aorta": 30, "noise (SD)": 60}


def test_scanners_are_told_apart_and_spellings_are_not(settings: Settings) -> None:
    records = ScanRecords.open(settings)
    reading = ScanReadings(air_hu=-1000.0)
    for n, more in enumerate(
        (
            {},
            {"manufacturer": "PHILIPS", "manufacturer_model_name": "Brilliance64"},
            {"kvp": 140.0},
            {"device_serial_number": "7002"},
            {"station_name": "CT2"},
            {"kvp": None},
        ),
        start=1,
    ):
        records.keep(f"run-{n}", facts(n, FIRST, **more), reading)
    assert sorted(found.n_scans for found in scanner_trends(records.scans(), settings.stability)) == [1, 1, 1, 1, 2]


def test_a_scan_counts_once_and_only_with_date_and_readings(settings: Settings) -> None:
    records = ScanRecords.open(settings)
    records.keep("run-1", facts(1, FIRST), ScanReadings(air_hu=-900.0))
    records.keep("run-1", facts(1, FIRST), ScanReadings(air_hu=-1.0))
    records.keep("run-1-with-more-images", facts(1, FIRST), ScanReadings(air_hu=-1000.0))
    records.keep("run-2", facts(2, None), ScanReadings(air_hu=-1000.0))
    records.keep("run-3", facts(3, FIRST), ScanReadings())
    assert [(scan.study_instance_uid, scan.readings.air_hu) for scan in records.scans()] == [
        ("2.25.2", -1000.0),
        ("2.25.1", -1000.0),
    ]
    found = only(scanner_trends(records.scans(), settings.stability))
    assert found.n_scans == 1
    assert "too few scans" in stability_table(found)


def test_one_patient_who_is_different_makes_no_drift() -> None:
    from node.records.scans import Scan, Scanner

    scanner = Scanner("Philips", "Brilliance 64", "7001", "CT1", 120.0)
    scans = [
        Scan(f"2.25.{k}", scanner, FIRST + dt.timedelta(days=30 * k), ContrastPhase.NONE, ScanReadings(fat_hu=value))
        for k, value in enumerate([-105.0, -104.0, -106.0] * 4 + [-20.0])
    ]
    found = only(scanner_trends(scans, StabilitySettings()))
    assert found.trends[0].deviation_hu is not None
    assert found.drifts == ()


def test_the_command_draws_a_panel_per_reading(settings: Settings, tmp_path: Path) -> None:
    records = ScanRecords.open(settings)
    keep_two_years(records, lambda years: 4.0 * years)
    run = CliRunner().invoke(
        main, ["stability", "--config", str(tmp_path / "bmd-node.toml"), "--out", str(tmp_path / "plots")]
    )
    assert run.exit_code == 1, run.output
    [plot] = (tmp_path / "plots").glob("*.png")
    assert str(plot) in run.output
    with Image.open(plot) as image:
        assert image.height > image.width, "five panels below each other"
        assert len(image.convert("RGB").getcolors(2**24) or []) > 10


def test_nothing_known_yet_is_said(settings: Settings, tmp_path: Path) -> None:
    [found_now] = check_scanners(settings)
    assert found_now.outcome is Outcome.OK
    assert not settings.state_dir.exists(), "the doctor makes nothing"
    run = CliRunner().invoke(main, ["stability", "--config", str(tmp_path / "bmd-node.toml")])
    assert run.exit_code == 2
    assert "there is no database" in run.output
    ScanRecords.open(settings)
    run = CliRunner().invoke(main, ["stability", "--config", str(tmp_path / "bmd-node.toml")])
    assert run.exit_code == 0
    assert "no scan" in run.output
