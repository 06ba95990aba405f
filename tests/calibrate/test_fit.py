"""The line through the rods: the formulas, their gates, and what an entry needs."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import numpy.typing as npt
import pytest

from node.calibrate import EntryOptions, FoundRods, Insert, Line, PhantomScan, Status, fit_line, pending_entry
from node.common.errors import InputError
from node.model import Orientation, Reason, SeriesFacts
from node.model.calibration_phantoms import known_phantom

QRM_3, MINDWAYS, OSTEO = (known_phantom(name) for name in ("QRM-BDC-3", "Mindways-3", "Siemens-Osteo"))
FACTS = SeriesFacts(
    study_instance_uid="2.25.1",
    series_instance_uid="2.25.2",
    frame_of_reference_uid=None,
    manufacturer="Philips",
    manufacturer_model_name="Brilliance 64",
    kvp=120.0,
    convolution_kernel="B",
    slice_thickness_mm=3.0,
    spacing_mm=(1.0, 1.0, 3.0),
    orientation=Orientation.AXIAL,
    device_serial_number="7001",
    station_name="CT1",
    acquisition_date=dt.date(2026, 2, 28),
)


def rods(*hu: float, sections: npt.NDArray[np.float64] | None = None) -> FoundRods:
    """Rods that read these HU."""
    section_hu = np.array([hu, hu, hu]) if sections is None else sections
    return FoundRods(section_hu.mean(axis=0), section_hu, np.zeros((3, 2), int), np.zeros((3, len(hu), 2)), 5.0, 0)


def fitted(phantom_rods: FoundRods, phantom: object = QRM_3) -> Line:
    line = fit_line(phantom, phantom_rods)  # type: ignore[arg-type]
    assert isinstance(line, Line), line
    return line


def test_least_squares_by_hand() -> None:
    line = fitted(rods(130.0, 500.0, 1010.0))
    # sums about the means 546.67 HU and 433.33 mg/cm3, worked out on paper
    assert line.slope == pytest.approx(310333.33 / 390466.67, rel=1e-6)
    assert line.intercept == pytest.approx(433.3333 - 310333.33 / 390466.67 * 546.6667, abs=1e-3)
    assert line.n == 3
    assert line.r2 > 0.995
    assert line.slope_se > 0
    assert line.intercept_se > 0


def test_mindways_by_the_printed_procedure() -> None:
    s_ref, b_ref = 1.5, -998.0
    hu = [(rod.water_mg_cm3 or 0.0) + s_ref * rod.density_mg_cm3 + b_ref for rod in MINDWAYS.rods]
    line = fitted(rods(*hu), MINDWAYS)
    s_ct, b_ct = 1.5 - 0.2174, -998.0 + 999.6
    assert line.slope == pytest.approx(1 / s_ct)
    assert line.intercept == pytest.approx(-b_ct / s_ct)


def test_standard_errors_are_those_of_repeated_scans() -> None:
    """The scatter of slope and intercept over many noisy scans is what one scan says of itself."""
    rng = np.random.default_rng(1)
    for phantom in (known_phantom("B-MAS-200"), MINDWAYS):
        lines = [
            fitted(rods(*(np.array(phantom.rod_hu(0.8, 90.0)) + rng.normal(0, 2.0, len(phantom.rods)))), phantom)
            for _ in range(400)
        ]
        for name in ("slope", "intercept"):
            scatter = np.std([getattr(line, name) for line in lines])
            said = np.sqrt(np.mean([getattr(line, f"{name}_se") ** 2 for line in lines]))
            assert said == pytest.approx(scatter, rel=0.15)


def test_two_rods_are_fitted_by_their_sections() -> None:
    sections = np.array([[0.0, 250.0], [1.0, 252.0], [-1.0, 251.0]])
    line = fitted(rods(0.0, 251.0, sections=sections), OSTEO)
    assert line.n == 6
    assert line.slope == pytest.approx(200 / 251, rel=1e-3)
    assert 0 < line.slope_se < 0.01


def test_the_gates_are_those_of_the_registry() -> None:
    poor = fit_line(QRM_3, rods(100.0, 560.0, 1000.0))
    assert isinstance(poor, Reason)
    assert poor.code == "poor_fit"
    steep = fit_line(QRM_3, rods(*(np.array([100.0, 400.0, 800.0]) / 1.11)))
    assert isinstance(steep, Reason)
    assert steep.code == "implausible_slope"
    assert isinstance(fit_line(QRM_3, rods(*(np.array([100.0, 400.0, 800.0]) / 1.09))), Line)


def scans(*slopes: float, **changes: object) -> list[PhantomScan]:
    """Scans with these slopes; ``changes`` are to the header of the last one."""
    made = []
    for number, slope in enumerate(slopes):
        phantom_rods = rods(*(np.array([100.0, 400.0, 800.0]) / slope))
        facts = dataclasses.replace(FACTS, series_instance_uid=f"2.25.{number}")
        made.append(PhantomScan(facts, phantom_rods, fitted(phantom_rods)))
    last = made[-1]
    made[-1] = dataclasses.replace(last, facts=dataclasses.replace(last.facts, **changes))  # type: ignore[arg-type]
    return made


def test_repeats_are_averaged_and_their_spread_is_kept() -> None:
    entry = pending_entry(QRM_3, scans(0.80, 0.81, 0.82), EntryOptions())
    assert entry.slope == pytest.approx(0.81, abs=1e-4)
    assert entry.fit is not None
    assert (entry.fit.repeats, entry.fit.n) == (3, 9)
    assert entry.fit.slope_sd == pytest.approx(0.01, rel=1e-3)
    assert "3 repeats" in entry.origin
    assert "5 repeats are recommended" in entry.message
    assert "certificate" in entry.message
    own = dataclasses.replace(QRM_3, serial_number="BDC-12")
    assert "certificate" not in pending_entry(own, scans(0.81), EntryOptions()).message


def test_an_entry_says_everything_that_decides_its_use() -> None:
    entry = pending_entry(QRM_3, scans(0.81), EntryOptions(insert=Insert(125.0, 100.0)))
    assert entry.status is Status.PENDING
    assert entry.id == "brilliance-64-7001-120-soft-2026-02-28"
    assert (entry.manufacturer, entry.model, entry.kvp) == (("Philips",), ("Brilliance 64",), 120.0)
    assert (entry.kernel_class, entry.device_serial_number, entry.station_name) == ("soft", "7001", "CT1")
    assert (entry.valid_from, entry.valid_until) == (dt.date(2026, 2, 28), dt.date(2027, 2, 28))
    assert entry.material == "HA"
    assert entry.fit is not None
    assert entry.fit.insert_error_percent == pytest.approx(1.25, abs=0.02)
    short = pending_entry(QRM_3, scans(0.81, acquisition_date=dt.date(2026, 8, 31)), EntryOptions("mine", months=6))
    assert (short.id, short.valid_until) == ("mine", dt.date(2027, 2, 28))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"manufacturer": None}, "Manufacturer"),
        ({"device_serial_number": None}, "Device Serial Number"),
        ({"kvp": None}, "KVP"),
        ({"convolution_kernel": None}, "Convolution Kernel"),
        ({"acquisition_date": None}, "Acquisition Date"),
        ({"multi_energy": True}, "multi-energy image"),
    ],
)
def test_what_the_header_lacks_is_named(change: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        pending_entry(QRM_3, scans(0.81, **change), EntryOptions())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kvp": 100.0}, "KVP"),
        ({"device_serial_number": "7002"}, "Device Serial Number"),
        ({"manufacturer_model_name": "Brilliance 16"}, "Model Name"),
        ({"convolution_kernel": "D"}, "class of the kernel"),
    ],
)
def test_scans_of_different_scanners_never_average(change: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        pending_entry(QRM_3, scans(0.80, 0.81, **change), EntryOptions())


@pytest.mark.parametrize(("hu", "passes"), [(131.0, True), (134.0, False), (116.0, True), (113.0, False)])
def test_the_independent_insert_agrees_within_7_percent(hu: float, passes: bool) -> None:
    options = EntryOptions(insert=Insert(hu, 100.0))
    if passes:
        pending_entry(QRM_3, scans(0.81), options)
    else:
        with pytest.raises(InputError, match="independent insert"):
            pending_entry(QRM_3, scans(0.81), options)


@pytest.mark.parametrize(("slope", "kvp", "doubted"), [(0.81, 120.0, False), (0.95, 120.0, True), (0.95, 140.0, False)])
def test_an_unusual_slope_at_120_kvp_is_doubted(slope: float, kvp: float, doubted: bool) -> None:
    entry = pending_entry(QRM_3, scans(slope, kvp=kvp), EntryOptions())
    assert bool(entry.doubts) is doubted
    assert all("0.65 to 0.9" in doubt for doubt in entry.doubts)
