"""Rods are found where they lie and read as they are, or refused with the reason."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from node.calibrate import Line, find_rods
from node.model import Orientation, Reason
from node.model.calibration_phantoms import CalibrationPhantom, Rod
from node.phantom import BONE_KERNEL, FieldOfView, Flaw, PatientPosition, Phantom, Scanner, make_phantom
from node.select import find_dicom, load_volume, select_series
from node.settings.tree import SelectSettings
from tests.calibrate.phantom_scans import NARROW, PHANTOMS, SCANNER, SMALL, found, line_or_reason, scan_of, volume_of
from tests.conftest import DATA

QRM_3, B_MAS = PHANTOMS["QRM-BDC-3"], PHANTOMS["B-MAS-200"]


def assert_true(line: Line | Reason, scanner: Scanner = SCANNER) -> None:
    """Slope within 1 %, intercept within 1 mg/cm3."""
    assert isinstance(line, Line), line
    assert line.slope == pytest.approx(scanner.slope_mg_cm3_per_hu, rel=0.01)
    assert line.intercept == pytest.approx(scanner.intercept_mg_cm3, abs=1.0)


@pytest.mark.parametrize(
    "lie", [{}, {"turned": True, "roll_deg": 4.0, "yaw_deg": 2.0, "plate_hu": 30.0}], ids=["straight", "turned"]
)
@pytest.mark.parametrize("patient", [True, False], ids=["beneath a patient", "alone"])
@pytest.mark.parametrize("name", PHANTOMS)
def test_every_phantom_gives_the_scanners_line_back(name: str, patient: bool, lie: dict[str, object]) -> None:
    phantom = PHANTOMS[name]
    made = scan_of(phantom, {"seed": 3}, patient=patient, **lie)
    assert_true(line_or_reason(made, phantom))
    rods = found(made, phantom)
    for k, truth in enumerate(made.truth.rods):
        # the whole region lies inside the rod, all along it
        for (first, last), place in zip(rods.slices, rods.places[:, k], strict=True):
            here = made.affine_lps_mm @ np.array([(first + last) / 2, *place, 1.0])
            axis_y = truth.centre_lps_mm[1]
            assert abs(here[1] - axis_y) + rods.region_radius_mm < phantom.rod_diameter_mm / 2
        # its neighbours are far: this is the rod of the table, not another one
        middle = made.affine_lps_mm @ np.array([rods.slices.mean(), *rods.places[:, k].mean(axis=0), 1.0])
        assert abs(middle[0] - truth.centre_lps_mm[0]) < 3.0


@pytest.mark.parametrize(
    ("changes", "lie"),
    [
        ({"reverse_slices": True}, {}),
        (
            {
                "patient_position": PatientPosition.HEAD_FIRST_PRONE,
                "field_of_view": FieldOfView((0.0, -150.0, 0.0), (190.0, 120.0, 60.0)),
            },
            {},
        ),
        ({"kernel": BONE_KERNEL, "pixel_spacing_mm": 0.6, "slice_distance_mm": 1.5}, {}),
        ({"slice_distance_mm": 5.0}, {"aside_mm": 12.0}),
        ({"scanner": Scanner("Philips", "Brilliance 64", 100.0, 0.62, 9.0)}, {"plate_hu": -40.0}),
    ],
    ids=["reversed", "prone", "bone kernel", "5 mm, aside", "other scanner"],
)
def test_it_does_not_matter_how_the_scan_is_made(changes: dict[str, object], lie: dict[str, object]) -> None:
    made = scan_of(B_MAS, changes, **lie)
    assert_true(line_or_reason(made, B_MAS), made.parameters.scanner)


@pytest.mark.parametrize("length_mm", [52.5, 61.0, 70.0])
@pytest.mark.parametrize("name", ["Image-Analysis", "Siemens-Osteo"])
def test_rods_that_end_within_the_scan_are_read_where_they_are_whole(name: str, length_mm: float) -> None:
    long = FieldOfView((0.0, 120.0, 0.0), (190.0, 100.0, 120.0))
    made = scan_of(PHANTOMS[name], {"field_of_view": long}, length_mm=length_mm)
    assert_true(line_or_reason(made, PHANTOMS[name]))


@pytest.mark.parametrize(("distance", "diameter"), [(1.28, 0.8), (0.75, 0.85), (1.15, 1.2)])
def test_a_phantom_may_differ_from_the_assumed_geometry(distance: float, diameter: float) -> None:
    real = dataclasses.replace(
        QRM_3, rod_distance_mm=QRM_3.rod_distance_mm * distance, rod_diameter_mm=QRM_3.rod_diameter_mm * diameter
    )
    assert_true(line_or_reason(scan_of(real), QRM_3))


def test_a_site_may_describe_a_phantom_with_uneven_distances() -> None:
    rods = (Rod(0.0, place_mm=0.0), Rod(150.0, place_mm=30.0), Rod(300.0, place_mm=85.0))
    own = CalibrationPhantom("own", "HA", rods, rod_diameter_mm=16.0, rod_distance_mm=30.0)
    assert_true(line_or_reason(scan_of(own), own))


def refusal(made: Phantom, phantom: CalibrationPhantom) -> Reason:
    reason = line_or_reason(made, phantom)
    assert isinstance(reason, Reason), reason
    return reason


@pytest.fixture(scope="module")
def patient_alone() -> Phantom:
    return make_phantom(SMALL)


@pytest.mark.parametrize("name", PHANTOMS)
def test_no_phantom_in_the_image(patient_alone: Phantom, name: str) -> None:
    assert refusal(patient_alone, PHANTOMS[name]).code == "no_rods"


def test_a_patient_with_contrast_has_round_things_but_no_rods() -> None:
    folder = DATA / "ct" / "hcc_tace_006"
    if not folder.is_dir():
        pytest.skip("shared/data/ct/hcc_tace_006 is not here")
    volume = load_volume(select_series(find_dicom(folder), SelectSettings()).candidates[0])
    for name in ("Siemens-Osteo", "QRM-BDC-3"):
        reason = find_rods(volume, PHANTOMS[name])
        assert isinstance(reason, Reason)
        assert reason.code == "no_rods"


def test_a_round_thing_deep_in_a_body_is_no_rod_on_the_table() -> None:
    """A vessel with contrast in a homogeneous organ looks like the one rod of Siemens Osteo that stands out."""
    row, column = np.indices((200, 260)) - np.array([100, 130])[:, None, None]
    image = np.full((200, 260), -1000, np.int16)
    image[(row / 95) ** 2 + (column / 125) ** 2 <= 1] = 0
    image[row**2 + column**2 <= 100] = 256
    made = scan_of(PHANTOMS["Siemens-Osteo"])
    body = dataclasses.replace(volume_of(made), hu=np.repeat(image[None], len(made.hu), axis=0))
    reason = find_rods(body, PHANTOMS["Siemens-Osteo"])
    assert isinstance(reason, Reason)
    assert reason.code == "no_rods"


@pytest.mark.parametrize("name", ["QRM-BDC-3", "QRM-BDC-6", "Image-Analysis", "B-MAS-200", "Mindways-3"])
def test_rods_mixed_up(name: str) -> None:
    phantom = PHANTOMS[name]
    *rest, last_but_one, last = phantom.rods
    reason = refusal(scan_of(dataclasses.replace(phantom, rods=(*rest, last, last_but_one))), phantom)
    assert reason.code == "rods_mixed_up"
    assert "--rods" in reason.detail


@pytest.mark.parametrize("there", PHANTOMS)
def test_another_phantom_than_the_one_named(there: str) -> None:
    made = scan_of(PHANTOMS[there])
    codes = {name: refusal(made, phantom).code for name, phantom in PHANTOMS.items() if name != there}
    assert set(codes.values()) <= {
        *("no_rods", "other_rods", "rods_mixed_up", "rods_not_even"),
        *("poor_fit", "implausible_slope"),
    }


@pytest.mark.parametrize("hu", [3071.0, -1000.0], ids=["metal", "air"])
@pytest.mark.parametrize("rod", [0, 1, 2])
def test_metal_or_air_through_a_rod(rod: int, hu: float) -> None:
    reason = refusal(scan_of(QRM_3, flaw=Flaw(rod, hu)), QRM_3)
    assert reason.code == "rods_not_even"
    assert f"{QRM_3.rods[rod].density_mg_cm3:g} mg/cm3" in reason.detail


def test_a_rod_of_another_density_makes_the_fit_poor() -> None:
    wrong = dataclasses.replace(QRM_3, rods=(Rod(100.0), Rod(480.0), Rod(800.0)))
    reason = refusal(scan_of(wrong), QRM_3)
    assert reason.code == "poor_fit"
    assert "0.995" in reason.detail


@pytest.mark.parametrize("slope", [0.35, 1.2])
def test_a_slope_that_cannot_be(slope: float) -> None:
    made = scan_of(B_MAS, {"scanner": Scanner("Philips", "Brilliance 64", 120.0, slope, 0.0)})
    assert refusal(made, B_MAS).code == "implausible_slope"


def test_a_sagittal_reformat_is_refused() -> None:
    made = scan_of(QRM_3, {"orientation": Orientation.SAGITTAL, "field_of_view": NARROW})
    assert refusal(made, QRM_3).code == "rods_not_axial"


def test_two_phantoms_side_by_side_are_ambiguous() -> None:
    row = dataclasses.replace(QRM_3, rod_distance_mm=26.0, rod_diameter_mm=14.0)
    wide = {"field_of_view": FieldOfView((0.0, 120.0, 0.0), (330.0, 100.0, 60.0))}
    left, right = (scan_of(row, wide, patient=False, aside_mm=aside) for aside in (-75.0, 75.0))
    both = dataclasses.replace(left, hu=np.maximum(left.hu, right.hu))
    assert isinstance(line_or_reason(left, row), Line)
    assert refusal(both, row).code == "rods_ambiguous"
