"""The scan is read from the image: vessels, kidneys, canal, air, fat, muscle and noise, in any orientation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from node.measure.noise import noise_sd_hu
from node.measure.scan import read_scan
from node.measure.surroundings import cut_off_mm, surroundings
from node.model import NOTHING_READ, ContrastPhase, Level, Orientation
from node.phantom import ARTERIAL, MYELOGRAPHY, PORTAL_VENOUS, UNENHANCED, Contrast, PatientPosition, PhantomParameters
from tests.measure.scans import LATE, SMALL, read, scan, with_contrast

SPACING_MM = (2.5, 1.3, 1.3)


@pytest.mark.parametrize("contrast", [UNENHANCED, ARTERIAL, PORTAL_VENOUS, LATE], ids=["none", "arterial", "portal", "late"])
def test_vessels_and_kidneys_are_read(contrast: Contrast) -> None:
    readings = read(scan(with_contrast(contrast))).readings
    assert readings.aorta_hu == pytest.approx(contrast.aorta_hu, abs=6)
    assert readings.vena_cava_hu == pytest.approx(contrast.vena_cava_hu, abs=8)
    if contrast.agent is None:
        # without contrast they may not be separable from the muscles behind them
        assert readings.kidney_hu is None or readings.kidney_hu == pytest.approx(contrast.kidney_hu, abs=6)
    else:
        assert readings.kidney_hu == pytest.approx(contrast.kidney_hu, abs=6)


@pytest.mark.parametrize("contrast", [UNENHANCED, MYELOGRAPHY], ids=["none", "myelography"])
def test_the_canal_is_read_behind_the_bodies(contrast: Contrast) -> None:
    readings = read(scan(with_contrast(contrast))).readings
    assert readings.canal_hu == pytest.approx(contrast.dural_sac_hu, rel=0.1, abs=5)


def test_air_fat_muscle_and_noise_are_read() -> None:
    readings = read(scan(SMALL)).readings
    assert readings.air_hu == pytest.approx(-1000, abs=3)
    assert readings.fat_hu == pytest.approx(-105, abs=5)
    # psoas 58, erector muscles 50
    assert readings.muscle_hu == pytest.approx(54, abs=5)
    assert readings.noise_sd_hu == pytest.approx(15, rel=0.1)


PRONE_SAGITTAL = replace(
    with_contrast(ARTERIAL),
    patient_position=PatientPosition.FEET_FIRST_PRONE,
    orientation=Orientation.SAGITTAL,
    slice_distance_mm=3.0,
    reverse_slices=True,
)
TURNED = replace(with_contrast(ARTERIAL), slice_rotation_deg=(8.0, -6.0, 5.0), pose_deg=(0.0, 0.0, 8.0), reverse_slices=True)


@pytest.mark.parametrize("parameters", [PRONE_SAGITTAL, TURNED], ids=["prone, sagittal, reversed", "turned"])
def test_left_and_front_are_the_patients(parameters: PhantomParameters) -> None:
    readings = read(scan(parameters)).readings
    assert readings.aorta_hu == pytest.approx(ARTERIAL.aorta_hu, abs=10)
    assert readings.vena_cava_hu == pytest.approx(ARTERIAL.vena_cava_hu, abs=12)
    assert readings.air_hu == pytest.approx(-1000, abs=4)


def test_vessels_outside_a_narrow_field_of_view_are_not_told() -> None:
    phantom = scan(with_contrast(PORTAL_VENOUS))
    index = np.argwhere(phantom.truth.labels == Level.L3)
    first = int(index[:, 1].min()) - 3
    hu, labels = phantom.hu[:, first:], phantom.truth.labels[:, first:]
    affine = phantom.affine_lps_mm.copy()
    affine[:3, 3] += affine[:3, 1] * first
    readings = read_scan(hu, labels, affine).readings
    assert (readings.aorta_hu, readings.vena_cava_hu) == (None, None)
    assert readings.canal_hu == pytest.approx(PORTAL_VENOUS.dural_sac_hu, abs=6)


@pytest.mark.parametrize("filler_hu", [-1000, -1024, -2000, -3024])
def test_filler_is_no_air(filler_hu: int) -> None:
    phantom = scan(SMALL)
    view = read_scan(np.where(phantom.hu < -600, filler_hu, phantom.hu), phantom.truth.labels, phantom.affine_lps_mm)
    assert view.readings.air_hu is None


def test_air_inside_the_circle_is_read_and_its_corners_are_not() -> None:
    phantom = scan(SMALL)
    rows, columns = phantom.hu.shape[1:]
    y, x = np.ogrid[:rows, :columns]
    hu = np.where(phantom.hu < -600, phantom.hu + 60, phantom.hu)
    hu[:, np.hypot((y - rows / 2) / rows, (x - columns / 2) / columns) > 0.5] = -1024
    assert read_scan(hu, phantom.truth.labels, phantom.affine_lps_mm).readings.air_hu == pytest.approx(-940, abs=4)


def test_without_a_body_nothing_is_read() -> None:
    phantom = scan(SMALL)
    view = read_scan(phantom.hu, np.zeros_like(phantom.truth.labels), phantom.affine_lps_mm)
    assert (view.readings, view.cut_off_mm) == (NOTHING_READ, 0.0)


def test_a_block_of_bone_holds_no_tissue_to_read() -> None:
    labels = np.zeros((30, 40, 40), np.uint8)
    labels[5:25, 10:30, 10:30] = Level.L1
    affine = np.array([[0, 0, 1.0, 0], [0, 1.0, 0, 0], [2.5, 0, 0, 0], [0, 0, 0, 1.0]])
    assert read_scan(np.full(labels.shape, 300, np.int16), labels, affine).readings == NOTHING_READ


@pytest.mark.parametrize("noise_hu", [0.0, 5.0, 30.0, 70.0])
def test_noise_is_that_of_the_image_not_of_its_anatomy(noise_hu: float) -> None:
    clean = scan(replace(SMALL, noise_sd_hu=0.0))
    noise = np.random.default_rng(1).normal(0.0, noise_hu, clean.hu.shape)
    read_hu = noise_sd_hu(np.rint(clean.hu + noise).astype(np.int16), clean.truth.labels, SPACING_MM)
    assert read_hu == pytest.approx(noise_hu, rel=0.08, abs=1.0)


def _oval_patient(half_width_mm: float, size: int = 128, step_mm: float = 4.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slices of 512 mm with an oval of water, twice as wide as deep, in noisy air and a circle of filler."""
    y, x = (np.mgrid[:size, :size] - (size - 1) / 2) * step_mm
    noise = np.random.default_rng(0).normal(0, 10, (12, size, size))
    inside = np.broadcast_to((x / half_width_mm) ** 2 + (y / (half_width_mm / 2)) ** 2 <= 1, noise.shape)
    hu = np.where(inside, 0, -1000) + noise
    hu[:, np.hypot(x, y) > size * step_mm / 2] = -1024
    labels = np.zeros(hu.shape, np.uint8)
    labels[2:10, size // 2 - 4 : size // 2 + 4, size // 2 - 5 : size // 2 + 5] = Level.L2
    affine = np.array([[0, 0, step_mm, 0], [0, step_mm, 0, 0], [4.0, 0, 0, 0], [0, 0, 0, 1.0]])
    return np.rint(hu).astype(np.int16), labels, affine


def test_a_patient_wider_than_the_circle_is_cut_off() -> None:
    def cut_mm(half_width_mm: float) -> float:
        around = surroundings(*_oval_patient(half_width_mm))
        assert around is not None
        return cut_off_mm(around)

    assert cut_mm(200.0) == 0.0
    assert cut_mm(235.0) == 0.0
    assert cut_mm(300.0) > 100.0


def test_an_image_whose_air_is_filled_in_cuts_nobody_off() -> None:
    hu, labels, affine = _oval_patient(200.0)
    around = surroundings(np.where(hu < -600, -1024, hu).astype(np.int16), labels, affine)
    assert around is not None
    assert cut_off_mm(around) == 0.0


def test_a_phase_is_a_value_of_the_contract() -> None:
    assert {phase.value for phase in ContrastPhase} == {"none", "arterial", "portal_venous", "unknown"}
