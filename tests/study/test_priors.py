"""Comparison with an earlier result: which one is earlier, what can be compared, and that no patient is identified."""

from __future__ import annotations

import datetime as dt
import stat
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from node.common.errors import ConfigurationError
from node.model import ContrastPhase, Level, PriorComparison
from node.records.patient_key import PatientKeys
from node.records.prior_results import DatedResult, LevelValue, PriorRecords, UsedEquation
from node.report import result_json, table
from node.report.wording import caveats, prior_text
from node.settings.tree import Settings
from node.study.priors import compare_with_prior, dated_result
from tests.report.conftest import SyntheticCt, hu_only, measured, not_measured, one_level, synthetic_ct

EQUATION = UsedEquation("ours", 0.8, 0.0, "HA")
FOUR = (Level.L1, Level.L2, Level.L3, Level.L4)


@pytest.fixture(scope="module")
def axial() -> SyntheticCt:
    return synthetic_ct("axial")


def result(date: str, bmd: float = 100.0, levels: tuple[Level, ...] = FOUR, **more: object) -> DatedResult:
    values: dict[str, object] = {
        "study_instance_uid": f"2.25.{date.replace('-', '')}",
        "acquisition_date": dt.date.fromisoformat(date),
        "manufacturer": "Philips",
        "manufacturer_model_name": "Brilliance 64",
        "device_serial_number": "7001",
        "station_name": "CT1",
        "kvp": 120.0,
        "convolution_kernel": "B",
        "contrast_phase": ContrastPhase.NONE,
        "levels": tuple(LevelValue(level, (bmd + n) / 0.8, bmd + n) for n, level in enumerate(levels)),
        "equation": EQUATION,
    }
    return DatedResult(**(values | more))  # type: ignore[arg-type]


def compared(now: DatedResult, *others: DatedResult) -> PriorComparison:
    found = compare_with_prior(now, others)
    assert found is not None
    return found


def codes(found: PriorComparison) -> set[str]:
    return {reason.code for reason in found.not_comparable}


def test_the_change_is_given_with_the_least_significant_one() -> None:
    found = compared(result("2026-01-02", 91.5), result("2025-01-02", 101.5))
    assert found.prior_bmd_mg_cm3 == pytest.approx(103.0)
    assert found.bmd_mg_cm3 == pytest.approx(93.0)
    assert found.change_mg_cm3 == pytest.approx(-10.0)
    assert found.change_percent == pytest.approx(-100 * 10 / 103)
    assert (found.lsc_percent, found.within_lsc, found.not_comparable) == (13.0, True, ())
    assert prior_text(found) == (
        "Prior study, 12 months earlier: 103.0 mg/cm3, now 93.0 over L1 to L4; change -10.0 mg/cm3 (-9.7 %), "
        "within the least significant change of 13.0 %."
    )


@pytest.mark.parametrize(("now", "within"), [(87.0, True), (86.9, False), (113.0, True), (113.1, False)])
def test_beyond_the_least_significant_change_begins_where_the_printed_number_does(now: float, within: bool) -> None:
    one = (Level.L2,)
    assert compared(result("2026-01-02", now, one), result("2025-01-02", 100.0, one)).within_lsc is within


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"manufacturer_model_name": "Brilliance 16"}, "different_scanner"),
        ({"device_serial_number": "7002"}, "different_scanner"),
        ({"device_serial_number": None, "station_name": "CT2"}, "different_scanner"),
        ({"device_serial_number": None}, "scanner_not_known"),
        ({"kvp": 140.0}, "different_kvp"),
        ({"kvp": None}, "kvp_not_known"),
        ({"contrast_phase": ContrastPhase.PORTAL_VENOUS}, "different_phase"),
        ({"contrast_phase": ContrastPhase.UNKNOWN}, "phase_not_known"),
        ({"convolution_kernel": "D"}, "different_kernel"),
        ({"convolution_kernel": "YA"}, "kernel_not_known"),
        ({"convolution_kernel": None}, "kernel_not_known"),
        ({"equation": replace(EQUATION, material="K2HPO4")}, "different_material"),
        ({"equation": replace(EQUATION, slope=0.81)}, "different_equation"),
        ({"equation": None}, "no_bmd"),
    ],
)
def test_what_differs_forbids_to_compare(changed: dict[str, object], code: str) -> None:
    for now, before in (
        (result("2026-01-02"), result("2025-01-02", **changed)),
        (result("2026-01-02", **changed), result("2025-01-02")),
    ):
        found = compared(now, before)
        assert codes(found) == {code}
        assert (found.change_mg_cm3, found.change_percent, found.lsc_percent, found.within_lsc) == (None, None, None, None)
        assert found.prior_hu_mean > 0
        assert "not comparable: " in prior_text(found)
        assert "significant" not in prior_text(found)


@pytest.mark.parametrize(
    "same",
    [
        {"manufacturer": "PHILIPS ", "manufacturer_model_name": "brilliance64"},
        {"convolution_kernel": "C"},
        {"station_name": "renamed"},
    ],
)
def test_what_differs_in_spelling_only_or_within_a_class_does_not(same: dict[str, object]) -> None:
    assert codes(compared(result("2026-01-02"), result("2025-01-02", **same))) == set()


def test_only_levels_usable_in_both_are_compared() -> None:
    """L1 fractured in between, which alone would change the mean of all levels."""
    found = compared(result("2026-01-02", 95.0, FOUR[1:]), result("2025-01-02", 94.0, FOUR))
    assert found.levels == FOUR[1:]
    assert (found.prior_bmd_mg_cm3, found.bmd_mg_cm3, found.change_mg_cm3) == (96.0, 96.0, 0.0)
    none = compared(result("2026-01-02", 95.0, (Level.L1,)), result("2025-01-02", 94.0, (Level.L4,)))
    assert codes(none) == {"no_common_level"}
    assert (none.prior_bmd_mg_cm3, none.bmd_mg_cm3) == (94.0, 95.0)


def test_dates_decide_what_is_earlier() -> None:
    now = result("2026-01-02")
    older, newer, same_day = result("2024-01-02"), result("2025-06-01"), result("2026-01-02", study_instance_uid="2.25.7")
    later = result("2027-01-02")
    assert compared(now, later, newer, older, same_day, now).acquisition_date == newer.acquisition_date
    assert compare_with_prior(now, [later, same_day, now]) is None


def test_an_older_study_that_can_be_compared_goes_before_a_newer_one_that_cannot() -> None:
    now, older, newer = result("2026-01-02"), result("2024-01-02"), result("2025-06-01", device_serial_number="7002")
    assert compared(now, older, newer).acquisition_date == older.acquisition_date
    assert codes(compared(now, newer)) == {"different_scanner"}


def test_results_without_a_date_or_a_measurement_are_none(axial: SyntheticCt) -> None:
    dated = replace(axial.volume.facts, acquisition_date=dt.date(2026, 1, 2))
    assert dated_result(measured(axial)) is None, "no date"
    assert dated_result(replace(not_measured(axial), facts=dated)) is None
    kept = dated_result(replace(one_level(axial), facts=dated))
    assert kept is not None
    assert [value.level for value in kept.levels] == [Level.L2]
    hu = dated_result(replace(hu_only(axial), facts=dated))
    assert hu is not None
    assert hu.equation is None
    assert all(value.bmd_mg_cm3 is None for value in hu.levels)


def test_a_result_says_it_everywhere_and_only_if_measured(axial: SyntheticCt) -> None:
    prior = compared(result("2026-01-02", 91.5), result("2025-01-02", 121.5))
    with_prior = replace(measured(axial), prior=prior)
    assert prior_text(prior) in caveats(with_prior)
    assert prior_text(prior) in table(with_prior)
    assert "beyond the least significant change" in prior_text(prior)
    assert '"within_lsc": false' in result_json(with_prior)
    assert "2025" not in prior_text(prior), "the page shows no date"
    assert prior_text(prior) not in table(replace(not_measured(axial), prior=prior))


def test_results_are_kept_by_a_key_and_the_last_one_of_a_study_counts(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    records = PriorRecords.open(settings)
    first, corrected = result("2025-01-02", 100.0), result("2025-01-02", 90.0)
    records.keep("run-1", "key", first)
    records.keep("run-1", "key", corrected)
    assert records.of_patient("key") == (first,), "a step that runs again changes nothing"
    records.keep("run-1-r", "key", corrected)
    records.keep("run-2", "key", result("2026-01-02"))
    assert set(PriorRecords.open(settings).of_patient("key")) == {corrected, result("2026-01-02")}
    assert records.of_patient("another") == ()
    assert (records.patient_key_of("run-2"), records.patient_key_of("run-3")) == ("key", None)


def test_the_key_tells_patients_apart_and_names_none(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    keys = PatientKeys.open(settings)
    key = keys.key("HOSPITAL", "4711")
    assert key is not None
    assert len(key) == 64
    assert "4711" not in key
    assert PatientKeys.open(settings).key("HOSPITAL ", " 4711") == key, "the secret is kept; blanks are padding"
    others = {keys.key(*parts) for parts in (("CLINIC", "4711"), (None, "4711"), ("HOSPITAL", "4712"), ("HOSPITAL4", "711"))}
    assert len({key, *others}) == 5
    assert keys.key("HOSPITAL", " ") is None
    assert keys.key("HOSPITAL", None) is None
    assert PatientKeys.open(Settings(state_dir=tmp_path / "other")).key("HOSPITAL", "4711") != key


def test_the_secret_is_for_its_owner_alone_and_made_once(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    made: list[str | None] = []
    threads = [threading.Thread(target=lambda: made.append(PatientKeys.open(settings).key(None, "1"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1
    [secret] = [path for path in tmp_path.iterdir() if "sqlite" not in path.name]
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    secret.write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="is damaged: restore it from a backup"):
        PatientKeys.open(settings)
